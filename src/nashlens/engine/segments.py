"""Who attends to what: new tokens that share their earlier tokens, one segment each.

Packed tokens of different prompts must not see one another. Instead of one mask over all of them,
each prompt's new tokens attend only to their own path, so attention costs what it would cost
without packing, while all other products run over all new tokens at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch.nn import functional

from nashlens.engine.forest import PackedSequence
from nashlens.engine.transfer import copy_to

MASK_CELLS = 1 << 24  # of the mask of segments that are attended at once
ALIGNED = 16  # keys to a multiple of which kernels want rows of a mask to be padded
_FEW = 2  # batches whose attention is compiled with the rest of a block
Padded = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Tokens, keys and mask of a batch, for `attend_padded`."""


@dataclass(frozen=True)
class Segment:
    """New tokens that attend to the same keys.

    Attributes
    ----------
    tokens, keys : torch.Tensor
        `(t,)` which of the new tokens, and `(k,)` what they attend to, counted over the earlier
        tokens and then the new ones.
    mask : torch.Tensor or None
        `(t, k)` bool; None where token i sees keys 0 to i and no others (`t = k`).
    """

    tokens: torch.Tensor
    keys: torch.Tensor
    mask: torch.Tensor | None

    def visible(self) -> torch.Tensor:
        """Return the mask, also where it is the causal one."""
        if self.mask is not None:
            return self.mask
        return torch.ones(len(self.tokens), len(self.keys), dtype=torch.bool).tril()

    def within(self, window: int, depth: torch.Tensor, start: int) -> Segment:
        """Return the same without the keys that are `window` or more positions back.

        `depth` has the position of each key, and `start` says how many keys are earlier.
        """
        mask = self.visible()
        near = depth[start + self.tokens][:, None] - depth[self.keys] < window
        if bool((near | ~mask).all()):
            return self
        mask = mask & near
        seen = mask.any(dim=0)
        return Segment(self.tokens, self.keys[seen], mask[:, seen])


class SegmentAttention:
    """Segments on a device, ready to attend.

    On a CPU each segment is one call. On a GPU, where a call costs more than it computes, segments
    are padded to a common length and attended in batches.

    Parameters
    ----------
    segments : list of Segment, or callable
        Every new token that is looked at afterwards is in one. A callable makes them when they are
        needed.
    depth : numpy.ndarray
        `(earlier + new,)` the position of each key, for sliding windows.
    device : torch.device
    start : int, optional
        How many keys are earlier; where left out, every new token is in a segment.
    padded : callable, optional
        Makes the batches of all segments on the device, where there is a quicker way to them.
    """

    def __init__(
        self,
        segments: list[Segment] | Callable[[], list[Segment]],
        depth: np.ndarray,
        device: torch.device,
        start: int | None = None,
        padded: Callable[[], list[PaddedSegments]] | None = None,
    ):
        self._given = segments
        self._depth = depth
        self.device = device
        if start is None:
            start = len(depth) - sum(len(segment.tokens) for segment in self._segments)
        self._start = start
        # By sliding window: blocks differ in it, rows and forks are the same for all of them.
        self._ready: dict[int | None, tuple[list[Segment], list[PaddedSegments]]] = {}
        self._quicker = padded
        self._slots: dict[int | None, torch.Tensor] = {}
        self._elsewhere: dict[torch.device, SegmentAttention] = {}

    @cached_property
    def _segments(self) -> list[Segment]:
        return self._given() if callable(self._given) else self._given

    def to(self, device: torch.device) -> SegmentAttention:
        """Return the same on a device; made once, since every block asks."""
        if device == self.device:
            return self
        if device not in self._elsewhere:
            self._elsewhere[device] = SegmentAttention(
                self._given, self._depth, device, self._start
            )
        return self._elsewhere[device]

    def _reaches_back(self, window: int | None) -> bool:
        """Say whether every token is within a window of all that it attends to."""
        return window is None or window > self._depth.max(initial=0)

    def only(self, tokens: np.ndarray) -> SegmentAttention:
        """Return who sees what where only some tokens are needed: all, as it is cheap."""
        return self

    def _within(self, window: int | None) -> tuple[list[Segment], list[PaddedSegments]]:
        """Return what each segment sees under a window: single segments, and batches of them."""
        if self._reaches_back(window):
            window = None
        if window not in self._ready:
            if window is None and self._quicker and attends_in_batches(self.device):
                self._ready[None] = [], self._quicker()
                return self._ready[None]
            segments = self._segments
            if window is not None:
                depth = torch.from_numpy(self._depth)
                segments = [s.within(window, depth, self._start) for s in segments]
            if attends_in_batches(self.device):
                batches = [PaddedSegments.of(some, self.device) for some in _alike(segments)]
                self._ready[window] = [], batches
            else:
                self._ready[window] = segments, []
        return self._ready[window]

    def padded(self, window: int | None, group: int) -> tuple[list[Padded], torch.Tensor] | None:
        """Return what `attend_all` takes, where everything is in few batches.

        `group` is the number of query heads for each key head.
        """
        segments, batches = self._within(window)
        if segments or not 0 < len(batches) <= _FEW:
            return None
        if window not in self._slots:
            before = np.cumsum([0, *(batch.tokens.numel() for batch in batches)])
            slots = torch.cat([b.slots + int(n) for b, n in zip(batches, before, strict=False)])
            self._slots[window] = slots[torch.cat([b.real for b in batches]).argsort()]
        return [batch.padded(group) for batch in batches], self._slots[window]

    def __call__(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        scale: float,
        *,
        softcap: float | None = None,
        window: int | None = None,
    ) -> torch.Tensor:
        """Attend, with scores as `TransformerBlock` has them: `(heads, new, head)`.

        Queries are `(heads, new, head)`, keys and values `(kv heads, earlier + new, head)`.
        """
        result = torch.empty_like(q)
        segments, batches = self._within(window)
        for segment in segments:
            result[:, segment.tokens] = _attend(
                _picked(q, segment.tokens),
                _picked(k, segment.keys),
                _picked(v, segment.keys),
                segment.mask,
                scale,
                softcap,
            )[0]
        for batch in batches:
            batch.attend(q, k, v, scale, softcap, result)
        return result


