"""One block of a model, under the names that the engine uses.

The modules are the model's own (so quantised and dispatched weights work); what is ours is the
order of the steps around attention. Where a block's modules are, and which of a few variants it
uses, `models.registry` says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch

if TYPE_CHECKING:
    from nashlens.models.registry import Architecture

Projected = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Rotated queries, rotated keys and values, each `(heads, n, head)`."""
Changed = Callable[[torch.Tensor], torch.Tensor]
"""From values to changed ones."""
HeadChange = Callable[[torch.Tensor, int], torch.Tensor]
"""From outputs of heads, `(heads, n, head)`, and the number of the first of them, to changed ones.
"""


class BlockChange(NamedTuple):
    """What is changed within a block: outputs of heads, and `(n, width)` that a part adds."""

    heads: HeadChange | None = None
    attention: Changed | None = None
    mlp: Changed | None = None


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate the leading dimensions of each head: all, or as many as the rotation has."""
    rotated, rest = x, None
    if cos.shape[-1] != x.shape[-1]:
        rotated, rest = x.split((cos.shape[-1], x.shape[-1] - cos.shape[-1]), dim=-1)
    first, second = rotated.chunk(2, dim=-1)
    if x.device.type == "cpu":
        # In place: what a compiler fuses on a GPU would here be five more tensors of this size.
        half = first.shape[-1]
        rotated = rotated * cos
        rotated[..., :half].addcmul_(second, sin[..., :half], value=-1)
        rotated[..., half:].addcmul_(first, sin[..., half:])
    else:
        rotated = rotated * cos + torch.cat((-second, first), dim=-1) * sin
    return rotated if rest is None else torch.cat((rotated, rest), dim=-1)


class TransformerBlock(torch.nn.Module):
    """One block's modules under the names that we use, and the steps around attention.

    Attention scores `s`, multiplied by `scale`, become `softcap * tanh(s / softcap)` where there is
    a soft-cap. With a `window`, a token sees itself and the `window - 1` tokens before it;
    otherwise itself and all before it.

    Parameters
    ----------
    layer : torch.nn.Module
        The model's own block.
    index : int
        Its number, 0-based.
    names : nashlens.models.registry.Architecture
    config : transformers.PretrainedConfig
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
        if self.qkv == "split" and self.device.type == "cuda":
            whole = join_linear([self.q, self.k, self.v])
            if whole is not None:
                self.fused, self.qkv = whole, "fused"
        self.parallel = bool(names.parallel and getattr(config, names.parallel))
        self.scale = float(attrgetter(names.attention)(layer).scaling)
        self.softcap = softcap_of(config, names.attention_softcap)
        self.window = _window(config, names, index)
        # Where each type of block has rotations of its own: which of them are this block's.
        types = rotary_types(config, names)
        self.rotation = types.index(config.layer_types[index]) if types else 0

    @property
    def device(self) -> torch.device:
        """Where the block computes."""
        return next(self.parameters()).device

    def project(self, h: torch.Tensor, *rotations: torch.Tensor) -> Projected:
        """Return rotated queries, rotated keys and values, each `(heads, n, head)`.

        `h` holds `(n, width)` residuals before the block; `rotations` are `BlockStack.rotations`.
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

    def finish(
        self, h: torch.Tensor, attended: torch.Tensor, change: BlockChange | None = None
    ) -> torch.Tensor:
        """Return the block's output from its input and `(heads, n, head)` attention results.

        Of a change, only what attention and MLP add is changed here.
        """
        heads = attended.transpose(0, 1).reshape(h.shape[0], self.heads * self.head_dim)
        a = self.attention_out_norm(self.o(heads))
        if change is not None and change.attention is not None:
            a = change.attention(a)
        before = h if self.parallel else h + a
        m = self.mlp_out_norm(self.mlp(self.mlp_norm(before)))
        if change is not None and change.mlp is not None:
            m = change.mlp(m)
        result: torch.Tensor = m + a + h if self.parallel else before + m
        return result


def join_linear(parts: Sequence[torch.nn.Module]) -> torch.nn.Linear | None:
    """Return linear maps of one input as one map; their weights become views of its weights.

    A GPU computes it faster than its parts where few tokens are new: keys and values of grouped
    heads are narrow, and a product of their own leaves most of a GPU idle.

    Returns
    -------
    torch.nn.Linear or None
        None where a part is no plain `Linear`, such as a quantised one, or only some have a bias.
    """
    if any(type(part) is not torch.nn.Linear for part in parts):
        return None
    linears = cast(Sequence[torch.nn.Linear], parts)
    biased = [part.bias is not None for part in linears]
    if any(biased) != all(biased):
        return None
    sizes = [part.out_features for part in linears]
    whole = torch.nn.Linear(linears[0].in_features, sum(sizes), any(biased), device="meta")
    for name, _ in whole.named_parameters():
        given = [part.get_parameter(name) for part in linears]
        together = _one_tensor(given)
        setattr(whole, name, torch.nn.Parameter(together, requires_grad=False))
        for parameter, view in zip(given, together.split(sizes), strict=True):
            parameter.data = view
    return whole


def _one_tensor(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return tensors one below the other, without a copy where they lie so already."""
    first, at = parts[0], parts[0].storage_offset()
    for part in parts:
        same = part.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        if not (same and part.is_contiguous() and part.storage_offset() == at):
            return torch.cat([part.detach() for part in parts])
        at += part.numel()
    size = (sum(len(part) for part in parts), *first.shape[1:])
    return first.detach().as_strided(size, first.stride(), first.storage_offset())


def output_share(block: TransformerBlock, attended: torch.Tensor) -> torch.Tensor:
    """Return a device's share of the attention output, `(n, width)`, from `(heads, n, head)`."""
    result: torch.Tensor = block.o(attended.transpose(0, 1).flatten(1))
    return result


def mlp_share(
    block: TransformerBlock, h: torch.Tensor, attended: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the residual after attention, and a device's share of the MLP's output."""
    h = h + attended
    return h, block.mlp(block.mlp_norm(h))


class BlockSteps(NamedTuple):
    """The steps around attention, as they are written or compiled."""

    project: Callable[..., Projected]
    finish: Callable[..., torch.Tensor]
    mlp_share: Callable[..., tuple[torch.Tensor, torch.Tensor]]


AS_WRITTEN = BlockSteps(TransformerBlock.project, TransformerBlock.finish, mlp_share)


def _heads(config: Any, names: Architecture) -> tuple[int, int, int]:
    """Return the numbers of query and key heads, and their width."""
    heads = int(config.num_attention_heads)
    kv_heads, head_dim = heads, config.hidden_size // heads
    if not names.plain_heads:
        kv_heads = int(getattr(config, "num_key_value_heads", None) or heads)
        head_dim = int(getattr(config, "head_dim", None) or head_dim)
    return heads, kv_heads, head_dim


def softcap_of(config: Any, key: str | None) -> float | None:
    """Return a soft-cap by its key in the config, or None where there is none."""
    value = getattr(config, key) if key else None
    return None if value is None else float(value)


def _window(config: Any, names: Architecture, index: int) -> int | None:
    if names.windows == "none" or (
        names.windows == "layer_types" and config.layer_types[index] != "sliding_attention"
    ):
        return None
    value = config.sliding_window
    return None if value is None else int(value)


def rotary_types(config: Any, names: Architecture) -> list[str]:
    """Return the types of blocks that have rotations of their own, if any do."""
    return sorted(set(config.layer_types)) if names.rotary_by_type else []
