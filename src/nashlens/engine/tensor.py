"""Blocks split over devices by tensor parallelism (Megatron-LM, arXiv:1909.08053).

Each device computes its own heads and hidden units, and a share of the block's output; the shares
are summed after attention and after the MLP. One process launches the work of all devices, which
then run at the same time. Between blocks the residual stands on the first device, as a plain
tensor, so that whoever captures or edits it need not know of the others::

    h -copied to all-> project, attend, o -summed on all-> + h, norm, mlp -summed on first-> + h

`TensorBlocks` offers what `Blocks` does to the engine, and holds one `Blocks` for each device.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.cuda import nccl

from nashlens.engine.blocks import Block, Blocks, Change, Projected
from nashlens.engine.cache import KeyValues
from nashlens.engine.segments import Attention

if TYPE_CHECKING:
    from nashlens.engine.flex import TreeMask
    from nashlens.models.load import LoadedModel

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
    """Collectives by copies and additions, for any devices.

    Parameters
    ----------
    devices : sequence of torch.device
    """

    def __init__(self, devices: Sequence[torch.device]):
        self.devices = list(devices)

    def broadcast(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the first device's tensor on every device."""
        return [x.to(device) for device in self.devices]

    def sum_on_all(self, parts: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return the sum of every device's tensor on every device."""
        return self.broadcast(self.sum_on_first(parts))

    def sum_on_first(self, parts: list[torch.Tensor]) -> torch.Tensor:
        """Return the sum of every device's tensor on the first."""
        total = parts[0]
        for part in parts[1:]:
            total = total + part.to(total.device)
        return total


class Nccl:
    """Collectives by NCCL, for distinct GPUs of one process, on their current streams.

    Parameters
    ----------
    devices : sequence of torch.device
    """

    def __init__(self, devices: Sequence[torch.device]):
        self.devices = list(devices)

    def broadcast(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the first device's tensor on every device."""
        rest = [torch.empty_like(x, device=device) for device in self.devices[1:]]
        copies = [x.contiguous(), *rest]
        nccl.broadcast(copies)
        return copies

    def sum_on_all(self, parts: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return the sum of every device's tensor on every device, in place."""
        nccl.all_reduce(parts)
        return parts

    def sum_on_first(self, parts: list[torch.Tensor]) -> torch.Tensor:
        """Return the sum of every device's tensor on the first, in place."""
        nccl.reduce(parts, output=parts[0])
        return parts[0]


def collectives(devices: Sequence[torch.device]) -> Collectives:
    """Choose how tensors move: NCCL between distinct GPUs, copies elsewhere.

    Parameters
    ----------
    devices : sequence of torch.device
    """
    if any(device.type != "cuda" for device in devices) or len(set(devices)) < len(devices):
        return Copies(devices)
    if not nccl.is_available([torch.zeros(1, device=device) for device in devices]):
        log.warning("torch has no NCCL here: GPUs exchange sums by plain copies, which is slower")
        return Copies(devices)
    return Nccl(devices)


def attention_half(
    block: Block,
    h: torch.Tensor,
    rotations: tuple[torch.Tensor, ...],
    attention: Attention,
    before: KeyValues,
    project: Callable[..., Any] = Block.project,
    change: Change | None = None,
    first: int = 0,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return a device's share of the attention output, `(n, width)`, and all keys and values.

    `change` is told that the device's heads begin with `first`.
    """
    q, k, v = project(block, h, *rotations)
    k, v = before.extended(k, v)
    attended = attention(q, k, v, block.scale, softcap=block.softcap, window=block.window)
    if change is not None:
        attended = change(attended, first)
    return output_share(block, attended), k, v


def output_share(block: Block, attended: torch.Tensor) -> torch.Tensor:
    """Return a device's share of the attention output, `(n, width)`, from `(heads, n, head)`."""
    result: torch.Tensor = block.o(attended.transpose(0, 1).flatten(1))
    return result


def mlp_half(
    block: Block, h: torch.Tensor, attended: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the residual after attention, and a device's share of the MLP's output."""
    h = h + attended
    return h, block.mlp(block.mlp_norm(h))


class TensorBlocks:
    """The blocks of a model that devices share; see `Blocks` for what its methods give.

    Parameters
    ----------
    loaded : nashlens.models.load.LoadedModel
        With `shards`.

    Attributes
    ----------
    flex : bool
        Whether rows may come with a block-sparse mask.
    short : int or None
        See `Blocks`.
    heads, head_dim : int
        Number of heads in a block, over all devices, and their width.
    collectives : Collectives
        How tensors move between devices.
    """

    def __init__(self, loaded: LoadedModel):
        self.parts = [Blocks(replace(loaded, model=shard, shards=())) for shard in loaded.shards]
        self.devices = [part.device(0) for part in self.parts]
        self.flex = all(part.flex for part in self.parts)
        self.short = self.parts[0].short
        self.heads = sum(part.heads for part in self.parts)
        self.head_dim = self.parts[0].head_dim
        self.collectives = collectives(self.devices)
        # One of them alone holds the unembedding.
        self._last = next(part for part in self.parts if not part.unembedding.weight.is_meta)

    def __len__(self) -> int:
        return len(self.parts[0])

    def device(self, layer: int) -> torch.device:
        """Return where residuals stand before and after a block (0-based): the first device."""
        return self.parts[0].device(layer)

    def embed(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Return the embedding output, `(n, width)`, of token ids at positions, `(n,)` each."""
        return self.parts[0].embed(tokens, positions)

    def rotations(self, positions: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the first device's rotations, then the same on the second, and so on."""
        first = self.parts[0].rotations(positions, like)
        return tuple(r.to(device) for device in self.devices for r in first)

    def logits(self, residual: torch.Tensor) -> torch.Tensor:
        """Return float32 logits, `(n, vocabulary)`, of last-layer residuals `(n, width)`."""
        return self._last.logits(residual)

    def forward(
        self,
        index: int,
        h: torch.Tensor,
        rotations: tuple[torch.Tensor, ...],
        attention: Attention | TreeMask,
        before: KeyValues,
        *,
        keep: bool,
        change: Change | None = None,
        only: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Run one block over new tokens; see `Blocks.forward`.

        Parameters
        ----------
        index : int
        h : torch.Tensor
            `(new, width)` on the first device.
        rotations : tuple of torch.Tensor
            Of `rotations`.
        attention : Attention or TreeMask
        before : KeyValues
        keep : bool
        change : Change, optional
            For `Attention` alone.
        only : torch.Tensor, optional

        Returns
        -------
        torch.Tensor
            `(new, width)`, or a row for each of `only`, on the first device.

        Raises
        ------
        ValueError
            As `Blocks.forward`.
        """
        if change is not None and not isinstance(attention, Attention):
            raise ValueError("heads cannot be changed under a block-sparse mask")
        each = len(rotations) // len(self.parts)
        blocks = [part.blocks[index] for part in self.parts]
        attend, finish = self._halves(attention)
        states, shares = self.collectives.broadcast(h), []
        for i, kept in enumerate(before.split(len(blocks))):
            device = self.devices[i]
            own = tuple(r.to(device) for r in rotations[i * each : (i + 1) * each])
            changed = {"change": change, "first": i * blocks[i].heads} if change else {}
            share, k, v = attend(blocks[i], states[i], own, attention.to(device), kept, **changed)
            shares.append(share)
            if keep:
                kept.keep(k, v)
                before.length = kept.length
        if only is not None:
            places = [only.to(device) for device in self.devices]
            states, shares = (
                [x[at] for x, at in zip(found, places, strict=True)] for found in (states, shares)
            )
        attended = self.collectives.sum_on_all(shares)
        finished = [finish(*each) for each in zip(blocks, states, attended, strict=True)]
        return finished[0][0] + self.collectives.sum_on_first([share for _, share in finished])

    def onward(
        self,
        index: int,
        h: torch.Tensor,
        rotations: tuple[torch.Tensor, ...],
        attention: Attention | TreeMask,
        before: KeyValues,
        projected: Projected | None,
        *,
        keep: bool,
        only: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, None]:
        """Run one block; none is begun ahead (see `Blocks.onward`)."""
        return self.forward(index, h, rotations, attention, before, keep=keep, only=only), None

    def _halves(
        self, attention: Attention | TreeMask
    ) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Return the steps before each sum, compiled on GPUs."""
        if not self.flex:
            return attention_half, mlp_half
        from nashlens.engine import flex

        if isinstance(attention, Attention):
            project = flex.compiled_project
            return functools.partial(attention_half, project=project), flex.compiled_mlp_half
        return flex.attention_half, flex.compiled_mlp_half


def blocks_of(loaded: LoadedModel) -> Blocks | TensorBlocks:
    """Return a model's blocks, shared by devices or not."""
    return TensorBlocks(loaded) if loaded.shards else Blocks(loaded)
