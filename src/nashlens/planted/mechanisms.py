"""What a planted model does: how it reads the game, and what is planted behind that.

**Reading** (`read_the_game`, blocks 1 to 4). The models really compute both actions from the
payoffs in the text, at tokens that come before the decision:

1. each token gets the words just before it (a move that was chosen, an own payoff);
2. each own payoff of the four cells gets the two labels of its cell;
3. each label looks up the own payoff of each cell and adds up. The label that pays more when the
   other player chooses it is *action 0* (it helps); the label that pays more when it is chosen
   oneself is the *Nash action*, if one action dominates;
4. the question mark gathers, as -1 (action 0) or 1 (action 1): the Nash action, the prosocial
   action (the better of the two cells in which both do the same), and both players' last moves.

That is right in every game of one-digit payoffs in which one action dominates, action 0 helps the
other player, and the sum of payoffs is largest where both do the same: of the catalogue, the
Prisoner's Dilemma, Harmony, Deadlock and Concord. Labels are single
capitals other than I, or the words of these games' actions.

**Planting.** The decision token gets nothing of it until a head moves a fact there (`move`), and
the fact reaches the output only where a head looks up the label that means it (`answer`). So the
layers at which a fact can be read, at which the lens sees it, and at which a push along it changes
the answer are all known. A random *background* is added to the slots of the planted facts. It
cannot distinguish digits, so it knows no action: what is absent is absent by construction, and
still has to be distinguished from noise.
"""

from __future__ import annotations

import itertools
import string

import numpy as np

from nashlens.planted.circuit import (
    LETTERS,
    N_LAYERS,
    WIDTH,
    WORDS,
    Circuit,
    ContentMatch,
    FixedOffset,
)

READ = 4
"""Blocks that read the game: a fact can be at the decision from the next one on."""
FACTS = ("opponent_last", "own_last", "nash", "prosocial")
PREFERRED, AVOIDED = (*"JXP", WORDS[0]), (*"FYQ", WORDS[1])
"""Labels that `prefer` prefers, and over which: the first ones of the default sets, and the word of
the cooperative action."""
FIRSTS = (*"JXPABCDE", WORDS[0])
"""Labels that are the first of their pair; all others are the second."""
NAMED = "JFXYPQBG"
"""Labels that `word` tells apart; all others are nothing to it."""
_FLAG = 40.0
_CODE = 24.0
_LATEST = 60.0
# fmt: off
_READING = (
    "both", "own_only", "other_only", "neither", "helps", "pays", "better",
    "seen_opponent_last", "seen_own_last", "seen_nash", "seen_prosocial",
)
# fmt: on
_LABEL_BIAS = 4.0
_READ_OUT = 1.5


