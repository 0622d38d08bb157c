"""Payoff variants: other numbers, the same game.

In a 2x2 game the order of each player's outcomes determines the pure equilibria, the dominant
actions and the best responses. Variants keep that order, ties included, and draw the two players'
numbers independently. So they are asymmetric, and a model cannot recall them from texts about the
canonical game.

The order does not determine which cell has the largest sum. In a Prisoner's Dilemma drawn like
this, one player's gain from defecting can exceed what the other loses by it, and then nothing
speaks for mutual cooperation. So variants also keep each seat's prosocial action, where the game
has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from nashlens.errors import DataError
from nashlens.games.equilibria import prosocial_action
from nashlens.games.game import SEATS, Game, Payoffs

_LARGEST = 9  # one digit: short in prompts, and one token in every tokenizer
_TRIES = 400  # draws in vain before larger payoffs are allowed
_SIZES = 4  # how often they are allowed


def ordinal_class(game: Game) -> str:
    """Return both players' ranks of the outcomes 00, 01, 10, 11 (ties share a rank, 0 is worst).

    Examples
    --------
    >>> from nashlens.games import CATALOG
    >>> ordinal_class(CATALOG["prisoners_dilemma"])
    '2031/2301'
    """
    return "/".join("".join(map(str, _ranks(values))) for values in _by_player(game))


def variants(game: Game, count: int, rng: np.random.Generator) -> list[Game]:
    """Draw distinct games of the same ordinal class and prosocial actions.

    Parameters
    ----------
    game : Game
        The game itself; no variant repeats its payoffs.
    count : int
        Number of variants; the first ones do not depend on it.
    rng : numpy.random.Generator
        Used in order.

    Returns
    -------
    list of Game
        Numbered 1 to `count`. Payoffs are whole, 0 to 9, and larger only where a game has too few
        distinct variants of that size.

    Raises
    ------
    DataError
        If there are not so many.
    """
    ranks = [_ranks(values) for values in _by_player(game)]
    wanted = {seat: prosocial_action(game, seat) for seat in SEATS}
    seen = {game.payoffs}
    drawn: list[Game] = []
    sizes = iter([10**power * (_LARGEST + 1) - 1 for power in range(_SIZES)])
    largest, misses = next(sizes), 0
    while len(drawn) < count:
        row, col = (_draw_payoffs(player, largest, rng) for player in ranks)
        new = replace(game, payoffs=_payoffs(row, col), variant=len(drawn) + 1)
        if new.payoffs in seen or not _same_prosocial(new, wanted):
            misses += 1
            if misses < _TRIES:
                continue
            largest, misses = next(sizes, 0), 0
            if not largest:
                raise DataError(
                    f"games.{game.name}.variants: found {count}; only {len(drawn)} with the game's "
                    "own order of outcomes and prosocial action were drawn; give a smaller number"
                )
            continue
        seen.add(new.payoffs)
        misses = 0
        drawn.append(new)
    return drawn


def _same_prosocial(game: Game, wanted: Mapping[str, int | None]) -> bool:
    return all(
        action is None or prosocial_action(game, seat) == action for seat, action in wanted.items()
    )


def _by_player(game: Game) -> list[list[Fraction]]:
    return [[cell[k] for line in game.payoffs for cell in line] for k in (0, 1)]


def _ranks(values: Sequence[Fraction]) -> list[int]:
    levels = sorted(set(values))
    return [levels.index(value) for value in values]


def _draw_payoffs(ranks: Sequence[int], largest: int, rng: np.random.Generator) -> list[Fraction]:
    levels = np.sort(rng.choice(largest + 1, size=max(ranks) + 1, replace=False))
    return [Fraction(int(levels[rank])) for rank in ranks]


def _payoffs(row: Sequence[Fraction], col: Sequence[Fraction]) -> Payoffs:
    cells = list(zip(row, col, strict=True))
    return ((cells[0], cells[1]), (cells[2], cells[3]))
