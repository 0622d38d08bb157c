"""The model's blocks over packed tokens, all heads of a block on one device.

Packed tokens see only their ancestors, and later tokens reuse the keys and values of earlier ones.

Attention comes in two kinds: scaled dot products segment by segment (`segments`), which work
everywhere, and flex attention with a block-sparse mask, compiled with the rest of the block, for
long rows on a GPU (`flex`).
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch

from nashlens.engine.block import (
    AS_WRITTEN,
    BlockSteps,
    Projected,
    TransformerBlock,
    rotary_types,
    softcap_of,
)
from nashlens.engine.segments import SegmentAttention
from nashlens.engine.stack import BlockInput, GpuPieces, check_change
from nashlens.errors import DataError

if TYPE_CHECKING:
    from nashlens.models.loaded import LoadedModel


class Blocks:
    """The blocks of a loaded model, in one piece; `BlockStack` says what it offers."""

    def __init__(self, loaded: LoadedModel):
        names = loaded.architecture
        model: Any = loaded.model
        config = model.config
        self.embedding = attrgetter(names.embed)(model)
        self.positions = attrgetter(names.positions)(model) if names.positions else None
        self.blocks = [
            TransformerBlock(layer, index, names, config).eval()
            for index, layer in enumerate(attrgetter(names.layers)(model))
        ]
        self.shards = [self.blocks]
        self.heads, self.head_dim = self.blocks[0].heads, self.blocks[0].head_dim
        self.norm = attrgetter(names.norm)(model)
        self.unembedding = attrgetter(names.unembed)(model)
        self.softcap = softcap_of(config, names.logit_softcap)
        self.context = int(config.max_position_embeddings)
        self.rotary = attrgetter(names.rotary)(model) if names.rotary else None
        self._rotary_types = rotary_types(config, names)
        rope = getattr(config, "rope_parameters", None) or {}
        self.short: int | None = None
        if rope.get("rope_type") == "longrope":
            self.short = int(rope["original_max_position_embeddings"])
        self.devices = [block.device for block in self.blocks]
        self.dtype: torch.dtype = self.embedding.weight.dtype
        self.input_device: torch.device = self.embedding.weight.device
        self.learned_positions = self.positions is not None
        self.quantised = loaded.quantization != "none"
        self.pieces: GpuPieces | None = None

    def __len__(self) -> int:
        return len(self.blocks)

    def device(self, layer: int) -> torch.device:
        """Return where a block (0-based) computes."""
        return self.devices[layer]

    def embed(self, tokens: torch.Tensor, positions: torch.Tensor | None = None) -> torch.Tensor:
        """Return the embedding output, `(n, width)`; rotary positions may be left out."""
        device = self.embedding.weight.device
        result: torch.Tensor = self.embedding(tokens.to(device))
        if self.positions is not None:
            if positions is None:
                raise ValueError("this model has learned positions, and none were given")
            known, last = self.positions.weight.shape[0], int(positions.max())
            if last >= known:
                raise DataError(
                    f"a sequence has {last + 1} tokens; this model has {known} learned positions"
                )
            result = result + self.positions(positions.to(device))
        return result

    def rotations(self, positions: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the rotations of queries and keys at positions `(n,)`."""
        if self.rotary is None:
            return ()
        at = positions[None].to(like.device)
        if not self._rotary_types:
            return tuple(part[0] for part in self.rotary(like[None], at))
        pairs = [self.rotary(like[None], at, name) for name in self._rotary_types]
        return tuple(part[0] for pair in pairs for part in pair)

    def logits(self, residual: torch.Tensor) -> torch.Tensor:
        """Return float32 logits, `(n, vocabulary)`."""
        device = next(self.norm.parameters()).device
        normed = self.norm(residual.to(device))
        device = next(self.unembedding.parameters()).device
        result: torch.Tensor = self.unembedding(normed.to(device)).float()
        return result if self.softcap is None else self.softcap * torch.tanh(result / self.softcap)

    def forward(self, index: int, given: BlockInput) -> torch.Tensor:
        """Run one block over new tokens."""
        check_change(given)
        block, pieces, only = self.blocks[index], self.pieces, given.only
        h, attention = given.h, given.attention
        if isinstance(attention, SegmentAttention):
            steps = AS_WRITTEN if pieces is None or self.quantised else pieces.steps
            q, k, v = steps.project(block, h, *given.rotations)
            k, v = given.before.extended(k, v)
            attended = attention(q, k, v, block.scale, softcap=block.softcap, window=block.window)
            change = given.change
            if change is not None and change.heads is not None:
                attended = change.heads(attended, 0)
            if only is not None:
                h, attended = h[only], attended[:, only]
            if change is not None and (change.attention or change.mlp):
                h = block.finish(h, attended, change)
            else:
                h = steps.finish(block, h, attended)
        else:
            assert pieces is not None
            run = pieces.sparse_attention_block if self.quantised else pieces.sparse_block
            h, k, v = run(block, h, given.rotations, attention.within(block.window))
            h = h if only is None else h[only]
        if given.keep:
            given.before.keep(k, v)
        return h

    def forward_ahead(
        self, index: int, given: BlockInput, projected: Projected | None
    ) -> tuple[torch.Tensor, Projected | None]:
        """Run one block, and where it pays the projections of the next one too."""
        block, pieces, only, padded = self.blocks[index], self.pieces, given.only, None
        if pieces and not self.quantised and isinstance(given.attention, SegmentAttention):
            padded = given.attention.padded(block.window, block.heads // block.kv_heads)
        # After blocks under a block-sparse mask, the row's last one has no projections yet.
        if pieces is None or padded is None or (only is not None and projected is None):
            return self.forward(index, given), None
        q, k, v = projected or pieces.steps.project(block, given.h, *given.rotations)
        k, v = given.before.extended(k, v)
        # Where no block follows here, this one is projected for nothing: a graph without it costs
        # more.
        last = index + 1 == len(self) or self.devices[index + 1] != self.devices[index]
        following = block if last else self.blocks[index + 1]
        h, projected = pieces.between(
            block, following, given.h, (q, k, v), *padded, given.rotations
        )
        if given.keep:
            given.before.keep(k, v)
        return h if only is None else h[only], None if last else projected

    def forward_around(
        self,
        index: int,
        h: torch.Tensor,
        attend: Callable[[int, torch.Tensor], torch.Tensor],
        steps: BlockSteps,
    ) -> torch.Tensor:
        """Run one block around attention that the caller computes."""
        return steps.finish(self.blocks[index], h, attend(0, h))