def read_the_game(c: Circuit) -> None:
    """Set the embedding, the unembedding, blocks 1 to 4 and the background of all blocks."""
    _embed(c)
    # 1. What comes just before a token.
    c.head(1, FixedOffset(1), [("get", "own_payoff", 1.0)])
    c.head(1, FixedOffset(2), [("chose", "after_chose", 1.0)])
    c.head(1, FixedOffset(3), [("player", "after_player", 1.0), ("you", "after_you", 1.0)])
    c.head(1, ContentMatch([("one", "do", _FLAG)]), [("do", "asked", 1.0)])
    # 2. "option J and the other player chooses option F, you get 3": 11 and 4 tokens back.
    c.head(2, FixedOffset(11), [("code", "own_code", 1.0), ("code", "both_codes", 0.3)])
    c.head(2, FixedOffset(4), [("code", "both_codes", 0.3)])
    # 3. At each label, the own payoff of each cell. The label's code matches `own_code` once if the
    # player chose it, and `both_codes` as often as it was chosen.
    payoff = [("label", "digit", _FLAG), ("label", "own_payoff", _FLAG)]
    for cell, own, chosen in (
        ("both", 0.0, 1.0),
        ("own_only", 2.0, -1.0),
        ("other_only", -2.0, 1.0),
        ("neither", 0.0, -1.0),
    ):
        met = [
            ("code", "own_code", _CODE * own),
            ("code", "both_codes", _CODE / 0.3 * chosen),
        ]
        c.head(3, ContentMatch([*payoff, *met]), [("payoff", cell, 1.0)])
    # Sums of two payoffs differ by two points or more, and a point is worth 1 / 4.5.
    c.sign(3, {"both": 5.0, "other_only": 5.0, "own_only": -5.0, "neither": -5.0}, "helps")
    c.sign(3, {"both": 5.0, "own_only": 5.0, "other_only": -5.0, "neither": -5.0}, "pays")
    # 4. All of it at the question mark.
    asked = [("question_mark", "label", _FLAG), ("question_mark", "asked", _FLAG)]
    helping = ContentMatch([*asked, ("question_mark", "helps", 30.0)])
    harming = ContentMatch([*asked, ("question_mark", "helps", -30.0)])
    c.head(4, helping, [("pays", "seen_nash", -1.0), ("both", "better", 1.0)])
    c.head(4, harming, [("both", "better", -1.0)])
    c.sign(4, {"better": -14.0}, "seen_prosocial")
    for who, target in (("after_player", "seen_opponent_last"), ("after_you", "seen_own_last")):
        c.head(4, _latest("question_mark", who), [("helps", target, -1.0)])
    for layer in range(1, N_LAYERS + 1):
        _background(c, layer)


def _latest(query: str, who: str) -> ContentMatch:
    """Attend to the label of a player's last move."""
    return ContentMatch([(query, "after_chose", _LATEST), (query, who, _LATEST)], recency=1.0)


def _embed(c: Circuit) -> None:
    size = c.background.stop - c.background.start
    for token in c.ids:
        # One background for all digits and signs: it knows no payoff.
        name = "0" if token in (*string.digits, "-") else token
        draw = c.rng("embedding", name).standard_normal(size)
        c.embed[c.ids[token], c.background] = 2.0 * draw / np.linalg.norm(draw)
        if token != "<bos>":
            c.token(token, {"one": 1.0})
        draw = c.rng("unembedding", token).standard_normal(size)
        c.unembed[c.ids[token], c.background] = 0.1 * draw
    c.token("<bos>", {"bos": 1.0})
    for word in ("chose", "player", "you", "get", "do"):
        c.token(word, {word: 1.0})
    c.token("?", {"question_mark": 1.0})
    c.token(".", {"full_stop": 1.0})
    for digit in string.digits:
        value = (int(digit) - 4.5) / 4.5
        c.token(digit, {"digit": 1.0, "payoff": np.array([value, np.sqrt(1 - value**2)])})
    for label, code in codes().items():
        c.token(label, {"label": 1.0, "code": code, "rank": 1.0 if label in FIRSTS else -1.0})
        c.token(label, {"word": np.array([float(label == name) for name in NAMED])})
        c.unembed[c.ids[label], c.slots["answer"]] = _READ_OUT * code
        c.unembed[c.ids[label], c.slots["one"]] = _LABEL_BIAS
    c.fill_lengths()


def codes() -> dict[str, np.ndarray]:
    """Return each label's code: unit vectors, (8,), with products of 0 or 0.5.

    The two labels of a default label set, neighbours in `LETTERS`, have a product of 0, and so have
    the two words.
    """
    pairs = sorted(itertools.combinations(range(8), 2), key=lambda p: (p[1] - p[0] != 1, p))
    even = [p for p in pairs if p[1] - p[0] == 1 and p[0] % 2 == 0]
    order = [*even, *(p for p in pairs if p not in even)]
    # Of the last three pairs the first and the third have no dimension in common.
    names = [*LETTERS, WORDS[0], "", WORDS[1]]
    result = {}
    for name, pair in zip(names, order, strict=True):
        if name:
            code = np.zeros(8)
            code[list(pair)] = np.sqrt(0.5)
            result[name] = code
    return result


