"""Which classical strategies a seat's play mixes, by maximum likelihood.

The strategy frequency estimation method of Dal Bo and Frechette (American Economic Review 101,
2011, 411-429): each match is played by one strategy of a set, and its moves are carried out with
an error e that all strategies share. If k_ms of the n_m moves of match m are what strategy s
prescribes after the match's own history, the likelihood is

    L = prod_m sum_s w_s (1 - e)^k_ms e^(n_m - k_ms),    RANDOM: 2^(-n_m)

and w and e in [1e-6, 1/2] maximise it. Expectation maximisation starts from equal weights and
each of `START_ERRORS`, and the best result is taken, since the likelihood can have several maxima.
Strategies that prescribe the same in every match of a cell cannot be distinguished and enter as
one class.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nashlens.play.metrics.rows import Array

NAMES = ("ALLC", "ALLD", "TFT", "GRIM", "WSLS", "RANDOM")
START_ERRORS = (0.05, 0.3)
LEAST_ERROR, STEPS, TOLERANCE = 1e-6, 300, 1e-4
_LARGEST = 600.0  # whose exponential is still a number, many times over


class Mixture(NamedTuple):
    """Weights of strategies, and the error, of the data and of each resample."""

    classes: list[tuple[str, ...]]
    """Strategies that the data cannot distinguish, a class each; together all of `NAMES`."""
    weights: Array
    """(1 + resamples, classes): of the data, then of each resample."""
    error: Array
    """(1 + resamples,); NaN where all weight is RANDOM's."""


def predictions(own: Array, other: Array) -> Array:
    """Return what ALLC, ALLD, TFT, GRIM and WSLS do next in each round, (5, n, t).

    Parameters
    ----------
    own, other : ndarray, shape (n, t)
        Actions 0 and 1, NaN after the last round; each strategy answers to the rounds before.
    """
    # Before round 1 both seats count as having played 0.
    start = np.zeros((len(own), 1))
    last_own = np.concatenate([start, own[:, :-1]], axis=1)
    last = np.concatenate([start, other[:, :-1]], axis=1)
    betrayed = np.maximum.accumulate(np.nan_to_num(last), axis=1)
    # WSLS keeps its action after the other's 0 and changes it after a 1.
    moves = np.stack(
        [np.zeros_like(own), np.ones_like(own), last, betrayed, np.abs(last_own - last)]
    )
    moves[:, np.isnan(own)] = np.nan
    return moves


def fit_mixture(own: Array, other: Array, groups: NDArray[Any], resampled: Array) -> Mixture:
    """Fit the mixture to all matches and to resamples of them.

    Parameters
    ----------
    own, other : ndarray, shape (n, t)
        One line a match and seat, with at least one round in all.
    groups : ndarray of int, shape (n,)
        What is resampled as a whole: the block of each line.
    resampled : ndarray, shape (b, blocks)
        Number of times that each resample holds each block.
    """
    moves = predictions(own, other)
    classes, places = _classes(moves)
    hits = np.stack([(moves[k] == own).sum(axis=1) for k in places], axis=1).astype(float)
    length = (~np.isnan(own)).sum(axis=1).astype(float)
    draws = np.concatenate([np.ones((1, resampled.shape[1])), resampled])
    # Equal lines count together, and equal resamples are fitted once.
    distinct, line = np.unique(np.column_stack([hits, length]), axis=0, return_inverse=True)
    counts = draws[:, groups] @ np.eye(len(distinct))[line.ravel()]
    fits, fit_of = np.unique(counts, axis=0, return_inverse=True)
    weights, error = maximise_likelihood(distinct[:, :-1], distinct[:, -1], fits)
    return Mixture(classes, weights[fit_of.ravel()], error[fit_of.ravel()])


def _classes(moves: Array) -> tuple[list[tuple[str, ...]], list[int]]:
    """Return classes of strategies with the same moves, then RANDOM, and each one's first index."""
    members: dict[bytes, list[int]] = {}
    for k in range(len(moves)):
        members.setdefault(np.nan_to_num(moves[k], nan=-1.0).tobytes(), []).append(k)
    classes = [tuple(NAMES[k] for k in group) for group in members.values()]
    return [*classes, ("RANDOM",)], [group[0] for group in members.values()]


