"""Planted models of which it is known who writes the answer: heads, MLPs, at which tokens.

They are as `nash` up to layer 9. What is then answered, the prosocial action or a word, is written
by the components that `Facts.components` names, and by no other.
"""

from __future__ import annotations

from dataclasses import replace

from nashlens.planted.circuit import N_LAYERS, Circuit
from nashlens.planted.facts import Component, Facts
from nashlens.planted.mechanisms import (
    answer,
    answer_after_cooperation,
    answer_conflict,
    answer_first,
    answer_from_payoff,
    answer_kept,
    answer_twice,
    carry,
    keep_prosocial,
    move,
    move_conflict,
    nash_at_last_payoff,
    prefer,
)
from nashlens.planted.plant import COMPUTED, KEPT, LATE, Plant, overridden

EARLY = 8
"""The block that looks up a label at the question mark, for a later one to carry."""
_CHOIR: tuple[Component, ...] = tuple(
    ("head", layer, head) for layer in (LATE, LATE + 1) for head in range(4)
)
_SOLOIST: tuple[Component, ...] = (("head", LATE, 0),)
_MLP: tuple[Component, ...] = (("mlp", LATE, -1),)


def _both(c: Circuit) -> None:
    """Move both actions to the decision, and answer the Nash action up to block 9."""
    move(c, COMPUTED, {"nash": 1.5, "prosocial": 1.5})
    for layer in range(COMPUTED + 1, LATE):
        answer(c, layer, "nash", 0.3)


def _override_soloist(c: Circuit) -> None:
    _both(c)
    answer(c, LATE, "prosocial", 3.0)


def _override_choir(c: Circuit) -> None:
    _both(c)
    for _, layer, _ in _CHOIR:
        answer(c, layer, "prosocial", 0.6)


def _override_redundant(c: Circuit) -> None:
    _both(c)
    answer_twice(c, LATE, 2.0)


def _override_mlp(c: Circuit) -> None:
    _both(c)
    keep_prosocial(c, KEPT, "prosocial")
    answer_kept(c, LATE, 0.2, 4.5)


def _override_in_conflict(c: Circuit) -> None:
    _both(c)
    move_conflict(c, COMPUTED)
    answer_conflict(c, LATE, 3.0)


def _override_after_cooperation(c: Circuit) -> None:
    _both(c)
    move(c, COMPUTED, {"opponent_last": 1.5})
    answer_after_cooperation(c, LATE, 6.0)


def _override_early(c: Circuit) -> None:
    _both(c)
    keep_prosocial(c, EARLY, "seen_prosocial")
    carry(c, LATE, 3.0)


def _nash_at_payoffs(c: Circuit) -> None:
    nash_at_last_payoff(c)
    for layer in range(COMPUTED, N_LAYERS + 1):
        answer_from_payoff(c, layer, 0.5)


def _word_soloist(c: Circuit) -> None:
    _both(c)
    answer_first(c, LATE, 6.0)


def _word_choir(c: Circuit) -> None:
    _both(c)
    for _, layer, _ in _CHOIR:
        answer_first(c, layer, 0.9)


def _word_mlp(c: Circuit) -> None:
    _both(c)
    prefer(c, LATE, 2.5)


def _written(
    components: tuple[Component, ...],
    *,
    group: str = "decision",
    alone: bool,
    word: bool = False,
) -> Facts:
    """Return what is true where components answer the prosocial action, or a word, from block 10.

    How far into the late layers a push along the Nash direction turns the answer is unknown.
    """
    planted = replace(
        overridden(),
        components=components,
        component_group=group,
        component_layer=min(layer for _, layer, _ in components),
        alone=alone,
    )
    if word:
        # A word that is preferred whatever it means drowns the push.
        return replace(
            planted, follows="word", steerable_from="unknown", denied=("M1", "M6", "M9", "M10")
        )
    # Without an eighth of a choir most of the override is left; two of any others are all of it.
    choir = len(components) > 2
    return replace(
        planted,
        override_at=LATE,
        # All of a choir together drown the push.
        steerable_from="unknown" if choir else planted.steerable_from,
        # The heads of a choir are like others of their layers, with which M4 compares them.
        answering_heads="unknown" if choir else True,
        claims=("M5", "M6", "M9", "M11", *["M10"] * choir),
        denied=("M1", *["M10"] * (not choir)),
    )


COMPONENT_PLANTS: dict[str, Plant] = {
    "override_soloist": Plant(
        _override_soloist,
        _written(_SOLOIST, alone=True),
        "as nash up to layer 9; then one head of block 10 answers the prosocial action",
    ),
    "override_choir": Plant(
        _override_choir,
        _written(_CHOIR, alone=False),
        "as nash up to layer 9; then eight heads of blocks 10 and 11 answer the prosocial action,"
        " an eighth each",
    ),
    "override_redundant": Plant(
        _override_redundant,
        _written((*_SOLOIST, ("head", LATE, 1)), alone=False),
        "as nash up to layer 9; then two heads of block 10 answer the prosocial action, of which"
        " one is enough: its MLP takes back what is too much",
    ),
    "override_mlp": Plant(
        _override_mlp,
        _written(_MLP, alone=True),
        "as nash up to layer 9; then the MLP of block 10 answers the prosocial action",
    ),
    "override_in_conflict": Plant(
        _override_in_conflict,
        _written(_SOLOIST, alone=True),
        "as override_soloist, only where the Nash action is not the prosocial one",
    ),
    "override_after_cooperation": Plant(
        _override_after_cooperation,
        replace(_written(_SOLOIST, alone=True), history_from=COMPUTED, history_until=N_LAYERS),
        "as override_soloist, only after the other player's last move was the cooperative one",
    ),
    "override_early": Plant(
        _override_early,
        _written((("head", EARLY, 1), *_SOLOIST), group="question", alone=True),
        "as override_soloist, but the prosocial action's label is looked up at the question mark,"
        " in block 8, and carried to the decision in block 10",
    ),
    "nash_at_payoffs": Plant(
        _nash_at_payoffs,
        Facts(
            nash_from="unknown",
            nash_until="unknown",
            nash_label_from=COMPUTED,
            nash_label_until=N_LAYERS,
            computed_at=3,
            computed_group="payoff_4",
            favoured_from=COMPUTED,
            steerable_from="unknown",
            steerable_until="unknown",
            follows="action",
            answering_heads="unknown",
            components=(("head", 3, 4), ("mlp", 3, -1), ("mlp", 4, -1)),
            component_group="payoff_4",
            component_layer=3,
            alone=True,
            claims=("M5", "M11"),
            denied=("M1", "M6", "M9", "M10"),
        ),
        "the Nash action's label is computed at the last own payoff, in blocks 3 and 4, and"
        " answered from block 5 on",
    ),
    "word_soloist": Plant(
        _word_soloist,
        _written(_SOLOIST, alone=True, word=True),
        "as nash up to layer 9; then one head of block 10 answers the first label of the pair",
    ),
    "word_choir": Plant(
        _word_choir,
        _written(_CHOIR, alone=False, word=True),
        "as nash up to layer 9; then eight heads of blocks 10 and 11 answer the first label of the"
        " pair, an eighth each",
    ),
    "word_mlp": Plant(
        _word_mlp,
        _written(_MLP, alone=True, word=True),
        "as nash up to layer 9; then the MLP of block 10 prefers J, X, P and the word Cooperate",
    ),
}
