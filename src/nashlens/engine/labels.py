"""How the two labels after a prompt are scored, and how P(action) follows.

A label of tokens `t1 t2 t3` after a prompt `p` is scored by the chain rule: log P(t1 | p) +
log P(t2 | p t1) + log P(t3 | p t1 t2). So the sequence to run is `p t1 t2`; the last token of a
label is predicted, never run. Where both labels are single tokens, one run of `p` serves both.

From a prompt to P(action):

1. `nashlens.prompts.labels.encode_many` gives the token ids of prompt and labels;
2. `label_runs` gives the sequences to run, whose last-layer residuals an engine computes
   (`Engine.label_logprobs`, `Session.label_logprobs`, `sweeps.score_under`);
3. `ScoredTokens.add_to` adds up the log-probabilities of each label's tokens;
4. `label_probabilities` renormalises over the two labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from nashlens.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from nashlens.engine.steered import Steering

LOGIT_ROWS = 128
"""Rows of the vocabulary's logits in memory at once."""


class LabelledPrompt(NamedTuple):
    """Token ids of a prompt up to the decision position, and of the labels of actions 0 and 1.

    The last `written` ids are what the model wrote before, with the anchor of its answer.
    """

    ids: Sequence[int]
    labels: tuple[Sequence[int], Sequence[int]]
    written: int = 0


def labelled_prompts(table: pd.DataFrame, ids: str = "token_ids") -> list[LabelledPrompt]:
    """Return the prompts of a table's rows; `ids` names the column with a prompt's token ids.

    Each column holds arrays of token ids.
    """
    columns = (table[name] for name in (ids, "label_tokens_0", "label_tokens_1"))
    return [
        LabelledPrompt(prompt.tolist(), (first.tolist(), second.tolist()))
        for prompt, first, second in zip(*columns, strict=True)
    ]


@dataclass(frozen=True)
class ScoredTokens:
    """Tokens that are predicted, and the label scores to which each one counts.

    Attributes
    ----------
    rows, tokens : numpy.ndarray
        `(k,)` each: rows of a residual matrix (or nodes of a row), and the token predicted after
        each.
    where : tuple of numpy.ndarray
        `(k,)` each: indices of the label score, as for `scores[where]`.
    """

    rows: np.ndarray
    tokens: np.ndarray
    where: tuple[np.ndarray, ...]

    @classmethod
    def joined(cls, parts: Sequence[ScoredTokens]) -> ScoredTokens:
        """Concatenate, in order."""
        return cls(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.tokens for part in parts]),
            tuple(np.concatenate(w) for w in zip(*(part.where for part in parts), strict=True)),
        )

    def logprobs(
        self, final: torch.Tensor, logits: Callable[[torch.Tensor], torch.Tensor]
    ) -> np.ndarray:
        """Return log P of each token, `(k,)`; parameters are as for `token_logprobs`."""
        return token_logprobs(final, self.rows, self.tokens, logits)

    def add_to(self, scores: np.ndarray, logprobs: np.ndarray) -> None:
        """Write each label's score, the sum of its tokens' log-probabilities, in place.

        `scores` are float64, and all tokens of a label must be here.
        """
        scores[self.where] = 0.0
        np.add.at(scores, self.where, logprobs)


def token_logprobs(
    final: torch.Tensor,
    rows: np.ndarray,
    tokens: np.ndarray,
    logits: Callable[[torch.Tensor], torch.Tensor],
) -> np.ndarray:
    """Return log P(token) at some rows of last-layer residuals, `(k,)` float64.

    Parameters
    ----------
    final : torch.Tensor
        `(n, width)` residuals after the last block.
    rows, tokens : numpy.ndarray
        `(k,)` each.
    logits : callable
        From residuals to float32 logits, as `BlockStack.logits`.
    """
    import torch

    from nashlens.engine.transfer import copy_to

    # The logits of a row are computed once, however many tokens are scored there.
    needed, at = np.unique(rows, return_inverse=True)
    order = np.argsort(at, kind="stable")
    index = [copy_to(torch.from_numpy(i), final.device) for i in (needed, at[order], tokens[order])]
    parts = []
    for start in range(0, len(needed), LOGIT_ROWS):
        first, last = np.searchsorted(at[order], (start, start + LOGIT_ROWS))
        here = logits(final[index[0][start : start + LOGIT_ROWS]])
        row, token = (i[first:last].to(here.device) for i in index[1:])
        row = row - start
        parts.append(here[row, token] - torch.logsumexp(here, dim=-1)[row])
    result = np.empty(len(rows))
    if parts:  # read once: the host waits for a GPU here
        result[order] = torch.cat(parts).double().cpu().numpy()
    return result


def label_probabilities(logprobs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn label log-probabilities into P(action) and label mass.

    Parameters
    ----------
    logprobs : numpy.ndarray
        `(..., 2)` log P of each whole label.

    Returns
    -------
    p : numpy.ndarray
        `(..., 2)`, renormalised over the two labels.
    mass : numpy.ndarray
        `(...)`, what the two labels had together.
    """
    total = np.logaddexp(logprobs[..., 0], logprobs[..., 1])
    return np.exp(logprobs - total[..., None]), np.exp(total)


class LabelScorer(Protocol):
    """What forced choices need of an engine: `nashlens.engine.core.Engine` is one."""

    def label_logprobs(self, prompts: Sequence[LabelledPrompt]) -> np.ndarray:
        """Return log P of each prompt's two labels, shape `(n, 2)`."""


@dataclass(frozen=True)
class LabelRun:
    """One sequence to run: a prompt followed by all but the last token of a label.

    `prompt` is the prompt's index, `length` its number of tokens, and `labels` has the whole
    label's tokens of each action that this run scores.
    """

    prompt: int
    length: int
    sequence: tuple[int, ...]
    labels: dict[int, tuple[int, ...]]

    def scored_tokens(self, path: np.ndarray) -> ScoredTokens:
        """Return what is scored, with the nodes of `path` as rows."""
        entries = [
            (i, token, action)
            for action, tokens in self.labels.items()
            for i, token in enumerate(tokens)
        ]
        after, token, action = np.array(entries, dtype=np.int64).T
        prompt = np.full(len(token), self.prompt)
        return ScoredTokens(path[self.length - 1 + after], token, (prompt, action))


def label_runs(
    prompts: Sequence[LabelledPrompt], steering: Steering | None = None
) -> list[LabelRun]:
    """Return the sequences that score both labels of every prompt; DataError if one is empty.

    Where there is steering, the tokens that it edits are marked.
    """
    runs = []
    for index, (ids, labels, written) in enumerate(prompts):
        if len(ids) == 0 or any(len(label) == 0 for label in labels):
            raise DataError(f"prompt {index} or one of its labels has no tokens")
        # Labels that differ in their last token only share a run.
        by_prefix: dict[tuple[int, ...], dict[int, tuple[int, ...]]] = {}
        for action, label in enumerate(labels):
            tokens = tuple(label)
            by_prefix.setdefault(tokens[:-1], {})[action] = tokens
        prompt = tuple(ids)
        for prefix, scored in by_prefix.items():
            sequence = prompt + prefix
            if steering is not None:
                given, decision = len(prompt) - written, len(prompt)
                marked = steering.marked(sequence, prompt=given, decision=decision)
                sequence = tuple(marked.tolist())
            runs.append(LabelRun(index, len(prompt), sequence, scored))
    return runs
