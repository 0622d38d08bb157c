r"""Contrasts over blocks: what follows the action, what the word, and what the place.

A *block* asks one scenario in all four combinations of label map and option order. Let `y` be any
number that points to action 1 (a logit over action 0, or a change of P(action 1)), and let

- `t` be +1 where the action of interest is action 1, else -1 (the same in all of a block),
- `w` be +1 where the pair's first label stands for action 1, else -1,
- `p` be +1 where action 1 is listed first, else -1.

The means of `t y`, `w y`, `p y` and `t w p y` over a block are orthogonal contrasts: its *action
part*, its *word part* (towards the first label, whatever it means), its *place part* (towards the
option listed first) and their *interaction* (how much larger the action part is where the first
label is listed first). A preference for a word adds nothing to the action part, and so on: not on
average, but in every block.

A *stratum* holds the blocks of one game, template and label set. An estimate gives games the same
weight, and strata within a game. Blocks of one history are not independent, so a history (a match)
is the cluster, and only the spread of clusters *within* strata enters the error: an interval speaks
of new scenarios under these templates and label sets. How far a part differs between them is a
number of its own (`BlockEstimate.over`).

With `z_c` the share of the estimate that cluster c gives, and q the groups of clusters that are
exchangeable (those of one stratum; where templates or label sets are crossed, of several),

    error^2 = sum_q v_q,    v_q = n_q / (n_q - 1) sum_{c in q} (z_c - mean_q z)^2,
    freedom = (sum_q v_q)^2 / sum_q (v_q^2 / n_q) - 1,

midway between Satterthwaite's (n_q - 1, and nothing taken off), whose intervals are too wide where
histories are few, and his with variances corrected for being estimated (n_q + 1, less 2), whose
intervals are too narrow where strata differ; all three agree for one stratum. How often intervals
hold the truth was simulated (docs/explanation/power.md). Strata with
one cluster only are collapsed with others of their game (Hansen, Hurwitz and Madow 1953), which
adds the spread between them to the error: such an interval is too wide, never too narrow.

    >>> rows = pd.DataFrame({"block_id": ["a"] * 4 + ["b"] * 4, "match_id": ["a"] * 4 + ["b"] * 4,
    ...     "game": "g", "template": "t", "label_set": "l",
    ...     "label_map": ["identity", "identity", "swapped", "swapped"] * 2,
    ...     "option_order": ["forward", "reversed"] * 4})
    >>> blocks = ScenarioBlocks(rows)
    >>> y = np.where(rows["label_map"] == "swapped", 3.0, -3.0) + 1.0
    >>> parts = blocks.parts(y, np.ones(8))
    >>> {name: float(blocks.estimate(values).estimate[0]) for name, values in parts.items()}
    {'action': 1.0, 'word': 3.0, 'place': 0.0, 'interaction': 0.0}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri, stdtr, stdtrit

from nashlens.contrasts import Array, p_floor, student_p
from nashlens.strata import Layout, codes_of
from nashlens.vocabulary.prompts import LABEL_MAPS, OPTION_ORDERS

PARTS = ("action", "word", "place", "interaction")
STRATA = ("game", "template", "label_set")
"""What an interval takes as given, the column whose values weigh the same first."""
_CELLS = len(LABEL_MAPS) * len(OPTION_ORDERS)


class ScenarioBlocks:
    """The complete blocks of some rows.

    Parameters
    ----------
    rows : DataFrame
        One row an observation: `block_id`, `label_map`, `option_order`, the cluster and the strata.
        A block's rows agree in all but label map and option order.
    cluster : str
        Column of what is independent: the history by default.
    strata : sequence of str
        Columns that an interval takes as given.

    Attributes
    ----------
    used : ndarray of bool, shape (n,)
        Rows that belong to a complete block: exactly one for each label map and option order.
    n_incomplete : int
        Number of blocks that were left out.
    frame : DataFrame
        One row a block, with the columns that are constant in it; numbered from 0.
    """

    def __init__(
        self, rows: pd.DataFrame, *, cluster: str = "match_id", strata: Sequence[str] = STRATA
    ):
        block = codes_of(rows["block_id"])
        swapped = (rows["label_map"] == LABEL_MAPS[1]).to_numpy(dtype=bool)
        turned = (rows["option_order"] == OPTION_ORDERS[1]).to_numpy(dtype=bool)
        counts = np.zeros((block.max(initial=-1) + 1, _CELLS), dtype=np.intp)
        np.add.at(counts, (block, 2 * swapped + turned), 1)
        whole = (counts == 1).all(axis=1)
        self.used: NDArray[np.bool_] = whole[block]
        self.n_incomplete = int((~whole).sum())
        self._code = pd.factorize(block[self.used])[0]
        first = np.flatnonzero(self.used)[np.unique(self._code, return_index=True)[1]]
        self.frame = (
            rows.iloc[first].drop(columns=["label_map", "option_order"]).reset_index(drop=True)
        )
        self.cluster, self.strata = cluster, list(strata)
        # Signs of the rows: +1 where the first label, or the option listed first, is action 1.
        self._word = np.where(swapped[self.used], 1.0, -1.0)
        self._place = np.where(turned[self.used], 1.0, -1.0)

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def n_clusters(self) -> int:
        """Number of clusters (histories) that the blocks come from."""
        return int(self.frame[self.cluster].nunique())

    def means(self, values: ArrayLike) -> Array:
        """Return the plain means of the blocks' rows, (blocks, k), of values (n, k) or (n,)."""
        table = np.asarray(values, dtype=np.float64)
        table = (table[:, None] if table.ndim == 1 else table)[self.used]
        sums = np.zeros((len(self), table.shape[1]))
        np.add.at(sums, self._code, table)
        return sums / _CELLS

    def parts(self, values: ArrayLike, towards: ArrayLike) -> dict[str, Array]:
        """Return each part of each block.

        Parameters
        ----------
        values : array_like, shape (n,) or (n, k)
            Numbers that point to action 1, for the rows that were given.
        towards : array_like, shape (n,)
            +1 where the action of interest is action 1, else -1.

        Returns
        -------
        dict of str to ndarray, shape (blocks, k)
            By `PARTS`.
        """
        table = np.asarray(values, dtype=np.float64)
        table = table[:, None] if table.ndim == 1 else table
        sign = np.asarray(towards, dtype=np.float64).reshape(-1)
        word, place = np.zeros(len(self.used)), np.zeros(len(self.used))
        word[self.used], place[self.used] = self._word, self._place
        signs = (sign, word, place, sign * word * place)
        return {
            name: self.means(one[:, None] * table) for name, one in zip(PARTS, signs, strict=True)
        }

    def estimate(self, per_block: Array, chosen: NDArray[np.bool_] | None = None) -> BlockEstimate:
        """Average columns over strata of equal weight.

        Parameters
        ----------
        per_block : ndarray, shape (blocks, k)
        chosen : ndarray of bool, shape (blocks,), optional
            Only these blocks.
        """
        values = np.asarray(per_block, dtype=np.float64)
        if chosen is None:
            return BlockEstimate.within(self._layout, values)
        frame = self.frame[chosen].reset_index(drop=True)
        return BlockEstimate.of(frame, values[chosen], self.cluster, self.strata)

    @cached_property
    def _layout(self) -> Layout:
        return Layout.of(self.frame, self.cluster, self.strata)


