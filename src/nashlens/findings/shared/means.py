"""Means of blocks of matches in cells of the design, and contrasts of them with intervals.

A block's matches have every label map and option order, so whatever a label or a place does is
opposite within it. Matches are averaged over whole blocks first, and it is how blocks differ that
an interval rests on (`nashlens.factorial`): games weigh the same, and strata (template and label
set) within a game. The same block of two arms has the same payoff variant and surface forms, so
arms are compared block by block, and what belongs to a block is no part of a contrast's error.

Where all blocks of a cell are alike, their spread is not known to be zero: that four agree does not
mean that the fifth would. All such cells together get an error of half a match (of the column's
whole range), as a share of 0 or 1 would have; a cell that is looked at by itself gets an error of
half of one of its own matches, however many games there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from nashlens.contrasts import Array, p_floor, student_interval, student_p, student_quantile
from nashlens.factorial import BlockEstimate
from nashlens.findings.claim import EstimateFields, JudgeSettings, Missing
from nashlens.findings.shared.play import Bounded

_STRATA = ["cell", "template", "label_set"]
_BLOCK = [*_STRATA, "block"]
_FORM = ["label_map", "option_order"]


class MeanEstimate(NamedTuple):
    """A mean or a contrast of means."""

    value: float
    error: float
    freedom: float
    """Degrees of freedom of the error."""
    n: int
    """Number of rounds of the matches that enter."""
    n_matches: int
    n_blocks: int
    """Number of blocks of each arm."""
    range: tuple[float, float]
    """Least and largest value that it can have."""
    confidence: float
    resamples: int

    def bounds(self, at_once: int = 1) -> tuple[float, float]:
        """Return the interval, cut to the range; for several estimates at once by Bonferroni."""
        low, high = student_interval(self.value, self.error, self.freedom, self.confidence, at_once)
        return max(low, self.range[0]), min(high, self.range[1])

    def bounded(self) -> Bounded:
        """Return the value with its interval."""
        return Bounded(self.value, *self.bounds())

    def fields(self, at_once: int = 1) -> EstimateFields:
        """Return it as fields of an `Evidence`, with bounds for several estimates at once."""
        low, high = self.bounds(at_once)
        tail = (1.0 - self.confidence) / 2.0 / at_once
        return EstimateFields(
            estimate=self.value,
            low=low,
            high=high,
            error=self.error,
            freedom=self.freedom,
            critical=student_quantile(tail, self.freedom),
            n=self.n,
            n_matches=self.n_matches,
        )

    def p_above(self, bound: float) -> float:
        """Return the p-value of the truth being above a bound."""
        floor = p_floor(self.n_blocks, self.resamples)
        return student_p(self.value - bound, self.error, self.freedom, floor)

    def p_below(self, bound: float) -> float:
        """Return the p-value of the truth being below a bound."""
        return self._replace(value=-self.value).p_above(-bound)

    def p_apart(self, least: float = 0.0) -> float:
        """Return the p-value of the truth being farther than `least` from 0, on either side."""
        return min(1.0, 2 * min(self.p_above(least), self.p_below(-least)))


class ArmMeans:
    """Means of some columns in each block that all arms have.

    Parameters
    ----------
    arms : mapping of str to DataFrame
        One row a match, or several that are averaged first.
    columns : sequence of str
        Rows without a number in any of them are left out.
    settings : JudgeSettings
    cell : str
        The column whose values weigh the same.
    ranges : mapping of str to (float, float), optional
        Least and largest value of a column, infinite where intervals need not be cut; 0 to 1 for
        columns that are not in it.
    """

    def __init__(
        self,
        arms: Mapping[str, pd.DataFrame],
        columns: Sequence[str],
        settings: JudgeSettings,
        *,
        cell: str = "game",
        ranges: Mapping[str, tuple[float, float]] | None = None,
    ):
        self.arms, self.columns = list(arms), list(columns)
        ranges = ranges or {}
        self._settings = settings
        self._ranges = np.array([ranges.get(column, (0.0, 1.0)) for column in columns])
        self.cells = sorted({str(value) for rows in arms.values() for value in rows[cell]})
        forms = pd.concat([rows[_FORM] for rows in arms.values()]).drop_duplicates()
        parts = [_whole_blocks(rows, self.columns, cell, len(forms)) for rows in arms.values()]
        # Only blocks that every arm has.
        joined = pd.concat(parts, axis=1, join="inner", keys=self.arms).sort_index()
        self._frame = joined.index.to_frame(index=False)
        shape = (len(joined), len(self.arms), len(columns) + 2)
        wide = joined.to_numpy(float).reshape(shape)
        self._values: Array = wide[..., :-2]
        """(blocks, arms, columns)."""
        self._rounds, self._matches = wide[..., -2], wide[..., -1]
        """(blocks, arms)."""

    @property
    def missing(self) -> Missing | None:
        """Why there is no interval, or None where there is one."""
        sizes = self._frame["cell"].value_counts()
        for cell in self.cells:
            n = int(sizes.get(cell, 0))
            if n < 2:
                return Missing(
                    "fewer than two whole blocks of matches (every label map and option order) in"
                    f" {' and '.join(self.arms)}, so no interval ({cell}: {n})",
                    "inconclusive",
                )
        return None

    def contrast(
        self, column: str | Mapping[str, str], weights: Mapping[str, float], cell: str | None = None
    ) -> MeanEstimate:
        """Return a weighted sum of arms, averaged over cells.

        Parameters
        ----------
        column : str or mapping of str to str
            One column for all arms, or each arm's own.
        weights : mapping of str to float
            By arm; arms without a weight do not enter.
        cell : str, optional
            Only this cell.
        """
        chosen = np.ones(len(self._frame), dtype=bool)
        if cell is not None:
            chosen = (self._frame["cell"] == cell).to_numpy()
        used = [self.arms.index(arm) for arm in weights]
        places = [
            self.columns.index(column if isinstance(column, str) else column[arm])
            for arm in weights
        ]
        weight = np.array(list(weights.values()))
        values = self._values[chosen][:, used, places] @ weight
        frame = self._frame[chosen].reset_index(drop=True)
        matches = self._matches[chosen][:, used]
        found = BlockEstimate.of(frame, values[:, None], "block", _STRATA)
        ranges = self._ranges[places]
        width = np.where(np.isfinite(ranges).all(axis=1), np.ptp(ranges, axis=1), 1.0)
        error, freedom = _never_zero(found, matches, np.abs(weight) * width)
        # Each arm's ends; a negative weight turns them round.
        ends = np.sort(weight[:, None] * ranges, axis=1).sum(axis=0)
        return MeanEstimate(
            value=round(float(found.estimate[0]), 12) + 0.0,  # so that 0 is 0, and not -0
            error=error,
            freedom=freedom,
            n=int(self._rounds[chosen][:, used].sum()),
            n_matches=int(matches.sum()),
            n_blocks=len(frame),
            range=(float(ends[0]), float(ends[1])),
            confidence=self._settings.confidence,
            resamples=self._settings.resamples,
        )

    def of_arm(self, column: str, arm: str) -> MeanEstimate:
        """Return one arm's mean, averaged over cells."""
        return self.contrast(column, {arm: 1.0})


