"""One transformer block over packed tokens.

The modules are the model's own (so quantised and dispatched weights work); what is ours is the
order of the steps and the attention, which lets packed tokens see their ancestors alone and lets
later tokens reuse the keys and values of earlier ones.

A block of the supported families is pre-norm with gated MLP::

    h = h + attention(norm(h))
    h = h + mlp(norm(h))
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from nashlens.models.load import LoadedModel


def _rotate_half(x: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


@dataclass
class KeyValues:
    """Keys and values of one layer for the tokens computed so far, `(kv heads, tokens, head)`."""

    keys: torch.Tensor | None = None
    values: torch.Tensor | None = None

    def extended(self, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return kept and new keys and values, one after the other."""
        if self.keys is None or self.values is None:
            return k, v
        return torch.cat((self.keys, k), dim=1), torch.cat((self.values, v), dim=1)

    def keep(self, k: torch.Tensor, v: torch.Tensor) -> None:
        """Replace what is kept by the result of `extended`."""
        self.keys, self.values = k, v


@dataclass
class Cache:
    """Keys and values of every layer, for the nodes of one row."""

    layers: list[KeyValues] = field(default_factory=list)


class Blocks:
    """The blocks of a loaded model, by the names that its architecture declares.

    Parameters
    ----------
    loaded : nashlens.models.load.LoadedModel
    """

    def __init__(self, loaded: LoadedModel):
        names = loaded.architecture
        model: Any = loaded.model
        config = model.config
        self.names = names
        self.embedding = attrgetter(names.embed)(model)
        self.layers = list(attrgetter(names.layers)(model))
        self.norm = attrgetter(names.norm)(model)
        self.unembedding = attrgetter(names.unembed)(model)
        self.rotary = attrgetter(names.rotary)(model)
        self.heads = int(config.num_attention_heads)
        self.kv_heads = int(getattr(config, "num_key_value_heads", None) or self.heads)
        self.head_dim = int(
            getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        )

    def __len__(self) -> int:
        return len(self.layers)

    def device(self, layer: int) -> torch.device:
        """Return where a block (0-based) computes: a pipeline spreads them over devices."""
        device: torch.device = next(self.layers[layer].parameters()).device
        return device

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

    def _heads(self, layer: Any, x: torch.Tensor, which: str, count: int) -> torch.Tensor:
        names = self.names
        projected = attrgetter(getattr(names, which))(layer)(x)
        heads = projected.view(x.shape[0], count, self.head_dim)
        norm = getattr(names, f"{which}_norm", None)
        if norm:
            heads = attrgetter(norm)(layer)(heads)
        result: torch.Tensor = heads.transpose(0, 1)
        return result

    def forward(
        self,
        index: int,
        h: torch.Tensor,
        rotations: tuple[torch.Tensor, ...],
        mask: torch.Tensor,
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
        mask : torch.Tensor
            `(new, before + new)` boolean; true where attention is allowed.
        before : KeyValues
            What the new tokens may attend to besides themselves.
        keep : bool
            Whether `before` shall hold the new tokens too afterwards.

        Returns
        -------
        torch.Tensor
            `(new, width)` residuals after the block.
        """
        layer, names = self.layers[index], self.names
        x = attrgetter(names.input_norm)(layer)(h)
        cos, sin = rotations
        q = self._heads(layer, x, "q", self.heads)
        k = self._heads(layer, x, "k", self.kv_heads)
        v = attrgetter(names.v)(layer)(x).view(-1, self.kv_heads, self.head_dim).transpose(0, 1)
        q = q * cos + _rotate_half(q) * sin
        k = k * cos + _rotate_half(k) * sin
        k, v = before.extended(k, v)
        if keep:
            before.keep(k, v)
        attended = functional.scaled_dot_product_attention(
            q[None],
            k[None],
            v[None],
            attn_mask=mask,
            scale=self.head_dim**-0.5,
            enable_gqa=self.heads != self.kv_heads,
        )[0]
        attended = attended.transpose(0, 1).reshape(h.shape[0], self.heads * self.head_dim)
        h = h + attrgetter(names.o)(layer)(attended)
        result: torch.Tensor = h + attrgetter(names.mlp)(layer)(
            attrgetter(names.post_attention_norm)(layer)(h)
        )
        return result
