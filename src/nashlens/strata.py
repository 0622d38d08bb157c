"""Strata and clusters of blocks: which share each block has, and which clusters are exchangeable.

All of it depends on which blocks there are, and not on their values (`nashlens.factorial`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.contrasts import Array


@dataclass(frozen=True, eq=False)
class Layout:
    """How blocks make an estimate: a cell is a cluster in one stratum.

    Attributes
    ----------
    frame : DataFrame
        One row a block.
    cluster : str
        Column of what is independent.
    strata : list of str
        Columns that an interval takes as given, the first of which weighs its values the same.
    """

    frame: pd.DataFrame
    cluster: str
    strata: list[str]
    code: NDArray[np.intp]
    """(blocks,): the cell of each block."""
    size: NDArray[np.intp]
    """(cells,): number of its blocks."""
    owner: NDArray[np.intp]
    """(cells,): its cluster."""
    weight: Array
    """(cells,): what the mean of its blocks weighs in the estimate."""
    group: NDArray[np.intp]
    """(clusters,): those of one group are exchangeable."""
    n_clusters: int
    _levels: dict[str, dict[str, tuple[NDArray[np.bool_], Layout]]] = field(default_factory=dict)

    @classmethod
    def of(cls, frame: pd.DataFrame, cluster: str, strata: Sequence[str]) -> Layout:
        """Lay out one row a block."""
        if not len(frame):
            none = np.zeros(0, dtype=np.intp)
            return cls(frame, cluster, list(strata), none, none, none, np.zeros(0), none, 0)
        levels = [codes_of(frame[column], sort=True) for column in strata]
        owner = codes_of(frame[cluster])
        stratum = joint_codes(levels)
        # A cell's number: strata in their order, and in a stratum its clusters.
        n_clusters = int(owner.max()) + 1
        _, first, code = np.unique(
            stratum * n_clusters + owner, return_index=True, return_inverse=True
        )
        game, stratum, owner = levels[0][first], stratum[first], owner[first]
        # A stratum is of one game.
        n_strata = np.bincount(game[np.unique(stratum, return_index=True)[1]])
        return cls(
            frame=frame,
            cluster=cluster,
            strata=list(strata),
            code=code,
            size=np.bincount(code),
            owner=owner,
            weight=1.0 / (len(n_strata) * n_strata[game] * np.bincount(stratum)[stratum]),
            group=_exchangeable(owner, stratum, game),
            n_clusters=n_clusters,
        )

    def levels(self, column: str) -> dict[str, tuple[NDArray[np.bool_], Layout]]:
        """Return for each level of a column which blocks have it, and their own layout."""
        if column not in self._levels:
            values = self.frame[column].astype(str).to_numpy()
            found = {}
            for level in sorted(self.frame[column].dropna().astype(str).unique()):
                frame = self.frame[values == level].reset_index(drop=True)
                found[level] = values == level, Layout.of(frame, self.cluster, self.strata)
            self._levels[column] = found
        return self._levels[column]


def codes_of(values: pd.Series, *, sort: bool = False) -> NDArray[np.intp]:
    """Return numbers for the values of a column, in the order of their first appearance or sorted.

    Raises
    ------
    ValueError
        If one is missing.
    """
    codes = pd.factorize(values, sort=sort)[0]
    if codes.min(initial=0) < 0:
        raise ValueError(f"a block needs a {values.name}, and one has none")
    return codes


def joint_codes(columns: Sequence[NDArray[np.intp]]) -> NDArray[np.intp]:
    """Return numbers for the combinations of codes that occur, in their order."""
    joint = columns[0]
    for codes in columns[1:]:
        joint = joint * (codes.max() + 1) + codes
    return np.unique(joint, return_inverse=True)[1]


def _exchangeable(
    owner: NDArray[np.intp], stratum: NDArray[np.intp], game: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Return the group of each cluster: those with the same strata, collapsed where it is alone.

    Parameters
    ----------
    owner, stratum, game : ndarray, shape (cells,)
        Sorted by stratum.
    """
    by_owner = np.argsort(owner, kind="stable")
    ends = np.cumsum(np.bincount(owner))[:-1]
    group = _same(np.split(stratum[by_owner], ends))
    games = _same([np.unique(one) for one in np.split(game[by_owner], ends)])
    size = np.bincount(group)
    for one in np.unique(games):
        here = games == one
        alone = here & (size[group] == 1)
        if not alone.any():
            continue
        others = np.unique(group[here & ~alone])
        if alone.sum() == 1 and len(others):
            # One stratum with one cluster: together with the smallest of the others.
            group[alone] = others[np.argmin(size[others])]
        else:
            group[alone] = group[alone].min()
    return pd.factorize(group)[0]


def _same(arrays: Sequence[NDArray[np.intp]]) -> NDArray[np.intp]:
    """Return numbers for arrays, equal ones the same, by their first appearance."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(one.tobytes(), len(numbers)) for one in arrays])
