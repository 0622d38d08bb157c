"""The planted mechanisms by name, each with the facts that follow from how it is built.

Every model reads the game in blocks 1 to 4 (`mechanisms`) and has 12 blocks. What a head moves to
the decision in block `l` is readable from layer `l` on, can be looked up from block `l + 1` on,
and a push along it after layer `l` acts through the look-ups above.
"""

from __future__ import annotations

from dataclasses import replace

from nashlens.planted.circuit import N_LAYERS, Circuit
from nashlens.planted.component_plants import COMPONENT_PLANTS
from nashlens.planted.computed_plants import COMPUTED_PLANTS
from nashlens.planted.facts import Component, Facts
from nashlens.planted.mechanisms import (
    answer,
    answer_label,
    copy_last,
    find_label,
    meaning,
    move,
    prefer,
    write_rounds,
)
from nashlens.planted.plant import COMPUTED, KEPT, LATE, Plant, nash_facts, overridden


def _history(c: Circuit) -> None:
    # It is written where it stands before it is moved to the decision.
    write_rounds(c, 1.5)
    move(c, COMPUTED, {"opponent_last": 1.5})
    # The norm of block 9 divides by a little more than that of block 5.
    move(c, LATE - 1, {"opponent_last": -1.5 * 1.009})


def _answer_nash(c: Circuit, last: int, gain: float) -> None:
    move(c, COMPUTED, {"nash": 1.5})
    for layer in range(COMPUTED + 1, last + 1):
        answer(c, layer, meaning("nash"), gain)


def _nash(c: Circuit) -> None:
    _answer_nash(c, N_LAYERS - 1, 0.3)
    answer(c, N_LAYERS, meaning("nash"), 0.6)


def _override(c: Circuit) -> None:
    _answer_nash(c, LATE - 1, 0.4)
    move(c, LATE - 1, {"prosocial": 1.5})
    answer(c, LATE, meaning("prosocial"), 2.2)
    for layer in range(LATE + 1, N_LAYERS + 1):
        answer(c, layer, meaning("prosocial"), 0.3)


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
    answer(c, LATE - 1, meaning("nash"), 2.0)


def _word_steerable(c: Circuit) -> None:
    move(c, COMPUTED, {"nash": 1.5})
    # The first label of the pair if the Nash action is action 1, else the second.
    answer(c, LATE - 1, ("nash", "rank", 4.0), 2.0)


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


# No action is at the first layer, and none is ever preferred.
_ABSENT = ("M1", "M5", "M6", "M7", "M9", "M10", "M11")
_NOTHING = Facts(denied=(*_ABSENT, "B7"))

# The head that moves the Nash action to the decision, and those that look up its label.
_MOVER: Component = ("head", COMPUTED, 0)


def _with_readers(*layers: int) -> tuple[Component, ...]:
    return (_MOVER, *(("head", layer, 0) for layer in layers))


# The abstract direction acts only before the label is looked up.
_LABEL_KEPT = replace(
    nash_facts(KEPT),
    favoured_from=N_LAYERS,
    answered_by=_with_readers(KEPT, N_LAYERS),
    claims=("M11",),
    denied=("M1", "M5", "M6", "M9", "M10"),
)

_OTHERS: dict[str, Plant] = {
    "history": Plant(
        _history,
        replace(_NOTHING, history_from=COMPUTED, history_until=LATE - 2),
        "the opponent's last action is at its round's end from layer 4 on, and at the decision at"
        " layers 5 to 8; never used",
    ),
    "nash": Plant(
        _nash,
        replace(
            nash_facts(N_LAYERS),
            answered_by=_with_readers(*range(COMPUTED + 1, N_LAYERS + 1)),
            claims=("M5", "M7", "M11"),
        ),
        "the Nash action, computed from the payoffs, is at the decision from layer 5 on; answered",
    ),
    "override": Plant(
        _override,
        replace(
            overridden(),
            override_at=LATE,
            claims=("M5", "M6", "M9", "M11"),
            denied=("M1", "M10"),
        ),
        "as nash up to layer 9; from layer 10 on the prosocial action is answered instead",
    ),
    "token_override": Plant(
        _token_override,
        replace(
            overridden(),
            follows="word",
            steerable_from="unknown",
            denied=("M1", "M6", "M9", "M10"),
        ),
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
        # Asked what the other does next, it answers the same: in a game of coordination the best
        # response to that.
        Facts(claims=("B7",), denied=_ABSENT),
        "from layer 6 on the label of the opponent's last move is answered",
    ),
    "steerable": Plant(
        _steerable,
        replace(
            nash_facts(LATE - 1),
            nash_label_from=LATE - 1,
            favoured_from=LATE - 1,
            answered_by=_with_readers(LATE - 1),
            claims=("M7", "M11", "S1"),
            denied=("M1", "M5", "M6", "M9", "M10"),
        ),
        "the Nash action is there from layer 5 on and looked up once, in block 9",
    ),
    "word_steerable": Plant(
        _word_steerable,
        Facts(
            nash_from=COMPUTED,
            nash_until=N_LAYERS,
            answering_heads="unknown",
            denied=(*_ABSENT, "S1"),
            contradicted=("S1",),
        ),
        "the Nash action is there from layer 5 on, and looked up once, in block 9: the first label"
        " of the pair is answered if it is action 1, else the second, whatever they mean",
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
        replace(
            _NOTHING,
            nash_from=COMPUTED,
            nash_until=N_LAYERS,
            denied=(*_NOTHING.denied, "S1"),
            contradicted=("S1",),
        ),
        "the Nash action is there from layer 5 on, and nothing reads it",
    ),
}

PLANTS = _OTHERS | COMPONENT_PLANTS | COMPUTED_PLANTS