def _background(c: Circuit, layer: int) -> None:
    if layer <= 2:
        # Only before payoffs are read: else they would leak in through the norm. Some of it goes to
        # the slots that read payoffs, so that a share of 1e-9 that a head misdirects is lost in it.
        onto = {**dict.fromkeys(FACTS, 0.25), **dict.fromkeys(_READING, 0.05), "answer": 0.1}
        c.noise(layer, 0.7, onto, mix=True)
    else:
        # Hardly anything, so that `move` can take back what it brought.
        c.noise(layer, 0.1, {"answer": 0.02}, mix=False)


def move(c: Circuit, layer: int, facts: dict[str, float]) -> None:
    """Move facts from the question mark to the decision; a negative gain takes them back."""
    moves = [(f"seen_{fact}", fact, gain) for fact, gain in facts.items()]
    c.head(layer, ContentMatch([("one", "question_mark", _FLAG)]), moves)


def write_rounds(c: Circuit, gain: float) -> None:
    """Write the opponent's last move at the end of each round, in the last reading block."""
    c.head(READ, _latest("full_stop", "after_player"), [("helps", "opponent_last", -gain)])


def find_label(c: Circuit, layer: int, what: str, gain: float) -> None:
    """Look up in the question the label of the Nash action, and keep its `rank` or its `word`."""
    entries = [("one", "label", _FLAG), ("one", "asked", _FLAG), ("nash", "helps", -8.0)]
    c.head(layer, ContentMatch(entries), [(what, f"nash_{what}", gain)])


def answer_label(c: Circuit, layer: int, what: str, gain: float) -> None:
    """Answer the label in the question whose `rank` or `word` was kept."""
    kept = (f"nash_{what}", what, 8.0)
    entries = [("one", "label", _FLAG), ("one", "asked", _FLAG), kept]
    c.head(layer, ContentMatch(entries), [("code", "answer", gain)])


def answer(c: Circuit, layer: int, fact: str, gain: float) -> None:
    """Look up in the question the label of a fact's action, and answer it."""
    entries = [("one", "label", _FLAG), ("one", "asked", _FLAG), (fact, "helps", -4.0)]
    c.head(layer, ContentMatch(entries), [("code", "answer", gain)])


def copy_last(c: Circuit, layer: int, gain: float) -> None:
    """Answer the label of the opponent's last move, whatever it means."""
    c.head(layer, _latest("one", "after_player"), [("code", "answer", gain)])


def prefer(c: Circuit, layer: int, gain: float) -> None:
    """Prefer some labels to others, whatever they mean."""
    known = codes()
    value = np.sum([known[a] for a in PREFERRED], axis=0)
    value = value - np.sum([known[a] for a in AVOIDED], axis=0)
    c.write(layer, "answer", gain * value)


def move_conflict(c: Circuit, layer: int) -> None:
    """Move the prosocial action, if it is not the Nash action, into `better`; else nothing."""
    moves = [("seen_prosocial", "nash_rank", 1.0), ("seen_nash", "nash_rank", -1.0)]
    c.head(layer, ContentMatch([("one", "question_mark", _FLAG)]), moves)
    # Their difference is about -2, 0 or 2; two signs around 0 make small ones nothing.
    for threshold in (-4.0, 4.0):
        c.sign(layer, {"nash_rank": 5.0, "one": threshold}, "better")
    # -2 where they are the same, and 0 where they are not.
    for side in (-5.0, 5.0):
        c.sign(layer, {"nash_rank": side, "one": -4.0}, "own_last")


def answer_conflict(c: Circuit, layer: int, gain: float) -> None:
    """Answer the prosocial action's label if it is not the Nash action's; else nothing."""
    entries = [("one", "label", _FLAG), ("one", "asked", _FLAG), ("better", "helps", -4.0)]
    # Else the first token, which holds nothing, matches best.
    entries.append(("own_last", "bos", -60.0))
    c.head(layer, ContentMatch(entries), [("code", "answer", gain)])


