"""What an estimator hands to a verdict rule, and the statistics that estimators share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import t as student

from nashlens.seeds import stream
from nashlens.statistics import cell_mean_draws, simultaneous_interval

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """How estimates are made; the same for every claim."""

    model: str
    confidence: float
    resamples: int
    seed: int
    late_fraction: float = float("nan")
    """Of the claims about layers alone, as the next."""
    min_label_mass: float = float("nan")

    def about(self, subject: str) -> Settings:
        """Return the same for another model, or pair or family of them."""
        return replace(self, model=subject)

    def rng(self, claim: str) -> np.random.Generator:
        """Return the random stream of a claim about this model, or whatever it is about."""
        return stream(self.seed, "findings", self.model, claim)

    @property
    def z(self) -> float:
        """Half width of an interval in standard errors."""
        return float(ndtri(0.5 + self.confidence / 2.0))


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


@dataclass(frozen=True)
class Missing:
    """No estimate, and why."""

    reason: str
    verdict: Literal["not_applicable", "inconclusive"] = "not_applicable"


def p_floor(clusters: int, resamples: int) -> float:
    """Return the smallest p-value that so many clusters and resamples can bear witness to.

    With G clusters that all point one way, flipping signs gives no less than 2^-G.
    """
    return max(1.0 / (resamples + 1), 0.5 ** min(clusters, 1000))


def one_sided_p(estimate: float, error: float, clusters: int, resamples: int) -> float:
    """P of an estimate above 0, by Student's t with clusters - 1 degrees of freedom."""
    if not np.isfinite([estimate, error]).all() or clusters < 2:
        return float("nan")
    tail = float(student.sf(estimate / max(error, 1e-12), clusters - 1))
    return float(np.clip(tail, p_floor(clusters, resamples), 1.0))


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
