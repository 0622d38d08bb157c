"""The words of the prompts, and nothing else.

A prompt reads: opening (with the game's title in the named template alone), the four payoff
cells, the aim, one line for each round played, the question. Everything that stays fixed in a
match comes first and each round adds its line at the end, so a later round's prompt starts with
the tokens of the earlier ones and a forward pass can share them.

Every text is short on purpose: about 150 tokens of rules and at most 25 a round.
"""

from __future__ import annotations

import re

from nashlens.games.catalog import CATALOG

OPENINGS = {
    "neutral": "You and another player play a game for {rounds}.",
    "named": 'You and another player play a game called "{title}" for {rounds}.',
}
"""By template: the first sentence. The templates differ in nothing else."""

TEMPLATES = tuple(OPENINGS)

CHOICE = (
    "In each round you both choose option {first} or option {second} at the same time"
    " and get points:"
)
CELL = (
    "If you choose option {own} and the other player chooses option {other},"
    " you get {own_payoff} and the other player gets {other_payoff}."
)
AIM = "Your aim is to get as many points as you can."
PLAYED = (
    "Round {round}: you chose option {own} and got {own_payoff};"
    " the other player chose option {other} and got {other_payoff}."
)
QUESTION = "Round {round}: do you choose option {first} or option {second}?"

UNKNOWN_HORIZON = "several rounds"
ONE_ROUND = "1 round"
KNOWN_HORIZON = "{count} rounds"

SYSTEM = "You are playing a game with another player."
"""The config's default system message."""
ASSISTANT_PREFIX = "I choose option"
"""The config's default start of the answer."""

_FIELD = re.compile(r"\{\w+\}")
_WORD = re.compile(r"[A-Za-z]+|\d|[^\sA-Za-z\d]")


def vocabulary() -> list[str]:
    r"""Return every word and punctuation mark that a prompt can hold, sorted.

    Returns
    -------
    list of str
        The pieces of `[A-Za-z]+|\d|[^\sA-Za-z\d]` in the texts of this module and the
        canonical titles, the signs of numbers, all digits, and the letters A to Z as labels.
        Titles and labels from a config are not in it.
    """
    texts = [*OPENINGS.values(), CHOICE, CELL, AIM, PLAYED, QUESTION, SYSTEM, ASSISTANT_PREFIX]
    texts += [UNKNOWN_HORIZON, ONE_ROUND, KNOWN_HORIZON, "0 1 2 3 4 5 6 7 8 9 - ."]
    texts += [game.title for game in CATALOG.values()]
    texts += [chr(code) for code in range(ord("A"), ord("Z") + 1)]
    return sorted({word for text in texts for word in _WORD.findall(_FIELD.sub(" ", text))})
