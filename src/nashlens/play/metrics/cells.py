"""Cells of the design, and the bootstrap of all ratio measures of a cell at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.contrasts import cluster_sums, percentile_interval, resample_counts
from nashlens.play.metrics.measures import MATCHES, Measure

Array = NDArray[Any]
KEYS = (
    "agent", "model", "mode", "opponent", "opponent_model", "pairing", "game", "move_order", "turn",
    "match_rounds",
)  # fmt: skip
_POOLED = ("opponent", "opponent_model")


@dataclass(frozen=True)
class Cell:
    """Matches of one agent that are summed up together."""

    keys: dict[str, object]
    """`KEYS`; a pooled cell has no opponent."""
    lines: NDArray[Any]
    """Rows of the matches table."""
    matches: NDArray[Any]
    """The match of each row, 0 and up."""

    @property
    def name(self) -> tuple[str, ...]:
        """What the cell's random stream is called."""
        names = ("agent", "opponent", "pairing", "game", "move_order", "turn", "match_rounds")
        return tuple("" if pd.isna(self.keys[k]) else str(self.keys[k]) for k in names)  # type: ignore[call-overload]


def cells_of(table: pd.DataFrame) -> Iterator[Cell]:
    """Yield the cells of a matches table: by opponent, then pooled over a model's opponents.

    Scripted opponents are pooled, and other model agents are. Seats are pooled too. Where seats
    move in turn, first and second movers are cells of their own.
    """
    yield from _groups(table, KEYS, np.arange(len(table)))
    pooled = [key for key in KEYS if key not in _POOLED]
    others = np.flatnonzero((table["pairing"] != "self_play") & table["model"].notna())
    if len(others):
        for cell in _groups(table, pooled, others):
            if table["opponent"].iloc[cell.lines].nunique() > 1:
                yield cell


def _groups(table: pd.DataFrame, keys: Sequence[str], lines: NDArray[Any]) -> Iterator[Cell]:
    part = table.iloc[lines].reset_index(drop=True)
    groups: dict[Any, Any] = part.groupby(list(keys), dropna=False, sort=True).indices
    for key, index in groups.items():
        chosen = lines[np.asarray(index)]
        _, matches = np.unique(table["match_id"].to_numpy()[chosen], return_inverse=True)
        named = dict.fromkeys(KEYS, None) | dict(zip(keys, key, strict=True))
        yield Cell(named, chosen, matches)


def derived(table: pd.DataFrame) -> pd.DataFrame:
    """Return the matches table with the columns that measures divide and it does not hold."""
    defined = table["prosocial_action"].notna() & (table["n_rounds"] > 0)
    zero = table["n_00"] + table["n_01"]
    return table.assign(
        n_0=zero,
        n_0_mixed=zero.where(table["mixed_share"].notna()),
        n_not_preferred=table["n_equilibrium"] - table["n_own_preferred"],
        # Random play is in each of the four cells alike.
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
    n_matches: int
    control: float


class RatioMeasures:
    """Ratio measures over the rows of a matches table.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `matches_table`.
    measures : sequence of Measure
    """

    def __init__(self, table: pd.DataFrame, measures: Sequence[Measure]):
        self.measures = list(measures)
        full = derived(table)
        self._rounds = full["n_rounds"].to_numpy(float)
        twin = (
            (full["pairing"] == "self_play")
            & (full["move_order"] == "simultaneous")
            & (full["seat"] == "column")
        ).to_numpy()
        parts = [self._columns(full, measure, twin) for measure in self.measures]
        self._sums = np.stack(parts, axis=1)

    def _columns(self, table: pd.DataFrame, measure: Measure, twin: NDArray[np.bool_]) -> Array:
        """Return (n, 7): top, bottom, second top, second bottom, control, and what enters."""

        def column(name: str) -> Array:
            return table[name].to_numpy(float, na_value=np.nan)

        def ratio(top: str, bottom: str) -> tuple[Array, Array, NDArray[np.bool_]]:
            above = column(top)
            below = np.ones(len(table)) if bottom == MATCHES else column(bottom)
            return above, below, ~np.isnan(above) & ~np.isnan(below) & (below > 0)

        above, below, used = ratio(measure.top, measure.bottom)
        enters = used
        second = np.zeros((2, len(table)))
        if measure.minus is not None:
            other, under, also = ratio(*measure.minus)
            enters = used | also
            second = np.where(also, np.stack([other, under]), 0.0)
        if isinstance(measure.control, str):
            control = column(measure.control)
        else:
            control = np.full(len(table), np.nan if measure.control is None else measure.control)
        first = np.where(used, np.stack([above, below]), 0.0)
        weighted = np.where(used, control * np.where(used, below, 0.0), 0.0)
        found = np.stack([*first, *second, weighted, enters, enters * self._rounds], axis=1)
        return np.where(twin[:, None] & measure.once, 0.0, found)

    def of(
        self, cell: Cell, *, confidence: float, resamples: int, rng: np.random.Generator
    ) -> list[Ratio]:
        """Return every measure of a cell, in the order of `measures`.

        One set of resamples of matches serves all of them. Bounds are NaN where fewer than two
        matches enter.
        """
        sums = self._sums[cell.lines]
        flat, _ = cluster_sums(sums.reshape(len(sums), -1), cell.matches)
        counts = resample_counts(len(flat), resamples, rng)
        by_match = flat.reshape(len(flat), *sums.shape[1:])
        total = by_match.sum(axis=0)
        wanted = by_match[..., :4].reshape(len(flat), -1)
        draws = self._values((counts @ wanted).reshape(resamples, -1, 4))
        low, high = percentile_interval(draws, confidence)
        estimate = self._values(total[:, :4])
        n_matches = (by_match[..., 5] > 0).sum(axis=0)
        few = (n_matches < 2) | np.isnan(estimate)
        low, high = np.where(few, np.nan, low), np.where(few, np.nan, high)
        with np.errstate(divide="ignore", invalid="ignore"):
            control = total[:, 4] / total[:, 1]
        return [
            Ratio(
                float(estimate[k]), float(low[k]), float(high[k]), round(float(total[k, 6])),
                int(n_matches[k]), float(control[k]),
            )
            for k in range(len(self.measures))
        ]  # fmt: skip

    def _values(self, sums: Array) -> Array:
        second = np.array([measure.minus is not None for measure in self.measures])
        with np.errstate(divide="ignore", invalid="ignore"):
            first = sums[..., 0] / sums[..., 1]
            less = np.where(second, sums[..., 2] / sums[..., 3], 0.0)
        found: Array = first - less
        return found
