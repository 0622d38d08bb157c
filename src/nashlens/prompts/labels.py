"""Prompts and labels as token ids, with the checks that scoring labels rests on.

P(label) is the probability of the label's whole token sequence after the prompt. That needs the
prompt's tokens to stay as they are when the label is added, and neither label's sequence to start
with the other's. The lens reads the first tokens alone, so these must differ as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from nashlens.errors import LabelError
from nashlens.prompts.render import render


class ChatTokenizer(Protocol):
    """What prompts and play need of a tokenizer."""

    @property
    def name(self) -> str:
        """Name for messages."""

    @property
    def bos_id(self) -> int | None:
        """The token that starts every sequence exactly once; None if the model uses none.

        It is None as well where the tokenizer names a BOS that it does not add, as for models
        whose "BOS" is the mark that opens each turn.
        """

    @property
    def max_length(self) -> int | None:
        """The most tokens that the model takes; None if it is not known."""

    def encode(self, text: str) -> list[int]:
        """Return token ids, with one BOS in front if the model uses one and the text lacks it."""

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Return what `encode` gives for each text."""

    def last_piece(self, text: str) -> str:
        """Return the end of a text that is encoded by itself, whatever stands before it."""

    def chat(self, messages: list[dict[str, str]]) -> str:
        """Return the messages in the model's template, up to where its answer starts."""


def prompt_id(ids: Sequence[int]) -> str:
    """Return the prompt id: 32 hexadecimal digits of the token ids' SHA-256.

    Parameters
    ----------
    ids : sequence of int
        Token ids; hashed as little-endian int32.
    """
    return hashlib.sha256(np.asarray(ids, dtype="<i4").tobytes()).hexdigest()[:32]


def encode_prompt(tokenizer: ChatTokenizer, text: str) -> list[int]:
    """Return a prompt's token ids.

    Raises
    ------
    LabelError
        If there are none, or the tokenizer has a BOS and it does not stand first and only there.
    """
    return _checked(tokenizer, text, tokenizer.encode(text))


def _checked(tokenizer: ChatTokenizer, text: str, ids: list[int]) -> list[int]:
    """Return a prompt's token ids as they are, if there are some and the BOS is right."""
    if not ids:
        raise LabelError(f"{tokenizer.name}: the prompt {text!r} has no tokens")
    bos = tokenizer.bos_id
    if bos is not None and (ids[0] != bos or ids.count(bos) != 1):
        raise LabelError(
            f"{tokenizer.name}: a prompt holds the BOS token {bos} {ids.count(bos)} times and "
            f"starts with {ids[0]}: exactly one BOS must stand first; look at the model's chat "
            "template and at what its tokenizer adds"
        )
    return ids


class Encoded(NamedTuple):
    """A prompt's token ids, and those of the labels of action 0 and action 1 after it."""

    prompt: list[int]
    tokens_0: list[int]
    tokens_1: list[int]


def encode_many(
    tokenizer: ChatTokenizer, texts: Sequence[str], labels: Sequence[tuple[str, str]]
) -> list[Encoded]:
    """Return token ids of prompts and of the two labels after each.

    Parameters
    ----------
    tokenizer : ChatTokenizer
        The model's.
    texts : sequence of str
        Rendered prompts. A space joins a prompt and a label unless it ends in white space.
    labels : sequence of pairs of str
        For each, the labels of action 0 and of action 1.

    Returns
    -------
    list of Encoded
        Prompt plus label is the whole text's encoding.

    Raises
    ------
    LabelError
        If a label changes the prompt's own tokens, if one label's tokens start with the other's,
        if both start with the same token, or if there is not exactly one BOS.
    """
    # A label can change no token before the text's last piece, and the last pieces of a match's
    # prompts are the same few words: these alone are encoded with each label.
    pieces = [tokenizer.last_piece(text) for text in texts]
    ends = dict.fromkeys(
        part
        for piece, pair in zip(pieces, labels, strict=True)
        for part in (piece, *(_joined(piece, label) for label in pair))
    )
    encoded = tokenizer.encode_many([*texts, *ends])
    of = dict(zip(ends, encoded[len(texts) :], strict=True))
    result = []
    for text, piece, pair, ids in zip(texts, pieces, labels, encoded, strict=False):
        prompt = _checked(tokenizer, text, ids)
        last = of[piece] if piece == text else _without_bos(tokenizer, of[piece])
        if prompt[-len(last) :] != last:
            raise LabelError(
                f"{tokenizer.name}: {piece!r} is not encoded by itself after what stands before "
                "it in the prompt; its tokenizer cuts texts in a way that is not supported"
            )
        split = _split(tokenizer, piece, pair, of[piece], [of[_joined(piece, x)] for x in pair])
        for tokens in split[1:]:
            _checked(tokenizer, text, prompt + tokens)
        result.append(Encoded(prompt, split.tokens_0, split.tokens_1))
    return result


