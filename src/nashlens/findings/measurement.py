"""What an estimator hands to a verdict rule, and the statistics that estimators share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from nashlens.contrasts import cell_mean_draws, one_sided_p, p_floor, simultaneous_interval
from nashlens.findings.claim import JudgeSettings, Missing

__all__ = ["Array", "Measurement", "Missing", "Settings", "one_sided_p", "p_floor"]

Array = NDArray[np.float64]


Settings = JudgeSettings


@dataclass(frozen=True)
class Measurement:
    """An estimate with what its rule needs beside it."""

    estimate: float
    low: float
    high: float
    n: int
    n_matches: int
    control: float
    p_value: float
    """Of the claim: small speaks for it."""
    detail: dict[str, Any] = field(default_factory=dict)
    """Secondary numbers, by name; rules read some of them."""


def accuracy_error(row: pd.Series, z: float) -> float:
    """Return a probe row's standard error from its interval.

    Perfect accuracy has an interval of width 0; its error is then taken as half a match.
    """
    width = float(row["ci_high"] - row["ci_low"])
    return max(width / (2.0 * z), 0.5 / float(row["n_matches"]))


def accuracy_p(row: pd.Series, z: float, resamples: int) -> float:
    """P of a probe being no better than its control.

    The larger of two: the distance to the permutations' mean in standard errors of the
    bootstrap, and in standard deviations of the permutations (from their upper quantile). A rank
    among a few permutations cannot fall below 1 / (permutations + 1) and would decide nothing
    after correction; it is used where a permutation did as well as the truth.
    """
    values = row[["balanced_accuracy", "ci_low", "ci_high", "permutation_high"]]
    if values.isna().any():
        return float("nan")
    gain = float(row["balanced_accuracy"] - max(row["permutation_mean"], 0.5))
    by_cluster = one_sided_p(gain, accuracy_error(row, z), int(row["n_matches"]), resamples)
    spread = float(row["permutation_high"] - row["permutation_mean"])
    deviation = spread / float(ndtri(row["confidence"]))
    by_control = 1.0 if deviation <= 0 and gain <= 0 else float(ndtr(-gain / max(deviation, 1e-9)))
    rank = float(row["p_value"])
    beaten = rank > 1.5 / (1.0 + float(row["permutations"]))
    return max(by_cluster, by_control, rank if beaten else 0.0)


def cell_means(
    values: Array, cells: Sequence[str], matches: Sequence[str], settings: Settings, claim: str
) -> tuple[Array, Array]:
    """Average columns over cells of the design: `cell_mean_draws` in a claim's random stream."""
    return cell_mean_draws(
        values, cells, matches, resamples=settings.resamples, rng=settings.rng(claim)
    )


simultaneous = simultaneous_interval


def clean(value: Any) -> Any:
    """Return plain Python for JSON: NaN becomes None, floats keep 6 significant digits."""
    if is_dataclass(value) and not isinstance(value, type):
        return clean(asdict(value))
    if isinstance(value, dict):
        return {str(k): clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [clean(v) for v in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value
