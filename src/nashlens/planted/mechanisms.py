"""What is planted behind the reading of the game (`nashlens.planted.reading`).

The decision token gets nothing of it until a head moves a fact there (`move`), and the fact reaches
the output only where a head looks up the label that means it (`answer`). So the layers at which a
fact can be read, at which the lens sees it, and at which a push along it changes the answer are all
known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nashlens.planted.circuit import WIDTH, WORDS, Circuit, ContentMatch
from nashlens.planted.reading import CODE, FLAG, READ, codes, latest

PREFERRED, AVOIDED = (*"JXP", WORDS[0]), (*"FYQ", WORDS[1])
"""Labels that `prefer` prefers, and over which: the first ones of the default sets, and the word of
the cooperative action."""
Entry = tuple[str, str, float]
"""Of a `ContentMatch`."""
FIRST: Entry = ("one", "rank", 4.0)
"""What tells the label that is the first of its pair, whatever it means."""
# The first token holds nothing: it matches best where nothing is to be moved, else worst.
NO_CONFLICT: tuple[Entry, ...] = (("own_last", "bos", -60.0),)
"""Where the Nash action is the prosocial one, after `move_conflict`."""
DEFECTED: tuple[Entry, ...] = (("opponent_last", "bos", 80.0),)
"""Where the opponent's last move was action 1."""


def move(c: Circuit, layer: int, facts: dict[str, float]) -> None:
    """Move facts from the question mark to the decision; a negative gain takes them back."""
    moves = [(f"seen_{fact}", fact, gain) for fact, gain in facts.items()]
    c.head(layer, ContentMatch([("one", "question_mark", FLAG)]), moves)


def write_rounds(c: Circuit, gain: float) -> None:
    """Write the opponent's last move at the end of each round, in the last reading block."""
    c.head(READ, latest("full_stop", "after_player"), [("helps", "opponent_last", -gain)])


def look_up(
    c: Circuit,
    layer: int,
    which: Entry,
    moves: Sequence[tuple[str, str, float]],
    *,
    unless: Sequence[Entry] = (),
) -> None:
    """Add a head that looks up a label in the question, and moves what it finds there.

    Parameters
    ----------
    c : Circuit
    layer : int
        1-based block.
    which : Entry
        What tells one label from the other: `meaning`, `FIRST`, or what was kept.
    moves : sequence of (str, str, float)
        As of `Circuit.head`.
    unless : sequence of Entry
        `NO_CONFLICT` or `DEFECTED`, where nothing is moved.
    """
    entries = [("one", "label", FLAG), ("one", "asked", FLAG), which, *unless]
    c.head(layer, ContentMatch(entries), moves)


def meaning(fact: str) -> Entry:
    """Return what tells the label of a fact's action from the other one."""
    return (fact, "helps", -4.0)


def find_label(c: Circuit, layer: int, what: str, gain: float) -> None:
    """Look up in the question the label of the Nash action, and keep its `rank` or its `word`."""
    look_up(c, layer, ("nash", "helps", -8.0), [(what, f"nash_{what}", gain)])


def answer_label(c: Circuit, layer: int, what: str, gain: float) -> None:
    """Answer the label in the question whose `rank` or `word` was kept."""
    look_up(c, layer, (f"nash_{what}", what, 8.0), [("code", "answer", gain)])


def answer(
    c: Circuit, layer: int, which: Entry, gain: float, *, unless: Sequence[Entry] = ()
) -> None:
    """Answer the label in the question that `which` tells, but where `unless` holds."""
    look_up(c, layer, which, [("code", "answer", gain)], unless=unless)


def copy_last(c: Circuit, layer: int, gain: float) -> None:
    """Answer the label of the opponent's last move, whatever it means."""
    c.head(layer, latest("one", "after_player"), [("code", "answer", gain)])


def prefer(c: Circuit, layer: int, gain: float) -> None:
    """Prefer some labels to others, whatever they mean."""
    known = codes()
    value = np.sum([known[a] for a in PREFERRED], axis=0)
    value = value - np.sum([known[a] for a in AVOIDED], axis=0)
    c.write(layer, "answer", gain * value)


