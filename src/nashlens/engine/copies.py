"""Copies of a fork, one for each intervention, on their way through the blocks.

A copy joins at the lowest layer that its intervention touches: there it parts from the unsteered
row. All copies run in one batch, and more of them at every layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from nashlens.chunks import digest_of, resumed
from nashlens.engine.cache import Cache, KeyValues
from nashlens.engine.core import FLEX_PAD, FLEX_TOKENS, move_to
from nashlens.engine.edits import InterventionBatch
from nashlens.engine.forks import Fork, Piece
from nashlens.engine.segments import ALIGNED, MASK_CELLS, PaddedSegments, SegmentAttention
from nashlens.engine.stack import AttentionPattern, BlockInput
from nashlens.engine.transfer import copy_to

if TYPE_CHECKING:
    from nashlens.engine.core import Engine

_FORK_TOKENS = 1024  # fork tokens that a CPU runs at once
Watch = Callable[[int, torch.Tensor], None]
"""What is shown residuals after a layer."""


@dataclass
class UnsteeredRow:
    """What a row left behind for its forks; it runs for the first of them that does.

    `cache` and `positions` are of all its tokens where forks attend to them.
    """

    nodes: np.ndarray
    run: Callable[[], dict[int, torch.Tensor]]
    cache: Cache | None
    positions: np.ndarray

    @cached_property
    def states(self) -> dict[int, torch.Tensor]:
        """Residuals `(m, width)` of `nodes`, ascending, after each layer where some join."""
        return self.run()


class SteeredFork:
    """A fork under interventions, several at once."""

    def __init__(
        self,
        engine: Engine,
        fork: Fork,
        base: UnsteeredRow,
        interventions: InterventionBatch,
    ):
        self.blocks, self.fork, self.base = engine.blocks, fork, base
        self.interventions, self.edited = interventions.on(fork), fork.edited()
        self._states = torch.from_numpy(np.searchsorted(base.nodes, fork.source.tokens))
        self.scored = np.unique(np.concatenate([scored.rows for scored in fork.scored]))
        pieces, budget = self.blocks.pieces, engine.batch_tokens
        if pieces is None:
            budget = min(budget, _FORK_TOKENS)
        self.copies = min(len(interventions.first_layers), max(1, budget // len(fork)))
        self.tokens = self.copies * len(fork)
        # The ends of one copy's subtrees, where copies have a block-sparse mask.
        sparse = pieces and self.tokens > FLEX_TOKENS and not interventions.changed_blocks
        self.ends = fork.ends() if sparse else None
        if self.ends is not None:
            # One length for all chunks, since each length is compiled; padding sees only itself.
            self.tokens += -self.tokens % FLEX_PAD

    def joining(self, layer: int) -> torch.Tensor:
        """Return the unsteered row's residuals `(f, width)` of the fork's tokens after a layer."""
        states = self.base.states[layer]
        self._states = copy_to(self._states, states.device)
        return states[self._states]

    @cached_property
    def segments(self) -> CopiesAttention:
        """Who attends to what in any number of copies."""
        return CopiesAttention(self.fork, self.copies, self.base.positions)

    def chunks(self) -> Iterator[np.ndarray]:
        """Yield indices of interventions that run together, the lowest layers first."""
        order = np.argsort(self.interventions.first_layers, kind="stable")
        for start in range(0, len(order), self.copies):
            yield order[start : start + self.copies]

    def score(self, which: np.ndarray, columns: np.ndarray, scores: np.ndarray) -> None:
        """Write label scores under some interventions, as `ScoredTokens.add_to`.

        `columns` are the places of these interventions in `scores`, and theirs alone.
        """
        scored = self.fork.scored_under(columns)
        name = digest_of(np.array(self.fork.depth), scored.rows, scored.tokens, *scored.where)
        scored.add_to(
            scores, resumed(name, lambda: scored.logprobs(self.run(which), self.blocks.logits))
        )

    def run(self, which: np.ndarray, watch: Watch | None = None) -> torch.Tensor:
        """Return `(copies * f, width)` residuals after the last block, of scored tokens at least.

        `which` are indices of interventions, in order of their lowest layers. `watch` is shown what
        has joined after each layer: the layer, and `(copies, f, width)` residuals of all tokens.
        """
        copies = _Copies(self, which)
        last = len(self.blocks)
        for layer in range(copies.first_layer, last + 1):
            copies.join(layer)
            copies.edit(layer)
            if watch is not None:
                seen = copies.residuals()
                watch(layer, seen.view(-1, len(self.fork), seen.shape[-1]))
            if layer < last:
                # After the last block only what is scored is looked at.
                few = watch is None and layer + 1 == last
                copies.step(layer, self.scored if few else None)
        return copies.residuals()

    def attention(self, copies: int, device: torch.device) -> AttentionPattern:
        """Return who attends to what where this many copies run, one after the other."""
        size, depth = len(self.fork), self.fork.depth
        if self.ends is None:
            return self.segments.first(copies, device)
        assert self.blocks.pieces is not None
        # Each copy's ends lie in that copy; those of padding tokens are right after them.
        ends = (np.arange(copies)[:, None] * size + self.ends).ravel()
        ends = np.concatenate((ends, np.arange(copies * size, self.tokens) + 1))
        return self.blocks.pieces.sparse_mask(ends, np.resize(depth, self.tokens), device)


class _Copies:
    """Copies of a fork on their way through the blocks, one for each intervention.

    A copy joins at the lowest layer that its intervention touches; below, it is the unsteered row.
    """

    def __init__(self, steered: SteeredFork, which: np.ndarray):
        self._steered, self._which = steered, which
        layers, counts = np.unique(steered.interventions.first_layers[which], return_counts=True)
        # How many copies begin at each layer.
        self._beginning = dict(zip(layers.tolist(), counts.tolist(), strict=True))
        self.first_layer = int(layers[0])
        states = steered.base.states[self.first_layer]
        self._h = states[:0]  # residuals of all copies' tokens, perhaps with padding behind them
        self._copies = 0  # how many copies have joined
        depth = np.resize(steered.fork.depth, steered.tokens)
        self._rotations = steered.blocks.rotations(torch.from_numpy(depth), states)
        self._attention: AttentionPattern | None = None

    def residuals(self) -> torch.Tensor:
        """Return `(copies * f, width)` residuals of the copies that have joined."""
        return self._h[: self._copies * len(self._steered.fork)]

    def join(self, layer: int) -> None:
        """Add the copies that begin at a layer, as the unsteered row has their tokens there."""
        copies = self._beginning.get(layer, 0)
        if not copies:
            return
        new = self._steered.joining(layer).repeat(copies, 1)
        # Behind the copies so far, in place of padding.
        self._h = torch.cat((self.residuals().to(new.device), new))
        self._copies += copies
        self._attention = None

    def edit(self, layer: int) -> None:
        """Change, in place, the residuals after a layer."""
        interventions, edited = self._steered.interventions, self._steered.edited
        if layer not in interventions.edited_layers:
            return
        which, h = self._which[: self._copies], self.residuals()
        copies = h.view(len(which), len(self._steered.fork), -1)
        if len(edited) == copies.shape[1]:
            copies.copy_(interventions.apply(layer, copies, which))
        else:
            tokens = copy_to(torch.from_numpy(edited), h.device)
            copies[:, tokens] = interventions.apply(layer, copies[:, tokens], which)

    def step(self, layer: int, few: np.ndarray | None = None) -> None:
        """Run the block after a layer, for all tokens or for `few` of each copy's.

        The residuals of the others then stay what they were before the block.
        """
        steered = self._steered
        blocks, interventions, fork = steered.blocks, steered.interventions, steered.fork
        device = blocks.device(layer)
        attention = self._attention
        if attention is None:
            attention = steered.attention(self._copies, device)
            if steered.ends is not None:
                padding = steered.tokens - len(self._h)
                self._h = functional.pad(self._h, (0, 0, 0, padding))
        self._h, self._rotations, self._attention = move_to(
            device, self._h, self._rotations, attention
        )
        change = None
        if layer in interventions.changed_blocks:
            which = self._which[: self._copies]
            change = interventions.block_change(layer, which, steered.edited, len(fork))
        # Rotations are those of as many copies as there may be.
        rotations = tuple(r[: len(self._h)] for r in self._rotations)
        before = steered.base.cache[layer] if steered.base.cache else KeyValues()
        given = BlockInput(self._h, rotations, self._attention, before, change=change)
        added = change is not None and (change.attention or change.mlp)
        if few is None or added or len(few) == len(fork):
            self._h = blocks.forward(layer, given)
            return
        at = (np.arange(self._copies)[:, None] * len(fork) + few).ravel()
        only = copy_to(torch.from_numpy(at), device)
        given = given._replace(attention=self._attention.only(at), only=only)
        self._h[only] = blocks.forward(layer, given)


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
