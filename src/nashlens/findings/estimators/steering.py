"""Claims about interventions: M7 (adding), M8 (clamping).

The layer is chosen where the Nash direction's slope is largest. Its control is the same choice
made for each random direction, in either sign, so that choosing costs both alike; intervals hold
for all layers at once.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata
from scipy.stats import t as student

from nashlens.contrasts import bootstrap_draws
from nashlens.findings.measurement import (
    Array,
    Measurement,
    Missing,
    Settings,
    one_sided_p,
    simultaneous,
)

NASH = "nash"


class _Sweep:
    """P(action 1) of the Nash direction, (prompts, layers, values), and its random controls."""

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
        return len(np.unique(self.matches))


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
    """Return a random direction's layers, values and (prompts, layers, values)."""
    layers = np.array(sorted(rows["layer"].unique()), dtype=int)
    values = np.array(sorted(rows["value"].unique()), dtype=float)
    cube = _cube(rows, len(known), layers, values)[known]
    return layers, values, cube[~np.isnan(cube).any(axis=(1, 2))]


def _slopes(p: Array, values: np.ndarray) -> Array:
    """Return least-squares slopes of the mean over prompts, (layers,)."""
    x = values - values.mean()
    return p.mean(axis=0) @ x / (x @ x)


def _beyond_random(sweep: _Sweep) -> dict[str, float]:
    """Compare the largest slope over layers with that of each random direction, in size.

    The p-value is the tail of Student's t for one more draw beside the random directions'
    logarithms, since a rank among a few directions cannot fall below 1 / (directions + 1); the
    rank is used where a random direction does as well.
    """
    largest = []
    nash = float(_slopes(sweep.p, sweep.values).max())
    for layers, values, cube in sweep.random:
        use, at = np.isin(layers, sweep.layers), np.isin(values, sweep.values)
        if use.any() and at.sum() > 1:
            part = cube[:, use][:, :, at]
            largest.append(float(np.abs(_slopes(part, values[at])).max()))
    if not largest:
        return {"random_directions": 0, "random_rank_p": np.nan, "random_p": np.nan}
    rank = (1 + sum(value >= nash for value in largest)) / (1 + len(largest))
    p = rank
    if len(largest) >= 3 and nash > max(largest):
        logs = np.log(np.maximum(largest, 1e-9))
        error = max(float(logs.std(ddof=1)), 1e-6) * np.sqrt(1 + 1 / len(logs))
        p = float(student.sf((np.log(nash) - logs.mean()) / error, len(logs) - 1))
    return {
        "nash_slope": nash,
        "random_directions": len(largest),
        "random_slope_largest": max(largest),
        "random_rank_p": rank,
        "random_p": max(p, 1e-6),
    }


def _prepare(tables: Mapping[str, pd.DataFrame], kind: str, option: str) -> _Sweep | Missing:
    sweep = _Sweep(tables["steering"], kind)
    if not len(sweep):
        return Missing(f"the steering table has no complete {kind!r} sweep of the Nash direction")
    if len(sweep.values) < 2:
        return Missing(f"{option} needs at least two values")
    if sweep.n_matches < 2:
        return Missing("fewer than two matches were steered: no interval", "inconclusive")
    return sweep


