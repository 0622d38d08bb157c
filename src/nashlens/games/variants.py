"""Payoff variants: other numbers, the same order of outcomes for each player.

In a 2x2 game the order of each player's outcomes determines the pure equilibria, the dominant
actions and the best responses. Variants keep that order, ties included, and draw the two players'
numbers independently. So they are asymmetric, and a model cannot recall them from texts about the
canonical game.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from nashlens.games.game import Game, Payoffs

_LARGEST = 9  # one digit: short in prompts, and one token in every tokenizer
_TRIES = 200  # repeated payoffs before larger ones are allowed


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
    """Draw distinct games of the same ordinal class, with small integer payoffs.

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
        Numbered 1 to `count`. Payoffs are 0 to 9, and larger only where a game with many ties
        has too few distinct variants of that size.
    """
    ranks = [_ranks(values) for values in _by_player(game)]
    seen = {game.payoffs}
    drawn: list[Game] = []
    largest, misses = _LARGEST, 0
    while len(drawn) < count:
        row, col = (_draw_payoffs(player, largest, rng) for player in ranks)
        payoffs = _payoffs(row, col)
        if payoffs in seen:
            misses += 1
            if misses >= _TRIES:
                largest, misses = 10 * largest + 9, 0
            continue
        seen.add(payoffs)
        misses = 0
        drawn.append(replace(game, payoffs=payoffs, variant=len(drawn) + 1))
    return drawn


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