@dataclass(frozen=True)
class BlockEstimate:
    """Averages over blocks with their errors; arrays are (k,)."""

    estimate: Array
    error: Array
    """Standard errors; NaN where a game has one cluster only."""
    freedom: Array
    """Degrees of freedom of the errors."""
    influence: Array
    """(clusters, k): rows whose squares add up to the squared errors."""
    n: int
    """Number of rows (prompts)."""
    n_blocks: int
    n_clusters: int
    values: Array
    """(blocks, k): the values of the blocks that entered."""
    layout: Layout

    @classmethod
    def of(
        cls, frame: pd.DataFrame, values: Array, cluster: str, strata: Sequence[str]
    ) -> BlockEstimate:
        """Estimate from one row a block; see `ScenarioBlocks.estimate`."""
        return cls.within(Layout.of(frame, cluster, strata), values)

    @classmethod
    def within(cls, layout: Layout, values: Array) -> BlockEstimate:
        """Estimate from one row a block of a layout; see `ScenarioBlocks.estimate`."""
        n_blocks, k = len(layout.frame), values.shape[1]
        if not n_blocks:
            none, empty = np.full(k, np.nan), np.zeros((0, k))
            return cls(none, none, none, empty, 0, 0, 0, values, layout)
        sums = np.zeros((len(layout.size), k))
        np.add.at(sums, layout.code, values)
        shares = np.zeros((layout.n_clusters, k))
        weight = layout.weight / layout.size
        np.add.at(shares, layout.owner, weight[:, None] * sums)
        influence, freedom = _influence(shares, layout.group)
        return cls(
            estimate=shares.sum(axis=0),
            error=np.sqrt((influence**2).sum(axis=0)),
            freedom=freedom,
            influence=influence,
            n=n_blocks * _CELLS,
            n_blocks=n_blocks,
            n_clusters=layout.n_clusters,
            values=values,
            layout=layout,
        )

    @property
    def frame(self) -> pd.DataFrame:
        """The blocks that entered."""
        return self.layout.frame

    @property
    def cluster(self) -> str:
        """Column of what is independent."""
        return self.layout.cluster

    @property
    def strata(self) -> list[str]:
        """Columns that the interval takes as given."""
        return self.layout.strata

    def interval(self, confidence: float, at_once: int = 1) -> tuple[Array, Array]:
        """Return Student's bounds, for so many estimates at once (Bonferroni)."""
        tail = (1.0 - confidence) / 2.0 / at_once
        half = -stdtrit(self.freedom, tail) * self.error
        return self.estimate - half, self.estimate + half

    def draws(self, resamples: int, rng: np.random.Generator) -> Array:
        """Return draws around the estimates, (resamples, k), as far from them as chance may be.

        Clusters get normal multipliers, so that columns vary together as they do over clusters;
        each draw's error is drawn with its degrees of freedom. Quantiles of one column are
        Student's; quantiles of a function of several columns allow for few clusters as well.
        """
        normal = rng.standard_normal((resamples, len(self.influence))) @ self.influence
        tail = rng.uniform(size=(resamples, 1))
        scale = np.sqrt(chdtri(self.freedom, tail) / self.freedom)
        return np.asarray(self.estimate + normal / scale, dtype=np.float64)

    def simultaneous(
        self, confidence: float, resamples: int, rng: np.random.Generator
    ) -> tuple[Array, Array, Array]:
        """Return Student's bounds that hold for all columns at once.

        The columns' p-values are compared, and not their distances in errors, so that a column with
        few degrees of freedom widens no other one. What is drawn is the smallest p-value of any
        column (Westfall and Young 1993), which pays less than Bonferroni where columns go together.

        Returns
        -------
        low, high, critical : ndarray, shape (k,)
            Critical values are half-widths in errors.
        """
        normal = rng.standard_normal((resamples, len(self.influence))) @ self.influence
        # Each error is drawn by itself: those of columns that go together do so far less.
        scale = np.sqrt(chdtri(self.freedom, rng.uniform(size=normal.shape)) / self.freedom)
        # A column without an error has no bounds; one that does not vary is never off.
        t = np.abs(normal) / scale / np.where(self.error > 0, self.error, np.inf)
        p = 2.0 * stdtr(self.freedom, -t)
        smallest = np.nan_to_num(p, nan=1.0).min(axis=1, initial=1.0)
        level = float(np.quantile(smallest, 1.0 - confidence))
        # More than one column's own level is never needed, nor less than Bonferroni's.
        level = float(np.clip(level, (1.0 - confidence) / max(p.shape[1], 1), 1.0 - confidence))
        critical = np.asarray(-stdtrit(self.freedom, level / 2.0), dtype=np.float64)
        half = critical * self.error
        return self.estimate - half, self.estimate + half, critical

    def p_above(self, bound: float, resamples: int) -> Array:
        """Return each estimate's one-sided p-value of lying above a bound, no less than its floor.

        NaN where there is no error.
        """
        floor = p_floor(self.n_clusters, resamples)
        columns = zip(self.estimate - bound, self.error, self.freedom, strict=True)
        return np.array(
            [
                student_p(gap, error, freedom, floor) if np.isfinite(error) else np.nan
                for gap, error, freedom in columns
            ]
        )

    def over(self, column: str) -> tuple[list[str], Array, Array]:
        """Return how the estimates differ between the levels of a column of the blocks.

        Parameters
        ----------
        column : str
            `label_set` or `template`, say.

        Returns
        -------
        levels : list of str
        by_level : ndarray, shape (levels, k)
            The estimate of each level's blocks.
        spread : ndarray, shape (k,)
            Standard deviation of the levels' true values: that of their estimates less what their
            errors explain, at least 0; NaN with one level.
        """
        found, errors = [], []
        for here, layout in self.layout.levels(column).values():
            part = BlockEstimate.within(layout, self.values[here])
            found.append(part.estimate)
            errors.append(part.error)
        levels = list(self.layout.levels(column))
        k = self.values.shape[1]
        if len(levels) < 2:
            return levels, np.reshape(found, (len(levels), k)), np.full(k, np.nan)
        by_level = np.array(found)
        explained = np.nan_to_num(np.array(errors) ** 2).mean(axis=0)
        spread = np.sqrt(np.maximum(by_level.var(axis=0, ddof=1) - explained, 0.0))
        return levels, by_level, spread


def _influence(shares: Array, group: NDArray[np.intp]) -> tuple[Array, Array]:
    """Return the clusters' influence, (clusters, k), and the degrees of freedom, (k,)."""
    sizes = np.bincount(group).astype(np.float64)
    sums = np.zeros((len(sizes), shares.shape[1]))
    np.add.at(sums, group, shares)
    with np.errstate(divide="ignore", invalid="ignore"):
        correction = np.sqrt(sizes / (sizes - 1.0))
        influence = (shares - (sums / sizes[:, None])[group]) * correction[group][:, None]
        variance = np.zeros_like(sums)
        np.add.at(variance, group, influence**2)
        total = variance.sum(axis=0)
        freedom = total**2 / (variance**2 / sizes[:, None]).sum(axis=0) - 1.0
    most = float((sizes - 1.0).sum())
    # Columns that do not vary have no error whose freedom could be estimated.
    freedom = np.where(total > 0, np.clip(freedom, 1.0, most), max(most, 1.0))
    return influence, np.where(np.isnan(total), np.nan, freedom)
