"""Prompts with two labels, as token sequences to run.

A label of tokens `t1 t2 t3` after a prompt `p` is scored by the chain rule: log P(t1 | p) +
log P(t2 | p t1) + log P(t3 | p t1 t2). So the sequence to run is `p t1 t2`; the last token of a
label is predicted, never run. Where both labels are single tokens, one run of `p` serves both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nashlens.errors import DataError


class LabelledPrompt(NamedTuple):
    """A prompt and what may follow it.

    Attributes
    ----------
    ids : sequence of int
        The prompt's token ids; the last is at the decision position.
    labels : pair of sequences of int
        Token ids of the labels of actions 0 and 1.
    """

    ids: Sequence[int]
    labels: tuple[Sequence[int], Sequence[int]]


@dataclass(frozen=True)
class Asked:
    """Token predictions and the label scores that they add up to.

    Attributes
    ----------
    rows : numpy.ndarray
        `(k,)` rows of a residual matrix (or nodes of a row).
    tokens : numpy.ndarray
        `(k,)` token predicted there.
    where : tuple of numpy.ndarray
        `(k,)` each: indices of the score, as for `scores[where]`.
    """

    rows: np.ndarray
    tokens: np.ndarray
    where: tuple[np.ndarray, ...]

    @classmethod
    def joined(cls, parts: Sequence[Asked]) -> Asked:
        """Concatenate, in order."""
        return cls(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.tokens for part in parts]),
            tuple(np.concatenate(w) for w in zip(*(part.where for part in parts), strict=True)),
        )

    def add_to(self, scores: np.ndarray, logprobs: np.ndarray) -> None:
        """Write the sums over each label's tokens; all tokens of a label must be here."""
        scores[self.where] = 0.0
        np.add.at(scores, self.where, logprobs)


@dataclass(frozen=True)
class Run:
    """One sequence to run: a prompt followed by all but the last token of a label.

    Attributes
    ----------
    prompt : int
        Index of the prompt.
    length : int
        Its number of tokens.
    sequence : tuple of int
    labels : dict of int to tuple of int
        For each action scored by this run, the label's tokens.
    """

    prompt: int
    length: int
    sequence: tuple[int, ...]
    labels: dict[int, tuple[int, ...]]

    def asked(self, path: np.ndarray) -> Asked:
        """Return what is scored, with the nodes of `path` as rows."""
        entries = [
            (i, token, action)
            for action, tokens in self.labels.items()
            for i, token in enumerate(tokens)
        ]
        after, token, action = np.array(entries, dtype=np.int64).T
        prompt = np.full(len(token), self.prompt)
        return Asked(path[self.length - 1 + after], token, (prompt, action))


def runs_of(prompts: Sequence[LabelledPrompt]) -> list[Run]:
    """Return the sequences that score both labels of every prompt.

    Raises
    ------
    DataError
        If a prompt or a label has no tokens.
    """
    runs = []
    for index, (ids, labels) in enumerate(prompts):
        if len(ids) == 0 or any(len(label) == 0 for label in labels):
            raise DataError(f"prompt {index} or one of its labels has no tokens")
        by_prefix: dict[tuple[int, ...], dict[int, tuple[int, ...]]] = {}
        for action, label in enumerate(labels):
            tokens = tuple(label)
            by_prefix.setdefault(tokens[:-1], {})[action] = tokens
        prompt = tuple(ids)
        runs += [Run(index, len(prompt), prompt + pre, asked) for pre, asked in by_prefix.items()]
    return runs
