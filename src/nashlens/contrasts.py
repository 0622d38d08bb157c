"""Resampling of clusters, intervals of two kinds, p-values.

Decisions of one match are not independent, so every interval resamples whole matches (clusters)
with replacement. Each cluster enters by the sums of its rows, so a resample costs one row of a
matrix product however many prompts a match has.

There are two kinds of intervals:

- *percentile*: two quantiles of the resamples;
- *student*: Student's t with a standard error, which allows for few matches.

Bounds that hold for several estimates at once are those of blocks (`nashlens.factorial`).

    >>> rng = np.random.default_rng(0)
    >>> interval = cluster_bootstrap([1, 1, 0, 0], ["a", "a", "b", "b"],
    ...                              resamples=200, confidence=0.95, rng=rng)
    >>> float(interval.estimate), interval.n, interval.n_clusters
    (0.5, 4, 2)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtr, stdtrit

Array = NDArray[np.float64]
POWER = 0.8
"""Share of studies in which what counts as detectable is found."""
Statistic = Callable[[Array, Array], Array]


class Interval(NamedTuple):
    """An estimate with its interval; arrays where the statistic has several values."""

    estimate: Any
    """The statistic of all rows: a float, or (m,)."""
    low: Any
    """Lower bound; NaN with fewer than two clusters."""
    high: Any
    """Upper bound; NaN with fewer than two clusters."""
    n: int
    """Rows used."""
    n_clusters: int
    """Clusters that the rows came from."""


def mean_statistic(sums: Array, count: Array) -> Array:
    """Return column means from column sums, (..., k), and row counts, (...)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums / count[..., None]


def balanced_accuracy_statistic(sums: Array, count: Array) -> Array:
    """Return balanced accuracy, (..., 1), from sums of `balanced_accuracy_columns`.

    NaN where a resample holds no row of one class.
    """
    del count
    with np.errstate(divide="ignore", invalid="ignore"):
        return 0.5 * (sums[..., 0:1] / sums[..., 1:2] + sums[..., 2:3] / sums[..., 3:4])


def balanced_accuracy_columns(truth: ArrayLike, predicted: ArrayLike) -> Array:
    """Return (n, 4): correct and present of class 0, correct and present of class 1."""
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    hit = truth == predicted
    zero, one = truth == 0, truth == 1
    return np.stack([hit & zero, zero, hit & one, one], axis=1).astype(np.float64)


def resample_counts(n_clusters: int, resamples: int, rng: np.random.Generator) -> Array:
    """Return how often each cluster is drawn, (resamples, n_clusters); rows sum to n_clusters."""
    share = np.full(n_clusters, 1.0 / n_clusters)
    return rng.multinomial(n_clusters, share, size=resamples).astype(np.float64)


