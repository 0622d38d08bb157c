"""How a planted model reads the game: blocks 1 to 4, which all of them share.

The models really compute both actions from the payoffs in the text, at tokens that come before the
decision:

1. each token gets the words just before it (a move that was chosen, an own payoff);
2. each own payoff of the four cells gets the two labels of its cell;
3. each label looks up the own payoff of each cell and adds up. The label that pays more when the
   other player chooses it is *action 0* (it helps); the label that pays more when it is chosen
   oneself is the *Nash action*, if one action dominates;
4. the question mark gathers, as -1 (action 0) or 1 (action 1): the Nash action, the prosocial
   action (the better of the two cells in which both do the same), and both players' last moves.

That is right in every game of one-digit payoffs in which one action dominates, action 0 helps the
other player, and the sum of payoffs is largest where both do the same: of the catalogue, the
Prisoner's Dilemma, Harmony, Deadlock and Concord. Labels are single capitals other than I, or the
words of these games' actions.

A random *background* is added to the slots of the planted facts. It cannot distinguish digits, so
it knows no action: what is absent is absent by construction, and still has to be distinguished from
noise.
"""

from __future__ import annotations

import itertools
import string

import numpy as np

from nashlens.planted.circuit import (
    LETTERS,
    N_LAYERS,
    WORDS,
    Circuit,
    ContentMatch,
    FixedOffset,
)

READ = 4
"""Blocks that read the game: a fact can be at the decision from the next one on."""
FACTS = ("opponent_last", "own_last", "nash", "prosocial")
FIRSTS = (*"JXPABCDE", WORDS[0])
"""Labels that are the first of their pair; all others are the second."""
NAMED = "JFXYPQBG"
"""Labels that `word` tells apart; all others are nothing to it."""
FLAG, CODE = 40.0, 24.0
"""Scores of a slot that is 1 where it is there at all, and of a label's code."""
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
    c.head(1, ContentMatch([("one", "do", FLAG)]), [("do", "asked", 1.0)])
    # 2. "option J and the other player chooses option F, you get 3": 11 and 4 tokens back.
    c.head(2, FixedOffset(11), [("code", "own_code", 1.0), ("code", "both_codes", 0.3)])
    c.head(2, FixedOffset(4), [("code", "both_codes", 0.3)])
    # 3. At each label, the own payoff of each cell. The label's code matches `own_code` once if the
    # player chose it, and `both_codes` as often as it was chosen.
    payoff = [("label", "digit", FLAG), ("label", "own_payoff", FLAG)]
    for cell, own, chosen in (
        ("both", 0.0, 1.0),
        ("own_only", 2.0, -1.0),
        ("other_only", -2.0, 1.0),
        ("neither", 0.0, -1.0),
    ):
        met = [
            ("code", "own_code", CODE * own),
            ("code", "both_codes", CODE / 0.3 * chosen),
        ]
        c.head(3, ContentMatch([*payoff, *met]), [("payoff", cell, 1.0)])
    # Sums of two payoffs differ by two points or more, and a point is worth 1 / 4.5.
    c.sign(3, {"both": 5.0, "other_only": 5.0, "own_only": -5.0, "neither": -5.0}, "helps")
    c.sign(3, {"both": 5.0, "own_only": 5.0, "other_only": -5.0, "neither": -5.0}, "pays")
    # 4. All of it at the question mark.
    asked = [("question_mark", "label", FLAG), ("question_mark", "asked", FLAG)]
    helping = ContentMatch([*asked, ("question_mark", "helps", 30.0)])
    harming = ContentMatch([*asked, ("question_mark", "helps", -30.0)])
    c.head(4, helping, [("pays", "seen_nash", -1.0), ("both", "better", 1.0)])
    c.head(4, harming, [("both", "better", -1.0)])
    c.sign(4, {"better": -14.0}, "seen_prosocial")
    for who, target in (("after_player", "seen_opponent_last"), ("after_you", "seen_own_last")):
        c.head(4, latest("question_mark", who), [("helps", target, -1.0)])
    for layer in range(1, N_LAYERS + 1):
        _background(c, layer)


def latest(query: str, who: str) -> ContentMatch:
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
