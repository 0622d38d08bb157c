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
        stratum = frame.groupby(list(strata), sort=True).ngroup().to_numpy()
        owner, clusters = pd.factorize(frame[cluster].astype(str))
        game = pd.factorize(frame[strata[0]])[0]
        # A cluster's mean in each stratum it has blocks in: one row of `cells` each.
        cells = pd.DataFrame({"stratum": stratum, "cluster": owner, "game": game})
        code = cells.groupby(["stratum", "cluster"], sort=True).ngroup().to_numpy()
        cells = cells.assign(code=code).drop_duplicates("code").sort_values("code")
        n_strata = cells.groupby("game")["stratum"].transform("nunique").to_numpy()
        n_clusters = cells.groupby("stratum")["cluster"].transform("size").to_numpy()
        return cls(
            frame=frame,
            cluster=cluster,
            strata=list(strata),
            code=np.asarray(code, dtype=np.intp),
            size=np.bincount(code),
            owner=cells["cluster"].to_numpy(),
            weight=1.0 / (cells["game"].nunique() * n_strata * n_clusters),
            group=_exchangeable(cells, len(clusters)),
            n_clusters=len(clusters),
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


def _exchangeable(cells: pd.DataFrame, n_clusters: int) -> NDArray[np.intp]:
    """Return the group of each cluster: those with the same strata, collapsed where it is alone."""

    def text(values: pd.Series) -> str:
        return "|".join(map(str, sorted(set(values))))

    signature = cells.groupby("cluster")["stratum"].agg(text)
    games = cells.groupby("cluster")["game"].agg(text)
    group = pd.factorize(signature.reindex(range(n_clusters)))[0]
    game = pd.factorize(games.reindex(range(n_clusters)))[0]
    size = np.bincount(group)
    for one in np.unique(game):
        here = game == one
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
