"""Cells of the design, and the bootstrap of all ratio measures of a cell at once.

Matches of a block share their draws and mirror each other's labels and places, so whole blocks are
resampled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.contrasts import cluster_sums, percentile_interval, resample_counts
from nashlens.play.metrics.measures import MATCHES, Measure
from nashlens.play.metrics.rows import Array

KEYS = (
    "agent", "model", "mode", "opponent", "opponent_model", "pairing", "game", "move_order", "turn",
    "match_rounds",
)  # fmt: skip
_POOLED = ("opponent", "opponent_model")


@dataclass(frozen=True)
class PlayCell:
    """Matches of one agent that are summed up together."""

    keys: dict[str, object]
    """Value of each of `KEYS`; a pooled cell has no opponent."""
    lines: NDArray[Any]
    """Positions of its rows in the matches table."""
    matches: NDArray[Any]
    """Number of the match of each row, from 0."""
    blocks: NDArray[Any]
    """Number of the block of each row, from 0."""

    @property
    def name(self) -> tuple[str, ...]:
        """Name of the cell's random stream."""
        names = ("agent", "opponent", "pairing", "game", "move_order", "turn", "match_rounds")
        return tuple("" if pd.isna(self.keys[k]) else str(self.keys[k]) for k in names)  # type: ignore[call-overload]


def cells_of(table: pd.DataFrame) -> Iterator[PlayCell]:
    """Yield the cells of a matches table: by opponent, then pooled over a model's opponents.

    Scripted opponents are pooled, and so are other models' agents. Both seats are in one cell,
    but where they move in turn, first and second movers are cells of their own.
    """
    yield from _groups(table, KEYS, np.arange(len(table)))
    pooled = [key for key in KEYS if key not in _POOLED]
    others = np.flatnonzero((table["pairing"] != "self_play") & table["model"].notna())
    if len(others):
        for cell in _groups(table, pooled, others):
            if table["opponent"].iloc[cell.lines].nunique() > 1:
                yield cell


def _groups(table: pd.DataFrame, keys: Sequence[str], lines: NDArray[Any]) -> Iterator[PlayCell]:
    chosen = table.iloc[lines].reset_index(drop=True)
    groups: dict[Any, Any] = chosen.groupby(list(keys), dropna=False, sort=True).indices
    for key, index in groups.items():
        members = lines[np.asarray(index)]
        matches, blocks = (
            np.unique(table[name].to_numpy()[members], return_inverse=True)[1]
            for name in ("match_id", "block_id")
        )
        named = dict.fromkeys(KEYS, None) | dict(zip(keys, key, strict=True))
        yield PlayCell(named, members, matches, blocks)


def derived(table: pd.DataFrame) -> pd.DataFrame:
    """Return the matches table with further columns that measures need."""
    defined = table["prosocial_action"].notna() & (table["n_rounds"] > 0)
    n_0 = table["n_00"] + table["n_01"]
    return table.assign(
        n_0=n_0,
        n_0_mixed=n_0.where(table["mixed_share"].notna()),
        n_not_preferred=table["n_equilibrium"] - table["n_own_preferred"],
        # Random play is in each of the four cells equally often.
        equilibria_share=table["n_pure_equilibria"].astype(float) / 4,
        defects=table["first_defection"].notna().astype(float).where(defined),
    )


@dataclass(frozen=True)
class Ratio:
    """A measure of one cell."""

    estimate: float
    low: float
    high: float
    n: int
    """Number of rounds."""
    n_matches: int
    n_blocks: int
    control: float


class _Sums(NamedTuple):
    """What measures add up: for each row, block or resample, one value a measure."""

    numerator: Array
    denominator: Array
    subtracted_numerator: Array
    subtracted_denominator: Array
    control: Array
    """The control, weighted by the denominator."""
    rows: Array
    """Number of rows that enter."""
    rounds: Array
    """Number of their rounds."""


