"""The tokens of a prompt at which pieces of its text end.

`View` knows the lines that it makes; their ends are characters of the user message, which the chat
template puts somewhere into the text; a tokenizer says which characters each token covers. The
token of a piece is the one that holds its last character. It may hold more: some tokenizers make
one token of a full stop and the line break after it.
"""

from __future__ import annotations

from collections.abc import Sequence

from nashlens.errors import LabelError
from nashlens.prompts import templates
from nashlens.prompts.labels import PromptTokenizer
from nashlens.prompts.render import View, action_question
from nashlens.vocabulary.positions import DECISION, OPTIONS, PAYOFFS, round_position


def piece_ends(view: View) -> tuple[str, dict[str, int]]:
    """Return a decision's user message, and where its pieces end.

    Parameters
    ----------
    view : View
        What the seat knows.

    Returns
    -------
    text : str
        The content of the user message of `decision_messages`.
    ends : dict of str to int
        For each position but `decision`, as far as the message has it: the number of characters
        up to the end of its piece.
    """
    stem, cells, played = view.stem(), view.cell_lines, view.round_lines
    lines = [*stem, *view.this_round(), action_question(view)]
    # Where each line ends: its own length and those before, with a line break after each of them.
    after, total = [], -1
    for line in lines:
        total += len(line) + 1
        after.append(total)
    ends = {name: after[line] for name, line in zip(PAYOFFS, cells, strict=True)}
    ends |= {round_position(back): after[line] for back, line in enumerate(reversed(played))}
    start = after[-1] - len(lines[-1])
    for name, field in zip(OPTIONS, ("{first}", "{second}"), strict=True):
        question = templates.QUESTION
        upto = question[: question.index(field) + len(field)]
        ends[name] = start + len(view.with_options(upto, round=view.round))
    return "\n".join(lines), ends


def find_positions(
    tokenizer: PromptTokenizer, view: View, text: str, ids: Sequence[int], names: Sequence[str]
) -> dict[str, int | None]:
    """Return the token of each position of a decision prompt.

    Parameters
    ----------
    tokenizer : PromptTokenizer
    view : View
        What the seat knows.
    text : str
        The rendered prompt.
    ids : sequence of int
        Its token ids.
    names : sequence of str
        Positions, see `nashlens.vocabulary.positions`.

    Returns
    -------
    dict of str to int or None
        Indices into `ids`, by name; None for a round that the history lacks.

    Raises
    ------
    LabelError
        If the chat template changes the user message, or a token cannot be told.
    """
    found: dict[str, int | None] = dict.fromkeys(names)
    if DECISION in found:
        found[DECISION] = len(ids) - 1
    wanted = [name for name in names if name != DECISION]
    if not wanted:
        return found
    content, ends = piece_ends(view)
    start, spans = find_content(tokenizer, content, text, ids)
    for name in wanted:
        if name in ends:
            found[name] = _token_at(tokenizer, spans, text, start + ends[name] - 1)
    return found


def find_content(
    tokenizer: PromptTokenizer, content: str, text: str, ids: Sequence[int]
) -> tuple[int, list[tuple[int, int]]]:
    """Return where the user message starts in a prompt's text, and the characters of each token.

    Raises
    ------
    LabelError
        If the chat template changes the user message, or tokens cannot be told.
    """
    if text.count(content) != 1:
        raise LabelError(
            f"{tokenizer.name}: the chat template does not hold the question word for word, so its"
            " positions cannot be found; set activations.positions to [decision] and patching to"
            " null"
        )
    spans = tokenizer.spans(text)
    if len(spans) != len(ids):
        raise LabelError(
            f"{tokenizer.name}: found the characters of {len(spans)} tokens in a prompt of"
            f" {len(ids)}; set activations.positions to [decision] and patching to null"
        )
    return text.index(content), spans


def _token_at(
    tokenizer: PromptTokenizer, spans: Sequence[tuple[int, int]], text: str, character: int
) -> int:
    # A character of several bytes may be cut into several tokens: it ends with the last of them.
    holding = [i for i, (first, end) in enumerate(spans) if first <= character < end]
    if not holding:
        raise LabelError(
            f"{tokenizer.name}: no token holds the end of {text[: character + 1][-30:]!r}; set"
            " activations.positions to [decision]"
        )
    return holding[-1]
