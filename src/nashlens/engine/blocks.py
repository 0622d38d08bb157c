"""The model's blocks over packed tokens.

The modules are the model's own (so quantised and dispatched weights work); what is ours is the
order of the steps and the attention, which lets packed tokens see their ancestors alone and lets
later tokens reuse the keys and values of earlier ones.

Where a block's parts are, and which of a few variants it uses, `models.registry` says.

Two kinds of attention serve it: scaled dot products segment by segment (`segments`), which work
everywhere, and flex attention with a block-sparse mask, compiled with the rest of the block, for
long rows on a GPU (`flex`).
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch

from nashlens.engine.cache import KeyValues
from nashlens.engine.segments import Attention
from nashlens.errors import DataError

if TYPE_CHECKING:
    from nashlens.engine.flex import TreeMask
    from nashlens.models.load import LoadedModel
    from nashlens.models.registry import Architecture


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate the leading dimensions of each head: all, or as many as the rotation has."""
    turned, rest = x, None
    if cos.shape[-1] != x.shape[-1]:
        turned, rest = x.split((cos.shape[-1], x.shape[-1] - cos.shape[-1]), dim=-1)
    first, second = turned.chunk(2, dim=-1)
    if x.device.type == "cpu":
        # In place: what a compiler fuses on a GPU would here be five more tensors of this size.
        half = first.shape[-1]
        turned = turned * cos
        turned[..., :half].addcmul_(second, sin[..., :half], value=-1)
        turned[..., half:].addcmul_(first, sin[..., half:])
    else:
        turned = turned * cos + torch.cat((-second, first), dim=-1) * sin
    return turned if rest is None else torch.cat((turned, rest), dim=-1)


