"""Exact equilibria of 2x2 games, and the actions that follow from the payoffs.

Let p and q be the row's and the column's probability of action 0. What row gains by action 0
over action 1 is linear in q, and column's gain is linear in p. So the unit square divides into at
most 5 x 5 cells (the corners, the indifference points, and the open intervals between them) in
which both gains keep their signs. The equilibrium set is a union of such cells, in degenerate games
too. Nothing is rounded: all numbers are fractions.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from nashlens.games.game import COLUMN, ROW, Game, check_seat

_Interval = tuple[Fraction, Fraction]  # a point where both ends agree, an open interval otherwise

_ZERO = Fraction(0)
_ONE = Fraction(1)


@dataclass(frozen=True)
class Equilibria:
    """The equilibrium set of a 2x2 game."""

    pure: tuple[tuple[int, int], ...]
    """(row action, column action) of every pure equilibrium, in order."""
    mixed: tuple[Fraction, Fraction] | None
    """(row's, column's) P(action 0) in the fully mixed equilibrium, where it is unique."""
    continuum: bool
    """Whether there are infinitely many equilibria."""


def solve(game: Game) -> Equilibria:
    """Return all pure equilibria, the fully mixed one, and whether there are infinitely many.

    Examples
    --------
    >>> from nashlens.games import CATALOG
    >>> solve(CATALOG["battle_of_the_sexes"])
    Equilibria(pure=((0, 0), (1, 1)), mixed=(Fraction(3, 5), Fraction(2, 5)), continuum=False)
    """
    cells = _equilibrium_cells(game)
    pure = sorted((int(p[0] == 0), int(q[0] == 0)) for p, q in cells if _is_pure(p) and _is_pure(q))
    inner = [(p, q) for p, q in cells if not _is_pure(p) and not _is_pure(q)]
    unique = len(inner) == 1 and all(low == high for low, high in inner[0])
    return Equilibria(
        pure=tuple(pure),
        mixed=(inner[0][0][0], inner[0][1][0]) if unique else None,
        continuum=any(low < high for cell in cells for low, high in cell),
    )


def equilibrium_set(game: Game) -> list[tuple[_Interval, _Interval]]:
    """Return the whole equilibrium set as closed rectangles of (row's, column's) P(action 0).

    Returns
    -------
    list of (interval, interval)
        Each interval is (low, high), with equal ends for a point. The set is closed, so the ends of
        an interval belong to it; rectangles within another one are left out.
    """
    cells = _equilibrium_cells(game)
    return [
        cell for cell in cells if not any(cell != other and _within(cell, other) for other in cells)
    ]


def _within(cell: tuple[_Interval, _Interval], other: tuple[_Interval, _Interval]) -> bool:
    return all(
        b_low <= a_low and a_high <= b_high
        for (a_low, a_high), (b_low, b_high) in zip(cell, other, strict=True)
    )


def nash_action(game: Game, seat: str) -> int | None:
    """Return the action that every equilibrium gives a seat with probability 1, if there is one."""
    index = 0 if check_seat(seat) == ROW else 1
    probabilities = {cell[index] for cell in _equilibrium_cells(game)}
    if probabilities == {(_ONE, _ONE)}:
        return 0
    if probabilities == {(_ZERO, _ZERO)}:
        return 1
    return None


def prosocial_action(game: Game, seat: str) -> int | None:
    """Return a seat's action in the cell with the largest sum of payoffs.

    Returns
    -------
    int or None
        None where cells that tie for the largest sum need different actions, so in every zero-sum
        game.
    """
    sums = {
        (own, other): sum(game.seat_payoffs(seat, own, other)) for own in (0, 1) for other in (0, 1)
    }
    best = max(sums.values())
    actions = {own for (own, _), value in sums.items() if value == best}
    return actions.pop() if len(actions) == 1 else None


def best_response(game: Game, seat: str, other_action: int) -> int | None:
    """Return a seat's unique best response to the other's action, or None on a tie."""
    gain = _gain(game, seat, other_action)
    return None if gain == 0 else int(gain < 0)


def gaining_action(game: Game, seat: str, whose: Literal["own", "other"]) -> int | None:
    """Return a seat's action that gives one of the two more, or None on a tie.

    Parameters
    ----------
    game : Game
    seat : str
    whose : {"own", "other"}
        Whose payoff counts, on average over the other's two actions.
    """
    which = 0 if whose == "own" else 1
    first, second = (
        sum(game.seat_payoffs(seat, own, other)[which] for other in (0, 1)) for own in (0, 1)
    )
    return None if first == second else int(second > first)


def dominant_action(game: Game, seat: str) -> int | None:
    """Return a seat's strictly dominant action, or None if it has none."""
    first = best_response(game, seat, 0)
    return first if first == best_response(game, seat, 1) else None


def is_zero_sum(game: Game) -> bool:
    """Return whether the payoffs sum to the same in all four cells."""
    return len({sum(cell) for line in game.payoffs for cell in line}) == 1


def _gain(game: Game, seat: str, other_action: int) -> Fraction:
    """Return what a seat gains by action 0 over action 1 against a pure action."""
    return game.seat_payoffs(seat, 0, other_action)[0] - game.seat_payoffs(seat, 1, other_action)[0]


@lru_cache(maxsize=4096)
def _equilibrium_cells(game: Game) -> tuple[tuple[_Interval, _Interval], ...]:
    """Return the cells (p, q) of equilibria; together they hold all equilibria.

    A table of prompts asks it of each row, of few games.
    """
    row_gains = _signed_cells(game, ROW)  # over q: the sign of row's gain
    col_gains = _signed_cells(game, COLUMN)  # over p: the sign of column's gain
    return tuple(
        (p, q)
        for p, col_gain in col_gains
        for q, row_gain in row_gains
        if _is_best(p, row_gain) and _is_best(q, col_gain)
    )


def _signed_cells(game: Game, seat: str) -> list[tuple[_Interval, Fraction]]:
    """Split the other's P(action 0) where the seat's gain changes its sign.

    Returns
    -------
    list of (interval, Fraction)
        Points and the open intervals between them, each with the gain in its middle; in an
        interval only the sign of the gain is constant.
    """
    at_one, at_zero = _gain(game, seat, 0), _gain(game, seat, 1)
    points = [_ZERO, _ONE]
    if at_one * at_zero < 0:
        points.insert(1, at_zero / (at_zero - at_one))
    cells = [(x, x) for x in points] + list(pairwise(points))
    return [((low, high), at_zero + (at_one - at_zero) * (low + high) / 2) for low, high in cells]


def _is_best(probability: _Interval, gain: Fraction) -> bool:
    """Return whether action 0 with these probabilities is a best response."""
    if gain == 0:
        return True
    return probability == ((_ONE, _ONE) if gain > 0 else (_ZERO, _ZERO))


def _is_pure(probability: _Interval) -> bool:
    return probability in ((_ZERO, _ZERO), (_ONE, _ONE))
