"""A two-player 2x2 game with exact payoffs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from nashlens.errors import DataError

ROW = "row"
COLUMN = "column"
SEATS = (ROW, COLUMN)

PayoffPair = tuple[Fraction, Fraction]
Payoffs = tuple[tuple[PayoffPair, PayoffPair], tuple[PayoffPair, PayoffPair]]


def to_fraction(value: Any) -> Fraction:
    """Return the number that a payoff was written as: 0.1 gives 1/10.

    Parameters
    ----------
    value : int, float, Fraction or numpy number
        A finite number. A float is read as its shortest decimal form, which is what a reader of the
        config sees, not as the binary fraction next to it.

    Raises
    ------
    DataError
        If the value is not a finite number.
    """
    if isinstance(value, Fraction):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"payoff {value!r}: not a number; give a finite number") from None
    if isinstance(value, (bool, str)) or not math.isfinite(number):
        raise DataError(f"payoff {value!r}: give a finite number")
    return Fraction(value) if isinstance(value, int) else Fraction(repr(number))


@dataclass(frozen=True)
class Game:
    """One stage game.

    Examples
    --------
    >>> game = Game("mine", [[[3, 3], [0, 5]], [[5, 0], [1, 1]]])
    >>> game.payoff(0, 1)
    (0.0, 5.0)
    >>> game.seat_payoffs("column", 1, 0)
    (Fraction(5, 1), Fraction(0, 1))
    """

    name: str
    """Key in the config."""
    payoffs: Payoffs
    """`payoffs[i][j]` = (row's, column's) payoff when row plays i and column plays j. Any nested
    sequence of numbers will do; it is kept as exact fractions."""
    actions: tuple[str, str] = ("action 0", "action 1")
    """Names of the two actions, for people; agents see only labels."""
    title: str = ""
    """Name for people and for the template `named`; made from `name` where it is empty."""
    variant: int = 0
    """0 for the game itself, from 1 for its drawn variants."""
    base: str = ""
    """The canonical game's name, or `name` where it is empty."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "payoffs", _exact_payoffs(self.name, self.payoffs))
        actions = tuple(self.actions)
        if len(actions) != 2 or actions[0] == actions[1]:
            raise DataError(f"game {self.name}: actions {actions!r}: give two different names")
        object.__setattr__(self, "actions", actions)
        if not self.title:
            object.__setattr__(self, "title", self.name.replace("_", " ").strip().title())
        if not self.base:
            object.__setattr__(self, "base", self.name)

    def payoff(self, row_action: int, col_action: int) -> tuple[float, float]:
        """Return the (row's, column's) payoff of a cell."""
        row, col = self.payoffs[row_action][col_action]
        return float(row), float(col)

    def seat_payoffs(self, seat: str, own_action: int, other_action: int) -> PayoffPair:
        """Return the exact (own, other's) payoff as one seat sees a cell.

        Raises
        ------
        DataError
            If the seat is neither `row` nor `column`.
        """
        if check_seat(seat) == ROW:
            return self.payoffs[own_action][other_action]
        row, col = self.payoffs[other_action][own_action]
        return col, row

    def transpose(self) -> Game:
        """Return the game with its two seats exchanged."""
        cells = tuple(tuple(self.seat_payoffs(COLUMN, i, j) for j in (0, 1)) for i in (0, 1))
        return Game(self.name, cells, self.actions, self.title, self.variant, self.base)  # type: ignore[arg-type]


def families(games: Iterable[Game]) -> dict[str, list[Game]]:
    """Return games by name: each with its variants, in the order given."""
    result: dict[str, list[Game]] = {}
    for game in games:
        result.setdefault(game.name, []).append(game)
    return result


def check_seat(seat: str) -> str:
    """Return the seat, or raise DataError if there is no such seat."""
    if seat not in SEATS:
        raise DataError(f"seat {seat!r}: must be 'row' or 'column'")
    return seat


def _exact_payoffs(name: str, payoffs: Any) -> Payoffs:
    try:
        cells = [[[to_fraction(value) for value in cell] for cell in line] for line in payoffs]
    except TypeError:
        cells = []
    except DataError as error:
        raise DataError(f"game {name}: {error}") from None
    if [[len(cell) for cell in line] for line in cells] != [[2, 2], [2, 2]]:
        raise DataError(
            f"game {name}: payoffs {payoffs!r}: must be 2x2 cells of [row's, column's] payoff"
        )
    ((a, b), (c, d)) = cells
    return ((_pair(a), _pair(b)), (_pair(c), _pair(d)))


def _pair(cell: list[Fraction]) -> PayoffPair:
    return cell[0], cell[1]
