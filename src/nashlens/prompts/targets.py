"""What probes decode of a prompt: each target as a function of the decision that it asks for.

Actions are 0 or 1. A target is None where it is undefined: there is no last round, or the game
leaves it open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from nashlens.games.equilibria import best_response, nash_action, prosocial_action
from nashlens.games.game import Game


class AskedDecision(NamedTuple):
    """A decision that a prompt asks for."""

    game: Game
    seat: str
    own: Sequence[int]
    """The asked seat's past actions."""
    other: Sequence[int]
    """The other seat's."""


TARGETS: dict[str, Callable[[AskedDecision], float | None]] = {
    "own_last": lambda asked: asked.own[-1] if asked.own else None,
    "opponent_last": lambda asked: asked.other[-1] if asked.other else None,
    "opponent_cooperation": lambda asked: (
        asked.other.count(0) / len(asked.other) if asked.other else None
    ),
    "nash_action": lambda asked: nash_action(asked.game, asked.seat),
    "prosocial_action": lambda asked: prosocial_action(asked.game, asked.seat),
    "best_response": lambda asked: (
        best_response(asked.game, asked.seat, asked.other[-1]) if asked.other else None
    ),
}
"""The targets that are columns of the prompts table (`nashlens.vocabulary.targets`)."""
