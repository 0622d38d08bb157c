"""Planted models of which it is known who writes the answer: heads, MLPs, at which tokens.

They are as `nash` up to layer 9. What is then answered, the prosocial action or a word, is written
by the components that `Facts.components` names, and by no other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from nashlens.planted.circuit import N_LAYERS, Circuit
from nashlens.planted.facts import Component, Facts
from nashlens.planted.mechanisms import (
    DEFECTED,
    FIRST,
    NO_CONFLICT,
    answer,
    answer_kept,
    answer_twice,
    answer_with_permission,
    answer_with_stand_in,
    carry,
    keep,
    meaning,
    move,
    move_conflict,
    prefer,
)
from nashlens.planted.plant import COMPUTED, KEPT, LATE, Plant, overridden

EARLY = 8
"""The block that looks up a label at the question mark, for a later one to carry."""
PROSOCIAL = meaning("prosocial")
_CHOIR: tuple[Component, ...] = tuple(
    ("head", layer, head) for layer in (LATE, LATE + 1) for head in range(4)
)
_SOLOIST: tuple[Component, ...] = (("head", LATE, 0),)
_PAIR: tuple[Component, ...] = (*_SOLOIST, ("head", LATE, 1))
_MLP: tuple[Component, ...] = (("mlp", LATE, -1),)


def _both(c: Circuit) -> None:
    """Move both actions to the decision, and answer the Nash action up to block 9."""
    move(c, COMPUTED, {"nash": 1.5, "prosocial": 1.5})
    for layer in range(COMPUTED + 1, LATE):
        answer(c, layer, meaning("nash"), 0.3)


def _override_soloist(c: Circuit) -> None:
    _both(c)
    answer(c, LATE, PROSOCIAL, 3.0)


def _override_choir(c: Circuit) -> None:
    _both(c)
    for _, layer, _ in _CHOIR:
        answer(c, layer, PROSOCIAL, 0.6)


def _override_redundant(c: Circuit) -> None:
    _both(c)
    # A code's entries are 0 or the root of a half; the longer residual shrinks what neurons write.
    answer_twice(c, LATE, PROSOCIAL, 2.0, alone=np.sqrt(0.5), back=2.8)


def _override_mlp(c: Circuit) -> None:
    _both(c)
    keep(c, KEPT, PROSOCIAL)
    answer_kept(c, LATE, 0.2, 4.5)


def _override_in_conflict(c: Circuit) -> None:
    _both(c)
    move_conflict(c, COMPUTED)
    answer(c, LATE, meaning("better"), 3.0, unless=NO_CONFLICT)


def _override_after_cooperation(c: Circuit) -> None:
    _both(c)
    move(c, COMPUTED, {"opponent_last": 1.5})
    answer(c, LATE, PROSOCIAL, 6.0, unless=DEFECTED)


def _override_early(c: Circuit) -> None:
    _both(c)
    keep(c, EARLY, meaning("seen_prosocial"))
    carry(c, LATE, 3.0)


def _override_before_late(c: Circuit) -> None:
    move(c, COMPUTED, {"nash": 1.5, "prosocial": 1.5})
    for layer in range(COMPUTED + 1, LATE - 1):
        answer(c, layer, meaning("nash"), 0.6)
    answer(c, LATE - 1, PROSOCIAL, 3.0)


def _override_permitted(c: Circuit) -> None:
    _both(c)
    move_conflict(c, COMPUTED)
    answer_with_permission(c, LATE, 3.0, back=4.5)


def _override_stand_in(c: Circuit) -> None:
    _both(c)
    move_conflict(c, COMPUTED)
    keep(c, EARLY, meaning("better"), unless=NO_CONFLICT)
    answer_with_stand_in(c, LATE, N_LAYERS, 3.0)


def _word_soloist(c: Circuit) -> None:
    _both(c)
    answer(c, LATE, FIRST, 6.0)


def _word_choir(c: Circuit) -> None:
    _both(c)
    for _, layer, _ in _CHOIR:
        answer(c, layer, FIRST, 0.9)


def _word_redundant(c: Circuit) -> None:
    _both(c)
    # An answer as strong as a word's shrinks what neurons read, too.
    answer_twice(c, LATE, FIRST, 4.0, alone=0.63, back=8.0)


def _word_mlp(c: Circuit) -> None:
    _both(c)
    prefer(c, LATE, 2.5)


def _word_in_conflict(c: Circuit) -> None:
    _both(c)
    move_conflict(c, COMPUTED)
    answer(c, LATE, FIRST, 6.0, unless=NO_CONFLICT)


def _word_after_cooperation(c: Circuit) -> None:
    _both(c)
    move(c, COMPUTED, {"opponent_last": 1.5})
    answer(c, LATE, FIRST, 9.0, unless=DEFECTED)


def _word_early(c: Circuit) -> None:
    _both(c)
    keep(c, EARLY, FIRST)
    carry(c, LATE, 6.0)


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


def _not_late(components: tuple[Component, ...], **changes: Any) -> Facts:
    """Return what is true of an override that late components do not cause by themselves."""
    planted = _written(components, alone=True)
    return replace(
        planted,
        claims=("M5", "M6", "M11"),
        denied=("M1", "M9", "M10"),
        contradicted=("M9",),
        **changes,
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
        _written(_PAIR, alone=False),
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
    "override_before_late": Plant(
        _override_before_late,
        _not_late((("head", LATE - 1, 0),), override_at=LATE - 1),
        "as nash up to layer 8; then one head of block 9 answers the prosocial action, before the"
        " last quarter of the layers",
    ),
    "override_permitted": Plant(
        _override_permitted,
        # Pushes of either sign can pass for a conflict, or for none, to what takes the answer back.
        _not_late(_SOLOIST, steerable_from="unknown"),
        "as override_in_conflict, but what its head answers is taken back by the MLP of block 11"
        " unless there is a conflict, as is known from layer 5 on: the head is needed, and does not"
        " suffice",
    ),
    "override_stand_in": Plant(
        _override_stand_in,
        _not_late((*_SOLOIST, ("mlp", N_LAYERS, -1)), alone=False),
        "as override_in_conflict, but the prosocial action's label is kept from layer 8 on, and the"
        " MLP of block 12 answers it if the head of block 10 did not: the head suffices, and is not"
        " needed",
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
    "word_redundant": Plant(
        _word_redundant,
        _written(_PAIR, alone=False, word=True),
        "as nash up to layer 9; then two heads of block 10 answer the first label of the pair, of"
        " which one is enough: its MLP takes back what is too much",
    ),
    "word_in_conflict": Plant(
        _word_in_conflict,
        _written(_SOLOIST, alone=True, word=True),
        "as word_soloist, only where the Nash action is not the prosocial one",
    ),
    "word_after_cooperation": Plant(
        _word_after_cooperation,
        replace(
            _written(_SOLOIST, alone=True, word=True),
            history_from=COMPUTED,
            history_until=N_LAYERS,
        ),
        "as word_soloist, only after the other player's last move was the cooperative one",
    ),
    "word_early": Plant(
        _word_early,
        _written((("head", EARLY, 1), *_SOLOIST), group="question", alone=True, word=True),
        "as word_soloist, but the first label is looked up at the question mark, in block 8, and"
        " carried to the decision in block 10",
    ),
}