class RatioMeasures:
    """Ratio measures over the rows of a matches table.

    Parameters
    ----------
    table : pandas.DataFrame
        From `matches_table`.
    measures : sequence of Measure
    """

    def __init__(self, table: pd.DataFrame, measures: Sequence[Measure]):
        self.measures = list(measures)
        full = derived(table)
        columns = [_columns(full, measure) for measure in self.measures]
        self._sums = _Sums(*(np.stack(values, axis=1) for values in zip(*columns, strict=True)))
        self._subtracts = np.array([measure.subtracted is not None for measure in self.measures])

    def of_cell(
        self, cell: PlayCell, *, confidence: float, resamples: int, rng: np.random.Generator
    ) -> list[Ratio]:
        """Return every measure of a cell, in the order of `measures`.

        One set of resamples of blocks serves all of them. Bounds are NaN where fewer than two
        blocks enter.
        """
        by_block = _Sums(*(cluster_sums(sums[cell.lines], cell.blocks)[0] for sums in self._sums))
        total = _Sums(*(sums.sum(axis=0) for sums in by_block))
        counts = resample_counts(len(by_block.rows), resamples, rng)
        # One matrix product gives the four sums of all measures, (resamples, measures, 4).
        four = np.stack(by_block[:4], axis=-1)
        drawn = (counts @ four.reshape(len(four), -1)).reshape(resamples, -1, 4)
        low, high = percentile_interval(self._ratios(drawn), confidence)
        estimate = self._ratios(np.stack(total[:4], axis=-1))
        by_match, _ = cluster_sums(self._sums.rows[cell.lines], cell.matches)
        n_matches, n_blocks = ((rows > 0).sum(axis=0) for rows in (by_match, by_block.rows))
        unbounded = (n_blocks < 2) | np.isnan(estimate)
        low, high = np.where(unbounded, np.nan, low), np.where(unbounded, np.nan, high)
        with np.errstate(divide="ignore", invalid="ignore"):
            control = total.control / total.denominator
        return [
            Ratio(
                estimate=float(estimate[k]),
                low=float(low[k]),
                high=float(high[k]),
                n=round(float(total.rounds[k])),
                n_matches=int(n_matches[k]),
                n_blocks=int(n_blocks[k]),
                control=float(control[k]),
            )
            for k in range(len(self.measures))
        ]

    def _ratios(self, four: Array) -> Array:
        """Return each measure's ratio, less the second where it has one, (..., measures, 4)."""
        numerator, denominator, second_numerator, second_denominator = np.moveaxis(four, -1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            first = numerator / denominator
            second = np.where(self._subtracts, second_numerator / second_denominator, 0.0)
        found: Array = first - second
        return found


def _columns(table: pd.DataFrame, measure: Measure) -> _Sums:
    """Return what each row adds to a measure, (rows,) each; rows without a value add 0."""

    def column(name: str) -> Array:
        if name == MATCHES:
            return np.ones(len(table))
        return table[name].to_numpy(float, na_value=np.nan)

    def ratio(numerator: str, denominator: str) -> tuple[Array, Array, NDArray[np.bool_]]:
        above, below = column(numerator), column(denominator)
        used = ~np.isnan(above) & ~np.isnan(below) & (below > 0)
        return np.where(used, above, 0.0), np.where(used, below, 0.0), used

    above, below, used = ratio(measure.numerator, measure.denominator)
    second_above, second_below = np.zeros((2, len(table)))
    enters = used
    if measure.subtracted is not None:
        second_above, second_below, also = ratio(*measure.subtracted)
        enters = used | also
    control = np.full(len(table), np.nan)
    if measure.control is not None:
        value = measure.control.value
        control = column(value) if isinstance(value, str) else np.full(len(table), value)
    found = _Sums(
        numerator=above,
        denominator=below,
        subtracted_numerator=second_above,
        subtracted_denominator=second_below,
        control=np.where(used, control * below, 0.0),
        rows=enters.astype(float),
        rounds=enters * table["n_rounds"].to_numpy(float),
    )
    if not measure.once_in_self_play:
        return found
    # The column seat's row of a match that a self-play agent plays at once says nothing new.
    repeated = (
        (table["pairing"] == "self_play")
        & (table["move_order"] == "simultaneous")
        & (table["seat"] == "column")
    ).to_numpy()
    return _Sums(*(np.where(repeated, 0.0, values) for values in found))
