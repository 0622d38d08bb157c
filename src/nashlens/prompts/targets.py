"""What probes decode of a prompt: each target as a function of what the asked seat knows.

Actions are 0 or 1. So is a label: whether it is the first of the pair or the second, whatever the
action is that it means. And so is a place: whether an option is listed first or second. A target is
None where it is undefined: there is no last round, or the game leaves it open.
"""

from __future__ import annotations

from collections.abc import Callable

from nashlens.games.equilibria import (
    best_response,
    gaining_action,
    nash_action,
    prosocial_action,
)
from nashlens.prompts.render import View
from nashlens.strategies import cooperation


def label_of(view: View, action: int | None) -> int | None:
    """Return which label of the pair an action has, 0 or 1."""
    if action is None:
        return None
    return view.surface.labels.index(view.surface.label(action))


def place_of(view: View, action: int | None) -> int | None:
    """Return at which place of the list an action is, 0 or 1."""
    return None if action is None else view.surface.order.index(action)


def _nash(view: View) -> int | None:
    return nash_action(view.game, view.seat)


def _prosocial(view: View) -> int | None:
    return prosocial_action(view.game, view.seat)


TARGETS: dict[str, Callable[[View], float | None]] = {
    "own_last": lambda view: view.own[-1] if view.own else None,
    "opponent_last": lambda view: view.other[-1] if view.other else None,
    "opponent_cooperation": lambda view: (
        view.other.count(0) / len(view.other) if view.other else None
    ),
    "nash_action": _nash,
    "nash_label": lambda view: label_of(view, _nash(view)),
    "nash_place": lambda view: place_of(view, _nash(view)),
    "prosocial_action": _prosocial,
    "prosocial_label": lambda view: label_of(view, _prosocial(view)),
    "prosocial_place": lambda view: place_of(view, _prosocial(view)),
    "best_response": lambda view: (
        best_response(view.game, view.seat, view.other[-1]) if view.other else None
    ),
    "own_gain": lambda view: gaining_action(view.game, view.seat, "own"),
    "other_gain": lambda view: gaining_action(view.game, view.seat, "other"),
}
"""The targets that are columns of the prompts table (`nashlens.vocabulary.targets`), but for
`opponent_next`: whom a seat plays is no part of what it knows."""


def opponent_next(strategy: str, view: View, *, mirrored: bool) -> int | None:
    """Return the action that the opponent's strategy takes next; None where it draws one.

    In a mirror image both seats took the other action in every round, so it goes on with the other
    action, too: ALLC becomes ALLD, and TFT stays TFT.
    """
    own, other = ([1 - a if mirrored else a for a in moves] for moves in (view.own, view.other))
    p = cooperation(strategy, other, own)
    return None if p not in (0.0, 1.0) else int((p == 0.0) != mirrored)
