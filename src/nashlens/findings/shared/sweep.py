"""Sweeps of an intervention over layers and values, for the claims about steering (M7, M8).

The layer is chosen where the Nash direction's slope is largest. Its control is the same choice made
for each random direction, in either sign, so that choosing costs both alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.contrasts import Array, rank_p, student_p
from nashlens.findings.claim import NOT_IN_DETAIL, Evidence, Missing, Tables

NASH = "nash"
"""Name of the direction that is compared with the random ones."""
LEAST_CHANGE = 0.05
"""Change of P(action) that counts as moving behaviour."""


class Sweep:
    """P(action 1) under one kind of edit, of the Nash direction and its random controls.

    Attributes
    ----------
    layers, values : ndarray
    p : ndarray
        (prompts, layers, values) of the Nash direction; prompts that lack any are left out.
    matches : ndarray of str, shape (prompts,)
    random : list of (layers, values, p)
        The same of each random direction, for the prompts that have all of its values.
    """

    def __init__(self, steering: pd.DataFrame, kind: str):
        rows = steering[steering["kind"] == kind]
        keys = ["match_id", "prompt_id"]
        nash = rows[rows["direction"] == NASH]
        self.layers = np.array(sorted(nash["layer"].unique()), dtype=int)
        self.values = np.array(sorted(nash["value"].unique()), dtype=float)
        prompts = pd.MultiIndex.from_frame(nash[keys].drop_duplicates()).sort_values()
        rows = rows.assign(at=prompts.get_indexer(pd.MultiIndex.from_frame(rows[keys])))
        self.p = _cube(rows[rows["direction"] == NASH], len(prompts), self.layers, self.values)
        known = ~np.asarray(np.isnan(self.p).any(axis=(1, 2)))
        prompts, self.p = prompts[known], self.p[known]
        self.matches = prompts.get_level_values(0).astype(str).to_numpy()
        self.random = [
            (layers, values, cube)
            for _, part in rows[rows["direction"] != NASH].groupby("direction")
            for layers, values, cube in [_random_cube(part, known)]
            if cube.size
        ]

    def __len__(self) -> int:
        return len(self.p)

    @property
    def n_matches(self) -> int:
        """Number of matches that the prompts come from."""
        return len(np.unique(self.matches))

    @property
    def steepest(self) -> int:
        """Position of the layer with the largest slope."""
        return int(slopes(self.p, self.values).argmax())


def complete_sweep(tables: Tables, kind: str, option: str) -> Sweep | Missing:
    """Return a sweep that can be judged, or why there is none; `option` names its values."""
    sweep = Sweep(tables["steering"], kind)
    if not len(sweep):
        return Missing(f"the steering table has no complete {kind!r} sweep of the Nash direction")
    if len(sweep.values) < 2:
        return Missing(f"{option} needs at least two values")
    if sweep.n_matches < 2:
        return Missing("fewer than two matches were steered: no interval", "inconclusive")
    return sweep


def _cube(rows: pd.DataFrame, prompts: int, layers: np.ndarray, values: np.ndarray) -> Array:
    """Return P(action 1), (prompts, layers, values), NaN where there is no row; `at`: its prompt.

    A scatter and not a pivot: there are as many cubes as directions, for every part of the data.
    """
    cube = np.full((prompts, len(layers), len(values)), np.nan)
    # Backwards, so that of rows that say the same the first one counts.
    rows = rows[rows["at"] >= 0].iloc[::-1]
    cube[
        rows["at"].to_numpy(),
        np.searchsorted(layers, rows["layer"].to_numpy(dtype=int)),
        np.searchsorted(values, rows["value"].to_numpy(dtype=float)),
    ] = rows["p_action_1"].to_numpy(dtype=float)
    return cube


def _random_cube(
    rows: pd.DataFrame, known: NDArray[np.bool_]
) -> tuple[np.ndarray, np.ndarray, Array]:
    layers = np.array(sorted(rows["layer"].unique()), dtype=int)
    values = np.array(sorted(rows["value"].unique()), dtype=float)
    cube = _cube(rows, len(known), layers, values)[known]
    return layers, values, cube[~np.isnan(cube).any(axis=(1, 2))]


def slopes(p: Array, values: np.ndarray) -> Array:
    """Return least-squares slopes of the mean over prompts, (layers,)."""
    x = values - values.mean()
    return p.mean(axis=0) @ x / (x @ x)


@dataclass(frozen=True)
class RandomControl:
    """How the Nash direction's largest slope compares with those of random directions."""

    n: int
    """Number of random directions."""
    rank_p: float
    """Rank of the Nash direction among them; NaN without any."""
    p_value: float
    """Tail of Student's t, where no random direction does as well."""
    nash_slope: float
    """Largest slope over layers of the Nash direction."""
    largest: float
    """Largest slope, in size, of any random direction."""

    @property
    def beaten(self) -> bool:
        """Whether no random direction does as well."""
        return self.rank_p <= 1.0 / (1.0 + self.n) + 1e-9

    def detail(self) -> dict[str, float]:
        """Return the numbers by their names in the findings table; few without directions."""
        if not self.n:
            return {"random_directions": 0, "random_rank_p": np.nan, "random_p": np.nan}
        return {
            "nash_slope": self.nash_slope,
            "random_directions": self.n,
            "random_slope_largest": self.largest,
            "random_rank_p": self.rank_p,
            "random_p": self.p_value,
        }


@dataclass(frozen=True, kw_only=True)
class SweepEvidence(Evidence):
    """Evidence from the layer of a sweep with the largest slope."""

    layer: int
    """The layer with the largest slope."""
    layers: int
    """Number of layers."""
    random: RandomControl = field(metadata=NOT_IN_DETAIL)
    """The comparison with random directions under the same kind of edit."""

    def detail(self) -> dict[str, Any]:
        """Return the fields by name, those of `random` among them."""
        return {**super().detail(), **self.random.detail()}


def compare_with_random(sweep: Sweep) -> RandomControl:
    """Compare the largest slope over layers with that of each random direction, in size.

    The p-value is the tail of Student's t for one more draw in addition to the random directions'
    logarithms, since a rank among a few directions cannot fall below 1 / (directions + 1); the rank
    is used where a random direction does as well.
    """
    largest = []
    nash = float(slopes(sweep.p, sweep.values).max())
    for layers, values, cube in sweep.random:
        use, at = np.isin(layers, sweep.layers), np.isin(values, sweep.values)
        if use.any() and at.sum() > 1:
            part = cube[:, use][:, :, at]
            largest.append(float(np.abs(slopes(part, values[at])).max()))
    if not largest:
        return RandomControl(0, np.nan, np.nan, nash, np.nan)
    rank = p = rank_p(nash, largest)
    if len(largest) >= 3 and nash > max(largest):
        logs = np.log(np.maximum(largest, 1e-9))
        # The error of one more draw around the mean of the others.
        error = max(float(logs.std(ddof=1)), 1e-6) * np.sqrt(1 + 1 / len(logs))
        p = student_p(np.log(nash) - logs.mean(), error, len(logs) - 1, 0.0)
    return RandomControl(len(largest), rank, max(p, 1e-6), nash, max(largest))
