"""Who attends to what where copies of a fork run, more of which join at every layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from nashlens.engine.forks import Fork, Piece
from nashlens.engine.segments import (
    ALIGNED,
    MASK_CELLS,
    PaddedSegments,
    SegmentAttention,
)
from nashlens.engine.transfer import copy_to


class _Table(NamedTuple):
    """Padded segments of all copies, `(b, t)` tokens, `(b, k)` keys and `(b, t, k)` mask.

    The first `before` keys are earlier tokens or padding. The copies' own follow, copy by copy, as
    the tokens do: so the segments of fewer copies are a corner of these.
    """

    before: int
    tokens: torch.Tensor
    keys: torch.Tensor
    mask: torch.Tensor


class CopiesAttention:
    """The attention of a fork's first copies, for any number of them up to `copies`.

    On a GPU a mask for thousands of tokens takes longer to make on the host than to use, and it is
    another one at every layer where copies join. So it is made once, for all copies.

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
        self._pieces = sorted((p for p in fork.pieces if p.new), key=lambda p: -len(p.before))
        # A corner is enough where pieces bring as many tokens, and all copies are in one segment.
        sizes = {(piece.new, len(piece.own)) for piece in self._pieces}
        self._corners = len(sizes) == 1 and min(p.fold for p in self._pieces) >= copies

    def first(self, copies: int, device: torch.device) -> SegmentAttention:
        """Return the attention of the first copies, which run one after the other."""
        fork, earlier = self._fork, len(self._positions)

        def padded() -> list[PaddedSegments]:
            if device not in self._tables:
                self._tables[device] = list(self._padded(device))
            return [self._corner(table, copies) for table in self._tables[device]]

        positions = np.concatenate((self._positions, np.resize(fork.depth, copies * len(fork))))
        return SegmentAttention(
            lambda: fork.segments(copies, earlier),
            positions,
            device,
            earlier,
            padded if self._corners else None,
        )

    def _padded(self, device: torch.device) -> Iterator[_Table]:
        start = 0
        while start < len(self._pieces):
            # No later piece has more keys than this one.
            longest = self._pieces[start]
            cells = self._copies * longest.new * (len(longest.before) + self._copies)
            some = self._pieces[start : start + max(1, MASK_CELLS // cells)]
            yield self._table(some, device)
            start += len(some)

    def _table(self, pieces: Sequence[Piece], device: torch.device) -> _Table:
        copies, longest, earlier = self._copies, pieces[0], len(self._positions)
        before, new, own = len(longest.before), longest.new, len(longest.own)
        end = before + copies * own
        tokens = torch.zeros(len(pieces), copies * new, dtype=torch.long)
        keys = torch.zeros(len(pieces), -(-end // ALIGNED) * ALIGNED, dtype=torch.long)
        mask = torch.zeros(*tokens.shape, keys.shape[1], dtype=torch.bool)
        mask[:, :, before:end] = torch.from_numpy(longest.among(copies))
        starts = torch.arange(copies)[:, None] * len(self._fork)
        for i, piece in enumerate(pieces):
            mine = starts + torch.from_numpy(piece.own)
            tokens[i] = mine[:, -new:].reshape(-1)
            keys[i, : len(piece.before)] = torch.from_numpy(piece.before)
            keys[i, before:end] = earlier + mine.reshape(-1)
            mask[i, :, : len(piece.before)] = True
        return _Table(before, *(copy_to(part, device) for part in (tokens, keys, mask)))

    def _corner(self, table: _Table, copies: int) -> PaddedSegments:
        piece = self._pieces[0]
        tokens = table.tokens[:, : copies * piece.new]
        end = table.before + copies * len(piece.own)
        end = min(-(-end // ALIGNED) * ALIGNED, table.keys.shape[1])
        # Keys of copies that have not joined do not exist yet; the mask hides them.
        known = len(self._positions) + copies * len(self._fork)
        keys = table.keys[:, :end].clamp(max=known - 1)
        mask = table.mask[:, : tokens.shape[1], :end]
        slots = torch.arange(tokens.numel(), device=tokens.device)
        return PaddedSegments(tokens, keys, mask, tokens.reshape(-1), slots)
