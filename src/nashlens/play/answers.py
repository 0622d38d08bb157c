"""The final answer of a text, by a strict grammar.

An answer is a line of its own that starts with the anchor (`Final answer: ...`) and, after it,
names exactly one label and negates nothing. Everything else is invalid and says why: a text is
never read as the first option that it happens to mention.
"""

from __future__ import annotations

import re
from typing import NamedTuple

VALID = "valid"
NONE = "none"
BOTH = "both"
NEGATED = "negated"
ABSENT = "absent"
STATUSES = (VALID, NONE, BOTH, NEGATED, ABSENT)
"""Names one option; names none; names both, or answers twice and not alike; negates; no answer."""

_NEGATION = re.compile(
    r"n['\u2019]t\b|\b(?:not|never|neither|nor|no|cannot|avoid|except|instead|rather|without)\b",
    re.IGNORECASE,
)


class Answer(NamedTuple):
    """What a text's final answer is."""

    status: str
    """One of `STATUSES`."""
    action: int | None
    """The action whose label it names; None unless the status is valid."""


def final_answer(text: str, labels: tuple[str, str], anchor: str) -> Answer:
    """Return the final answer of a text.

    Parameters
    ----------
    text : str
    labels : tuple of two str
        The labels of action 0 and of action 1; they count as whole words, in their own case.
    anchor : str
        Start of the final-answer line. Up to its colon, or whole where it has none, it must open
        the line (its case, and marks around its words, do not count).

    Returns
    -------
    Answer
        Of all such lines: valid only where each is and they agree.
    """
    answers = [_answer(line["rest"], labels) for line in _anchored(anchor).finditer(text)]
    if not answers:
        return Answer(ABSENT, None)
    for answer in answers:
        if answer.status != VALID:
            return answer
    return answers[0] if len(set(answers)) == 1 else Answer(BOTH, None)


def before_answer(text: str, anchor: str) -> str:
    """Return what stands before the first final-answer line; the whole text if there is none."""
    line = _anchored(anchor).search(text)
    return text if line is None else text[: line.start()]


def _anchored(anchor: str) -> re.Pattern[str]:
    head, colon, _ = anchor.partition(":")
    words = r"[^\w\n]+".join(re.escape(word) for word in re.findall(r"\w+", head))
    end = r"[^\w\n]*?(?::|\bis\b)" if colon else r"\b"
    return re.compile(rf"^[^\w\n]*{words}{end}(?P<rest>.*)$", re.IGNORECASE | re.MULTILINE)


def _answer(rest: str, labels: tuple[str, str]) -> Answer:
    named = []
    for action, label in enumerate(labels):
        mention = re.compile(rf"(?<!\w){re.escape(label)}(?!\w)")
        if mention.search(rest):
            named.append(action)
        # A label may be a negation itself, as in Yes and No.
        rest = mention.sub(" ", rest)
    if _NEGATION.search(rest):
        return Answer(NEGATED, None)
    if len(named) == 1:
        return Answer(VALID, named[0])
    return Answer(BOTH if named else NONE, None)
