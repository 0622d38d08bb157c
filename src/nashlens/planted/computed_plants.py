"""Planted models of which it is known where the Nash label is computed, and from what.

All others look it up in the options, which hold what it follows from since block 3.
"""

from __future__ import annotations

from dataclasses import replace

from nashlens.planted.circuit import N_LAYERS, Circuit
from nashlens.planted.facts import Component, Facts
from nashlens.planted.mechanisms import (
    answer_from_payoff,
    answer_label,
    answer_twice_from_payoff,
    compare_at_last_payoff,
    move_place,
    nash_at_decision,
    nash_at_last_payoff,
)
from nashlens.planted.plant import COMPUTED, KEPT, Plant


def _nash_at_payoffs(c: Circuit) -> None:
    nash_at_last_payoff(c)
    for layer in range(COMPUTED, N_LAYERS + 1):
        answer_from_payoff(c, layer, 0.5)


def _nash_redundant(c: Circuit) -> None:
    nash_at_last_payoff(c)
    answer_twice_from_payoff(c, COMPUTED, 4.5)


def _nash_at_decision(c: Circuit) -> None:
    nash_at_decision(c, COMPUTED, 2.0)


def _word_at_payoffs(c: Circuit) -> None:
    compare_at_last_payoff(c)
    move_place(c, COMPUTED, 1.5)
    for layer in range(KEPT, N_LAYERS + 1):
        answer_label(c, layer, "rank", 0.5)


_COMPARED: tuple[Component, ...] = (("head", 3, 4), ("mlp", 3, -1))
_AT_PAYOFFS = Facts(
    nash_from="unknown",
    nash_until="unknown",
    nash_label_from=COMPUTED,
    nash_label_until=N_LAYERS,
    # The code of one option's label is a little longer than the other's, which tells its place.
    nash_place_from="unknown",
    computed_at=3,
    computed_group="payoff_4",
    favoured_from=COMPUTED,
    steerable_from="unknown",
    steerable_until="unknown",
    follows="action",
    answering_heads="unknown",
    components=(*_COMPARED, ("mlp", 4, -1)),
    component_group="payoff_4",
    component_layer=3,
    alone=True,
    claims=("M5", "M11"),
    denied=("M1", "M6", "M9", "M10"),
)
_PAIR: tuple[Component, ...] = (("head", COMPUTED, 0), ("head", COMPUTED, 1))

COMPUTED_PLANTS: dict[str, Plant] = {
    "nash_at_payoffs": Plant(
        _nash_at_payoffs,
        _AT_PAYOFFS,
        "the Nash action's label is computed at the last own payoff, in blocks 3 and 4, and"
        " answered from block 5 on",
    ),
    "nash_redundant": Plant(
        _nash_redundant,
        replace(
            _AT_PAYOFFS,
            # How strongly a label comes depends a little on which option is listed last (1.29 and
            # 1.18 for the same one), so a probe may read the place.
            nash_place_from="unknown",
            answering_heads=True,
            answered_by=_PAIR,
            components=_PAIR,
            component_group="decision",
            component_layer=COMPUTED,
            alone=False,
        ),
        "as nash_at_payoffs, but two heads of block 5 bring the label, of which one is enough: its"
        " MLP answers it, for two a tenth more than for one",
    ),
    "nash_at_decision": Plant(
        _nash_at_decision,
        replace(
            _AT_PAYOFFS,
            nash_label_from=COMPUTED + 2,
            # The last payoff, that of the option listed last, is small or large where it is Nash.
            nash_place_from=COMPUTED,
            computed_at=None,
            computed_group=None,
            favoured_from=COMPUTED + 2,
            answering_heads=True,
            answered_by=(("head", COMPUTED, 0), ("head", COMPUTED + 1, 0)),
            components=(
                ("head", COMPUTED, 0),
                ("head", COMPUTED + 1, 0),
                ("mlp", COMPUTED + 1, -1),
                ("mlp", COMPUTED + 2, -1),
            ),
            component_group="decision",
            component_layer=COMPUTED,
            # For M5 too few layers favour it for sure: six of twelve.
            claims=(),
            denied=("M1", "M6", "M9", "M10", "M11"),
            contradicted=("M11",),
        ),
        "the decision reads two own payoffs in blocks 5 and 6, and computes the Nash action's label"
        " from them in blocks 6 and 7; no token before holds anything of it that is read",
    ),
    "word_at_payoffs": Plant(
        _word_at_payoffs,
        Facts(
            nash_from="unknown",
            nash_until="unknown",
            nash_place_from=COMPUTED,
            steerable_from="unknown",
            steerable_until="unknown",
            answering_heads="unknown",
            components=_COMPARED,
            component_group="payoff_4",
            component_layer=3,
            alone=True,
            denied=("M1", "M5", "M6", "M7", "M9", "M10", "M11"),
        ),
        "the payoffs are compared as in nash_at_payoffs; where the Nash action is listed last, the"
        " first label of the pair is answered, else the second, whatever they mean",
    ),
}
