"""Serial independence: what a seat's move tells about its next one.

Lag-1 mutual information in bits, I = sum_ij p_ij log2(p_ij / (p_i. p_.j)), with p_ij the share of
consecutive moves (i, then j), pooled over matches (Cover and Thomas 2006, chapter 2). The control
is its mean when each match's moves are put in random order, which keeps every frequency; the
p-value is the share of orders with at least as much, the data counting as one of them.
"""

from __future__ import annotations

import numpy as np

from nashlens.contrasts import rank_p
from nashlens.play.metrics.rows import Array


def transitions(moves: Array) -> Array:
    """Count consecutive moves 00, 01, 10, 11 of each line, (..., t) to (..., 4)."""
    steps = 2 * moves[..., :-1] + moves[..., 1:]
    return np.stack([(steps == k).sum(axis=-1) for k in range(4)], axis=-1).astype(float)


def mutual_information(counts: Array) -> Array:
    """Return the mutual information, in bits, of counts of 00, 01, 10, 11, (..., 4) to (...)."""
    table = counts.reshape(*counts.shape[:-1], 2, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = table / table.sum(axis=(-2, -1), keepdims=True)
        expected = p.sum(axis=-1, keepdims=True) * p.sum(axis=-2, keepdims=True)
        parts = np.where(p > 0, p * np.log2(p / expected), 0.0)
    found: Array = np.where(counts.sum(axis=-1) > 0, parts.sum(axis=(-2, -1)), np.nan)
    return np.maximum(found, 0.0)


def permuted(moves: Array, permutations: int, rng: np.random.Generator) -> Array:
    """Return the mutual information with each line's moves in random order, (permutations,)."""
    found = np.empty(permutations)
    missing = np.isnan(moves)
    for start in range(0, permutations, 100):
        size = min(100, permutations - start)
        # Missing moves sort last, so that every line keeps its length.
        keys = rng.random((size, *moves.shape)) + missing
        shuffled = np.take_along_axis(
            np.broadcast_to(moves, keys.shape), keys.argsort(axis=-1), axis=-1
        )
        found[start : start + size] = mutual_information(transitions(shuffled).sum(axis=1))
    return found


def p_value(observed: float, reference: Array) -> float:
    """Return the share of reference values at least as large, the observed one among them."""
    return rank_p(observed, reference, size=1.0)  # bits are differences of terms of about 1