def maximise_likelihood(hits: Array, length: Array, counts: Array) -> tuple[Array, Array]:
    """Maximise the likelihood.

    Parameters
    ----------
    hits : ndarray, shape (n, s)
        Number of each line's moves that each strategy prescribes.
    length : ndarray, shape (n,)
        Number of each line's moves.
    counts : ndarray, shape (b, n)
        Weight of each line in each of b fits.

    Returns
    -------
    weights : ndarray, shape (b, s + 1)
        Weights of the strategies, then of RANDOM.
    error : ndarray, shape (b,)
    """
    best = _climb(hits, length, counts, START_ERRORS[0])
    top = _log_likelihood(hits, length, counts, *best)
    for start in START_ERRORS[1:]:
        weights, error = _climb(hits, length, counts, start)
        value = _log_likelihood(hits, length, counts, weights, error)
        better = value > top + 1e-9
        best[0][better], best[1][better] = weights[better], error[better]
        top = np.maximum(top, value)
    weights, error = best
    return weights, np.where(weights[:, -1] > 1 - TOLERANCE, np.nan, error)


def _climb(hits: Array, length: Array, counts: Array, start: float) -> tuple[Array, Array]:
    """Climb from equal weights and an error to a maximum of the likelihood."""
    b, s = len(counts), hits.shape[1]
    weights, error = np.full((b, s + 1), 1.0 / (s + 1)), np.full(b, start)
    active = np.arange(b)  # fits that have not converged
    misses = length[:, None] - hits
    for _ in range(STEPS):
        e = error[active]
        # Expectation: how much of each line each strategy gets.
        belief = _terms(misses, length, weights[active], e)[0]
        total = np.maximum(belief.sum(axis=0), 1e-300)
        belief *= counts[active] / total
        # Maximisation: shares of lines, and of moves that their strategy does not prescribe.
        mass = belief.sum(axis=2).T
        fresh = mass / mass.sum(axis=1, keepdims=True)
        moves = belief[:-1].sum(axis=0) @ length
        wrong = sum(one @ misses[:, k] for k, one in enumerate(belief[:-1]))
        with np.errstate(divide="ignore", invalid="ignore"):
            next_e = np.where(moves > 0, np.clip(wrong / moves, LEAST_ERROR, 0.5), e)
        change = np.maximum(np.abs(fresh - weights[active]).max(axis=1), np.abs(next_e - e))
        weights[active], error[active] = fresh, next_e
        active = active[change > TOLERANCE]
        if not len(active):
            break
    return weights, error


def _terms(misses: Array, length: Array, weights: Array, error: Array) -> tuple[Array, Array]:
    """Return each line's weighted likelihoods, (s + 1, b, n), and the log of their unit, (b, n).

    The unit is the likelihood of the strategy that misses the fewest moves, which is the likeliest
    one but for RANDOM, as the error is at most 1/2. So long matches do not underflow.
    """
    fewest = misses.min(axis=1)
    # Numbers of moves are whole, so there are few powers to take.
    log_odds = np.log(error) - np.log1p(-error)
    powers = np.exp(log_odds[:, None] * np.arange(int(misses.max(initial=0.0)) + 1))
    further = (misses - fewest[:, None]).astype(int)
    terms = np.empty((misses.shape[1] + 1, len(error), len(length)))
    for k in range(misses.shape[1]):
        np.multiply(powers[:, further[:, k]], weights[:, k, None], out=terms[k])
    unit = length * np.log1p(-error)[:, None] + fewest * log_odds[:, None]
    chance = -length * np.log(2.0) - unit
    # RANDOM may be likelier than all others by more than a number holds.
    excess = np.maximum(chance - _LARGEST, 0.0)
    if excess.any():
        chance, unit = chance - excess, unit + excess
        terms[:-1] *= np.exp(-excess)
    np.multiply(np.exp(chance, out=chance), weights[:, -1, None], out=terms[-1])
    return terms, unit


def _log_likelihood(
    hits: Array, length: Array, counts: Array, weights: Array, error: Array
) -> Array:
    terms, unit = _terms(length[:, None] - hits, length, weights, error)
    logs = np.log(np.maximum(terms.sum(axis=0), 1e-300)) + unit
    total: Array = (counts * logs).sum(axis=1)
    return total
