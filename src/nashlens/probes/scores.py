"""Scores of held-out predictions, with bootstrap intervals over matches.

Balanced accuracy is pooled over all held-out rows: 0.5 is chance whatever the class sizes. AUROC
compares rows that the same probe predicted. R2 compares with the mean of each row's own training
set, so a probe without features reaches 0, and R2 can be negative.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from nashlens.contrasts import (
    POWER,
    Array,
    balanced_accuracy_columns,
    balanced_accuracy_statistic,
    cluster_sums,
    percentile_interval,
    rank_p,
)


def balanced_accuracies(labels: Array, predicted: Array) -> Array:
    """Return the balanced accuracy of each column of predictions, (columns,).

    Parameters
    ----------
    labels : ndarray, shape (n, columns) or (n, 1)
        0 or 1.
    predicted : ndarray, shape (n, columns)
    """
    hit, one = labels == predicted, np.broadcast_to(labels == 1, predicted.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        recall_1 = (hit & one).sum(axis=0) / one.sum(axis=0)
        recall_0 = (hit & ~one).sum(axis=0) / (~one).sum(axis=0)
    result: Array = 0.5 * (recall_0 + recall_1)
    return result


def r_squared(labels: Array, predicted: Array, baseline: Array) -> Array:
    """Return 1 - squared error over that of the baseline, (columns,).

    Parameters
    ----------
    labels, predicted : ndarray, shape (n, columns)
        `labels` may be (n, 1).
    baseline : ndarray, shape (n, columns)
        Mean of the training set that each row was held out of; may be (n, 1).
    """
    error = ((labels - predicted) ** 2).sum(axis=0)
    spread = ((labels - baseline) ** 2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Array = 1.0 - error / spread
    return result


def column_scores(labels: Array, decisions: Array, baseline: Array, regression: bool) -> Array:
    """Return each column's score, (columns,): R2, or balanced accuracy of decisions above 0."""
    if regression:
        return r_squared(labels, decisions, baseline)
    return balanced_accuracies(labels, (decisions > 0).astype(np.float64))


def score_draws(
    labels: Array,
    decisions: Array,
    baseline: Array,
    regression: bool,
    matches: NDArray[np.str_],
    counts: Array,
) -> Array:
    """Return the score of each column in each resample of matches, (resamples, columns).

    Parameters
    ----------
    labels, decisions, baseline : ndarray, shape (n, columns)
    regression : bool
    matches : ndarray of str, shape (n,)
    counts : ndarray, shape (resamples, matches)
        How often each match is drawn, in the sorted order of their names.
    """
    draws = []
    # A resample's score comes from sums over its matches: counts @ sums of each match's rows.
    for k in range(decisions.shape[1]):
        y, d = labels[:, k], decisions[:, k]
        if regression:
            columns = np.stack([(y - d) ** 2, (y - baseline[:, k]) ** 2], axis=1)
            sums = counts @ cluster_sums(columns, matches)[0]
            with np.errstate(divide="ignore", invalid="ignore"):
                draws.append(1.0 - sums[:, 0] / sums[:, 1])
        else:
            columns = balanced_accuracy_columns(y, (d > 0).astype(np.float64))
            sums, sizes = cluster_sums(columns, matches)
            draws.append(balanced_accuracy_statistic(counts @ sums, counts @ sizes)[:, 0])
    return np.stack(draws, axis=1)


def auroc(labels: Array, decisions: Array, held_out: NDArray[np.int64], weights: Array) -> Array:
    """Return the area under the ROC curve for each row of weights, (resamples,).

    The share of pairs of a class-1 and a class-0 row in which the first has the larger decision
    value, ties counting one half. Both rows are held out together: decision values of different
    probes cannot be compared.

    Parameters
    ----------
    labels, decisions : ndarray, shape (n,)
    held_out : ndarray of int, shape (n,)
        The group with which each row was held out.
    weights : ndarray, shape (resamples, n)
        How often each row is drawn; ones for the estimate.

    Returns
    -------
    ndarray, shape (resamples,)
        NaN where no group has both classes.
    """
    won = np.zeros(len(weights))
    pairs = np.zeros(len(weights))
    for group in np.unique(held_out):
        rows = np.flatnonzero(held_out == group)
        # Rows in the order of decision values, and where each distinct value starts.
        _, rank = np.unique(decisions[rows], return_inverse=True)
        order = np.argsort(rank, kind="stable")
        starts = np.flatnonzero(np.diff(rank[order], prepend=-1))
        w = weights[:, rows[order]]
        one = labels[rows[order]] == 1
        # Weights of each class at each distinct value, and of class 0 below it with half the ties.
        ones = np.add.reduceat(np.where(one, w, 0.0), starts, axis=1)
        zeros = np.add.reduceat(np.where(one, 0.0, w), starts, axis=1)
        below = np.cumsum(zeros, axis=1) - 0.5 * zeros
        won += (ones * below).sum(axis=1)
        pairs += ones.sum(axis=1) * zeros.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Array = won / pairs
    return result


def auroc_interval(
    labels: Array,
    decisions: Array,
    held_out: NDArray[np.int64],
    matches: NDArray[np.str_],
    counts: Array,
    confidence: float,
) -> tuple[float, float, float]:
    """Return the AUROC and its bounds; arguments as for `auroc` and `score_draws`."""
    codes = np.unique(matches, return_inverse=True)[1]
    estimate = auroc(labels, decisions, held_out, np.ones((1, len(labels))))
    draws = auroc(labels, decisions, held_out, counts[:, codes])
    low, high = percentile_interval(draws[:, None], confidence)
    return float(estimate[0]), float(low[0]), float(high[0])


def minimum_detectable(null: Array, confidence: float) -> float:
    """Return the smallest true score that the study would find with a power of `POWER`.

    The mean of the permutations' scores plus (z(confidence) + z(power)) of their standard
    deviations: four times in five, a probe of that score lies above the permutations' upper
    quantile.

    Parameters
    ----------
    null : ndarray, shape (permutations,)
    confidence : float
        One-sided level of the comparison with the permutations.
    """
    if len(null) < 2:
        return float("nan")
    reach = float(ndtri(confidence) + ndtri(POWER))
    return float(null.mean() + reach * null.std(ddof=1))


def permutation_columns(score: float, null: Array, confidence: float) -> dict[str, float]:
    """Return what the scores of permutations, (permutations,), say of a score; nothing for none."""
    if not len(null):
        return {}
    return {
        "permutation_mean": float(null.mean()),
        "permutation_high": float(np.quantile(null, confidence)),
        "p_value": rank_p(score, null),
        "minimum_detectable": minimum_detectable(null, confidence),
    }
