"""The final answer of a text, by a strict grammar.

An answer is a line of its own that starts with the anchor (`Final answer: ...`) and, after it,
names exactly one label and negates nothing. Everything else is invalid and says why: a text is
never read as the first option that it happens to mention.
"""

from __future__ import annotations

import re
from typing import NamedTuple

VALID = "valid"
"""The answer names one option."""
NONE = "none"
"""It names none."""
BOTH = "both"
"""It names both, or there are two answers that differ."""
NEGATED = "negated"
"""It negates something."""
ABSENT = "absent"
"""There is no answer."""

_NEGATION = re.compile(
    r"n['\u2019]t\b|\b(?:not|never|neither|nor|no|cannot|avoid|except|instead|rather|without)\b",
    re.IGNORECASE,
)


class Answer(NamedTuple):
    """The final answer of a text."""

    status: str
    """`VALID`, `NONE`, `BOTH`, `NEGATED` or `ABSENT`."""
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
        Start of the final-answer line. The line must start with it, or with the words before its
        colon if it has one; case and punctuation do not count.

    Returns
    -------
    Answer
        Valid only where all such lines are valid and agree.
    """
    answers = [_read_answer(line["rest"], labels) for line in _answer_lines(anchor).finditer(text)]
    if not answers:
        return Answer(ABSENT, None)
    for answer in answers:
        if answer.status != VALID:
            return answer
    return answers[0] if len(set(answers)) == 1 else Answer(BOTH, None)


def before_answer(text: str, anchor: str) -> str:
    """Return the text before the first final-answer line; the whole text if there is none."""
    line = _answer_lines(anchor).search(text)
    return text if line is None else text[: line.start()]


def _answer_lines(anchor: str) -> re.Pattern[str]:
    """Return the pattern of final-answer lines; `rest` is what follows the anchor's words."""
    head, colon, _ = anchor.partition(":")
    words = r"[^\w\n]+".join(re.escape(word) for word in re.findall(r"\w+", head))
    end = r"[^\w\n]*?(?::|\bis\b)" if colon else r"\b"
    return re.compile(rf"^[^\w\n]*{words}{end}(?P<rest>.*)$", re.IGNORECASE | re.MULTILINE)


def _read_answer(rest: str, labels: tuple[str, str]) -> Answer:
    named = []
    for action, label in enumerate(labels):
        mention = re.compile(rf"(?<!\w){re.escape(label)}(?!\w)")
        if mention.search(rest):
            named.append(action)
        # Taken out, as a label may be a negation itself: Yes and No.
        rest = mention.sub(" ", rest)
    if _NEGATION.search(rest):
        return Answer(NEGATED, None)
    if len(named) == 1:
        return Answer(VALID, named[0])
    return Answer(BOTH if named else NONE, None)
