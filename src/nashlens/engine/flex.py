"""What a GPU runs compiled: block-sparse attention for long rows, and the steps around attention.

A module of its own, since importing flex attention and the compiler costs seconds that a CPU job
need not pay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch._dynamo
import torch._inductor.config
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from nashlens.engine.block import (
    BlockSteps,
    Projected,
    TransformerBlock,
    mlp_share,
    output_share,
)
from nashlens.engine.segments import Padded, Segment, SegmentAttention, attend_all
from nashlens.engine.stack import GpuPieces
from nashlens.engine.transfer import copy_to

_BLOCK = 128  # tokens of a block of the mask
_DENSE_CELLS = 1 << 23  # queries times keys that a dense mask may have
COMPILERS = 4
"""Processes that compile side by side, at most."""


# A model's blocks may need one graph a window, a row length and a device; beyond the limit, torch
# would run them uncompiled, with all scores in memory.
torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 256)
# By default as many as there are cores, each with a third of a gigabyte, in a job that may have
# asked for one core.
torch._inductor.config.compile_threads = min(torch._inductor.config.compile_threads or 1, COMPILERS)


def _attend(
    attention: Any,
    block: TransformerBlock,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: BlockMask,
) -> torch.Tensor:
    attended: torch.Tensor = attention(
        q[None],
        k[None],
        v[None],
        score_mod=None if block.softcap is None else capped(block.softcap),
        block_mask=mask,
        scale=block.scale,
        enable_gqa=block.heads != block.kv_heads,
    )
    return attended[0]


def capped(softcap: float) -> Callable[..., torch.Tensor]:
    """Return the score modification `softcap * tanh(score / softcap)`; scores come scaled."""

    def cap(score: torch.Tensor, _b: Any, _h: Any, _i: Any, _j: Any) -> torch.Tensor:
        return softcap * torch.tanh(score / softcap)

    return cap


def _sparse_block(
    block: TransformerBlock, h: torch.Tensor, rotations: tuple[torch.Tensor, ...], mask: BlockMask
) -> Projected:
    q, k, v = block.project(h, *rotations)
    return block.finish(h, _attend(flex_attention, block, q, k, v, mask)), k, v


_compiled_attention = torch.compile(flex_attention, dynamic=False)


def _sparse_attention_block(
    block: TransformerBlock, h: torch.Tensor, rotations: tuple[torch.Tensor, ...], mask: BlockMask
) -> Projected:
    q, k, v = block.project(h, *rotations)
    return block.finish(h, _attend(_compiled_attention, block, q, k, v, mask)), k, v


def _sparse_attention_share(
    block: TransformerBlock, h: torch.Tensor, rotations: tuple[torch.Tensor, ...], mask: BlockMask
) -> Projected:
    q, k, v = block.project(h, *rotations)
    return output_share(block, _attend(flex_attention, block, q, k, v, mask)), k, v


def _between(
    block: TransformerBlock,
    following: TransformerBlock,
    h: torch.Tensor,
    qkv: Projected,
    batches: list[Padded],
    slots: torch.Tensor,
    rotations: tuple[torch.Tensor, ...],
) -> tuple[torch.Tensor, Projected]:
    attended = attend_all(
        *qkv,
        block.scale,
        block.softcap,
        batches,
        slots,
        heads=block.heads,
        kv_heads=block.kv_heads,
    )
    h = block.finish(h, attended)
    return h, following.project(h, *rotations)


class TreeMask:
    """Block-sparse masks of a row whose nodes are in depth-first order, one for each window.

    With the index after each node's subtree, `ends`, and its position, `depth`, `(n,)` each: key j
    is seen by query i when `j <= i < ends[j]` and `depth[i] - depth[j]` is less than the window.
    """

    def __init__(self, ends: np.ndarray, depth: np.ndarray, device: torch.device):
        self._ends, self._depth, self.device = ends, depth, device
        self._masks: dict[int | None, BlockMask] = {}
        self._elsewhere: dict[torch.device, TreeMask] = {}

    def to(self, device: torch.device) -> TreeMask:
        """Return the same on a device; made once, since every block asks."""
        if device == self.device:
            return self
        if device not in self._elsewhere:
            self._elsewhere[device] = TreeMask(self._ends, self._depth, device)
        return self._elsewhere[device]

    def only(self, tokens: np.ndarray) -> SegmentAttention | TreeMask:
        """Return who sees what where only some tokens `(m,)` are needed after the block.

        A few of them attend under a dense mask; of the others only keys and values are computed.
        """
        n = len(self._ends)
        if len(tokens) * n > _DENSE_CELLS:
            return self
        i, j = torch.from_numpy(tokens), torch.arange(n)
        mask = (j <= i[:, None]) & (i[:, None] < torch.from_numpy(self._ends))
        return SegmentAttention([Segment(i, j, mask)], self._depth, self.device, start=0)

    def within(self, window: int | None) -> BlockMask:
        """Return the mask under a sliding window, or without one."""
        if window is not None and window > self._depth.max():
            window = None
        if window not in self._masks:
            n = len(self._ends)
            some, which, wholes, whole = (copy_to(t, self.device) for t in self._tables(window))
            # Only a backward pass asks which queries see a block of keys.
            mask = BlockMask.from_kv_blocks(
                some,
                which,
                wholes,
                whole,
                BLOCK_SIZE=_BLOCK,
                seq_lengths=(n, n),
                compute_q_blocks=False,
            )
            mask.mask_mod = self.visible(window)
            self._masks[window] = mask
        return self._masks[window]

    def _tables(self, window: int | None) -> list[torch.Tensor]:
        """Return, for each block of queries, how many and which blocks of keys are seen.

        First those seen in part, then those seen wholly. They follow from each block's extremes,
        so that no pair of tokens is looked at; a block counted as seen in part may be one of which
        nothing is seen, since what is seen of it is asked anyway.
        """
        n = len(self._ends)
        starts = np.arange(0, n, _BLOCK)
        stops = np.minimum(starts + _BLOCK, n)
        latest, soonest = (f.reduceat(self._ends, starts) for f in (np.maximum, np.minimum))
        deep, shallow = (f.reduceat(self._depth, starts) for f in (np.maximum, np.minimum))
        before = stops[None, :] <= starts[:, None]
        seen = (before & (latest[None, :] > starts[:, None])) | np.eye(len(starts), dtype=bool)
        whole = before & (soonest[None, :] >= stops[:, None])
        if window is not None:
            seen &= shallow[:, None] - deep[None, :] < window
            whole &= deep[:, None] - shallow[None, :] < window
        # Keys beyond the last token are no tokens: a block that reaches over it is not whole.
        whole &= ((stops - starts) == _BLOCK)[None, :]
        tables = []
        for some in (seen & ~whole, whole):
            order = np.argsort(~some, axis=1, kind="stable")
            tables += [some.sum(axis=1), order]
        return [torch.from_numpy(t.astype(np.int32))[None, None] for t in tables]

    def visible(self, window: int | None) -> Callable[..., torch.Tensor]:
        """Return the function of indices `(b, h, i, j)` that says whether i sees j."""
        ends = copy_to(torch.from_numpy(self._ends), self.device)

        def below(_b: Any, _h: Any, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
            return (j <= i) & (i < ends[j])

        if window is None:
            return below
        depth = copy_to(torch.from_numpy(self._depth), self.device)

        def near(_b: Any, _h: Any, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
            return (j <= i) & (i < ends[j]) & (depth[i] - depth[j] < window)

        return near


# One graph of a whole block serves all blocks of a window and length: their weights are inputs to
# it. Steps fuse norms, rotations and activations for any number of tokens. `between` goes from one
# block's keys and values to the next one's: where few tokens are new, such as a round's of play,
# the host launches more slowly than a GPU computes, so one call does all of it.
PIECES = GpuPieces(
    steps=BlockSteps(
        torch.compile(TransformerBlock.project, dynamic=True),
        torch.compile(TransformerBlock.finish, dynamic=True),
        torch.compile(mlp_share, dynamic=True),
    ),
    sparse_mask=TreeMask,
    sparse_block=torch.compile(_sparse_block, dynamic=False),
    sparse_attention_block=_sparse_attention_block,
    sparse_attention_share=torch.compile(_sparse_attention_share, dynamic=False),
    between=torch.compile(_between, dynamic=True, fullgraph=True),
)
