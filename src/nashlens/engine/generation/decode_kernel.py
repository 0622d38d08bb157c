"""A Triton kernel for one new token a slot, and the compiled steps around it.

A module of its own, since Triton comes only with torch's CUDA builds and the compiler takes seconds
to import.

A program serves one slot, one key head and one part of the slot's tokens (flash decoding, Dao et
al. 2023): the queries of the key head are the rows of one matrix product with a tile of keys, so
each valid key and value is read once, and a slot's length is read on the device, so one CUDA graph
serves all lengths. The first part begins with the new token, whose key and value it also writes to
the slot; the softmax is accumulated tile by tile (Milakov and Gimelshein 2018, arXiv:1805.02867).
Where there are several parts, a second kernel merges them.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from nashlens.engine.block import BlockSteps, TransformerBlock
from nashlens.engine.flex import PIECES

_PROGRAMS = 512  # enough to keep all of a GPU's multiprocessors busy


@triton.jit
def _scores(s, cap, CAPPED: tl.constexpr):
    if CAPPED:
        # tanh(x) = 2 sigmoid(2x) - 1
        s = cap * (2 * tl.sigmoid(2 * s / cap) - 1)
    return s


@triton.jit
def _attend(
    q_from,
    k_from,
    v_from,
    keys_at,
    values_at,
    position_from,
    out_to,
    peak_to,
    total_to,
    scale,
    cap,
    q_head,
    q_slot,
    q_dim,
    k_head,
    k_slot,
    k_dim,
    v_head,
    v_slot,
    v_dim,
    in_slot,
    in_head,
    slots,
    heads,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    HEAD: tl.constexpr,
    WIDTH: tl.constexpr,
    TILE: tl.constexpr,
    PARTS: tl.constexpr,
    WINDOW: tl.constexpr,
    CAPPED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    slot, kv, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    position = tl.load(position_from + slot).to(tl.int32)
    row, dim = tl.arange(0, ROWS), tl.arange(0, WIDTH)
    head = kv * GROUP + row
    in_head_dim = dim < HEAD
    real = (row < GROUP)[:, None] & in_head_dim[None, :]
    q_where = head[:, None] * q_head + slot * q_slot + dim[None, :] * q_dim
    q = tl.load(q_from + q_where, mask=real, other=0.0)
    k = tl.load(k_from + kv * k_head + slot * k_slot + dim * k_dim, mask=in_head_dim, other=0.0)
    v = tl.load(v_from + kv * v_head + slot * v_slot + dim * v_dim, mask=in_head_dim, other=0.0)
    of_slot = slot.to(tl.int64) * in_slot + kv * in_head
    if part == 0:
        # No part reads it in this step, so nothing waits for it.
        tl.store(keys_at + of_slot + position * HEAD + dim, k, mask=in_head_dim)
        tl.store(values_at + of_slot + position * HEAD + dim, v, mask=in_head_dim)
    own = tl.sum(q.to(tl.float32) * k.to(tl.float32)[None, :], axis=1) * scale
    own = _scores(own, cap, CAPPED)
    peak = tl.where(part == 0, own, float("-inf"))
    total = tl.where(part == 0, 1.0, 0.0) + tl.zeros((ROWS,), tl.float32)
    result = tl.where(part == 0, v.to(tl.float32)[None, :], 0.0) + tl.zeros(
        (ROWS, WIDTH), tl.float32
    )
    begin = 0
    if WINDOW > 0:
        begin = tl.maximum(position + 1 - WINDOW, 0)
    length = tl.cdiv(tl.cdiv(position - begin, PARTS), TILE) * TILE
    start = begin + part * length
    stop = tl.minimum(start + length, position)
    for at in range(start, stop, TILE):
        token = at + tl.arange(0, TILE)
        seen = token < stop
        k_where = of_slot + token[None, :] * HEAD + dim[:, None]
        old_k = tl.load(keys_at + k_where, mask=seen[None, :] & in_head_dim[:, None], other=0.0)
        s = tl.dot(q, old_k, input_precision=PRECISION) * scale
        s = tl.where(seen[None, :], _scores(s, cap, CAPPED), float("-inf"))
        higher = tl.maximum(peak, tl.max(s, axis=1))
        weight = tl.exp(s - higher[:, None])
        fade = tl.exp(peak - higher)
        v_where = of_slot + token[:, None] * HEAD + dim[None, :]
        old_v = tl.load(values_at + v_where, mask=seen[:, None] & in_head_dim[None, :], other=0.0)
        result = result * fade[:, None] + tl.dot(
            weight.to(old_v.dtype), old_v, input_precision=PRECISION
        )
        total = total * fade + tl.sum(weight, axis=1)
        peak = higher
    if PARTS == 1:
        out_where = (slot * heads + head)[:, None] * HEAD + dim[None, :]
        out = result / total[:, None]
        tl.store(out_to + out_where, out.to(out_to.dtype.element_ty), mask=real)
    else:
        at_row = (part * slots + slot) * heads + head
        tl.store(out_to + at_row[:, None] * HEAD + dim[None, :], result, mask=real)
        tl.store(peak_to + at_row, peak, mask=row < GROUP)
        tl.store(total_to + at_row, total, mask=row < GROUP)


@triton.jit
def _merge(
    part_from,
    peak_from,
    total_from,
    out_to,
    rows,
    HEAD: tl.constexpr,
    WIDTH: tl.constexpr,
    PARTS: tl.constexpr,
    SPREAD: tl.constexpr,
):
    row = tl.program_id(0)
    part, dim = tl.arange(0, SPREAD), tl.arange(0, WIDTH)
    there = part * rows + row
    peak = tl.load(peak_from + there, mask=part < PARTS, other=float("-inf"))
    total = tl.load(total_from + there, mask=part < PARTS, other=0.0)
    weight = tl.exp(peak - tl.max(peak, axis=0))
    real = (part < PARTS)[:, None] & (dim < HEAD)[None, :]
    parts = tl.load(part_from + there[:, None] * HEAD + dim[None, :], mask=real, other=0.0)
    out = tl.sum(parts * weight[:, None], axis=0) / tl.sum(total * weight, axis=0)
    tl.store(out_to + row * HEAD + dim, out.to(out_to.dtype.element_ty), mask=dim < HEAD)


def by_kernel(
    block: TransformerBlock,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    position: torch.Tensor,
    *,
    parts: int | None = None,
    tile: int | None = None,
    warps: int = 4,
    stages: int = 3,
) -> torch.Tensor:
    """Write the new tokens' keys and values to all slots, in place, and attend.

    Queries `(heads, slots, head)` and keys and values `(kv heads, slots, head)` are of one new
    token a slot, at `position` `(slots,)`; the slots' own are `(slots, kv heads, capacity, head)`,
    contiguous. The result is `(heads, slots, head)`.

    The work is cut into `parts` of a slot, by default as many as keep the device busy, and `tile`
    tokens a step, by default as many as leave room for several programs; `warps` and `stages` are a
    program's warps and pipeline stages.
    """
    heads, slots, head_dim = q.shape
    kv_heads = len(k)
    group = heads // kv_heads
    if parts is None:
        parts = min(16, triton.cdiv(_PROGRAMS, slots * kv_heads))
    width = max(16, triton.next_power_of_2(head_dim))
    if tile is None:
        # Some 100 kB of shared memory at most, which every GPU has.
        tile = max(16, min(64, (1 << 14) // (width * q.element_size())))
    out = q.new_empty(slots, heads, head_dim)
    scratch = [out] * 3
    if parts > 1:
        scratch = [
            q.new_empty(parts, slots, heads, *last, dtype=torch.float32)
            for last in ((head_dim,), (), ())
        ]
    with torch.cuda.device_of(q):
        _attend[(slots, kv_heads, parts)](
            q,
            k,
            v,
            keys,
            values,
            position,
            *scratch,
            block.scale,
            block.softcap or 1.0,
            *q.stride(),
            *k.stride(),
            *v.stride(),
            *keys.stride()[:2],
            slots,
            heads,
            GROUP=group,
            ROWS=max(16, triton.next_power_of_2(group)),
            HEAD=head_dim,
            WIDTH=width,
            TILE=tile,
            PARTS=parts,
            WINDOW=block.window or 0,
            CAPPED=block.softcap is not None,
            # The tensor cores' own float32 keeps 10 bits.
            PRECISION="ieee" if q.dtype == torch.float32 else "tf32",
            num_warps=warps,
            num_stages=stages,
        )
        if parts > 1:
            _merge[(slots * heads,)](
                *scratch,
                out,
                slots * heads,
                HEAD=head_dim,
                WIDTH=width,
                PARTS=parts,
                SPREAD=triton.next_power_of_2(parts),
                num_warps=2,
            )
    return out.transpose(0, 1)


# One graph serves all blocks of a model: their weights are inputs to it.
STEPS = BlockSteps(
    torch.compile(TransformerBlock.project, dynamic=False),
    torch.compile(TransformerBlock.finish, dynamic=False),
    PIECES.steps.mlp_share,
)
