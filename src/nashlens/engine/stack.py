"""What the engine asks of a model's blocks, whether one device computes them or several.

`blocks.Blocks` and `tensor.TensorBlocks` offer it. What a GPU runs compiled is handed to them as
`GpuPieces`, which `flex` makes: importing it takes seconds that a CPU job need not pay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from nashlens.engine.block import BlockChange, BlockSteps, Projected, TransformerBlock
from nashlens.engine.cache import KeyValues
from nashlens.engine.segments import SegmentAttention


class SparseMask(Protocol):
    """Block-sparse masks of a row of which nothing was computed before."""

    def to(self, device: torch.device) -> SparseMask:
        """Return the same on a device."""

    def only(self, tokens: np.ndarray) -> SegmentAttention | SparseMask:
        """Return who sees what where only some tokens, `(m,)`, are needed after the block."""

    def within(self, window: int | None) -> Any:
        """Return the mask under a sliding window, or without one."""


AttentionPattern = SegmentAttention | SparseMask
"""Who attends to what."""


@dataclass
class GpuPieces:
    """What a GPU runs compiled.

    The `sparse_` pieces take a block, its input, rotations and a mask, and return keys and values
    too: `sparse_block` after the whole block, `sparse_attention_block` the same for quantised
    weights, whose products do not trace, and `sparse_attention_share` after a device's share of the
    attention output. `between` goes from a block's queries, keys and values to its output and those
    of the block that follows.
    """

    steps: BlockSteps
    sparse_mask: Callable[[np.ndarray, np.ndarray, torch.device], SparseMask]
    sparse_block: Callable[..., Projected]
    sparse_attention_block: Callable[..., Projected]
    sparse_attention_share: Callable[..., Projected]
    between: Callable[..., tuple[torch.Tensor, Projected]]


class BlockInput(NamedTuple):
    """What one block is given.

    Attributes
    ----------
    h : torch.Tensor
        `(new, width)` residuals before the block.
    rotations : tuple of torch.Tensor
        Of the new tokens, from `BlockStack.rotations`.
    attention : AttentionPattern
        A `SparseMask` only where nothing came before the new tokens.
    before : KeyValues
        Keys and values of the tokens before the new ones.
    keep : bool
        Whether the new tokens are added to `before`.
    change : BlockChange or None
        Changes heads' outputs before they are projected, or what attention or MLP add.
    only : torch.Tensor or None
        `(m,)` the new tokens that are needed after the block; None for all.
    """

    h: torch.Tensor
    rotations: tuple[torch.Tensor, ...]
    attention: AttentionPattern
    before: KeyValues
    keep: bool = False
    change: BlockChange | None = None
    only: torch.Tensor | None = None


class BlockStack(Protocol):
    """The blocks of a model, with its embedding and unembedding.

    Attributes
    ----------
    pieces : GpuPieces or None
        What runs compiled, where all devices are GPUs. Rows may then have a block-sparse mask.
    shards : list of list of TransformerBlock
        For each device that shares the heads its part of every block; one list where none do.
    heads, head_dim : int
        Number of heads in a block, over all devices, and their width.
    context : int
        How many positions the model knows.
    short : int or None
        Sequences of at most this many tokens have other rotations than longer ones (longrope), so
        the two never share a row.
    quantised : bool
        Whether the blocks' products do not trace.
    learned_positions : bool
    dtype, input_device : torch.dtype, torch.device
        Of the embedding.
    """

    pieces: GpuPieces | None
    shards: list[list[TransformerBlock]]
    heads: int
    head_dim: int
    context: int
    short: int | None
    quantised: bool
    learned_positions: bool
    dtype: torch.dtype
    input_device: torch.device

    def __len__(self) -> int:
        """Return the number of blocks."""

    def device(self, layer: int) -> torch.device:
        """Return where residuals are before and after a block (0-based).

        A pipeline spreads its blocks over devices; where devices share the heads, it is the first.
        """

    def embed(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Return the embedding output, `(n, width)`, of token ids and positions, `(n,)` each.

        Raises
        ------
        DataError
            If a position lies beyond the learned ones of a model that has such.
        """

    def rotations(self, positions: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the rotations of queries and keys at integer positions `(n,)`.

        They are cosines and sines, `(n, rotated)` each, for each type of block, in the dtype and on
        the device of the residuals `like`; then the same on each further device. There are none
        where positions are learned. A row's last position must be among `positions`: the longest
        sequence sets longrope's rates.
        """

    def logits(self, residual: torch.Tensor) -> torch.Tensor:
        """Return float32 logits, `(n, vocabulary)`, of last-layer residuals `(n, width)`."""

    def forward(self, index: int, given: BlockInput) -> torch.Tensor:
        """Run one block, 0-based, over new tokens.

        Returns
        -------
        torch.Tensor
            `(new, width)` residuals after the block, or `(m, width)` where `only` is given.

        Raises
        ------
        ValueError
            If a block is changed under a block-sparse mask, where one compiled call holds it.
        """

    def forward_ahead(
        self, index: int, given: BlockInput, projected: Projected | None
    ) -> tuple[torch.Tensor, Projected | None]:
        """Run one block as `forward` does, and where it pays the projections of the next one too.

        `projected` is what the call for the block before returned after its residuals, which must
        be unchanged. Residuals come first, then what the next call takes.
        """

    def forward_around(
        self,
        index: int,
        h: torch.Tensor,
        attend: Callable[[int, torch.Tensor], torch.Tensor],
        steps: BlockSteps,
    ) -> torch.Tensor:
        """Run one block around attention that the caller computes.

        `attend` goes from a shard's number and its copy of `h`, `(n, width)`, to the `(heads, n,
        head)` results of the shard's heads; `steps` computes the rest.
        """


def check_change(given: BlockInput) -> None:
    """Refuse to change a block under a block-sparse mask (see `BlockStack.forward`)."""
    if given.change is not None and not isinstance(given.attention, SegmentAttention):
        raise ValueError("a block cannot be changed under a block-sparse mask")


def own_rotations(
    rotations: Sequence[torch.Tensor], shard: int, shards: int, device: torch.device
) -> tuple[torch.Tensor, ...]:
    """Return the rotations of one shard, of those of all, on its device."""
    each = len(rotations) // shards
    return tuple(r.to(device) for r in rotations[shard * each : (shard + 1) * each])
