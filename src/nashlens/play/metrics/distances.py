"""How far joint play is from the *set* of equilibria of a 2x2 game.

A joint distribution J is a 4-vector over the cells 00, 01, 10, 11 (own action, other's). The
equilibrium set is a union of points, of segments in one seat's P(action 0) (in degenerate
games), and of the whole square where both seats are always indifferent. A mixed equilibrium
enters by its product distribution.

- tv: min over equilibria e of 1/2 sum |J - e|. On a segment it is convex and piecewise linear, so
  the minimum lies at a kink or an end; both are tried.
- l2: min over e of sqrt(((p - p_e)^2 + (q - q_e)^2) / 2), with p and q the two seats' shares of
  action 0; a rectangle's nearest point is found by clipping.
- norm: min over e of sqrt((p - p_e)^2 + (q - q_e)^2), so l2 times the square root of 2. The figures
  of arXiv 2604.27167 point to it; the formula itself is not known to us. Where one seat defects in
  98% of the rounds and the other in 94%, it is 0.063 from (defect, defect), and l2 is 0.045; full
  cooperation is at 1.414.
- regret: what either seat would gain at most by its better pure action against the other's mix,
  compared with its own mix, as a share of its payoff range. No equilibrium enters: it is 0 exactly
  at the equilibria (Nash 1951).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, xlogy

from nashlens.games.equilibria import best_response, equilibrium_set
from nashlens.games.game import COLUMN, Game
from nashlens.play.metrics.rows import Array
from nashlens.seeds import stream

CONTROL_DRAWS, EXACT_ROUNDS = 2000, 60
GAPS_NORM = np.sqrt(2.0)
"""The Euclidean norm of the two seats' gaps over their root mean square."""
_ZOOMS, _POINTS = 12, 65


class EquilibriumSet(NamedTuple):
    """The equilibria of one game, as its row player sees it."""

    rectangles: Array
    """(k, 2, 2): for each rectangle and seat, the least and the largest P(action 0)."""

    @property
    def is_square(self) -> bool:
        """Whether every profile is an equilibrium: both seats are always indifferent."""
        return bool((self.rectangles[:, :, 1] > self.rectangles[:, :, 0]).all(axis=1).any())

    @property
    def is_unique(self) -> bool:
        """Whether there is exactly one equilibrium."""
        return len(self.rectangles) == 1 and bool(np.ptp(self.rectangles[0], axis=1).max() == 0)

    @property
    def segments(self) -> Array:
        """The two ends of each rectangle as joint distributions, (k, 2, 4); equal for a point."""
        low, high = self.rectangles[:, :, 0], self.rectangles[:, :, 1]
        ends = np.stack([low, high], axis=1)
        return product(ends[..., 0], ends[..., 1])


@lru_cache(maxsize=1024)
def equilibria_of(game: Game) -> EquilibriumSet:
    """Return the equilibrium set of a game."""
    cells = equilibrium_set(game)
    return EquilibriumSet(np.array(cells, dtype=object).astype(np.float64))


def product(p: Array, q: Array) -> Array:
    """Return the joint distributions of independent mixes, (..., 4)."""
    return np.stack([p * q, p * (1 - q), (1 - p) * q, (1 - p) * (1 - q)], axis=-1)


def marginals(joint: Array) -> tuple[Array, Array]:
    """Return both seats' P(action 0) of joint distributions, (..., 4)."""
    return joint[..., 0] + joint[..., 1], joint[..., 0] + joint[..., 2]


def total_variation(joint: Array, equilibria: EquilibriumSet) -> Array:
    """Return the least total variation between joint distributions and an equilibrium.

    Parameters
    ----------
    joint : ndarray, shape (n, 4)
    equilibria : EquilibriumSet

    Returns
    -------
    ndarray, shape (n,)
        In [0, 1]. Exact for points and segments; where every profile is an equilibrium, found on
        ever finer grids to about 1e-6.
    """
    if equilibria.is_square:
        return _to_products(joint)
    return segment_variation(joint, equilibria.segments)


