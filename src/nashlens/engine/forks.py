"""Forks: copies of a decision token that go their own way from an edited layer up.

An edit of the decision position after block `l` cannot change any other prompt token, nor the
decision token's own keys and values in blocks up to `l`. So for each edit only the decision token,
and the further tokens of a label, run again, in the blocks above `l`; they attend to the kept keys
and values of the prompt's earlier tokens and to their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nashlens.engine.labels import Run


@dataclass(frozen=True)
class Fork:
    """One run under one edit.

    Attributes
    ----------
    nodes : numpy.ndarray
        `(m,)` nodes copied: the decision token, then the label's further tokens.
    above : int
        Node before the decision token, -1 where the prompt is one token long.
    edit, layer : int
        Index of the edit, and its layer.
    asked : list of (int, int, tuple)
        (which copied token, token predicted there, (prompt, edit, action)).
    """

    nodes: np.ndarray
    above: int
    edit: int
    layer: int
    asked: list[tuple[int, int, tuple[int, int, int]]]

    @classmethod
    def of(cls, run: Run, path: np.ndarray, edit: int, layer: int) -> Fork:
        """Make the fork of a run that lies at `path` of its row."""
        nodes = run.scored(path)
        asked = [
            (i, token, (run.prompt, edit, action))
            for action, tokens in run.labels.items()
            for i, token in enumerate(tokens)
        ]
        above = int(path[run.length - 2]) if run.length > 1 else -1
        return cls(nodes, above, edit, layer, asked)


@dataclass(frozen=True)
class ForkChunk:
    """Forks that run together, in order of their layers, as flat arrays over fork tokens.

    Attributes
    ----------
    forks : list of Fork
    source : numpy.ndarray
        `(f,)` node that each fork token copies.
    layer, edit : numpy.ndarray
        `(f,)` each.
    decides : numpy.ndarray
        `(f,)` bool: this token is the decision token, which the edit changes.
    """

    forks: list[Fork]
    source: np.ndarray
    layer: np.ndarray
    edit: np.ndarray
    decides: np.ndarray

    @classmethod
    def of(cls, forks: list[Fork]) -> ForkChunk:
        """Lay forks, sorted by layer, one after the other."""
        sizes = [len(fork.nodes) for fork in forks]
        first = np.cumsum([0, *sizes[:-1]])
        decides = np.zeros(sum(sizes), dtype=bool)
        decides[first] = True
        return cls(
            forks,
            np.concatenate([fork.nodes for fork in forks]),
            np.repeat([fork.layer for fork in forks], sizes),
            np.repeat([fork.edit for fork in forks], sizes),
            decides,
        )

    def mask(self, row_mask: np.ndarray) -> np.ndarray:
        """Return `(f, row + f)` bool: a fork sees the prompt's earlier tokens and its own."""
        n, f = len(row_mask), len(self.source)
        mask = np.zeros((f, n + f), dtype=bool)
        at = 0
        for fork in self.forks:
            m = len(fork.nodes)
            if fork.above >= 0:
                mask[at : at + m, :n] = row_mask[fork.above]
            mask[at : at + m, n + at : n + at + m] = np.tri(m, dtype=bool)
            at += m
        return mask

    def asked(self) -> list[tuple[int, int, tuple[int, ...]]]:
        """Return (fork token, token predicted there, (prompt, edit, action)) over all forks."""
        result: list[tuple[int, int, tuple[int, ...]]] = []
        at = 0
        for fork in self.forks:
            result += [(at + i, token, key) for i, token, key in fork.asked]
            at += len(fork.nodes)
        return result


def chunk_forks(forks: list[Fork], max_tokens: int) -> Iterator[ForkChunk]:
    """Split forks, in order of layer, into chunks of at most `max_tokens` tokens."""
    chunk: list[Fork] = []
    size = 0
    for fork in sorted(forks, key=lambda fork: fork.layer):
        if chunk and size + len(fork.nodes) > max_tokens:
            yield ForkChunk.of(chunk)
            chunk, size = [], 0
        chunk.append(fork)
        size += len(fork.nodes)
    if chunk:
        yield ForkChunk.of(chunk)
