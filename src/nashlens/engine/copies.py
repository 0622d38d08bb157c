"""Who attends to what where copies of a fork run, more of which join at every layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from nashlens.engine.forks import Fork, Piece
from nashlens.engine.segments import ALIGNED, MASK_CELLS, PaddedSegments, SegmentAttention
from nashlens.engine.transfer import copy_to


class CopiesAttention:
    """The attention of a fork's first copies, for any number of them up to `copies`.

    On a GPU a mask for thousands of tokens takes longer to make on the host than to use, and it is
    another one at every layer where copies join. So one table is made for all copies, and the
    first ones use a part of it.

    Parameters
    ----------
    fork : Fork
    copies : int
        The most that run at once.
    positions : numpy.ndarray
        `(earlier,)` of the earlier tokens that the fork attends to.
    """

    def __init__(self, fork: Fork, copies: int, positions: np.ndarray):
        self._fork, self._copies, self._positions = fork, copies, positions
        self._tables: dict[torch.device, list[_Table]] = {}

    def first(self, copies: int, device: torch.device) -> SegmentAttention:
        """Return the attention of the first copies, which run one after the other."""
        fork, earlier = self._fork, len(self._positions)

        def padded() -> list[PaddedSegments]:
            if device not in self._tables:
                self._tables[device] = [
                    _Table(some, self._copies, len(fork), earlier, device)
                    for some in _alike([p for p in fork.pieces if p.new], self._copies)
                ]
            return [part for table in self._tables[device] for part in table.first(copies)]

        positions = np.concatenate((self._positions, np.resize(fork.depth, copies * len(fork))))
        return SegmentAttention(
            lambda: fork.segments(copies, earlier), positions, device, earlier, padded
        )


def _alike(pieces: list[Piece], copies: int) -> Iterator[list[Piece]]:
    """Yield pieces of like sizes together, as many as the mask of one segment each may hold."""
    some: list[Piece] = []
    for piece in sorted(pieces, key=lambda p: (p.new, len(p.own), len(p.before)), reverse=True):
        if some:
            new, own = some[0].new, len(some[0].own)
            fold = min(copies, *(p.fold for p in [*some, piece]))
            keys = max(len(p.before) for p in [*some, piece]) + fold * own
            wasteful = new > 2 * piece.new or own > 2 * len(piece.own)
            if wasteful or (len(some) + 1) * fold * new * keys > MASK_CELLS:
                yield some
                some = []
        some.append(piece)
    if some:
        yield some


class _Table:
    """Segments of some pieces of a fork in all copies, padded to one length.

    A few copies of a piece make one segment (`Piece.fold`). Of each piece, a segment has
    `fold * new` tokens. Its keys are the earlier tokens, padded to `before`, and then `own` tokens
    of each copy. Segments lie copies by copies and, within, piece by piece: so those of the first
    copies come first. The mask, `(pieces, tokens, keys)`, is the same for all of them.
    """

    def __init__(
        self, pieces: Sequence[Piece], copies: int, size: int, earlier: int, device: torch.device
    ):
        self._size, self._earlier = size, earlier
        self._fold = min(copies, *(piece.fold for piece in pieces))
        self._new = max(piece.new for piece in pieces)
        self._own = max(len(piece.own) for piece in pieces)
        self._before = max(len(piece.before) for piece in pieces)
        n, folds = len(pieces), -(-copies // self._fold)
        one = np.zeros((n, self._new), dtype=np.int64)  # tokens of the first copy
        own = np.zeros((n, self._own), dtype=np.int64)
        before = np.zeros((n, self._before), dtype=np.int64)
        real = np.zeros((n, self._new), dtype=bool)
        among = np.zeros((n, self._new, self._own), dtype=bool)
        seen = np.zeros((n, self._before), dtype=bool)
        for i, piece in enumerate(pieces):
            one[i], one[i, : piece.new] = piece.own[-1], piece.own[-piece.new :]
            own[i], own[i, : len(piece.own)] = piece.own[-1], piece.own
            before[i, : len(piece.before)], seen[i, : len(piece.before)] = piece.before, True
            real[i, : piece.new] = True
            # Padding tokens see the first key of their copy: to see nothing would be NaN.
            among[i, piece.new :, 0] = True
            among[i, : piece.new, : len(piece.own)] = piece.among(1)
        starts = np.arange(folds * self._fold).reshape(folds, 1, self._fold, 1) * size
        tokens = (starts + one[:, None]).reshape(folds * n, -1)
        keys = earlier + (starts + own[:, None]).reshape(folds, n, -1)
        keys = np.concatenate((np.broadcast_to(before, (folds, *before.shape)), keys), axis=2)
        keys = np.pad(keys, ((0, 0), (0, 0), (0, -keys.shape[2] % ALIGNED)))
        mask = np.zeros((n, self._fold, self._new, keys.shape[2]), dtype=bool)
        mask[..., : self._before] = seen[:, None, None]
        for j in range(self._fold):
            start = self._before + j * self._own
            mask[:, j, :, start : start + self._own] = among
        tables = tokens, keys.reshape(folds * n, -1), mask.reshape(n, -1, keys.shape[2])
        self._tokens, self._keys, self._mask = (
            copy_to(torch.from_numpy(np.ascontiguousarray(table)), device) for table in tables
        )
        # Where the real tokens lie: copy, segment, and column in it, in the order of the tokens.
        self._row, self._column = np.nonzero(np.tile(real, (folds, self._fold)))
        self._copy = self._row // n * self._fold + self._column // self._new
        self._token = tokens[self._row, self._column]

    def first(self, copies: int) -> Iterator[PaddedSegments]:
        """Yield the segments of the first copies, as many together as a mask may hold."""
        n, folds = len(self._mask), -(-copies // self._fold)
        tokens, keys, mask = self._tokens, self._keys, self._mask
        if folds == 1:  # a corner of the first segments
            wide = self._before + copies * self._own
            wide = min(wide + -wide % ALIGNED, keys.shape[1])
            tokens, keys = tokens[:, : copies * self._new], keys[:, :wide]
            mask = mask[:, : tokens.shape[1], :wide]
        # Copies that have not joined do not exist yet: the mask hides them, and none is read.
        tokens = tokens.clamp(max=copies * self._size - 1)
        keys = keys.clamp(max=self._earlier + copies * self._size - 1)
        here = self._copy < copies
        together = max(1, MASK_CELLS // mask.numel())
        for start in range(0, folds, together):
            rows = slice(start * n, min(start + together, folds) * n)
            mine = here & (self._row >= rows.start) & (self._row < rows.stop)
            slots = (self._row[mine] - rows.start) * tokens.shape[1] + self._column[mine]
            yield PaddedSegments(
                tokens[rows],
                keys[rows],
                mask.repeat((rows.stop - rows.start) // n, 1, 1),
                copy_to(torch.from_numpy(self._token[mine]), tokens.device),
                copy_to(torch.from_numpy(slots), tokens.device),
            )