def segment_variation(joint: Array, segments: Array) -> Array:
    """Return each joint distribution's least total variation to segments, (n, 4), (k, 2, 4)."""
    return _each_variation(joint, segments).min(axis=1)


def _each_variation(joint: Array, segments: Array) -> Array:
    """Return the total variation of each joint distribution to each segment, (n, k)."""
    start, step = segments[:, 0], segments[:, 1] - segments[:, 0]
    # Where on the segment, from 0 to 1, one of the four gaps changes its sign: (n, k, 4).
    with np.errstate(divide="ignore", invalid="ignore"):
        kinks = (joint[:, None, :] - start) / step
    kinks = np.where(np.isfinite(kinks), np.clip(kinks, 0, 1), 0.0)
    ends = np.broadcast_to([0.0, 1.0], (*kinks.shape[:2], 2))
    place = np.concatenate([kinks, ends], axis=2)[..., None]
    # The gaps at each of the six places: (n, k, 6, 4).
    gaps = np.abs((joint[:, None, :] - start)[:, :, None] - place * step[:, None])
    least: Array = gaps.sum(axis=3).min(axis=2) / 2
    return least


def _to_products(joint: Array) -> Array:
    """Return the least total variation of each joint distribution to any product distribution."""
    found = np.empty(len(joint))
    for k, one in enumerate(joint):
        known = ~np.isnan(one).any()
        found[k] = _to_product(one) if known else np.nan
    return found


def _to_product(joint: Array) -> float:
    # Grids of the other seat's mix, ever finer around the three best points of the last one.
    centres, reach, best = np.array([0.5]), 0.5, np.inf
    for _ in range(_ZOOMS):
        offsets = np.linspace(-reach, reach, _POINTS)
        q = np.unique(np.clip((centres[:, None] + offsets).ravel(), 0, 1))
        # For each mix of the other seat, the segment of one's own mixes from 0 to 1.
        ends = np.stack([product(np.zeros_like(q), q), product(np.ones_like(q), q)], axis=1)
        gaps = _each_variation(joint[None], ends)[0]
        best = min(best, float(gaps.min()))
        centres, reach = q[np.argsort(gaps)[:3]], reach * 4 / (_POINTS - 1)
    return best


def euclidean(joint: Array, equilibria: EquilibriumSet) -> Array:
    """Return the least root mean square gap of both seats' mixes to an equilibrium, (n,)."""
    mixes = np.stack(marginals(joint), axis=-1)[:, None, :]
    low, high = equilibria.rectangles[..., 0], equilibria.rectangles[..., 1]
    gaps = mixes - np.clip(mixes, low, high)
    least: Array = np.sqrt((gaps**2).mean(axis=2)).min(axis=1)
    return least


def regret(joint: Array, game: Game) -> Array:
    """Return the largest gain of either seat by deviating from its mix, in payoff ranges, (n,).

    It is 0 for a seat whose payoff never changes.
    """
    p, q = marginals(joint)
    worst = np.zeros(len(joint))
    for own, other, view in ((p, q, game), (q, p, game.transpose())):
        pay = np.array([[view.payoff(i, j)[0] for j in (0, 1)] for i in (0, 1)])
        value = pay @ np.stack([other, 1 - other])  # of own action 0 and 1, (2, n)
        gain = value.max(axis=0) - (own * value[0] + (1 - own) * value[1])
        spread = np.ptp(pay)
        worst = np.maximum(worst, gain / spread if spread else 0.0 * gain)
    return worst


