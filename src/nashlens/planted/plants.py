"""The planted mechanisms by name, each with the facts that follow from how it is built.

Every model reads the game in blocks 1 to 4 (`mechanisms`) and has 12 blocks. What a head moves to
the decision in block `l` is readable from layer `l` on, can be looked up from block `l + 1` on,
and a push along it after layer `l` acts through the look-ups above.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from nashlens.planted.circuit import N_LAYERS, Circuit
from nashlens.planted.facts import Component, Facts
from nashlens.planted.mechanisms import (
    answer,
    answer_after_cooperation,
    answer_conflict,
    answer_first,
    answer_from_payoff,
    answer_kept,
    answer_label,
    answer_twice,
    carry,
    copy_last,
    find_label,
    keep_prosocial,
    move,
    move_conflict,
    nash_at_last_payoff,
    prefer,
    write_rounds,
)

COMPUTED, KEPT, LATE = 5, 6, 10
"""The block that brings a fact to the decision, the one that looks up its label (where a model
keeps it), and the one that changes the answer."""


EARLY = 8
"""The block that looks up a label at the question mark, for a later one to carry."""
_CHOIR: tuple[Component, ...] = tuple(
    ("head", layer, head) for layer in (LATE, LATE + 1) for head in range(4)
)
_SOLOIST: tuple[Component, ...] = (("head", LATE, 0),)
_MLP: tuple[Component, ...] = (("mlp", LATE, -1),)


@dataclass(frozen=True)
class Plant:
    """A mechanism: the heads and neurons it adds, what is then true, and one line for people."""

    add: Callable[[Circuit], None]
    facts: Facts
    summary: str


def _history(c: Circuit) -> None:
    # It is written where it stands before it is moved to the decision.
    write_rounds(c, 1.5)
    move(c, COMPUTED, {"opponent_last": 1.5})
    # The norm of block 9 divides by a little more than that of block 5.
    move(c, LATE - 1, {"opponent_last": -1.5 * 1.009})


def _answer_nash(c: Circuit, last: int, gain: float) -> None:
    move(c, COMPUTED, {"nash": 1.5})
    for layer in range(COMPUTED + 1, last + 1):
        answer(c, layer, "nash", gain)


def _nash(c: Circuit) -> None:
    _answer_nash(c, N_LAYERS - 1, 0.3)
    answer(c, N_LAYERS, "nash", 0.6)


def _override(c: Circuit) -> None:
    _answer_nash(c, LATE - 1, 0.4)
    move(c, LATE - 1, {"prosocial": 1.5})
    answer(c, LATE, "prosocial", 2.2)
    for layer in range(LATE + 1, N_LAYERS + 1):
        answer(c, layer, "prosocial", 0.3)


def _token_override(c: Circuit) -> None:
    _answer_nash(c, LATE - 1, 0.4)
    prefer(c, LATE, 2.0)


def _label_bias(c: Circuit) -> None:
    for layer in range(COMPUTED, LATE):
        prefer(c, layer, -0.4)
    prefer(c, LATE, 4.0)


def _copy_last(c: Circuit) -> None:
    for layer in range(COMPUTED + 1, N_LAYERS + 1):
        copy_last(c, layer, 0.3)


def _steerable(c: Circuit) -> None:
    move(c, COMPUTED, {"nash": 1.5})
    answer(c, LATE - 1, "nash", 2.0)


def _inert(c: Circuit) -> None:
    move(c, COMPUTED, {"nash": 1.5})


def _word_bound(c: Circuit) -> None:
    move(c, COMPUTED, {"nash": 1.5})
    find_label(c, KEPT, "word", 1.0)
    answer_label(c, N_LAYERS, "word", 2.0)


def _carries_over(c: Circuit) -> None:
    move(c, COMPUTED, {"nash": 1.5})
    find_label(c, KEPT, "rank", 1.0)
    answer_label(c, N_LAYERS, "rank", 2.0)


def _joint(c: Circuit) -> None:
    # A fifth of the residual's length is about 2: less than what is kept, and three times more.
    move(c, COMPUTED, {"nash": 6.0})
    find_label(c, KEPT, "rank", 4.0)
    # So strong an answer that a push of the answer itself, after the last block, turns it neither.
    answer_label(c, N_LAYERS, "rank", 6.0)


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


def _nash_facts(last: int) -> Facts:
    """Return what is true where the Nash action is moved, and looked up in blocks up to `last`."""
    return Facts(
        nash_from=COMPUTED,
        nash_until=N_LAYERS,
        favoured_from=COMPUTED + 1,
        steerable_from=COMPUTED,
        steerable_until=last - 1,
        follows="action",
        answering_heads=True,
        claims=("M5",),
        denied=("M1", "M6"),
    )


def _overridden() -> Facts:
    """Return what is true where the Nash action is answered up to block 9 and then overridden.

    A push at a later layer acts through fewer look-ups, and against what overrides them; at which
    layer it ceases to change the answer is a matter of degree, so that is unknown.
    """
    return replace(_nash_facts(LATE - 1), steerable_until="unknown", claims=(), denied=("M1",))


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
        _overridden(),
        components=components,
        component_group=group,
        component_layer=min(layer for _, layer, _ in components),
        alone=alone,
    )
    if word:
        return replace(planted, follows="word", denied=("M1", "M6"))
    return replace(planted, override_at=LATE, claims=("M5", "M6"))


# No action is at the first layer, and none is ever preferred.
_NOTHING = Facts(denied=("M1", "M5", "M6", "M7"))

# The abstract direction acts only before the label is looked up.
_LABEL_KEPT = replace(
    _nash_facts(KEPT),
    favoured_from=N_LAYERS,
    claims=(),
    denied=("M1", "M5", "M6"),
)

PLANTS: dict[str, Plant] = {
    "history": Plant(
        _history,
        replace(_NOTHING, history_from=COMPUTED, history_until=LATE - 2),
        "the opponent's last action is at its round's end from layer 4 on, and at the decision at"
        " layers 5 to 8; never used",
    ),
    "nash": Plant(
        _nash,
        replace(_nash_facts(N_LAYERS), claims=("M5", "M7")),
        "the Nash action, computed from the payoffs, is at the decision from layer 5 on; answered",
    ),
    "override": Plant(
        _override,
        replace(_overridden(), override_at=LATE, claims=("M5", "M6")),
        "as nash up to layer 9; from layer 10 on the prosocial action is answered instead",
    ),
    "token_override": Plant(
        _token_override,
        replace(_overridden(), follows="word", denied=("M1", "M6")),
        "as nash up to layer 9; from layer 10 on J, X, P and the word Cooperate are preferred,"
        " whatever they mean",
    ),
    "label_bias": Plant(
        _label_bias,
        replace(_NOTHING, follows="word"),
        "F, Y, Q and the word Defect are preferred at layers 5 to 9, and J, X, P and Cooperate from"
        " layer 10 on, whatever they mean; nothing else",
    ),
    "copy_last": Plant(
        _copy_last,
        _NOTHING,
        "from layer 6 on the label of the opponent's last move is answered",
    ),
    "steerable": Plant(
        _steerable,
        replace(
            _nash_facts(LATE - 1),
            favoured_from=LATE - 1,
            claims=("M7",),
            denied=("M1", "M5", "M6"),
        ),
        "the Nash action is there from layer 5 on and looked up once, in block 9",
    ),
    "word_bound": Plant(
        _word_bound,
        replace(_LABEL_KEPT, label_from=KEPT, label_until=N_LAYERS - 1, label_words="fitted"),
        "the Nash action's label is kept as a word from layer 6 on and answered in block 12: a push"
        " towards a word moves that word",
    ),
    "carries_over": Plant(
        _carries_over,
        replace(_LABEL_KEPT, label_from=KEPT, label_until=N_LAYERS - 1, label_words="all"),
        "whether the Nash action's label is the first of its pair is kept from layer 6 on and"
        " answered in block 12: a push moves the first label of any pair",
    ),
    "joint": Plant(
        _joint,
        replace(
            _LABEL_KEPT,
            steerable_from=None,
            steerable_until=None,
            label_from=None,
            label_until=None,
            label_words="all",
            joint_layers=tuple(range(KEPT, KEPT + 3)),
        ),
        "as carries_over, but so strongly that a push by a fifth of the residual's length moves the"
        " answer at three layers together and at none by itself",
    ),
    "inert": Plant(
        _inert,
        replace(_NOTHING, nash_from=COMPUTED, nash_until=N_LAYERS),
        "the Nash action is there from layer 5 on, and nothing reads it",
    ),
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
            favoured_from=COMPUTED,
            steerable_from="unknown",
            steerable_until="unknown",
            follows="action",
            answering_heads="unknown",
            components=(("head", 3, 4), ("mlp", 3, -1), ("mlp", 4, -1)),
            component_group="payoff_4",
            component_layer=3,
            alone=True,
            claims=("M5",),
            denied=("M1", "M6"),
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
