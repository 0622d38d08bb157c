"""The model's blocks over packed tokens.

The modules are the model's own (so quantised and dispatched weights work); what is ours is the
order of the steps and the attention, which lets packed tokens see their ancestors alone and lets
later tokens reuse the keys and values of earlier ones.

A block of the supported families is pre-norm with gated MLP::

    h = h + attention(norm(h))
    h = h + mlp(norm(h))

Two kinds of attention serve it: scaled dot products segment by segment (`segments`), which work
everywhere, and flex attention with a block-sparse mask, compiled with the rest of the block, for
long rows on a GPU (`flex`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch

from nashlens.engine.segments import Attention

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

    from nashlens.models.load import LoadedModel
    from nashlens.models.registry import Architecture


def _rotate_half(x: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


class KeyValues:
    """Keys and values of one layer for the tokens computed so far.

    They lie in buffers with room for more tokens, so that adding some does not copy all.
    """

    def __init__(self) -> None:
        self.length = 0
        self._keys: torch.Tensor | None = None
        self._values: torch.Tensor | None = None

    @property
    def keys(self) -> torch.Tensor | None:
        """`(kv heads, length, head)`."""
        return None if self._keys is None else self._keys[:, : self.length]

    @property
    def values(self) -> torch.Tensor | None:
        """`(kv heads, length, head)`."""
        return None if self._values is None else self._values[:, : self.length]

    def extended(self, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return kept and new keys and values, one after the other, until the next call."""
        if self._keys is None or self._values is None:
            return k, v
        end = self.length + k.shape[1]
        if end > self._keys.shape[1]:
            room = max(end, 2 * self.length)
            self._keys, self._values = (
                torch.cat(
                    (x[:, : self.length], x.new_empty(len(x), room - self.length, x.shape[2])), 1
                )
                for x in (self._keys, self._values)
            )
        self._keys[:, self.length : end] = k
        self._values[:, self.length : end] = v
        return self._keys[:, :end], self._values[:, :end]

    def trim(self, n: int) -> None:
        """Forget all but the first `n` tokens: the rest was padding."""
        self.length = min(n, self.length)

    def keep(self, k: torch.Tensor, v: torch.Tensor) -> None:
        """Keep what `extended` returned."""
        if self._keys is None:
            self._keys, self._values = k, v
        self.length = k.shape[1]


@dataclass
class Cache:
    """Keys and values of every layer, for the nodes of one row."""

    layers: list[KeyValues] = field(default_factory=list)