def cluster_sums(values: ArrayLike, groups: ArrayLike) -> tuple[Array, Array]:
    """Sum rows within clusters.

    Parameters
    ----------
    values : array_like of float, shape (n,) or (n, k)
    groups : array_like, shape (n,)
        The cluster of each row.

    Returns
    -------
    sums : ndarray of float64, shape (clusters, k)
        In the sorted order of the cluster names.
    sizes : ndarray of float64, shape (clusters,)
    """
    table = np.asarray(values, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    _, codes = np.unique(np.asarray(groups), return_inverse=True)
    size = int(codes.max()) + 1 if len(codes) else 0
    sums = np.zeros((size, table.shape[1]))
    np.add.at(sums, codes, table)
    return sums, np.bincount(codes, minlength=size).astype(np.float64)


def bootstrap_draws(
    values: ArrayLike,
    groups: ArrayLike,
    statistic: Statistic = mean_statistic,
    *,
    resamples: int,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Return a statistic of all rows, (m,), and of each resample of clusters, (resamples, m).

    Parameters
    ----------
    values : array_like of float, shape (n,) or (n, k)
    groups : array_like, shape (n,)
    statistic : callable
        Maps column sums (..., k) and row counts (...) to (..., m).
    resamples : int
    rng : numpy.random.Generator
    """
    sums, sizes = cluster_sums(values, groups)
    if not len(sizes):
        empty = statistic(np.zeros(sums.shape[1]), np.zeros(()))
        return empty * np.nan, np.full((resamples, len(empty)), np.nan)
    counts = resample_counts(len(sizes), resamples, rng)
    return statistic(sums.sum(axis=0), sizes.sum()), statistic(counts @ sums, counts @ sizes)


def percentile_interval(draws: Array, confidence: float) -> tuple[Array, Array]:
    """Return the two percentile bounds of draws, (resamples, m), NaN draws left out."""
    tail = (1.0 - confidence) / 2.0
    low = np.full(draws.shape[1], np.nan)
    high = low.copy()
    known = ~np.isnan(draws).all(axis=0)
    if known.any():
        low[known], high[known] = np.nanquantile(draws[:, known], [tail, 1.0 - tail], axis=0)
    return low, high


def cluster_bootstrap(
    values: ArrayLike,
    groups: ArrayLike,
    statistic: Statistic = mean_statistic,
    *,
    resamples: int,
    confidence: float,
    rng: np.random.Generator,
) -> Interval:
    """Percentile interval of a statistic, clusters resampled with replacement.

    Parameters
    ----------
    values : array_like of float, shape (n,) or (n, k)
        Rows with a NaN are left out and not counted.
    groups : array_like, shape (n,)
        The cluster (match) of each row.
    statistic : callable, optional
        Maps column sums (..., k) and row counts (...) to (..., m); column means by default.
    resamples : int
    confidence : float
        Coverage, between 0 and 1.
    rng : numpy.random.Generator

    Returns
    -------
    Interval
        Floats where the statistic has one value, else arrays (m,). With fewer than two clusters
        the bounds are NaN: one match says nothing about the spread between matches.
    """
    table = np.asarray(values, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    used = ~np.isnan(table).any(axis=1)
    table, names = table[used], np.asarray(groups)[used]
    n_clusters = len(np.unique(names))
    estimate, draws = bootstrap_draws(table, names, statistic, resamples=resamples, rng=rng)
    low, high = percentile_interval(draws, confidence)
    if n_clusters < 2:
        low, high = np.full_like(low, np.nan), np.full_like(high, np.nan)
    if len(estimate) == 1:
        return Interval(float(estimate[0]), float(low[0]), float(high[0]), len(table), n_clusters)
    return Interval(estimate, low, high, len(table), n_clusters)


def student_interval(
    estimate: Any, error: Any, freedom: float, confidence: float, at_once: int = 1
) -> tuple[Any, Any]:
    """Return bounds by Student's t; for several estimates at once, by Bonferroni.

    Parameters
    ----------
    estimate, error : float or ndarray
        Estimates with their standard errors.
    freedom : float
        Degrees of freedom; may be infinite.
    confidence : float
    at_once : int
        Number of estimates whose bounds shall hold together.
    """
    half = student_quantile((1.0 - confidence) / 2.0 / at_once, freedom) * error
    return estimate - half, estimate + half


def student_quantile(tail: float, freedom: float) -> float:
    """Return the value that Student's t exceeds with probability `tail`."""
    return float(-ndtri(tail) if np.isposinf(freedom) else -stdtrit(freedom, tail))


def rank_correlations(p: Array, values: Array) -> Array:
    """Return Spearman's correlation of the last axis with the values; 0 where p is constant.

    Parameters
    ----------
    p : ndarray, shape (..., values)
    values : ndarray, shape (values,)

    Returns
    -------
    ndarray, shape (...)
    """
    rows = np.vstack([p.reshape(-1, p.shape[-1]), values])
    centred = pd.DataFrame(rows).rank(axis=1).to_numpy() - (p.shape[-1] + 1) / 2
    ranks, x = centred[:-1].reshape(p.shape), centred[-1]
    length = np.sqrt((ranks**2).sum(axis=-1) * (x @ x))
    return np.where(length > 0, ranks @ x / np.where(length > 0, length, 1.0), 0.0)


def wilson_interval(successes: int, n: int, confidence: float) -> tuple[float, float]:
    """Return Wilson's interval for a share of independent trials; NaN where n is 0."""
    from scipy.stats import binomtest  # a second to import, and few jobs count trials

    if n <= 0:
        return float("nan"), float("nan")
    found = binomtest(int(successes), int(n)).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def p_floor(clusters: int, resamples: int) -> float:
    """Return the smallest p-value that a number of clusters and resamples can show.

    With G clusters that all point one way, flipping signs gives no less than 2^-G.
    """
    return max(1.0 / (resamples + 1), 0.5 ** min(clusters, 1000))


def one_sided_p(estimate: float, error: float, clusters: int, resamples: int) -> float:
    """Return the p-value of an estimate above 0: Student's t, clusters - 1 degrees of freedom.

    It is no smaller than `p_floor`, and NaN with fewer than two clusters.
    """
    if not np.isfinite([estimate, error]).all() or clusters < 2:
        return float("nan")
    return student_p(estimate, error, clusters - 1, p_floor(clusters, resamples))


def student_p(estimate: float, error: float, freedom: float, floor: float) -> float:
    """Return Student's tail beyond `estimate / error`, cut to `floor` and 1."""
    tail = float(stdtr(freedom, -estimate / max(error, 1e-12)))
    return float(np.clip(tail, floor, 1.0))


def rank_p(score: float, null: ArrayLike, *, size: float | None = None) -> float:
    """Return the share of control scores at least as large as a score, which counts as one of them.

    Scores that differ by less than rounding can cause count as ties, that is as large.

    Parameters
    ----------
    score : float
    null : array_like, shape (n,)
        What the control gave; NaN is never as large.
    size : float, optional
        Size of the numbers that rounding is relative to: the largest score by default.
    """
    values = np.asarray(null, dtype=np.float64)
    if size is None:
        sizes = np.abs(np.append(values, score))
        size = float(sizes[np.isfinite(sizes)].max(initial=0.0))
    return (1 + int((values >= score - 1e-12 * size).sum())) / (1 + len(values))
