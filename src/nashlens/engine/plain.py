"""One sequence through the blocks step by step: for gradients, and for paths between components.

Nothing is packed or batched, and everything is kept, so that a backward pass can go through it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from nashlens.engine.blocks import Blocks
from nashlens.engine.recording import Place
from nashlens.errors import DataError

if TYPE_CHECKING:
    from nashlens.engine.block import TransformerBlock
    from nashlens.engine.core import Engine

See = Callable[[str, int, torch.Tensor], torch.Tensor]
"""From a kind of place, its layer and the values there to changed ones. Beside those of a `Site`,
`attention_input` and `mlp_input` are the residuals that a block's attention and MLP read."""


class PlainRun(NamedTuple):
    """What a run of a sequence leaves behind."""

    final: torch.Tensor
    """`(t, width)` residuals after the last block, of the tokens that ran."""
    values: dict[Place, torch.Tensor]
    """`(t, width)`, or `(t, heads, head)` for heads."""
    keys: list[tuple[torch.Tensor, torch.Tensor]]


def plain_blocks(engine: Engine) -> Blocks:
    """Return an engine's blocks; DataError where several devices share the heads."""
    if not isinstance(engine.blocks, Blocks):
        raise DataError(
            "attribution and paths need all heads of a block on one device; found"
            " parallel: tensor, use none or pipeline"
        )
    return engine.blocks


def run_plain(stack: Blocks, tokens: Sequence[int], see: See | None = None) -> PlainRun:
    """Run a sequence; `see` may change what comes by."""
    values: dict[Place, torch.Tensor] = {}

    def keep(kind: str, layer: int, x: torch.Tensor) -> torch.Tensor:
        x = see(kind, layer, x) if see is not None else x
        values[kind, layer] = x
        return x

    positions = torch.arange(len(tokens))
    h = stack.embed(torch.tensor(tokens), positions)
    rotations = stack.rotations(positions, h)
    h = keep("residual", 0, h)
    keys = []
    for index, block in enumerate(stack.blocks):
        h = h.to(block.device)
        h, k, v = run_block(block, index + 1, h, [r.to(h.device) for r in rotations], None, keep)
        keys.append((k, v))
    return PlainRun(h, values, keys)


def rerun(stack: Blocks, base: PlainRun, start: int, first: int, see: See) -> torch.Tensor:
    """Run tokens from `start` on again, in the blocks above layer `first`.

    Returns
    -------
    torch.Tensor
        `(t, width)` residuals after the last block.
    """
    whole = base.values["residual", first]
    h = whole[start:]
    rotations = stack.rotations(torch.arange(len(whole)), whole)
    for index in range(first, len(stack)):
        block = stack.blocks[index]
        h = h.to(block.device)
        here = [r[start:].to(h.device) for r in rotations]
        before = tuple(part[:, :start] for part in base.keys[index])
        h, _, _ = run_block(block, index + 1, h, here, before, see)
    return h


def run_block(
    block: TransformerBlock,
    layer: int,
    h: torch.Tensor,
    rotations: Sequence[torch.Tensor],
    before: tuple[torch.Tensor, ...] | None,
    see: See,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Run one block step by step; return its output, and keys and values of all tokens."""
    q, k, v = block.project(see("attention_input", layer, h), *rotations)
    if before is not None:
        k, v = torch.cat([before[0], k], dim=1), torch.cat([before[1], v], dim=1)
    attended = see("head", layer, _attention(block, q, k, v).transpose(0, 1))
    a = see("attention", layer, attention_output(block, attended))
    inner = see("mlp_input", layer, h if block.parallel else h + a)
    m = see("mlp", layer, block.mlp_out_norm(block.mlp(block.mlp_norm(inner))))
    return see("residual", layer, h + a + m), k, v


def attention_output(block: TransformerBlock, attended: torch.Tensor) -> torch.Tensor:
    """Return what attention adds, `(t, width)`, from outputs of heads, `(t, heads, head)`."""
    result: torch.Tensor = block.attention_out_norm(block.o(attended.flatten(1)))
    return result


def _attention(
    block: TransformerBlock, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
) -> torch.Tensor:
    """Return `(heads, t, head)` for the last t of n tokens."""
    t, n, shared = q.shape[1], k.shape[1], block.heads // block.kv_heads
    k, v = k.repeat_interleave(shared, dim=0), v.repeat_interleave(shared, dim=0)
    scores = q @ k.transpose(1, 2) * block.scale
    if block.softcap is not None:
        scores = block.softcap * torch.tanh(scores / block.softcap)
    # How many tokens back each key is; negative ones are yet to come.
    back = torch.arange(n - t, n)[:, None] - torch.arange(n)
    seen = (back >= 0) & (back < (block.window or n))
    scores = scores.masked_fill(~seen.to(scores.device), float("-inf"))
    return torch.softmax(scores.float(), dim=-1).to(v.dtype) @ v