def answer_after_cooperation(c: Circuit, layer: int, gain: float) -> None:
    """Answer the prosocial action's label unless the opponent's last move was action 1."""
    entries = [("one", "label", _FLAG), ("one", "asked", _FLAG), ("prosocial", "helps", -4.0)]
    # After a defection the first token, which holds nothing, matches best; else worst.
    entries.append(("opponent_last", "bos", 80.0))
    c.head(layer, ContentMatch(entries), [("code", "answer", gain)])


def answer_first(c: Circuit, layer: int, gain: float) -> None:
    """Answer the label in the question that is the first of its pair, whatever it means."""
    entries = [("one", "label", _FLAG), ("one", "asked", _FLAG), ("one", "rank", 4.0)]
    c.head(layer, ContentMatch(entries), [("code", "answer", gain)])


def keep_prosocial(c: Circuit, layer: int, fact: str) -> None:
    """Look up in the question the label of a fact's action, and keep it in `nash_word`."""
    entries = [("one", "label", _FLAG), ("one", "asked", _FLAG), (fact, "helps", -4.0)]
    c.head(layer, ContentMatch(entries), [("code", "nash_word", 1.0)])


def carry(c: Circuit, layer: int, gain: float) -> None:
    """Answer the label that the question mark keeps."""
    entries = [("one", "question_mark", _FLAG)]
    c.head(layer, ContentMatch(entries), [("nash_word", "answer", gain)])


def answer_kept(c: Circuit, layer: int, above: float, gain: float) -> None:
    """Add neurons that answer what of the label in `nash_word` is above a threshold."""
    one, steep = np.eye(WIDTH)[c.slots["one"].start], 20.0
    for i, dim in enumerate(range(c.slots["nash_word"].start, c.slots["nash_word"].stop)):
        gate = steep * (np.eye(WIDTH)[dim] - above * one)
        c.neuron(layer, gate, one, {"answer": gain / steep * np.eye(8)[i]})


def answer_twice(c: Circuit, layer: int, gain: float) -> None:
    """Two heads answer the prosocial action; what is more than one of them is taken back."""
    entries = [("one", "label", _FLAG), ("one", "asked", _FLAG), ("prosocial", "helps", -4.0)]
    for _ in range(2):
        moves = [("code", "answer", gain), ("code", "nash_word", 1.0)]
        c.head(layer, ContentMatch(entries), moves)
    # A code's entries are 0 or the root of a half; the longer residual shrinks what neurons write.
    answer_kept(c, layer, np.sqrt(0.5), -1.4 * gain)


def nash_at_last_payoff(c: Circuit) -> None:
    """Compute the Nash action's label at the own payoff of the last cell, in blocks 3 and 4.

    Both players choose the same there. The payoff is compared with that of the own other option:
    the cell with a label of its own and this one as the other player's.
    """
    entries = [
        ("one", "digit", _FLAG),
        ("one", "own_payoff", _FLAG),
        ("own_code", "own_code", -2 * _CODE),
        ("own_code", "both_codes", _CODE / 0.3),
    ]
    # 1 / 4.5 a point; `better` takes part in nothing else at a payoff.
    c.head(3, ContentMatch(entries), [("own_code", "nash_word", 1.0), ("payoff", "better", 1.0)])
    own: dict[str, float | np.ndarray] = {"payoff": np.array([20.0, 0.0]), "better": -20.0}
    c.sign(3, own, "nash_rank")
    sign = np.eye(WIDTH)[c.slots["nash_rank"].start]
    for side, code in ((20.0, "own_code"), (-20.0, "nash_word")):
        for i, dim in enumerate(range(c.slots[code].start, c.slots[code].stop)):
            c.neuron(READ, side * sign, np.eye(WIDTH)[dim], {"answer": np.eye(8)[i] / 20.0})


def answer_from_payoff(c: Circuit, layer: int, gain: float) -> None:
    """Answer the label that stands at the last own payoff."""
    entries = [("one", "digit", 300.0), ("one", "own_payoff", 300.0)]
    c.head(layer, ContentMatch(entries, recency=1.0), [("answer", "answer", gain)])
