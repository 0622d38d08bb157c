"""Block-sparse attention for long rows on a GPU.

Apart from `blocks`, since importing flex attention and the compiler costs seconds that a CPU job
need not pay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch._dynamo
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from nashlens.engine.blocks import Block
from nashlens.engine.cache import KeyValues
from nashlens.engine.segments import Attention, Padded, Segment, attend_all
from nashlens.engine.tensor import mlp_half, output_share
from nashlens.engine.transfer import sent

_BLOCK = 128  # tokens of a block of the mask
_DENSE_CELLS = 1 << 23  # queries times keys that a dense mask may have
Result = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


# A model's blocks may need one graph a window, a row length and a device; beyond the limit, torch
# would run them uncompiled, with all scores in memory.
torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 256)


def _attend(
    attention: Any, block: Block, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: BlockMask
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


def _whole_block(
    block: Block, h: torch.Tensor, rotations: tuple[torch.Tensor, ...], mask: BlockMask
) -> Result:
    q, k, v = block.project(h, *rotations)
    return block.finish(h, _attend(flex_attention, block, q, k, v, mask)), k, v


_compiled_attention = torch.compile(flex_attention, dynamic=False)

# One graph serves all blocks of a window and length: their weights are inputs to it.
compiled_block = torch.compile(_whole_block, dynamic=False)

# For rows whose attention is not one kernel: norms, rotations and activations fused, for any
# number of tokens.
compiled_project = torch.compile(Block.project, dynamic=True)
compiled_finish = torch.compile(Block.finish, dynamic=True)


def _between(
    block: Block,
    following: Block,
    h: torch.Tensor,
    qkv: Result,
    batches: list[Padded],
    slots: torch.Tensor,
    rotations: tuple[torch.Tensor, ...],
) -> tuple[torch.Tensor, Result]:
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


# From one block's keys and values to the next one's: where few tokens are new, such as a round's of
# play, the host launches more slowly than a GPU computes, so one call does all of it.
compiled_between = torch.compile(_between, dynamic=True, fullgraph=True)


def attention_compiled(
    block: Block, h: torch.Tensor, rotations: tuple[torch.Tensor, ...], mask: BlockMask
) -> Result:
    """Run a block whose products do not trace (quantised weights), with compiled attention."""
    q, k, v = block.project(h, *rotations)
    return block.finish(h, _attend(_compiled_attention, block, q, k, v, mask)), k, v


def _attention_half(
    block: Block, h: torch.Tensor, rotations: tuple[torch.Tensor, ...], mask: BlockMask
) -> Result:
    q, k, v = block.project(h, *rotations)
    return output_share(block, _attend(flex_attention, block, q, k, v, mask)), k, v


_compiled_attention_half = torch.compile(_attention_half, dynamic=False)
compiled_mlp_half = torch.compile(mlp_half, dynamic=True)


def attention_half(
    block: Block,
    h: torch.Tensor,
    rotations: tuple[torch.Tensor, ...],
    attention: TreeMask,
    _before: KeyValues,
) -> Result:
    """Do as `tensor.attention_half`, compiled; nothing may have come before."""
    result: Result = _compiled_attention_half(block, h, rotations, attention.within(block.window))
    return result


class TreeMask:
    """Block-sparse masks of a row whose nodes are in depth-first order, one for each window.

    Parameters
    ----------
    ends, depth : numpy.ndarray
        `(n,)` each: the index after each node's subtree, and its position. Key j is seen by query
        i when `j <= i < ends[j]` and `depth[i] - depth[j]` is less than the window.
    device : torch.device
    """

    def __init__(self, ends: np.ndarray, depth: np.ndarray, device: torch.device):
        self._ends, self._depth, self.device = ends, depth, device
        self._masks: dict[int | None, BlockMask] = {}
        self._elsewhere: dict[torch.device, TreeMask] = {}

    def to(self, device: torch.device) -> TreeMask:
        """Return the same on a device; made once, for those who ask in every block."""
        if device == self.device:
            return self
        if device not in self._elsewhere:
            self._elsewhere[device] = TreeMask(self._ends, self._depth, device)
        return self._elsewhere[device]

    def only(self, tokens: np.ndarray) -> Attention | TreeMask:
        """Return who sees what where some tokens `(m,)` alone are wanted.

        A few of them attend under a dense mask, and then nothing but keys and values need be
        computed of the others.
        """
        n = len(self._ends)
        if len(tokens) * n > _DENSE_CELLS:
            return self
        i, j = torch.from_numpy(tokens), torch.arange(n)
        mask = (j <= i[:, None]) & (i[:, None] < torch.from_numpy(self._ends))
        return Attention([Segment(i, j, mask)], self._depth, self.device, start=0)

    def within(self, window: int | None) -> BlockMask:
        """Return the mask under a sliding window, or without one."""
        if window is not None and window > self._depth.max():
            window = None
        if window not in self._masks:
            n = len(self._ends)
            some, which, wholes, whole = (sent(t, self.device) for t in self._tables(window))
            # Which queries see a block of keys is asked by a backward pass alone.
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
        ends = sent(torch.from_numpy(self._ends), self.device)

        def below(_b: Any, _h: Any, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
            return (j <= i) & (i < ends[j])

        if window is None:
            return below
        depth = sent(torch.from_numpy(self._depth), self.device)

        def near(_b: Any, _h: Any, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
            return (j <= i) & (i < ends[j]) & (depth[i] - depth[j] < window)

        return near
