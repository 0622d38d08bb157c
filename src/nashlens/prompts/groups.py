"""The tokens of a decision prompt in named groups: which piece of its text each token belongs to.

A token belongs to the piece that holds its last character that is not blank: `J` with the space
before it to the option, a full stop with the line break after it to its sentence. A token that
holds a character of an option in the question belongs to that option. So the token of a position
(`nashlens.prompts.positions`) is in the group of its name. Every token has one group:

========================  ====================================================================
``system``                all before the user's message
``opening``               the first sentences: what is played
``payoff_1`` to ``4``     a payoff sentence, or table line, as listed
``round_last`` ..         a round played, counted from the last
``question``              the question, without its two options
``option_first``          the label that the question lists first
``option_second``         the label that the question lists second
``answer``                all after the question but the decision: the start of the answer
``decision``              the last token
``rest``                  all else: headings, the aim, what this round brought so far
========================  ====================================================================
"""

from __future__ import annotations

from collections.abc import Sequence

from nashlens.errors import LabelError
from nashlens.prompts.labels import PromptTokenizer
from nashlens.prompts.positions import find_content, piece_ends
from nashlens.prompts.render import View
from nashlens.vocabulary.positions import (
    ANSWER,
    DECISION,
    OPENING,
    OPTIONS,
    PAYOFFS,
    QUESTION,
    REST,
    SYSTEM,
    round_position,
)

_SEVERAL = {"payoffs": "payoff_", "options": "option_", "rounds": "round_last"}
"""Name of several groups -> how the name of each starts."""


def token_groups(
    tokenizer: PromptTokenizer, view: View, text: str, ids: Sequence[int]
) -> list[str]:
    """Return the group of each token of a decision prompt.

    Parameters
    ----------
    tokenizer : PromptTokenizer
    view : View
        What the seat knows.
    text : str
        The rendered prompt.
    ids : sequence of int
        Its token ids.

    Returns
    -------
    list of str
        As long as `ids`.

    Raises
    ------
    LabelError
        If the chat template changes the user message, or a token cannot be told.
    """
    content, ends = piece_ends(view)
    start, spans = find_content(tokenizer, content, text, ids)
    of_character = _character_groups(view, content, ends)
    options = {start + k for k, name in enumerate(of_character) if name in OPTIONS}
    groups = []
    for first, end in spans:
        inside = [k for k in range(first, end) if k in options]
        seen = [k for k in range(first, end) if not text[k].isspace()]
        # A token of blanks only belongs to where it starts; one of no character to what is before.
        place = inside[0] if inside else seen[-1] if seen else first
        if place < start or end == 0:
            groups.append(SYSTEM)
        else:
            after = place - start >= len(content)
            groups.append(ANSWER if after else of_character[place - start])
    groups[-1] = DECISION
    return groups


def _character_groups(view: View, content: str, ends: dict[str, int]) -> list[str]:
    """Return the group of each character of the user message; line breaks end their line."""
    lines = content.split("\n")
    names = [REST] * len(lines)
    names[0], names[-1] = OPENING, QUESTION
    for name, line in zip(PAYOFFS, view.cell_lines, strict=True):
        names[line] = name
    for back, line in enumerate(reversed(view.round_lines)):
        names[line] = round_position(back)
    groups = [name for name, line in zip(names, lines, strict=True) for _ in range(len(line) + 1)]
    for name, action in zip(OPTIONS, view.surface.order, strict=True):
        size = len(view.surface.label(action))
        groups[ends[name] - size : ends[name]] = [name] * size
    return groups


def group_indices(groups: Sequence[str], wanted: Sequence[str] = ()) -> dict[str, list[int]]:
    """Return the tokens of each group.

    Parameters
    ----------
    groups : sequence of str
        The group of each token.
    wanted : sequence of str
        Names of groups, or `payoffs`, `options`, `rounds` and `all` for several together; by
        default every single group that occurs.

    Returns
    -------
    dict of str to list of int
        A wanted group that the prompt lacks has no tokens.
    """
    return {
        name: [k for k, group in enumerate(groups) if _belongs(group, name)]
        for name in wanted or dict.fromkeys(groups)
    }


def _belongs(group: str, name: str) -> bool:
    return name in (group, "all") or (name in _SEVERAL and group.startswith(_SEVERAL[name]))


def differing_groups(groups: Sequence[str], ids: Sequence[int], other: Sequence[int]) -> list[str]:
    """Return the groups in which two prompts of equal length differ, in the prompt's order.

    Raises
    ------
    LabelError
        If their lengths differ.
    """
    if len(ids) != len(other):
        raise LabelError(f"prompts of {len(ids)} and {len(other)} tokens are not aligned")
    pairs = zip(groups, ids, other, strict=True)
    return list(dict.fromkeys(group for group, a, b in pairs if a != b))
