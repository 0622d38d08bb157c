"""Forks: copies of a decision token that go their own way from an edited layer up.

An edit of the decision position after block `l` cannot change any other prompt token, nor the
decision token's own keys and values in blocks up to `l`. So for each edit only the decision token,
and the further tokens of a label, run again, in the blocks above `l`; they attend to the kept keys
and values of the prompt's earlier tokens and to their own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nashlens.engine.labels import Asked, Run
from nashlens.engine.segments import Segment


@dataclass(frozen=True)
class Forks:
    """The fork tokens of a row, in order of the layer from which they run.

    Attributes
    ----------
    paths : list of numpy.ndarray
        For each run, the nodes before its decision token: what its forks attend to.
    source : numpy.ndarray
        `(f,)` the node that each fork token copies.
    run, layer, edit, group : numpy.ndarray
        `(f,)` each: index into `paths`, layer from which it runs, index of the edit, and a number
        that the tokens of one fork share.
    decides : numpy.ndarray
        `(f,)` bool: this is the decision token, which the edit changes.
    asked : Asked
        What is scored; its rows count fork tokens.
    """

    paths: list[np.ndarray]
    source: np.ndarray
    run: np.ndarray
    layer: np.ndarray
    edit: np.ndarray
    group: np.ndarray
    decides: np.ndarray
    asked: Asked

    @classmethod
    def of(cls, runs: Sequence[Run], paths: Sequence[np.ndarray], layers: np.ndarray) -> Forks:
        """Fork every run under every edit.

        Parameters
        ----------
        runs : sequence of Run
        paths : sequence of numpy.ndarray
            Where each lies in the row.
        layers : numpy.ndarray
            `(edits,)` the layer of each edit.
        """
        n = len(layers)
        parts: list[tuple[np.ndarray, ...]] = []
        asked, at = [], 0
        for index, (run, path) in enumerate(zip(runs, paths, strict=True)):
            nodes = run.scored(path)
            m = len(nodes)
            edit = np.repeat(np.arange(n), m)
            parts.append(
                (
                    np.tile(nodes, n),
                    np.full(n * m, index),
                    edit,
                    index * n + edit,
                    np.tile(np.arange(m) == 0, n),
                )
            )
            asked.append(run.asked_under(n, at, m))
            at += n * m
        source, of_run, edit, group, decides = (np.concatenate(p) for p in zip(*parts, strict=True))
        # Stable, so that the tokens of one fork stay side by side.
        order = np.argsort(layers[edit], kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return cls(
            [path[: run.length - 1] for run, path in zip(runs, paths, strict=True)],
            source[order],
            of_run[order],
            layers[edit][order],
            edit[order],
            group[order],
            decides[order],
            Asked.joined(asked).moved(place),
        )

    def __len__(self) -> int:
        return len(self.source)

    def chunks(self, max_tokens: int) -> Iterator[Forks]:
        """Split into parts of at most `max_tokens` tokens; a fork is never split."""
        first = np.flatnonzero(np.diff(self.group, prepend=-1))
        bounds = [*first.tolist(), len(self)]
        start = 0
        for this, following in itertools.pairwise(bounds):
            if following - start > max_tokens and this > start:
                yield self._slice(start, this)
                start = this
        yield self._slice(start, len(self))

    def _slice(self, start: int, stop: int) -> Forks:
        part = slice(start, stop)
        return Forks(
            self.paths,
            self.source[part],
            self.run[part],
            self.layer[part],
            self.edit[part],
            self.group[part],
            self.decides[part],
            self.asked.between(start, stop),
        )

    def segments(self, active: int, row: int) -> list[Segment]:
        """Return who attends to what.

        Parameters
        ----------
        active : int
            How many of the fork tokens run.
        row : int
            Tokens of the row that they fork from.
        """
        group = torch.from_numpy(self.group[:active])
        result = []
        for run in np.unique(self.run[:active]).tolist():
            tokens = torch.from_numpy(np.flatnonzero(self.run[:active] == run))
            before = torch.from_numpy(self.paths[run])
            mine = group[tokens]
            own = (mine[:, None] == mine[None, :]).tril()
            all_before = torch.ones(len(tokens), len(before), dtype=torch.bool)
            mask = torch.cat((all_before, own), dim=1)
            result.append(Segment(tokens, torch.cat((before, row + tokens)), mask))
        return result
