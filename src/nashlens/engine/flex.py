"""Block-sparse attention for long rows on a GPU.

Apart from `blocks`, since importing flex attention and the compiler costs seconds that a CPU job
need not pay.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from nashlens.engine.blocks import Block

Result = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def _attend(
    attention: Any, block: Block, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: BlockMask
) -> torch.Tensor:
    attended: torch.Tensor = attention(
        q[None],
        k[None],
        v[None],
        block_mask=mask,
        scale=block.head_dim**-0.5,
        enable_gqa=block.heads != block.kv_heads,
    )
    return attended[0]


def _whole_block(
    block: Block, h: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, mask: BlockMask
) -> Result:
    q, k, v = block.project(h, cos, sin)
    return block.finish(h, _attend(flex_attention, block, q, k, v, mask)), k, v


_compiled_attention = torch.compile(flex_attention, dynamic=False)

# One graph serves all blocks of a model: their weights are inputs to it.
compiled_block = torch.compile(_whole_block, dynamic=False)

# For rows whose attention is not one kernel: norms, rotations and activations fused, for any
# number of tokens.
compiled_project = torch.compile(Block.project, dynamic=True)
compiled_finish = torch.compile(Block.finish, dynamic=True)


def attention_compiled(
    block: Block, h: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, mask: BlockMask
) -> Result:
    """Run a block whose products do not trace (quantised weights), with compiled attention."""
    q, k, v = block.project(h, cos, sin)
    return block.finish(h, _attend(_compiled_attention, block, q, k, v, mask)), k, v


def subtree_mask(ends: torch.Tensor) -> BlockMask:
    """Return the block-sparse mask of a row whose nodes are in depth-first order.

    Parameters
    ----------
    ends : torch.Tensor
        `(n,)`: the index after each node's subtree. Key j is seen by query i when
        `j <= i < ends[j]`.
    """

    def visible(_b: Any, _h: Any, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        return (j <= i) & (i < ends[j])

    n = len(ends)
    return create_block_mask(visible, None, None, n, n, device=str(ends.device))