def attends_in_batches(device: torch.device) -> bool:
    """Say whether a device attends in batches: there a call costs more than it computes."""
    return device.type == "cuda"


def _picked(x: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return some tokens of `(heads, n, head)` as a batch of one, `(1, heads, t, head)`.

    All heads of a token at once: on a CPU three times as fast as an index within each head.
    """
    return x.transpose(0, 1).index_select(0, tokens).transpose(0, 1)[None]


def _attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
    softcap: float | None,
) -> torch.Tensor:
    """Attend in a batch: `(b, heads, t, head)`, with a mask that broadcasts, or causally."""
    group = q.shape[1] // k.shape[1]
    if softcap is None:
        return functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=group > 1
        )
    # The library's product has no place for the cap, so the scores are written out.
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    scores = softcap * torch.tanh((q @ k.transpose(-1, -2)).float() * (scale / softcap))
    if mask is None:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    return scores.masked_fill(~mask, -torch.inf).softmax(dim=-1).to(v.dtype) @ v


@dataclass(frozen=True)
class PaddedSegments:
    """Segments padded to one length, `(b, t)` tokens and `(b, k)` keys.

    Which slot of the padded result a new token's row is, `(real tokens,)`, is worked out on the
    host: a boolean index would make the host wait for the GPU in every layer.
    """

    tokens: torch.Tensor
    keys: torch.Tensor
    mask: torch.Tensor
    real: torch.Tensor
    slots: torch.Tensor
    _masks: dict[int, torch.Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, segments: list[Segment], device: torch.device) -> PaddedSegments:
        """Pad segments of any lengths, and copy them to a device."""
        b = len(segments)
        t = max(len(s.tokens) for s in segments)
        k = -(-max(len(s.keys) for s in segments) // ALIGNED) * ALIGNED
        tokens, keys = torch.zeros(b, t, dtype=torch.long), torch.zeros(b, k, dtype=torch.long)
        mask = torch.zeros(b, t, k, dtype=torch.bool)
        # Padding tokens see the first key: a row that sees nothing would be NaN.
        mask[:, :, 0] = True
        real, slots = [], []
        for i, s in enumerate(segments):
            n, m = len(s.tokens), len(s.keys)
            tokens[i, :n], keys[i, :m] = s.tokens, s.keys
            real.append(s.tokens)
            slots.append(torch.arange(n) + i * t)
            mask[i, :n, :m] = s.visible()
        return cls(
            copy_to(tokens, device),
            copy_to(keys, device),
            copy_to(mask, device),
            copy_to(torch.cat(real), device),
            copy_to(torch.cat(slots), device),
        )

    def attend(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        scale: float,
        softcap: float | None,
        result: torch.Tensor,
    ) -> None:
        """Write into `(heads, new, head)` what the tokens of these segments attend to."""
        padded = self.padded(len(q) // len(k))
        attended = attend_padded(q, k, v, scale, softcap, *padded, heads=len(q), kv_heads=len(k))
        result[:, self.real] = attended[:, self.slots]

    def padded(self, group: int) -> Padded:
        """Return tokens, keys, and the mask of `group` queries of each token, kept for later."""
        if group not in self._masks:
            self._masks[group] = self.mask[:, None].repeat(1, 1, group, 1)
        return self.tokens, self.keys, self._masks[group]


def attend_padded(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scale: float,
    softcap: float | None,
    tokens: torch.Tensor,
    keys: torch.Tensor,
    mask: torch.Tensor,
    *,
    heads: int,
    kv_heads: int,
) -> torch.Tensor:
    """Attend in segments padded to one length: `(heads, b * t, head)`, a slot for each of `tokens`.

    `tokens` are `(b, t)`, `keys` `(b, k)` and `mask` `(b, 1, heads / kv heads * t, k)`. A compiler
    takes the numbers of heads from their parameters as constants.
    """
    (b, t), group = tokens.shape, heads // kv_heads

    def of_segments(x: torch.Tensor) -> torch.Tensor:
        picked = x.index_select(1, keys.view(-1))
        return picked.view(kv_heads, b, keys.shape[1], -1).transpose(0, 1)

    # The queries of a key head are neighbouring rows: no key is copied for each.
    rows = q[:, tokens].view(kv_heads, group, b, t, -1).permute(2, 0, 1, 3, 4)
    rows = rows.reshape(b, kv_heads, group * t, -1)
    attended = _attend(rows, of_segments(k), of_segments(v), mask, scale, softcap)
    attended = attended.view(b, kv_heads, group, t, -1).permute(1, 2, 0, 3, 4)
    return attended.reshape(heads, b * t, -1)


def attend_all(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scale: float,
    softcap: float | None,
    batches: list[Padded],
    slots: torch.Tensor,
    *,
    heads: int,
    kv_heads: int,
) -> torch.Tensor:
    """Attend as `SegmentAttention` does, without a step that writes in place: `(heads, new, head)`.

    `slots` says where each new token is among the batches' results, one after the other.
    """
    parts = [
        attend_padded(q, k, v, scale, softcap, *batch, heads=heads, kv_heads=kv_heads)
        for batch in batches
    ]
    return torch.cat(parts, dim=1)[:, slots]


def _alike(segments: list[Segment]) -> Iterator[list[Segment]]:
    """Yield segments of like sizes together, as many as a batch's mask may hold."""
    sizes = [(len(segment.tokens), len(segment.keys)) for segment in segments]
    batch: list[Segment] = []
    most_tokens = most_keys = 0
    for i in sorted(range(len(segments)), key=sizes.__getitem__, reverse=True):
        tokens, keys = sizes[i]
        if batch:
            cells = (len(batch) + 1) * most_tokens * max(most_keys, keys)
            if most_tokens > 2 * tokens or cells > MASK_CELLS:
                yield batch
                batch = []
        if not batch:
            most_tokens, most_keys = tokens, 0
        batch.append(segments[i])
        most_keys = max(most_keys, keys)
    if batch:
        yield batch


def path_segments(packed: Sequence[PackedSequence], start: int) -> list[Segment]:
    """Return the segments of paths in a row of which `start` nodes were computed before."""
    result = []
    for path, shared in ((p.path, p.shared) for p in packed):
        if shared == len(path):
            continue
        keys = torch.from_numpy(path)
        # Row i is the (shared + i)-th token of the path: it sees itself and what precedes it.
        mask = None
        if shared:
            mask = torch.from_numpy(np.tri(len(path) - shared, len(path), shared, dtype=bool))
        result.append(Segment(keys[shared:] - start, keys, mask))
    return result