def _whole_blocks(
    rows: pd.DataFrame, columns: Sequence[str], cell: str, forms: int
) -> pd.DataFrame:
    """Return an arm's means over whole blocks, by `_BLOCK`, with their rounds and matches.

    The blocks of one number that agents play in both orders of seats are averaged.
    """
    rows = rows.dropna(subset=list(columns)).assign(
        cell=rows[cell].astype(str), block=rows["scenario_id"]
    )
    form = rows["label_map"].astype(str) + rows["option_order"].astype(str)
    whole = form.groupby(rows["block_id"]).transform("nunique") == forms
    keys = [rows.loc[whole, name] for name in _BLOCK]
    by_match = (
        rows.loc[whole, [*columns, "n_rounds"]]
        .astype(float)
        .groupby([*keys, rows.loc[whole, "match_id"]], observed=True)
        .mean()
    )
    by_block = by_match.groupby(level=_BLOCK)
    found = by_block[list(columns)].mean()
    return found.assign(n_rounds=by_block["n_rounds"].sum(), n_matches=by_block.size())


def _never_zero(found: BlockEstimate, matches: Array, width: Array) -> tuple[float, float]:
    """Return the error, and its degrees of freedom, where cells whose blocks are alike count.

    `matches` is (blocks, arms), `width` the range of each arm's summand.
    """
    error, freedom = float(found.error[0]), float(found.freedom[0])
    names = found.frame["cell"].to_numpy()
    cells, code = np.unique(names, return_inverse=True)
    # Blocks of one cell in the order of first appearance, as `BlockEstimate` numbers clusters.
    clusters, _ = pd.factorize(found.frame["block"].astype(str))
    alike = np.ones(len(cells), dtype=bool)
    np.logical_and.at(alike, code, np.abs(found.influence[clusters, 0]) < 1e-12)
    if not alike.any():
        return error, freedom
    here = alike[code]
    share = alike.sum() / len(cells)
    floor = share * float(np.sqrt(((0.5 * width / matches[here].sum(axis=0)) ** 2).sum()))
    of_floor = max(1.0, float(here.sum() - alike.sum()))
    squared = error**2 + floor**2
    return float(np.sqrt(squared)), squared**2 / (error**4 / freedom + floor**4 / of_floor)
