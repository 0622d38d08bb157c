"""Numbers that a steering sweep is read by, for its summary and for the claims about it."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from nashlens.contrasts import Array


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
    ranks = rankdata(p, axis=-1) - (p.shape[-1] + 1) / 2
    x = rankdata(values) - (len(values) + 1) / 2
    length = np.sqrt((ranks**2).sum(axis=-1) * (x @ x))
    return np.where(length > 0, ranks @ x / np.where(length > 0, length, 1.0), 0.0)


def changes_both_ways(p: Array, values: Array) -> Array:
    """Return the changes from no steering up, from down to no steering, and from down to up.

    Parameters
    ----------
    p : ndarray, shape (prompts, layers, values)
    values : ndarray, shape (values,)
        In ascending order; 0 is one of them.

    Returns
    -------
    ndarray, shape (prompts, 3 layers)
        All layers of the first change, then of the second, then of both together.
    """
    unsteered = p[:, :, np.flatnonzero(values == 0)[0]]
    up, down = p[:, :, -1] - unsteered, unsteered - p[:, :, 0]
    return np.hstack([up, down, up + down])
