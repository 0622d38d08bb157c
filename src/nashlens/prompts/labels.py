"""Prompts and labels as token ids, with the checks that the scores of labels need.

P(label) is the probability of the label's whole token sequence after the prompt. So the prompt's
tokens must stay the same when the label is added, and neither label's sequence may start with the
other's. Both may begin with the same tokens (*option one*, *option two*).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from nashlens.errors import LabelError
from nashlens.prompts.render import render, with_system


class PromptTokenizer(Protocol):
    """What prompts need of a tokenizer."""

    @property
    def name(self) -> str:
        """Name for error messages."""

    @property
    def bos_id(self) -> int | None:
        """The token that starts every sequence and occurs only there; None if there is none.

        It is also None where the tokenizer names a BOS that it does not add, as for models whose
        "BOS" is the mark that opens each turn.
        """

    @property
    def max_length(self) -> int | None:
        """The most tokens that the model takes; None if that is not known."""

    @property
    def special_tokens(self) -> Sequence[str]:
        """The texts of the tokens that no text is split into, such as marks of turns."""

    def encode(self, text: str) -> list[int]:
        """Return token ids, with a BOS in front if the model uses one and the text lacks it."""

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Return what `encode` gives for each text."""

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the characters, from and up to, that each token of `encode` covers."""

    def last_piece(self, text: str) -> str:
        """Return the end of a text whose tokens do not depend on what comes before it."""

    def chat(self, messages: list[dict[str, str]]) -> str:
        """Return the messages in the model's template, up to where its answer starts."""

    def template_note(self, *, system: bool) -> str:
        """Say what `chat` mends of the model's template, with or without a system message."""


def prompt_id(ids: Sequence[int]) -> str:
    """Return the prompt id: 32 hexadecimal digits of the token ids' SHA-256.

    Parameters
    ----------
    ids : sequence of int
        Token ids; hashed as little-endian int32.
    """
    return hashlib.sha256(np.asarray(ids, dtype="<i4").tobytes()).hexdigest()[:32]


def check_words(tokenizer: PromptTokenizer, texts: Iterable[str | None]) -> None:
    """Check texts that prompts will hold: a special token in one would end a turn or start one.

    Raises
    ------
    LabelError
        If there is one.
    """
    for text in filter(None, texts):
        for mark in tokenizer.special_tokens:
            if mark and mark in text:
                raise LabelError(
                    f"{tokenizer.name}: {text!r} holds {mark!r}, a special token of the model;"
                    " write it in another way"
                )


def encode_prompt(tokenizer: PromptTokenizer, text: str) -> list[int]:
    """Return a prompt's token ids.

    Raises
    ------
    LabelError
        If there are none, or if the tokenizer has a BOS and the ids do not hold it exactly once,
        at the start.
    """
    ids = tokenizer.encode(text)
    _check_prompt(tokenizer, text, ids)
    return ids


def _check_prompt(tokenizer: PromptTokenizer, text: str, ids: list[int]) -> None:
    if not ids:
        raise LabelError(f"{tokenizer.name}: the prompt {text!r} has no tokens")
    bos = tokenizer.bos_id
    if bos is not None and (ids[0] != bos or ids.count(bos) != 1):
        raise LabelError(
            f"{tokenizer.name}: a prompt holds the BOS token {bos} {ids.count(bos)} times and "
            f"starts with {ids[0]}: exactly one BOS must stand first; look at the model's chat "
            "template and at what its tokenizer adds"
        )


def tokens_after(prompt: list[int], whole: list[int]) -> list[int] | None:
    """Return the tokens of a longer text after its prompt's; None if it changes the prompt's."""
    return whole[len(prompt) :] if whole[: len(prompt)] == prompt else None


class EncodedPrompt(NamedTuple):
    """A prompt's token ids, and those of its two labels."""

    ids: list[int]
    labels: tuple[list[int], list[int]]
    """Tokens of the labels of action 0 and action 1 after the prompt."""

    @property
    def n_tokens_with_label(self) -> int:
        """Number of tokens of the prompt and the longer label."""
        return len(self.ids) + max(len(label) for label in self.labels)

    @property
    def n_shared(self) -> int:
        """Number of first tokens that the two labels share."""
        pairs = enumerate(zip(*self.labels, strict=False))
        return next(place for place, (first, second) in pairs if first != second)


def encode_labels(tokenizer: PromptTokenizer, text: str, labels: tuple[str, str]) -> EncodedPrompt:
    """Return token ids of one prompt and of the two labels after it; see `encode_prompts`."""
    return encode_prompts(tokenizer, [text], [labels])[0]


