"""The words of the prompts, and nothing else.

A prompt has an opening (with the game's title only in the template `named`), the four payoff cells,
the aim, one line for each round played, and the question. What does not change in a match comes
first and each round adds its lines at the end, so a later round's prompt starts with the tokens of
the earlier ones and a forward pass can share them.

Every text is short on purpose: about 150 tokens of rules and at most 25 a round.
"""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass

from nashlens.games.catalog import CATALOG


@dataclass(frozen=True)
class Template:
    """One wording of a game. All wordings speak of options, so that one answer prefix fits all."""

    opening: str
    """First sentence, with `{rounds}`, and with `{title}` if it names the game."""
    together: str
    """Both seats choose at the same time."""
    first: str
    """The asked seat chooses first."""
    second: str
    """The asked seat sees the other's choice before its own."""
    cell: str
    """One payoff cell, from the asked seat's own view."""
    played: str
    """One round that was played."""
    aim: str
    other: str = "the other player"
    unit: str = "points"
    heading: str = ""
    """A line before the cells."""


def _choices(other: str, gain: str, end: str) -> tuple[str, str, str]:
    options = "option {first} or option {second}"
    return (
        f"In each round you both choose {options} at the same time and {gain}{end}",
        f"In each round you choose {options} first, then {other} sees your choice and makes one,"
        f" and you both {gain}{end}",
        f"In each round {other} chooses {options} first, then you see that choice and make one,"
        f" and you both {gain}{end}",
    )


_OPENING = "You and another player play a game for {rounds}."
_POINTS = _choices("the other player", "get points", ":")
_CELL = (
    "If you choose option {own} and the other player chooses option {other},"
    " you get {own_payoff} and the other player gets {other_payoff}."
)
_PLAYED = (
    "Round {round}: you chose option {own} and got {own_payoff};"
    " the other player chose option {other} and got {other_payoff}."
)
_AIM = "Your aim is to get as many points as you can."

TEMPLATES: dict[str, Template] = {
    "neutral": Template(_OPENING, *_POINTS, _CELL, _PLAYED, _AIM),
    "named": Template(
        'You and another player play a game called "{title}" for {rounds}.',
        *_POINTS,
        _CELL,
        _PLAYED,
        _AIM,
    ),
    "cover": Template(
        "You and another trader keep two stalls at a market for {rounds}.",
        *_choices("the other trader", "earn coins", ":"),
        "If you choose option {own} and the other trader chooses option {other},"
        " you earn {own_payoff} and the other trader earns {other_payoff}.",
        "Round {round}: you chose option {own} and earned {own_payoff};"
        " the other trader chose option {other} and earned {other_payoff}.",
        "Your aim is to earn as many coins as you can.",
        other="the other trader",
        unit="coins",
    ),
    "table": Template(
        _OPENING,
        *_choices("the other player", "get points", ", as this table says:"),
        "{own} | {other} | {own_payoff} | {other_payoff}",
        _PLAYED,
        _AIM,
        heading="Your option | Other player's option | Your points | Other player's points",
    ),
}
"""`neutral` gives the payoffs in sentences; `named` adds the game's title; `cover` tells a story of
two traders; `table` gives the payoffs as a table."""

QUESTION = "Round {round}: do you choose option {first} or option {second}?"
SEEN = "Round {round}: {player} has chosen option {seen}."
SAID = "Round {round}: you said {own}; {player} said {other}."
NOTHING = "nothing"
NOTES = 'Your private notes: "{notes}"'

THINK = (
    ' Think about it briefly first. Then end with the line "{anchor} {first}"'
    ' or "{anchor} {second}".'
)
WRITE_NOTES = (
    "Before round {round}, write down in a few words what you want to remember. These private"
    " notes replace your earlier ones, and nobody else sees them."
)
WRITE_MESSAGE = (
    "Before round {round}, write one short message to {player}, who sees it before choosing."
)
NOTES_PREFIX = "My notes:"
MESSAGE_PREFIX = "My message:"

_IF = "If you choose option {own} and {player} chooses option {other}, how many {unit}"
QUIZ = {
    "rule_own": (_IF + " do you get?", "I get"),
    "rule_other": (_IF + " does {player} get?", "{Player} gets"),
    "move_own": ("Which option did you choose in round {round}?", "I chose option"),
    "move_other": (
        "Which option did {player} choose in round {round}?",
        "{Player} chose option",
    ),
    "gain_own": ("How many {unit} did you get in round {round}?", "I got"),
    "gain_other": ("How many {unit} did {player} get in round {round}?", "{Player} got"),
}
"""Kinds of quiz questions on rules and history: the question and the start of its answer."""
EXPECT = (
    "Which option does {player} choose in round {round}, {first} or {second}?",
    "In round {round} {player} chooses option",
)
"""What the other is expected to do: the question and the start of its answer."""

UNKNOWN_HORIZON = "several rounds"
ONE_ROUND = "1 round"
KNOWN_HORIZON = "{count} rounds"

SYSTEM = "You are playing a game with another player."
"""The config's default system message."""
ASSISTANT_PREFIX = "I choose option"
"""The config's default start of the answer."""
ANCHOR = "Final answer: option"
"""The config's default start of the final-answer line, in mode cot."""

_FIELD = re.compile(r"\{\w+\}")
_WORD = re.compile(r"[A-Za-z]+|\d|[^\sA-Za-z\d]")


def vocabulary() -> list[str]:
    r"""Return every word and punctuation mark that a prompt can hold, sorted.

    Returns
    -------
    list of str
        Matches of `[A-Za-z]+|\d|[^\sA-Za-z\d]` in the texts of this module and the canonical
        titles and names of actions, the signs of numbers, all digits, and the letters A to Z as
        labels. Titles, actions and labels from a config are not among them.
    """
    texts = [text for template in TEMPLATES.values() for text in astuple(template)]
    texts += [QUESTION, SEEN, SAID, NOTHING, NOTES, THINK, WRITE_NOTES, WRITE_MESSAGE]
    texts += [text for pair in (*QUIZ.values(), EXPECT) for text in pair] + [
        "The other",
        "the other",
    ]
    texts += [NOTES_PREFIX, MESSAGE_PREFIX, SYSTEM, ASSISTANT_PREFIX, ANCHOR]
    texts += [UNKNOWN_HORIZON, ONE_ROUND, KNOWN_HORIZON, "0 1 2 3 4 5 6 7 8 9 - ."]
    texts += [game.title for game in CATALOG.values()]
    texts += [name.capitalize() for game in CATALOG.values() for name in game.actions]
    texts += [chr(code) for code in range(ord("A"), ord("Z") + 1)]
    return sorted({word for text in texts for word in _WORD.findall(_FIELD.sub(" ", text))})