def _without_bos(tokenizer: ChatTokenizer, ids: list[int]) -> list[int]:
    return ids[1:] if tokenizer.bos_id is not None and ids[:1] == [tokenizer.bos_id] else ids


def _joined(text: str, label: str) -> str:
    return f"{text}{'' if text[-1:].isspace() else ' '}{label}"


def encode_labels(tokenizer: ChatTokenizer, text: str, labels: tuple[str, str]) -> Encoded:
    """Return a prompt's token ids and those of the two labels after it (`encode_many` of one).

    Parameters
    ----------
    tokenizer : ChatTokenizer
        The model's.
    text : str
        The rendered prompt. A space joins it and the label unless it ends in white space.
    labels : tuple of two str
        The labels of action 0 and of action 1.

    Returns
    -------
    prompt_ids, tokens_0, tokens_1 : list of int
        The prompt's tokens and each label's; prompt plus label is the whole text's encoding.

    Raises
    ------
    LabelError
        If a label changes the prompt's own tokens, if one label's tokens start with the other's,
        if both start with the same token, or if there is not exactly one BOS.
    """
    return encode_many(tokenizer, [text], [labels])[0]


def _split(
    tokenizer: ChatTokenizer,
    text: str,
    labels: tuple[str, str],
    prompt_ids: list[int],
    wholes: Sequence[list[int]],
) -> Encoded:
    tokens = []
    for label, whole in zip(labels, wholes, strict=True):
        if whole[: len(prompt_ids)] != prompt_ids or len(whole) == len(prompt_ids):
            raise LabelError(
                f"{tokenizer.name}: label {label!r} changes the tokens of the prompt before it, "
                f"which ends in {text[-20:]!r}; choose another label, or an assistant_prefix "
                "that ends in a whole word"
            )
        tokens.append(whole[len(prompt_ids) :])
    first, second = tokens
    if first[: len(second)] == second or second[: len(first)] == first:
        raise LabelError(
            f"{tokenizer.name}: the tokens of one of the labels {list(labels)} start with all of "
            f"the other's ({first} and {second}), so they cannot be told apart; choose others"
        )
    if first[0] == second[0]:
        raise LabelError(
            f"{tokenizer.name}: labels {list(labels)} share their first token {first[0]} "
            f"({first} and {second}), and the lens reads first tokens alone; choose others"
        )
    return Encoded(prompt_ids, first, second)


def check_label_sets(
    tokenizer: ChatTokenizer, label_sets: Mapping[str, Sequence[str]], assistant_prefix: str
) -> list[str]:
    """Return every problem of the label sets with a tokenizer, one line each.

    Parameters
    ----------
    tokenizer : ChatTokenizer
        The model's.
    label_sets : mapping of str to two str
        By name, as in the config's `prompts.label_sets`.
    assistant_prefix : str
        Start of the answer.

    Returns
    -------
    list of str
        Empty if all is well.
    """
    text = render([{"role": "user", "content": "?"}], tokenizer.chat, assistant_prefix)
    problems = []
    pairs: dict[frozenset[str], str] = {}
    for name, labels in label_sets.items():
        key = f"prompts.label_sets.{name}"
        found = _check_pair(labels)
        twin = pairs.setdefault(frozenset(labels), name)
        if twin != name:
            found.append(f"the same labels as label set {twin}; leave one out")
        if not found:
            try:
                encode_labels(tokenizer, text, (labels[0], labels[1]))
            except LabelError as error:
                found.append(str(error))
        problems += [f"{key}: {list(labels)}: {problem}" for problem in found]
    return problems


def _check_pair(labels: Sequence[str]) -> list[str]:
    if len(labels) != 2:
        return ["give two labels"]
    problems = []
    for label in labels:
        if not label or label != " ".join(label.split()):
            problems.append(f"label {label!r} is empty or has spare white space; write it plainly")
    if labels[0].casefold() == labels[1].casefold():
        problems.append("the two labels must differ in more than case")
    return problems
