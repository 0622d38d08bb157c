"""Forks: copies of a row's tokens that go their own way from an edited layer up.

An edit from position `p` on cannot change any token before `p`, nor the tokens' own keys and
values in blocks up to the edited layer. So for each edit only the tokens from `p` on run again, in
the blocks above the layer; they attend to the kept keys and values of the tokens before `p`, and
to one another. An edited token's state depends only on the path to it and on `p`, so sequences
with the same `p` share their copies wherever they share their tokens.

Picture of `a b c` and `a b d` edited from position 1 on, under two edits::

    row, shared     a b c d
    copies             b c d    edit 0
                       b c d    edit 1
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from nashlens.engine.forest import Row, shared_prefix
from nashlens.engine.labels import LabelRun, ScoredTokens
from nashlens.engine.segments import Segment


@dataclass(frozen=True)
class Piece:
    """What one run brings to a fork.

    `before` are nodes of the row that its tokens attend to, `own` the fork's tokens on its path, of
    which the last `new` are brought by no earlier run.
    """

    before: np.ndarray
    own: np.ndarray
    new: int

    @property
    def fold(self) -> int:
        """How many copies fetch the keys before them together: they pay for one another's."""
        return max(1, len(self.before) // len(self.own))

    def mask(self, copies: int) -> torch.Tensor | None:
        """Return who of `copies` copies' new tokens sees what is before, and their own tokens."""
        n = len(self.own)
        if copies == 1 and not len(self.before) and self.new == n:
            return None
        own = self.among(copies)
        before = np.ones((len(own), len(self.before)), dtype=bool)
        return torch.from_numpy(np.concatenate((before, own), axis=1))

    def among(self, copies: int) -> np.ndarray:
        """Return who of the copies' new tokens sees which of their own tokens."""
        n = len(self.own)
        seen = np.tri(self.new, n, n - self.new, dtype=bool)
        return np.kron(np.eye(copies, dtype=bool), seen)


@dataclass
class Fork:
    """Tokens of a row that run again, once for each intervention.

    `source` holds them as a forest of their own, in which a token is the node that it copies and a
    root the token from which a run runs again; `depth` their positions; `scored` what is scored
    after them; `marks` what they are edited by, -1 for nothing.
    """

    source: Row = field(default_factory=Row)
    depth: list[int] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    scored: list[ScoredTokens] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.source)

    def add(
        self, run: LabelRun, path: np.ndarray, marks: np.ndarray, start: int, above: np.ndarray
    ) -> np.ndarray:
        """Add the tokens of a run from position `start` on; return its path in the fork.

        `path` and `marks` are those of the run in the row, and `above` the part of the result that
        the fork has already.
        """
        have = start + len(above)
        own = self.source.append(above, path[have:].tolist())
        self.depth.extend(range(have, len(path)))
        self.marks.extend(marks[have:].tolist())
        self.pieces.append(Piece(path[:start], own, len(path) - have))
        # As long as the run's path, for `scored_tokens` counts from its beginning.
        self.scored.append(run.scored_tokens(np.concatenate((path[:start], own))))
        return own

    def edited(self) -> np.ndarray:
        """Return the tokens that are edited."""
        return np.flatnonzero(np.array(self.marks) >= 0)

    def scored_under(self, edits: np.ndarray) -> ScoredTokens:
        """Return what is scored under some edits, one copy of the fork's tokens each."""
        scored, copies = ScoredTokens.joined(self.scored), np.arange(len(edits))[:, None]
        prompt, action = scored.where
        rows = copies * len(self) + scored.rows
        edit = np.repeat(edits, len(scored.rows))
        where = (np.tile(prompt, len(edits)), edit, np.tile(action, len(edits)))
        return ScoredTokens(rows.ravel(), np.tile(scored.tokens, len(edits)), where)

    def segments(self, copies: int, row: int) -> list[Segment]:
        """Return who attends to what where copies run in a row, behind `row` kept tokens."""
        result = []
        for piece in self.pieces:
            if not piece.new:
                continue
            for copy in range(0, copies, piece.fold):
                some = np.arange(copy, min(copy + piece.fold, copies))
                at = some[:, None] * len(self) + piece.own
                keys = np.concatenate((piece.before, row + at.ravel()))
                tokens = torch.from_numpy(at[:, -piece.new :].ravel())
                result.append(Segment(tokens, torch.from_numpy(keys), piece.mask(len(some))))
        return result

    def ends(self) -> np.ndarray | None:
        """Return `Row.ends` of the tokens; None where they also attend to the row's."""
        return None if any(len(piece.before) for piece in self.pieces) else self.source.ends()


def first_edited(marks: np.ndarray) -> int:
    """Return the first token that is edited."""
    return int(np.argmax(marks >= 0))


def forks_of(
    runs: Sequence[LabelRun],
    paths: Sequence[np.ndarray],
    marks: Sequence[np.ndarray],
    max_tokens: int,
) -> Iterator[Fork]:
    """Fork every run of a row.

    Parameters
    ----------
    runs, paths : sequences of LabelRun and numpy.ndarray
        In the row's own, depth-first order, so that neighbours share the most.
    marks : sequence of numpy.ndarray
        For each token of each run what it is edited by, from 0, and -1 for nothing; from the first
        edited one on it runs again. Tokens are shared where what edits their path is the same.
    max_tokens : int
        Tokens of a fork, unless one run has more.
    """
    fork, own = Fork(), np.empty(0, dtype=np.int64)
    starts = [first_edited(some) for some in marks]
    last: int | None = None
    for i in np.argsort(starts, kind="stable").tolist():
        start, path = starts[i], paths[i]
        have = 0
        if last is not None and starts[last] == start:
            have = shared_prefix(paths[last][start:], path[start:])
            have = min(have, shared_prefix(marks[last][start:], marks[i][start:]))
        if len(fork) and len(fork) + len(path) - start - have > max_tokens:
            yield fork
            fork, have = Fork(), 0
        own = fork.add(runs[i], path, marks[i], start, own[:have])
        last = i
    yield fork