def encode_prompts(
    tokenizer: PromptTokenizer, texts: Sequence[str], labels: Sequence[tuple[str, str]]
) -> list[EncodedPrompt]:
    """Return token ids of prompts and of the two labels after each.

    Parameters
    ----------
    tokenizer : PromptTokenizer
        The model's.
    texts : sequence of str
        Rendered prompts. A space joins a prompt and a label unless it ends in white space.
    labels : sequence of pairs of str
        For each prompt, the labels of action 0 and of action 1.

    Returns
    -------
    list of EncodedPrompt
        The prompt's ids followed by a label's are the encoding of the whole text.

    Raises
    ------
    LabelError
        If a label changes the prompt's own tokens, if one label's tokens start with the other's,
        or if there is not exactly one BOS.
    """
    # A label can change no token before the text's last piece, and the last pieces of a match's
    # prompts are the same few words: only these are encoded with each label.
    pieces = [tokenizer.last_piece(text) for text in texts]
    ends = dict.fromkeys(
        end
        for piece, pair in zip(pieces, labels, strict=True)
        for end in (piece, *(_with_label(piece, label) for label in pair))
    )
    encoded = tokenizer.encode_many([*texts, *ends])
    ids_of = dict(zip(ends, encoded[len(texts) :], strict=True))
    result = []
    for text, piece, pair, ids in zip(texts, pieces, labels, encoded, strict=False):
        _check_prompt(tokenizer, text, ids)
        last = ids_of[piece]
        if piece != text and tokenizer.bos_id is not None and last[:1] == [tokenizer.bos_id]:
            last = last[1:]
        if ids[-len(last) :] != last:
            raise LabelError(
                f"{tokenizer.name}: {piece!r} is not encoded by itself after what stands before "
                "it in the prompt; its tokenizer cuts texts in a way that is not supported"
            )
        wholes = [ids_of[_with_label(piece, label)] for label in pair]
        tokens = _label_tokens(tokenizer, piece, pair, ids_of[piece], wholes)
        for label_ids in tokens:
            _check_prompt(tokenizer, text, ids + label_ids)
        result.append(EncodedPrompt(ids, tokens))
    return result


def _with_label(text: str, label: str) -> str:
    return f"{text}{'' if text[-1:].isspace() else ' '}{label}"


def _label_tokens(
    tokenizer: PromptTokenizer,
    text: str,
    labels: tuple[str, str],
    prompt_ids: list[int],
    wholes: Sequence[list[int]],
) -> tuple[list[int], list[int]]:
    """Return the tokens of both labels after a text, from its ids with each of them."""
    tokens = []
    for label, whole in zip(labels, wholes, strict=True):
        after = tokens_after(prompt_ids, whole)
        if not after:
            raise LabelError(
                f"{tokenizer.name}: label {label!r} changes the tokens of the prompt before it, "
                f"which ends in {text[-20:]!r}; choose another label, or an assistant_prefix "
                "that ends in a whole word"
            )
        tokens.append(after)
    first, second = tokens
    if first == second:
        raise LabelError(
            f"{tokenizer.name}: both labels of {list(labels)} become the tokens {first}, as words"
            " that a tokenizer does not know do; choose labels that it tells apart"
        )
    if first[: len(second)] == second or second[: len(first)] == first:
        raise LabelError(
            f"{tokenizer.name}: the tokens of one of the labels {list(labels)} start with all of "
            f"the other's ({first} and {second}), so they cannot be told apart; choose others"
        )
    return first, second


def check_label_sets(
    tokenizer: PromptTokenizer,
    label_sets: Mapping[str, Sequence[str] | str],
    assistant_prefix: str,
    actions: Mapping[str, Sequence[str]] | None = None,
    system: str | None = None,
) -> list[str]:
    """Return every problem of the label sets with a tokenizer, one line each.

    Parameters
    ----------
    tokenizer : PromptTokenizer
        The model's.
    label_sets : mapping of str to two str, or to `actions`
        By name, as in the config's `prompts.label_sets`.
    assistant_prefix : str
        Start of the answer.
    actions : mapping of str to two str, optional
        By game: the labels that `actions` gives.
    system : str, optional
        System message.

    Returns
    -------
    list of str
        Empty if there is none.
    """
    text = render(with_system("?", system), tokenizer.chat, assistant_prefix)
    problems = []
    pairs: dict[frozenset[str], str] = {}
    for name, labels in label_sets.items():
        key = f"prompts.label_sets.{name}"
        if isinstance(labels, str):
            for game, own in (actions or {}).items():
                found = _scoring_problems(tokenizer, text, own)
                problems += [f"{key}: in game {game} {list(own)}: {line}" for line in found]
            continue
        found = _pair_problems(labels)
        twin = pairs.setdefault(frozenset(labels), name)
        if twin != name:
            found.append(f"the same labels as label set {twin}; leave one out")
        found = found or _scoring_problems(tokenizer, text, labels)
        problems += [f"{key}: {list(labels)}: {problem}" for problem in found]
    return problems


def _scoring_problems(tokenizer: PromptTokenizer, text: str, labels: Sequence[str]) -> list[str]:
    try:
        encode_labels(tokenizer, text, (labels[0], labels[1]))
    except LabelError as error:
        return [str(error)]
    return []


def _pair_problems(labels: Sequence[str]) -> list[str]:
    if len(labels) != 2:
        return ["give two labels"]
    problems = []
    for label in labels:
        if not label or label != " ".join(label.split()):
            problems.append(f"label {label!r} is empty or has spare white space; write it plainly")
    if labels[0].casefold() == labels[1].casefold():
        problems.append("the two labels must differ in more than case")
    return problems