def move_conflict(c: Circuit, layer: int) -> None:
    """Move the prosocial action, if it is not the Nash action, into `better`; else nothing."""
    moves = [("seen_prosocial", "nash_rank", 1.0), ("seen_nash", "nash_rank", -1.0)]
    c.head(layer, ContentMatch([("one", "question_mark", FLAG)]), moves)
    # Their difference is about -2, 0 or 2; two signs around 0 make small ones nothing.
    for threshold in (-4.0, 4.0):
        c.sign(layer, {"nash_rank": 5.0, "one": threshold}, "better")
    # -2 where they are the same, and 0 where they are not.
    for side in (-5.0, 5.0):
        c.sign(layer, {"nash_rank": side, "one": -4.0}, "own_last")


def keep(
    c: Circuit, layer: int, which: Entry, *, gain: float = 1.0, unless: Sequence[Entry] = ()
) -> None:
    """Keep the label in the question that `which` tells, in `nash_word`."""
    look_up(c, layer, which, [("code", "nash_word", gain)], unless=unless)


def carry(c: Circuit, layer: int, gain: float) -> None:
    """Answer the label that the question mark keeps."""
    entries = [("one", "question_mark", FLAG)]
    c.head(layer, ContentMatch(entries), [("nash_word", "answer", gain)])


def answer_kept(
    c: Circuit,
    layer: int,
    above: float,
    gain: float,
    others: Mapping[str, float] | None = None,
    slot: str = "nash_word",
) -> None:
    """Add neurons that answer what of the label in a slot is above a threshold.

    Parameters
    ----------
    c : Circuit
    layer : int
        1-based block.
    above : float
    gain : float
    others : mapping of str to float, optional
        Slots that are added to it before, and their factors: of one dimension, or as many as a
        label's code has, one for each.
    slot : str
        Where the label is kept.
    """
    one, steep = np.eye(WIDTH)[c.slots["one"].start], 20.0
    for i, dim in enumerate(range(c.slots[slot].start, c.slots[slot].stop)):
        read = np.eye(WIDTH)[dim] - above * one
        for other, factor in (others or {}).items():
            dims = c.slots[other]
            read += factor * np.eye(WIDTH)[dims.start + i % (dims.stop - dims.start)]
        c.neuron(layer, steep * read, one, {"answer": gain / steep * np.eye(8)[i]})


def answer_up_to(
    c: Circuit,
    layer: int,
    above: float,
    width: float,
    gain: float,
    *,
    slope: float = 0.0,
    others: Mapping[str, float] | None = None,
    slot: str = "nash_word",
) -> None:
    """Do as `answer_kept`, up to `width` above the threshold; from there on with a lesser slope."""
    answer_kept(c, layer, above, gain, others, slot)
    answer_kept(c, layer, above + width, -(1.0 - slope) * gain, others, slot)


def answer_twice(
    c: Circuit, layer: int, which: Entry, gain: float, alone: float, back: float
) -> None:
    """Two heads answer a label in the question; what is more than one of them, `alone`, goes."""
    for _ in range(2):
        look_up(c, layer, which, [("code", "answer", gain), ("code", "nash_word", 1.0)])
    answer_kept(c, layer, alone, -back)


def answer_with_permission(c: Circuit, layer: int, gain: float, back: float) -> None:
    """Answer the prosocial action in a conflict; the next block takes it back where none is."""
    # Whether there is one, -1 or 1 and nothing between, in a slot that no decision holds.
    c.sign(layer - 1, {"own_last": 5.0, "one": 5.0}, "pays")
    moves = [("code", "answer", gain), ("code", "nash_word", 1.0)]
    look_up(c, layer, meaning("better"), moves, unless=NO_CONFLICT)
    # Only of a label that is there, and without a conflict, is anything left above the threshold.
    answer_kept(c, layer + 1, 0.75, -back, {"pays": -0.6})


def answer_with_stand_in(c: Circuit, layer: int, last: int, gain: float) -> None:
    """Answer the prosocial action in a conflict; the last block does so if that was not done.

    A mean over prompts, in the head's place, holds both labels of a pair, half of each at most:
    that does not pass for an answer.
    """
    answer(c, layer, meaning("better"), gain, unless=NO_CONFLICT)
    answer_up_to(c, last, 0.14, 0.14, 5.8 * gain, others={"answer": -0.32})