def steering_both_ways(
    tables: Mapping[str, pd.DataFrame], settings: Settings
) -> Measurement | Missing:
    """M7: the change of P(action 1) from the smallest to the largest alpha, and each half."""
    sweep = _prepare(tables, "add", "steering.alphas")
    if isinstance(sweep, Missing):
        return sweep
    values, size = sweep.values, len(sweep.layers)
    if values[0] >= 0 or values[-1] <= 0 or 0.0 not in values:
        return Missing("steering.alphas needs a negative value, 0 and a positive value")
    at_0 = int(np.flatnonzero(values == 0)[0])
    up = sweep.p[:, :, -1] - sweep.p[:, :, at_0]
    down = sweep.p[:, :, at_0] - sweep.p[:, :, 0]
    estimate, draws = bootstrap_draws(
        np.hstack([up, down, up + down]),
        sweep.matches,
        resamples=settings.resamples,
        rng=settings.rng("M7"),
    )
    low, high = simultaneous(estimate, draws, settings.confidence)
    error = draws.std(axis=0)
    best = int(_slopes(sweep.p, values).argmax())
    random = _beyond_random(sweep)
    ways = [
        one_sided_p(estimate[k], error[k], sweep.n_matches, settings.resamples)
        for k in (best, size + best)
    ]
    ranges = [
        float(np.abs((cube[:, :, -1] - cube[:, :, 0]).mean(axis=0)).max())
        for _, _, cube in sweep.random
    ]
    return Measurement(
        estimate=float(estimate[2 * size + best]),
        low=float(low[2 * size + best]),
        high=float(high[2 * size + best]),
        n=len(sweep),
        n_matches=sweep.n_matches,
        control=max(ranges, default=np.nan),
        # Both ways *and* beyond random; a way's p pays for the choice among the layers.
        p_value=float(np.max([min(1.0, size * max(ways)), random["random_p"]])),
        detail={
            "layer": int(sweep.layers[best]),
            "layers": size,
            "baseline": float(sweep.p[:, best, at_0].mean()),
            "up": float(estimate[best]),
            "up_low": float(low[best]),
            "down": float(estimate[size + best]),
            "down_low": float(low[size + best]),
            "alpha_low": float(values[0]),
            "alpha_high": float(values[-1]),
            "largest_high": float(high[2 * size :].max()),
            **random,
        },
    )


def rank_correlations(p: Array, values: np.ndarray) -> Array:
    """Return Spearman's correlation of the last axis with the values; 0 where p is constant."""
    ranks = rankdata(p, axis=-1) - (p.shape[-1] + 1) / 2
    x = rankdata(values) - (len(values) + 1) / 2
    length = np.sqrt((ranks**2).sum(axis=-1) * (x @ x))
    return np.where(length > 0, ranks @ x / np.where(length > 0, length, 1.0), 0.0)


def clamping_monotone(
    tables: Mapping[str, pd.DataFrame], settings: Settings
) -> Measurement | Missing:
    """M8: the prompts' mean rank correlation with the clamped value."""
    sweep = _prepare(tables, "clamp", "steering.clamps")
    if isinstance(sweep, Missing):
        return sweep
    size = len(sweep.layers)
    correlation = rank_correlations(sweep.p, sweep.values)
    change = sweep.p[:, :, -1] - sweep.p[:, :, 0]
    estimate, draws = bootstrap_draws(
        np.hstack([correlation, change]),
        sweep.matches,
        resamples=settings.resamples,
        rng=settings.rng("M8"),
    )
    low, high = simultaneous(estimate, draws, settings.confidence)
    best = int(_slopes(sweep.p, sweep.values).argmax())
    random = _beyond_random(sweep)
    p = one_sided_p(
        estimate[best], float(draws[:, best].std()), sweep.n_matches, settings.resamples
    )
    controls = []
    # Where no random direction was clamped, those that were added show how monotone any push is.
    pushed = sweep.random or _Sweep(tables["steering"], "add").random
    for _, values, cube in pushed:
        steepest = int(np.abs(_slopes(cube, values)).argmax())
        controls.append(abs(float(rank_correlations(cube[:, steepest], values).mean())))
    return Measurement(
        estimate=float(estimate[best]),
        low=max(float(low[best]), -1.0),
        high=min(float(high[best]), 1.0),
        n=len(sweep),
        n_matches=sweep.n_matches,
        control=float(np.median(controls)) if controls else np.nan,
        p_value=float(np.nanmax([min(1.0, size * p), random["random_p"]])),
        detail={
            "layer": int(sweep.layers[best]),
            "layers": size,
            "monotone_share": float((np.diff(sweep.p[:, best], axis=1) >= 0).all(axis=1).mean()),
            "change": float(estimate[size + best]),
            "change_low": float(low[size + best]),
            "largest_change_high": float(high[size:].max()),
            "largest_high": float(high[:size].max()),
            "clamp_low": float(sweep.values[0]),
            "clamp_high": float(sweep.values[-1]),
            **random,
        },
    )