Projected = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Turned queries, turned keys and values, each `(heads, n, head)`."""
Change = Callable[[torch.Tensor, int], torch.Tensor]
"""From outputs of heads, `(heads, n, head)`, and which the first of them is, to changed ones."""


class Block(torch.nn.Module):
    """One block's modules under the names that we use, and the steps around attention.

    Parameters
    ----------
    layer : torch.nn.Module
        The model's own block.
    index : int
        Which, 0-based.
    names : nashlens.models.registry.Architecture
    config : transformers.PretrainedConfig

    Attributes
    ----------
    heads, kv_heads, head_dim : int
    scale : float
        What scores are multiplied by.
    softcap : float or None
        Scores `s` become `softcap * tanh(s / softcap)`.
    window : int or None
        A token sees itself and the `window - 1` before it; all before it where None.
    """

    input_norm: torch.nn.Module
    q: torch.nn.Module
    k: torch.nn.Module
    v: torch.nn.Module
    fused: torch.nn.Module
    o: torch.nn.Module
    q_norm: torch.nn.Module
    k_norm: torch.nn.Module
    attention_out_norm: torch.nn.Module
    mlp_norm: torch.nn.Module
    mlp: torch.nn.Module
    mlp_out_norm: torch.nn.Module

    def __init__(self, layer: Any, index: int, names: Architecture, config: Any):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = _heads(config, names)
        for part in (
            *("input_norm", "q", "k", "v", "fused", "o", "q_norm", "k_norm"),
            *("attention_out_norm", "mlp_norm", "mlp", "mlp_out_norm"),
        ):
            path = getattr(names, part)
            setattr(self, part, attrgetter(path)(layer) if path else torch.nn.Identity())
        self.qkv = names.qkv
        self.parallel = bool(names.parallel and getattr(config, names.parallel))
        self.scale = float(attrgetter(names.attention)(layer).scaling)
        self.softcap = _cap(config, names.attention_softcap)
        self.window = _window(config, names, index)
        # Where a model turns each type of block at its own rate: which of the rotations is ours.
        types = _rotary_types(config, names)
        self.rotation = types.index(config.layer_types[index]) if types else 0

    def project(
        self, h: torch.Tensor, *rotations: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return turned queries, turned keys and values, each `(heads, n, head)`.

        `rotations` are those of `Blocks.rotations`.
        """
        x, n = self.input_norm(h), h.shape[0]
        if self.qkv == "split":
            q, k, v = self.q(x), self.k(x), self.v(x)
        elif self.qkv == "fused":
            sizes = [count * self.head_dim for count in (self.heads, self.kv_heads, self.kv_heads)]
            q, k, v = self.fused(x).split(sizes, dim=-1)
        else:
            q, k, v = self.fused(x).view(n, self.heads, 3, self.head_dim).unbind(2)
        q = self.q_norm(q.reshape(n, self.heads, self.head_dim)).transpose(0, 1)
        k = self.k_norm(k.reshape(n, self.kv_heads, self.head_dim)).transpose(0, 1)
        v = v.reshape(n, self.kv_heads, self.head_dim).transpose(0, 1)
        if rotations:
            cos, sin = rotations[2 * self.rotation : 2 * self.rotation + 2]
            q, k = _rotated(q, cos, sin), _rotated(k, cos, sin)
        return q, k, v

    def finish(self, h: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Return the block's output from its input and `(heads, n, head)` attention results."""
        heads = attended.transpose(0, 1).reshape(h.shape[0], self.heads * self.head_dim)
        a = self.attention_out_norm(self.o(heads))
        if self.parallel:
            beside: torch.Tensor = self.mlp(self.mlp_norm(h)) + a + h
            return beside
        h = h + a
        result: torch.Tensor = h + self.mlp_out_norm(self.mlp(self.mlp_norm(h)))
        return result


def _heads(config: Any, names: Architecture) -> tuple[int, int, int]:
    """Return the numbers of query and key heads, and their width."""
    heads = int(config.num_attention_heads)
    kv_heads, head_dim = heads, config.hidden_size // heads
    if not names.plain_heads:
        kv_heads = int(getattr(config, "num_key_value_heads", None) or heads)
        head_dim = int(getattr(config, "head_dim", None) or head_dim)
    return heads, kv_heads, head_dim


def _cap(config: Any, key: str | None) -> float | None:
    value = getattr(config, key) if key else None
    return None if value is None else float(value)


def _window(config: Any, names: Architecture, index: int) -> int | None:
    if names.windows == "none" or (
        names.windows == "layer_types" and config.layer_types[index] != "sliding_attention"
    ):
        return None
    value = config.sliding_window
    return None if value is None else int(value)


def _rotary_types(config: Any, names: Architecture) -> list[str]:
    return sorted(set(config.layer_types)) if names.rotary_by_type else []


class Blocks:
    """The blocks of a loaded model, by the names that its architecture declares.

    Parameters
    ----------
    loaded : nashlens.models.load.LoadedModel

    Attributes
    ----------
    flex : bool
        Whether rows may come with a block-sparse mask.
    context : int
        How many positions the model knows.
    short : int or None
        Sequences of at most so many tokens turn at other rates than longer ones (longrope), so the
        two never share a row.
    heads, head_dim : int
        Number of heads in a block, and their width.
    """

    def __init__(self, loaded: LoadedModel):
        names = loaded.architecture
        model: Any = loaded.model
        config = model.config
        self.embedding = attrgetter(names.embed)(model)
        self.positions = attrgetter(names.positions)(model) if names.positions else None
        self.blocks = [
            Block(layer, index, names, config).eval()
            for index, layer in enumerate(attrgetter(names.layers)(model))
        ]
        self.heads, self.head_dim = self.blocks[0].heads, self.blocks[0].head_dim
        self.norm = attrgetter(names.norm)(model)
        self.unembedding = attrgetter(names.unembed)(model)
        self.softcap = _cap(config, names.logit_softcap)
        self.context = int(config.max_position_embeddings)
        self.rotary = attrgetter(names.rotary)(model) if names.rotary else None
        self._rotary_types = _rotary_types(config, names)
        rope = getattr(config, "rope_parameters", None) or {}
        self.short: int | None = None
        if rope.get("rope_type") == "longrope":
            self.short = int(rope["original_max_position_embeddings"])
        self.devices = [next(block.parameters()).device for block in self.blocks]
        self.flex = all(device.type == "cuda" for device in self.devices)
        # Quantised products do not trace; there, attention alone is compiled.
        self.whole = loaded.quantization == "none"

    def __len__(self) -> int:
        return len(self.blocks)

    def device(self, layer: int) -> torch.device:
        """Return where a block (0-based) computes: a pipeline spreads them over devices."""
        return self.devices[layer]

    def embed(self, tokens: torch.Tensor, positions: torch.Tensor | None = None) -> torch.Tensor:
        """Return the embedding output, scaled where the model scales it.

        Parameters
        ----------
        tokens : torch.Tensor
            `(n,)` ids.
        positions : torch.Tensor
            `(n,)`; may be left out where positions are rotary.

        Returns
        -------
        torch.Tensor
            `(n, width)`.

        Raises
        ------
        DataError
            If a position lies beyond the learned ones of a model that has such.
        """
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
        """Return what turns queries and keys at integer positions `(n,)`.

        Parameters
        ----------
        positions : torch.Tensor
            The last one of a row among them, since the longest sequence sets longrope's rates.
        like : torch.Tensor
            Residuals, for the dtype and device.

        Returns
        -------
        tuple of torch.Tensor
            Cosines and sines, `(n, rotated)` each, for each type of block; none where positions
            are learned.
        """
        if self.rotary is None:
            return ()
        at = positions[None].to(like.device)
        if not self._rotary_types:
            return tuple(part[0] for part in self.rotary(like[None], at))
        pairs = [self.rotary(like[None], at, name) for name in self._rotary_types]
        return tuple(part[0] for pair in pairs for part in pair)

    def logits(self, residual: torch.Tensor) -> torch.Tensor:
        """Return float32 logits, `(n, vocabulary)`, of last-layer residuals `(n, width)`."""
        device = next(self.norm.parameters()).device
        normed = self.norm(residual.to(device))
        device = next(self.unembedding.parameters()).device
        result: torch.Tensor = self.unembedding(normed.to(device)).float()
        return result if self.softcap is None else self.softcap * torch.tanh(result / self.softcap)

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
        """Run one block over new tokens.

        Parameters
        ----------
        index : int
            The block, 0-based.
        h : torch.Tensor
            `(new, width)` residuals before the block.
        rotations : tuple of torch.Tensor
            Of the new tokens, from `rotations`.
        attention : Attention or TreeMask
            Who attends to what; or block-sparse masks of the new tokens alone, where nothing came
            before.
        before : KeyValues
            Keys and values of the tokens before the new ones.
        keep : bool
            Whether `before` shall hold the new tokens too afterwards.
        change : Change, optional
            What becomes of the heads' outputs before they are projected; for `Attention` alone.
        only : torch.Tensor, optional
            `(m,)` the new tokens that are wanted after the block.

        Returns
        -------
        torch.Tensor
            `(new, width)` residuals after the block, or `(m, width)`.

        Raises
        ------
        ValueError
            If heads are changed where attention has a block-sparse mask: there one compiled call
            holds the whole block.
        """
        block = self.blocks[index]
        if change is not None and not isinstance(attention, Attention):
            raise ValueError("heads cannot be changed under a block-sparse mask")
        if isinstance(attention, Attention):
            project, finish = Block.project, Block.finish
            if self.flex and self.whole:
                from nashlens.engine import flex

                project, finish = flex.compiled_project, flex.compiled_finish
            q, k, v = project(block, h, *rotations)
            k, v = before.extended(k, v)
            attended = attention(q, k, v, block.scale, softcap=block.softcap, window=block.window)
            if change is not None:
                attended = change(attended, 0)
            if only is not None:
                h, attended = h[only], attended[:, only]
            h = finish(block, h, attended)
        else:
            from nashlens.engine import flex

            run = flex.compiled_block if self.whole else flex.attention_compiled
            h, k, v = run(block, h, rotations, attention.within(block.window))
            h = h if only is None else h[only]
        if keep:
            before.keep(k, v)
        return h

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
    ) -> tuple[torch.Tensor, Projected | None]:
        """Run one block as `forward` does, and where it pays the beginning of the next one too.

        Parameters
        ----------
        index, h, rotations, attention, before, keep, only
            As for `forward`.
        projected : tuple of torch.Tensor or None
            What the call for the block before returned; `h` must be its residuals, unchanged.

        Returns
        -------
        h : torch.Tensor
            As `forward` returns.
        projected : tuple of torch.Tensor or None
            For the next call.
        """
        block = self.blocks[index]
        padded = None
        if self.flex and self.whole and isinstance(attention, Attention):
            padded = attention.padded(block.window, block.heads // block.kv_heads)
        # A row's last block under a block-sparse mask comes without a beginning.
        if padded is None or (only is not None and projected is None):
            return self.forward(index, h, rotations, attention, before, keep=keep, only=only), None
        from nashlens.engine import flex

        q, k, v = projected or flex.compiled_project(block, h, *rotations)
        k, v = before.extended(k, v)
        # Where no block follows here, one is begun for nothing: a graph without it costs more.
        last = index + 1 == len(self) or self.devices[index + 1] != self.devices[index]
        following = block if last else self.blocks[index + 1]
        h, projected = flex.compiled_between(block, following, h, (q, k, v), *padded, rotations)
        if keep:
            before.keep(k, v)
        return h if only is None else h[only], None if last else projected
