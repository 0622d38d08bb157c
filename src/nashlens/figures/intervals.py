"""Means and contrasts with intervals by bootstrap over matches, in the shape figures need.

Decisions of one match depend on one another, so whole matches are resampled (see
`nashlens.contrasts.cluster_bootstrap`). Each interval has a random stream named after what it
is for, so that a further game or model never moves another one's interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from nashlens.contrasts import cluster_bootstrap
from nashlens.seeds import stream

# Figures resample for display alone: findings carry the experiment's seed.
_SEED = 0


def column_means(
    values: np.ndarray,
    clusters: Any,
    *names: str | int,
    confidence: float,
    resamples: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean of each column and its interval.

    Parameters
    ----------
    values : ndarray, shape (n, k)
        One row an observation, without missing values.
    clusters : array_like, shape (n,)
        The match of each row.
    *names : str or int
        What it is for; names the random stream.
    confidence : float
        Coverage of the intervals.
    resamples : int
        Bootstrap resamples.

    Returns
    -------
    estimate, low, high : ndarray, shape (k,)
        Intervals are missing where there are fewer than two matches; all is where n is 0.
    """
    matrix = np.asarray(values, dtype=float)
    width = matrix.shape[1]
    if len(matrix) == 0:
        return (np.full(width, np.nan),) * 3
    codes, matches = pd.factorize(np.asarray(clusters, dtype=object))
    if len(matches) < 2:
        return matrix.mean(axis=0), np.full(width, np.nan), np.full(width, np.nan)
    rng = stream(_SEED, "figures", *names)
    found = cluster_bootstrap(matrix, codes, resamples=resamples, confidence=confidence, rng=rng)
    return np.atleast_1d(found.estimate), np.atleast_1d(found.low), np.atleast_1d(found.high)


def group_means(
    frame: pd.DataFrame,
    value: str,
    by: Sequence[str],
    *,
    cluster: str = "match_id",
    confidence: float,
    resamples: int,
) -> pd.DataFrame:
    """Return the mean of a column in each group, with its interval.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows where `value` is missing are left out.
    value, cluster : str
        Columns: what is averaged, and what is resampled.
    by : sequence of str
        Columns that make the groups.
    confidence, resamples
        As in `column_means`.

    Returns
    -------
    pandas.DataFrame
        `by`, `estimate`, `low`, `high`, `n` and `n_clusters`; groups in order of appearance.
    """
    rows: list[dict[str, Any]] = []
    known = frame[frame[value].notna()]
    for key, part in known.groupby(list(by), sort=False, observed=True):
        estimate, low, high = column_means(
            part[[value]].to_numpy(float),
            part[cluster],
            value,
            *map(str, key),
            confidence=confidence,
            resamples=resamples,
        )
        rows.append(
            {
                **dict(zip(by, key, strict=True)),
                "estimate": estimate[0],
                "low": low[0],
                "high": high[0],
                "n": len(part),
                "n_clusters": part[cluster].nunique(),
            }
        )
    return pd.DataFrame(rows, columns=[*by, "estimate", "low", "high", "n", "n_clusters"])


def contrast(
    values: np.ndarray,
    strata: Any,
    weights: dict[str, float],
    clusters: Any,
    *names: str | int,
    confidence: float,
    resamples: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a weighted sum of strata's means, such as a difference, with its interval.

    The bootstrap runs over each row's influence on the sum, ``w_g (n / n_g) (v - mean_g)``, so
    that strata of unequal size, and strata that share a match, are both treated rightly.

    Parameters
    ----------
    values : ndarray, shape (n, k)
        One row an observation.
    strata : array_like of str, shape (n,)
        The stratum of each row; rows of strata without a weight are left out.
    weights : dict of str to float
        For instance ``{"swapped": 1, "identity": -1}``.
    clusters, *names, confidence, resamples
        As in `column_means`.

    Returns
    -------
    estimate, low, high : ndarray, shape (k,)
        Missing where a stratum has no rows.
    """
    matrix = np.asarray(values, dtype=float)
    labels = np.asarray(strata, dtype=object)
    rows = np.isin(labels, list(weights))
    matrix, labels = matrix[rows], labels[rows]
    if any(not (labels == name).any() for name in weights):
        return (np.full(matrix.shape[1], np.nan),) * 3
    influence = np.empty_like(matrix)
    total = np.zeros(matrix.shape[1])
    for name, weight in weights.items():
        inside = labels == name
        mean = matrix[inside].mean(axis=0)
        total += weight * mean
        influence[inside] = weight * (len(matrix) / inside.sum()) * (matrix[inside] - mean)
    return column_means(
        influence + total,
        np.asarray(clusters, dtype=object)[rows],
        *names,
        confidence=confidence,
        resamples=resamples,
    )