def _last_own_payoff(c: Circuit, layer: int, moves: Sequence[tuple[str, str, float]]) -> None:
    """Add a head that moves what stands at the last own payoff."""
    entries = [("one", "digit", 300.0), ("one", "own_payoff", 300.0)]
    c.head(layer, ContentMatch(entries, recency=1.0), moves)


def _own_other_option(
    c: Circuit, layer: int, code: str, moves: Sequence[tuple[str, str, float]], *, at: str = "one"
) -> None:
    """Add a head that looks up the own payoff of the other option, against the one in `code`.

    Tokens that do not have the slot `at` look up nothing.
    """
    entries = [
        (at, "digit", FLAG),
        (at, "own_payoff", FLAG),
        (code, "own_code", -2 * CODE),
        (code, "both_codes", CODE / 0.3),
    ]
    c.head(layer, ContentMatch(entries), moves)


def _larger(c: Circuit, layer: int, payoff: float | np.ndarray, own: str, other: str) -> None:
    """Write to `nash_rank` whether the own payoff is the larger one: a point is 1 / 4.5."""
    c.sign(layer, {own: payoff, other: -20.0}, "nash_rank")


def _label_of_larger(c: Circuit, layer: int, own: str, other: str, gain: float) -> None:
    """Answer the label of the option with the larger payoff."""
    sign = np.eye(WIDTH)[c.slots["nash_rank"].start]
    for side, code in ((20.0, own), (-20.0, other)):
        for i, dim in enumerate(range(c.slots[code].start, c.slots[code].stop)):
            gains = {"answer": gain / 20.0 * np.eye(8)[i]}
            c.neuron(layer, side * sign, np.eye(WIDTH)[dim], gains)


def compare_at_last_payoff(c: Circuit) -> None:
    """Compare the own payoffs of both options at that of the last cell, in block 3.

    Both players choose the same there, and the other payoff is that of the cell with a label of its
    own and this one as the other player's.
    """
    # `better` takes part in nothing else at a payoff.
    moves = [("own_code", "nash_word", 1.0), ("payoff", "better", 1.0)]
    # The decision is not to know a mean of payoffs, which may tell an option's place.
    _own_other_option(c, READ - 1, "own_code", moves, at="digit")
    _larger(c, READ - 1, np.array([20.0, 0.0]), "payoff", "better")


def nash_at_last_payoff(c: Circuit) -> None:
    """Compute the Nash action's label at the own payoff of the last cell, in blocks 3 and 4."""
    compare_at_last_payoff(c)
    _label_of_larger(c, READ, "own_code", "nash_word", 1.0)


def nash_at_decision(c: Circuit, layer: int, gain: float) -> None:
    """Compute the Nash action's label at the decision, from payoffs, and answer it.

    As `nash_at_last_payoff` does, in three blocks: the last own payoff, that of the other option
    and which is larger, the label of that one. The slots are of facts that no decision holds.
    """
    _last_own_payoff(c, layer, [("own_code", "nash_word", 1.0), ("payoff", "better", 1.0)])
    moves = [("own_code", "own_code", 1.0), ("payoff", "neither", 1.0)]
    _own_other_option(c, layer + 1, "nash_word", moves)
    _larger(c, layer + 1, 20.0, "better", "neither")
    _label_of_larger(c, layer + 2, "nash_word", "own_code", gain)


def move_place(c: Circuit, layer: int, gain: float) -> None:
    """Move to the decision whether the last own payoff is the larger one."""
    _last_own_payoff(c, layer, [("nash_rank", "nash_rank", gain)])


def answer_from_payoff(c: Circuit, layer: int, gain: float) -> None:
    """Answer the label that stands at the last own payoff."""
    _last_own_payoff(c, layer, [("answer", "answer", gain)])


def answer_twice_from_payoff(c: Circuit, layer: int, gain: float) -> None:
    """Two heads bring that label, and neurons answer it, for two of them a tenth more than for one.

    Half a label, as a mean over prompts holds of both, is below their threshold.
    """
    for _ in range(2):
        _last_own_payoff(c, layer, [("answer", "own_code", 1.6)])
    # No decision has a code of its own; in `nash_word` it has half of both labels.
    answer_up_to(c, layer, 0.45, 0.2, gain, slope=0.035, slot="own_code")
