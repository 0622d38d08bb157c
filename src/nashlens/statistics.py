"""Intervals that respect matches, and false-discovery control.

Decisions of one match are not independent, so every interval resamples whole matches (clusters)
with replacement. Each cluster enters by the sums of its rows, so a resample costs one row of a
matrix product however many prompts a match has.

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
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

Statistic = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


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


def mean_statistic(sums: NDArray[np.float64], count: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return column means from column sums, (..., k), and row counts, (...)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums / count[..., None]


def balanced_accuracy_statistic(
    sums: NDArray[np.float64], count: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return balanced accuracy, (..., 1), from sums of `balanced_accuracy_columns`.

    NaN where a resample holds no row of one class.
    """
    del count
    with np.errstate(divide="ignore", invalid="ignore"):
        return 0.5 * (sums[..., 0:1] / sums[..., 1:2] + sums[..., 2:3] / sums[..., 3:4])


def balanced_accuracy_columns(truth: ArrayLike, predicted: ArrayLike) -> NDArray[np.float64]:
    """Return (n, 4): correct and present of class 0, correct and present of class 1."""
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    hit = truth == predicted
    zero, one = truth == 0, truth == 1
    return np.stack([hit & zero, zero, hit & one, one], axis=1).astype(np.float64)


def resample_counts(
    n_clusters: int, resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return how often each cluster is drawn, (resamples, n_clusters); rows sum to n_clusters."""
    share = np.full(n_clusters, 1.0 / n_clusters)
    return rng.multinomial(n_clusters, share, size=resamples).astype(np.float64)


def cluster_sums(
    values: ArrayLike, groups: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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


def percentile_interval(
    draws: NDArray[np.float64], confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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


def cell_mean_draws(
    values: NDArray[np.float64],
    cells: ArrayLike,
    groups: ArrayLike,
    *,
    resamples: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Average columns over cells of a design, each cell weighing the same.

    Whatever is opposite in two cells, as a token preference is under the two label maps, cancels
    exactly, even where the cells differ in size.

    Parameters
    ----------
    values : ndarray, shape (n, k)
    cells : array_like of str, shape (n,)
    groups : array_like, shape (n,)
        The cluster (match) of each row.
    resamples : int
    rng : numpy.random.Generator

    Returns
    -------
    estimate : ndarray, shape (k,)
    draws : ndarray, shape (resamples, k)
        Whole clusters resampled; NaN where a resample lacks a cell.
    """
    names, codes = np.unique(np.asarray(cells, dtype=str), return_inverse=True)
    member = np.eye(len(names))[codes]
    k = values.shape[1]
    wide = np.hstack([values * member[:, [c]] for c in range(len(names))] + [member])

    def statistic(sums: NDArray[np.float64], count: NDArray[np.float64]) -> NDArray[np.float64]:
        del count
        parts = sums[..., : k * len(names)].reshape(*sums.shape[:-1], len(names), k)
        with np.errstate(divide="ignore", invalid="ignore"):
            means: NDArray[np.float64] = (parts / sums[..., k * len(names) :, None]).mean(axis=-2)
        return means

    return bootstrap_draws(wide, groups, statistic, resamples=resamples, rng=rng)


def simultaneous_interval(
    estimate: NDArray[np.float64], draws: NDArray[np.float64], confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return bounds that hold for all columns at once (bootstrap of the largest |t|)."""
    error = np.maximum(np.nanstd(draws, axis=0), 1e-12)
    largest = np.nanmax(np.abs(draws - estimate) / error, axis=1)
    critical = float(np.nanquantile(largest, confidence))
    return estimate - critical * error, estimate + critical * error


def benjamini_hochberg(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return q-values of a family of p-values (Benjamini and Hochberg 1995).

    Parameters
    ----------
    p_values : array_like of float, shape (n,)
        NaN marks what was not tested: it is no part of the family, and its q-value is NaN.

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    p = np.asarray(p_values, dtype=np.float64)
    q = np.full(p.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    if len(tested):
        order = tested[np.argsort(p[tested], kind="stable")]
        raw = p[order] * len(order) / np.arange(1, len(order) + 1)
        q[order] = np.minimum(np.minimum.accumulate(raw[::-1])[::-1], 1.0)
    return q


def wilson(successes: float, n: float, confidence: float) -> tuple[float, float]:
    """Return Wilson's interval for a share of independent trials; NaN where n is 0."""
    if n <= 0:
        return float("nan"), float("nan")
    z = float(ndtri(0.5 + confidence / 2.0))
    share = successes / n
    middle = share + z * z / (2 * n)
    half = z * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    scale = 1 + z * z / n
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)
