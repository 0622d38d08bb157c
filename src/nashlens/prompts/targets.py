"""What probes decode of a prompt: each target as a function of what the asked seat knows.

Actions are 0 or 1. A target is None where it is undefined: there is no last round, or the game
leaves it open.
"""

from __future__ import annotations

from collections.abc import Callable

from nashlens.games.equilibria import best_response, nash_action, prosocial_action
from nashlens.prompts.render import View

TARGETS: dict[str, Callable[[View], float | None]] = {
    "own_last": lambda view: view.own[-1] if view.own else None,
    "opponent_last": lambda view: view.other[-1] if view.other else None,
    "opponent_cooperation": lambda view: (
        view.other.count(0) / len(view.other) if view.other else None
    ),
    "nash_action": lambda view: nash_action(view.game, view.seat),
    "prosocial_action": lambda view: prosocial_action(view.game, view.seat),
    "best_response": lambda view: (
        best_response(view.game, view.seat, view.other[-1]) if view.other else None
    ),
}
"""The targets that are columns of the prompts table (`nashlens.vocabulary.targets`)."""