def subgame_perfect(game: Game, turn: str) -> Array | None:
    """Return the subgame-perfect outcomes of a stage game that is played in turn, (1, 2, 4).

    By backward induction, the second mover answers each move by its best response, and the first
    mover takes the move that then pays best. If the first mover is indifferent between its moves,
    any mix of them is subgame perfect, and the two outcomes are the ends of a segment.

    Parameters
    ----------
    game : Game
        As the seat sees it.
    turn : str
        `first` if the seat itself moves first, otherwise `second`.

    Returns
    -------
    ndarray or None
        None where the second mover is indifferent, so that its answer is not determined.
    """
    leader = game if turn == "first" else game.transpose()
    answers = [best_response(leader, COLUMN, move) for move in (0, 1)]
    if None in answers:
        return None
    values = [leader.seat_payoffs("row", move, int(answers[move] or 0))[0] for move in (0, 1)]
    moves = [move for move in (0, 1) if values[move] == max(values)]
    cells = [(move, int(answers[move] or 0)) for move in moves]
    if turn == "second":
        cells = [cell[::-1] for cell in cells]
    ends = [np.eye(4)[2 * i + j] for i, j in (cells[0], cells[-1])]
    return np.stack(ends)[None]


@lru_cache(maxsize=4096)
def finite_sample(game: Game, rounds: int) -> tuple[float, float, float]:
    """Return the mean tv, l2 and regret of exact equilibrium play over so many rounds.

    Frequencies of few rounds scatter around a mixed equilibrium, which biases every distance
    upward; a pure equilibrium has no such bias. The bias is the expectation over matches of
    independent rounds, at the equilibrium (or the end or middle of a continuum) where it is
    largest. It is exact up to `EXACT_ROUNDS` rounds; beyond, it is the mean of `CONTROL_DRAWS`
    simulated matches.
    """
    ends = equilibria_of(game).rectangles
    profiles = np.concatenate([ends[:, :, 0], ends[:, :, 1], ends.mean(axis=2)])
    found = [
        _expected(game, product(np.array(p), np.array(q)), rounds)
        for p, q in np.unique(profiles, axis=0)
    ]
    tv, l2, gain = np.max(found, axis=0)
    return float(tv), float(l2), float(gain)


@lru_cache(maxsize=4096)
def random_play(game: Game, rounds: int) -> tuple[float, float, float]:
    """Return the mean tv, l2 and regret of uniformly random play over so many rounds.

    It is the expectation over matches of independent rounds in which both seats take either action
    with probability 1/2, exact or simulated as in `finite_sample`.
    """
    tv, l2, gain = _expected(game, np.full(4, 0.25), rounds)
    return float(tv), float(l2), float(gain)


def _expected(game: Game, chances: Array, rounds: int) -> Array:
    """Return the mean tv, l2 and regret, (3,), over matches of independent rounds."""
    equilibria = equilibria_of(game)
    counts, weights = _outcomes(chances / chances.sum(), rounds)
    joint = counts / rounds
    values = (
        total_variation(joint, equilibria),
        euclidean(joint, equilibria),
        regret(joint, game),
    )
    return np.array([float(np.average(value, weights=weights)) for value in values])


def _outcomes(chances: Array, rounds: int) -> tuple[Array, Array]:
    """Return possible counts of the four cells over some rounds, (k, 4), and their weights."""
    if rounds > EXACT_ROUNDS:
        rng = stream(0, "equilibrium play", rounds)
        drawn = rng.multinomial(rounds, chances, size=CONTROL_DRAWS)
        counts, weights = np.unique(drawn, axis=0, return_counts=True)
        return counts.astype(np.float64), weights.astype(np.float64)
    # All counts that add up to the rounds, with their multinomial probabilities.
    a, b, c = np.indices((rounds + 1,) * 3).reshape(3, -1)
    counts = np.stack([a, b, c, rounds - a - b - c], axis=1)
    counts = counts[(counts[:, 3] >= 0) & ((counts == 0) | (chances > 0)).all(axis=1)]
    logs = gammaln(rounds + 1) - gammaln(counts + 1).sum(axis=1)
    logs += xlogy(counts, chances).sum(axis=1)
    return counts.astype(np.float64), np.exp(logs)
