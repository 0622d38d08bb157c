"""Blocks split over devices by tensor parallelism (Megatron-LM, arXiv:1909.08053).

Each device computes its own heads and hidden units, and a share of the block's output; the shares
are summed after attention and after the MLP. One process launches the work of all devices, which
then run at the same time. Between blocks the residual is on the first device, as a plain tensor, so
that what captures or edits it need not know of the others::

    h -copied to all-> project, attend, o -summed on all-> + h, norm, mlp -summed on first-> + h
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch.cuda import nccl

from nashlens.engine.block import AS_WRITTEN, BlockChange, BlockSteps, Projected, output_share
from nashlens.engine.blocks import Blocks
from nashlens.engine.segments import SegmentAttention
from nashlens.engine.stack import (
    BlockInput,
    GpuPieces,
    check_change,
    own_rotations,
)

if TYPE_CHECKING:
    from nashlens.models.loaded import LoadedModel

log = logging.getLogger(__name__)


class Collectives(Protocol):
    """Moves tensors of one shape between devices, one tensor a device, in their order."""

    def broadcast(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the first device's tensor on every device."""

    def sum_on_all(self, parts: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return the sum of every device's tensor on every device; `parts` may be overwritten."""

    def sum_on_first(self, parts: list[torch.Tensor]) -> torch.Tensor:
        """Return the sum of every device's tensor on the first; `parts` may be overwritten."""


class Copies:
    """Collectives by copies and additions, for any devices."""

    def __init__(self, devices: Sequence[torch.device]):
        self.devices = list(devices)

    def broadcast(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the tensor on every device."""
        return [x.to(device) for device in self.devices]

    def sum_on_all(self, parts: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return the sum on every device."""
        return self.broadcast(self.sum_on_first(parts))

    def sum_on_first(self, parts: list[torch.Tensor]) -> torch.Tensor:
        """Return the sum on the first device."""
        total = parts[0]
        for part in parts[1:]:
            total = total + part.to(total.device)
        return total


class Nccl:
    """Collectives by NCCL, for distinct GPUs of one process, on their current streams."""

    def __init__(self, devices: Sequence[torch.device]):
        self.devices = list(devices)

    def broadcast(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the tensor on every device."""
        rest = [torch.empty_like(x, device=device) for device in self.devices[1:]]
        copies = [x.contiguous(), *rest]
        nccl.broadcast(copies)
        return copies

    def sum_on_all(self, parts: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return the sum on every device, in place."""
        nccl.all_reduce(parts)
        return parts

    def sum_on_first(self, parts: list[torch.Tensor]) -> torch.Tensor:
        """Return the sum on the first device, in place."""
        nccl.reduce(parts, output=parts[0])
        return parts[0]


def collectives(devices: Sequence[torch.device]) -> Collectives:
    """Choose how tensors move: NCCL between distinct GPUs, copies elsewhere."""
    if any(device.type != "cuda" for device in devices) or len(set(devices)) < len(devices):
        return Copies(devices)
    if not nccl.is_available([torch.zeros(1, device=device) for device in devices]):
        log.warning("torch has no NCCL here: GPUs exchange sums by plain copies, which is slower")
        return Copies(devices)
    return Nccl(devices)


class TensorBlocks:
    """The blocks of a model with `shards`: `parts` are each device's own, which share the heads."""

    def __init__(self, loaded: LoadedModel):
        self.parts = [Blocks(replace(loaded, model=shard, shards=())) for shard in loaded.shards]
        self.shards = [part.blocks for part in self.parts]
        self.devices = [part.device(0) for part in self.parts]
        self.heads = sum(part.heads for part in self.parts)
        first = self.parts[0]
        self.head_dim, self.context, self.short = first.head_dim, first.context, first.short
        self.dtype, self.input_device = first.dtype, first.input_device
        self.quantised, self.learned_positions = first.quantised, first.learned_positions
        self.pieces: GpuPieces | None = None
        self.collectives = collectives(self.devices)
        # Only one of them holds the unembedding.
        self._last = next(part for part in self.parts if not part.unembedding.weight.is_meta)

    def __len__(self) -> int:
        return len(self.parts[0])

    def device(self, layer: int) -> torch.device:
        """Return where residuals are before and after a block (0-based): the first device."""
        return self.parts[0].device(layer)

    def embed(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Return the embedding output, `(n, width)`."""
        return self.parts[0].embed(tokens, positions)

    def rotations(self, positions: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the first device's rotations, then the same on the second, and so on."""
        first = self.parts[0].rotations(positions, like)
        return tuple(r.to(device) for device in self.devices for r in first)

    def logits(self, residual: torch.Tensor) -> torch.Tensor:
        """Return float32 logits, `(n, vocabulary)`."""
        return self._last.logits(residual)

    def forward(self, index: int, given: BlockInput) -> torch.Tensor:
        """Run one block over new tokens; residuals are on the first device."""
        check_change(given)
        steps = self.pieces.steps if self.pieces else AS_WRITTEN
        states, shares, first_head = self.collectives.broadcast(given.h), [], 0
        for i, before in enumerate(given.before.split(len(self.parts))):
            block, device = self.shards[i][index], self.devices[i]
            rotations = own_rotations(given.rotations, i, len(self.parts), device)
            attention = given.attention.to(device)
            if isinstance(attention, SegmentAttention):
                q, k, v = steps.project(block, states[i], *rotations)
                k, v = before.extended(k, v)
                attended = attention(
                    q, k, v, block.scale, softcap=block.softcap, window=block.window
                )
                if given.change is not None and given.change.heads is not None:
                    attended = given.change.heads(attended, first_head)
                share = output_share(block, attended)
            else:
                assert self.pieces is not None
                mask = attention.within(block.window)
                share, k, v = self.pieces.sparse_attention_share(block, states[i], rotations, mask)
            first_head += block.heads
            shares.append(share)
            if given.keep:
                before.keep(k, v)
                given.before.length = before.length
        if given.only is not None:
            places = [given.only.to(device) for device in self.devices]
            states, shares = (
                [x[at] for x, at in zip(found, places, strict=True)] for found in (states, shares)
            )
        return self._finished(index, states, shares, steps, given.change)

    def forward_ahead(
        self, index: int, given: BlockInput, projected: Projected | None
    ) -> tuple[torch.Tensor, None]:
        """Run one block, and never the projections of the next one."""
        return self.forward(index, given), None

    def forward_around(
        self,
        index: int,
        h: torch.Tensor,
        attend: Callable[[int, torch.Tensor], torch.Tensor],
        steps: BlockSteps,
    ) -> torch.Tensor:
        """Run one block around attention that the caller computes."""
        states = self.collectives.broadcast(h)
        shares = [
            output_share(blocks[index], attend(i, states[i]))
            for i, blocks in enumerate(self.shards)
        ]
        return self._finished(index, states, shares, steps)

    def _finished(
        self,
        index: int,
        states: list[torch.Tensor],
        shares: list[torch.Tensor],
        steps: BlockSteps,
        change: BlockChange | None = None,
    ) -> torch.Tensor:
        """Return a block's output from each device's input and share of the attention output."""
        attended = self.collectives.sum_on_all(shares)
        if change is not None and change.attention is not None:
            attended = [change.attention(share) for share in attended]
        ends = [
            steps.mlp_share(blocks[index], *each)
            for blocks, *each in zip(self.shards, states, attended, strict=True)
        ]
        added = self.collectives.sum_on_first([share for _, share in ends])
        if change is not None and change.mlp is not None:
            added = change.mlp(added)
        return ends[0][0] + added