class Block(torch.nn.Module):
    """One block's modules under the names that we use, and the steps around attention."""

    input_norm: torch.nn.Module
    q: torch.nn.Module
    k: torch.nn.Module
    v: torch.nn.Module
    o: torch.nn.Module
    q_norm: torch.nn.Module
    k_norm: torch.nn.Module
    post_attention_norm: torch.nn.Module
    mlp: torch.nn.Module

    def __init__(self, layer: Any, names: Architecture, heads: int, kv_heads: int, head_dim: int):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, head_dim
        for part in ("input_norm", "q", "k", "v", "o", "post_attention_norm", "mlp"):
            setattr(self, part, attrgetter(getattr(names, part))(layer))
        for part in ("q_norm", "k_norm"):
            path = getattr(names, part)
            setattr(self, part, attrgetter(path)(layer) if path else torch.nn.Identity())

    def project(
        self, h: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return rotated queries, rotated keys and values, each `(heads, n, head)`."""
        x, n = self.input_norm(h), h.shape[0]
        q = self.q_norm(self.q(x).view(n, self.heads, self.head_dim)).transpose(0, 1)
        k = self.k_norm(self.k(x).view(n, self.kv_heads, self.head_dim)).transpose(0, 1)
        v = self.v(x).view(n, self.kv_heads, self.head_dim).transpose(0, 1)
        return q * cos + _rotate_half(q) * sin, k * cos + _rotate_half(k) * sin, v

    def finish(self, h: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Return the block's output from its input and `(heads, n, head)` attention results."""
        h = h + self.o(attended.transpose(0, 1).reshape(h.shape[0], self.heads * self.head_dim))
        result: torch.Tensor = h + self.mlp(self.post_attention_norm(h))
        return result


class Blocks:
    """The blocks of a loaded model, by the names that its architecture declares.

    Parameters
    ----------
    loaded : nashlens.models.load.LoadedModel

    Attributes
    ----------
    flex : bool
        Whether rows may come with a block-sparse mask.
    """

    def __init__(self, loaded: LoadedModel):
        names = loaded.architecture
        model: Any = loaded.model
        config = model.config
        heads = int(config.num_attention_heads)
        kv_heads = int(getattr(config, "num_key_value_heads", None) or heads)
        head_dim = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
        self.embedding = attrgetter(names.embed)(model)
        self.blocks = [
            Block(layer, names, heads, kv_heads, head_dim).eval()
            for layer in attrgetter(names.layers)(model)
        ]
        self.norm = attrgetter(names.norm)(model)
        self.unembedding = attrgetter(names.unembed)(model)
        self.rotary = attrgetter(names.rotary)(model)
        self.devices = [next(block.parameters()).device for block in self.blocks]
        self.flex = all(device.type == "cuda" for device in self.devices)
        # Quantised products do not trace; there, attention alone is compiled.
        self.whole = loaded.quantization == "none" and len(set(self.devices)) == 1

    def __len__(self) -> int:
        return len(self.blocks)

    def device(self, layer: int) -> torch.device:
        """Return where a block (0-based) computes: a pipeline spreads them over devices."""
        return self.devices[layer]

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the embedding output, `(n, width)`, of token ids `(n,)`."""
        weight = self.embedding.weight
        result: torch.Tensor = self.embedding(tokens.to(weight.device))
        return result

    def rotations(self, positions: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the rotary cosines and sines, each `(n, head)`, at integer positions `(n,)`."""
        cos, sin = self.rotary(like[None], positions[None].to(like.device))
        return cos[0], sin[0]

    def logits(self, residual: torch.Tensor) -> torch.Tensor:
        """Return float32 logits, `(n, vocabulary)`, of last-layer residuals `(n, width)`."""
        device = next(self.norm.parameters()).device
        normed = self.norm(residual.to(device))
        device = next(self.unembedding.parameters()).device
        result: torch.Tensor = self.unembedding(normed.to(device)).float()
        return result

    def forward(
        self,
        index: int,
        h: torch.Tensor,
        rotations: tuple[torch.Tensor, ...],
        attention: Attention | BlockMask,
        before: KeyValues,
        *,
        keep: bool,
    ) -> torch.Tensor:
        """Run one block over new tokens.

        Parameters
        ----------
        index : int
            The block, 0-based.
        h : torch.Tensor
            `(new, width)` residuals before the block.
        rotations : tuple of torch.Tensor
            Cosines and sines of the new tokens, each `(new, head)`.
        attention : Attention or BlockMask
            Who attends to what; or a block-sparse mask of the new tokens alone, where nothing came
            before.
        before : KeyValues
            Keys and values of the tokens before the new ones.
        keep : bool
            Whether `before` shall hold the new tokens too afterwards.

        Returns
        -------
        torch.Tensor
            `(new, width)` residuals after the block.
        """
        block, (cos, sin) = self.blocks[index], rotations
        if isinstance(attention, Attention):
            project, finish = Block.project, Block.finish
            if self.flex and self.whole:
                from nashlens.engine import flex

                project, finish = flex.compiled_project, flex.compiled_finish
            q, k, v = project(block, h, cos, sin)
            k, v = before.extended(k, v)
            h = finish(block, h, attention(q, k, v, block.head_dim**-0.5))
        else:
            from nashlens.engine import flex

            run = flex.compiled_block if self.whole else flex.attention_compiled
            h, k, v = run(block, h, cos, sin, attention)
        if keep:
            before.keep(k, v)
        return h
