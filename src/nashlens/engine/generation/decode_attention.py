"""One new token a slot attends to what its slot holds.

Three ways: slot by slot over the valid tokens (any device; on a CPU nothing is paid for padding),
all slots at once under a mask (static shapes, so that a CUDA graph holds it), and a kernel of our
own that reads each slot's valid keys and values once (`decode_kernel`, CUDA with Triton). The first
is the oracle of the others.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from nashlens.engine.block import TransformerBlock


def write(
    new: torch.Tensor, kept: torch.Tensor, rows: torch.Tensor, position: torch.Tensor
) -> None:
    """Write the new tokens' `(kv heads, n, head)` keys or values to their slots, in place."""
    kept[rows, :, position] = new.transpose(0, 1)


def by_slot(
    block: TransformerBlock,
    q: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    rows: torch.Tensor,
    position: torch.Tensor,
) -> torch.Tensor:
    """Attend slot by slot: `(heads, n, head)` for the queries `(heads, n, head)` of new tokens.

    `keys` and `values`, `(slots, kv heads, capacity, head)`, include the new tokens' own. `rows`
    and `position`, `(n,)` each, are the slot of each new token and its place there.
    """
    heads, n, head_dim = q.shape
    # The queries of a key head are neighbouring rows: no key is copied for each.
    folded = q.view(block.kv_heads, heads // block.kv_heads, n, head_dim)
    result = torch.empty_like(q)
    width = block.window
    for i, (slot, at) in enumerate(zip(rows.tolist(), position.tolist(), strict=True)):
        first = 0 if width is None else max(0, at + 1 - width)
        seen = (slice(slot, slot + 1), slice(None), slice(first, at + 1))
        attended = _attend(block, folded[None, :, :, i], keys[seen], values[seen], None)
        result[:, i] = attended.reshape(heads, head_dim)
    return result


def by_mask(
    block: TransformerBlock,
    q: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    position: torch.Tensor,
    length: int,
) -> torch.Tensor:
    """Attend in all slots at once, over their first `length` tokens; as `by_slot` otherwise."""
    heads, n, head_dim = q.shape
    at = torch.arange(length, device=q.device)
    mask = at <= position[:, None]
    width = block.window
    if width is not None:
        mask &= at > position[:, None] - width
    folded = q.view(block.kv_heads, heads // block.kv_heads, n, head_dim).permute(2, 0, 1, 3)
    attended = _attend(block, folded, keys[:, :, :length], values[:, :, :length], mask)
    return attended.permute(1, 2, 0, 3).reshape(heads, n, head_dim)


def _attend(
    block: TransformerBlock,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None,
) -> torch.Tensor:
    """Attend, `(n, kv heads, group, head)` each way; `mask` is `(n, keys)`."""
    spread = None if mask is None else mask[:, None, None]
    cap = block.softcap
    if cap is None:
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=spread, scale=block.scale)
    scores = (q @ k.transpose(-1, -2)).float() * block.scale
    scores = cap * torch.tanh(scores / cap)
    if spread is not None:
        scores = scores.masked_fill(~spread, float("-inf"))
    return torch.softmax(scores, dim=-1).to(q.dtype) @ v
