"""Who attends to what: new tokens that share their earlier tokens, one segment each.

Packed tokens of different prompts must not see one another. Instead of one mask over all of them,
each prompt's new tokens attend to their own path alone, so attention costs what it would cost
without packing, while all other products run over all new tokens at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn import functional

_MASK_CELLS = 1 << 24


@dataclass(frozen=True)
class Segment:
    """New tokens that attend to the same keys.

    Attributes
    ----------
    tokens : torch.Tensor
        `(t,)` which of the new tokens.
    keys : torch.Tensor
        `(k,)` what they attend to, counted over the earlier tokens and then the new ones.
    mask : torch.Tensor or None
        `(t, k)` bool; None where token i sees keys 0 to i and no others (`t = k`).
    """

    tokens: torch.Tensor
    keys: torch.Tensor
    mask: torch.Tensor | None


class Attention:
    """Segments on a device, ready to attend.

    On a CPU each segment is one call. On a GPU, where a call costs more than it computes, segments
    are padded to a common length and attended in batches.

    Parameters
    ----------
    segments : list of Segment
        Every new token is in one.
    device : torch.device
    """

    def __init__(self, segments: list[Segment], device: torch.device):
        self._segments = segments
        self.device = device
        self._here: list[Segment] = []
        self._batches: list[_Batch] = []
        if device.type == "cuda":
            self._batches = [_Batch.of(some, device) for some in _alike(segments)]
        else:
            self._here = segments

    def to(self, device: torch.device) -> Attention:
        """Return the same on a device."""
        return self if device == self.device else Attention(self._segments, device)

    def __call__(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """Attend.

        Parameters
        ----------
        q : torch.Tensor
            `(heads, new, head)`.
        k, v : torch.Tensor
            `(kv heads, earlier + new, head)`.
        scale : float

        Returns
        -------
        torch.Tensor
            `(heads, new, head)`.
        """
        result = torch.empty_like(q)
        for segment in self._here:
            result[:, segment.tokens] = functional.scaled_dot_product_attention(
                q[None, :, segment.tokens],
                k[None, :, segment.keys],
                v[None, :, segment.keys],
                attn_mask=segment.mask,
                is_causal=segment.mask is None,
                scale=scale,
                enable_gqa=len(q) != len(k),
            )[0]
        for batch in self._batches:
            batch.attend(q, k, v, scale, result)
        return result


@dataclass(frozen=True)
class _Batch:
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
    def of(cls, segments: list[Segment], device: torch.device) -> _Batch:
        b = len(segments)
        t = max(len(s.tokens) for s in segments)
        # Kernels want rows of the mask to be aligned.
        k = -(-max(len(s.keys) for s in segments) // 16) * 16
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
            mask[i, :n, :m] = (
                torch.ones(n, m, dtype=torch.bool).tril() if s.mask is None else s.mask
            )
        return cls(
            tokens.to(device),
            keys.to(device),
            mask.to(device),
            torch.cat(real).to(device),
            torch.cat(slots).to(device),
        )

    def attend(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, result: torch.Tensor
    ) -> None:
        (b, t), heads, kv_heads = self.tokens.shape, len(q), len(k)
        group = heads // kv_heads
        # The queries of a key head stand in rows beside one another: no key is copied for each.
        rows = q[:, self.tokens].view(kv_heads, group, b, t, -1).permute(2, 0, 1, 3, 4)
        attended = functional.scaled_dot_product_attention(
            rows.reshape(b, kv_heads, group * t, -1),
            self._of_segments(k),
            self._of_segments(v),
            attn_mask=self._folded(group),
            scale=scale,
        )
        attended = attended.view(b, kv_heads, group, t, -1).permute(1, 2, 0, 3, 4)
        result[:, self.real] = attended.reshape(heads, b * t, -1)[:, self.slots]

    def _of_segments(self, x: torch.Tensor) -> torch.Tensor:
        """Return each segment's keys or values, `(b, kv heads, k, head)`."""
        picked = x.index_select(1, self.keys.view(-1))
        return picked.view(len(x), *self.keys.shape, -1).transpose(0, 1)

    def _folded(self, group: int) -> torch.Tensor:
        """Return the mask for `group` queries of each token, kept for the next layer."""
        if group not in self._masks:
            self._masks[group] = self.mask[:, None].repeat(1, 1, group, 1)
        return self._masks[group]


def _alike(segments: list[Segment]) -> Iterator[list[Segment]]:
    """Yield segments of like sizes together, as many as a batch's mask may hold."""
    batch: list[Segment] = []
    for segment in sorted(segments, key=lambda s: (len(s.tokens), len(s.keys)), reverse=True):
        if batch:
            t, k = len(batch[0].tokens), max(len(s.keys) for s in [*batch, segment])
            wasteful = t > 2 * len(segment.tokens)
            if wasteful or (len(batch) + 1) * t * k > _MASK_CELLS:
                yield batch
                batch = []
        batch.append(segment)
    if batch:
        yield batch


def path_segments(parts: Sequence[tuple[np.ndarray, int]], start: int) -> list[Segment]:
    """Return the segments of paths in a row.

    Parameters
    ----------
    parts : sequence of (numpy.ndarray, int)
        For each sequence its path, and how many of its leading nodes another one brings.
    start : int
        Nodes of the row that were computed before.
    """
    result = []
    for path, shared in parts:
        if shared == len(path):
            continue
        keys = torch.from_numpy(path)
        # Row i is the (shared + i)-th token of the path: it sees itself and what precedes it.
        mask = None
        if shared:
            mask = torch.from_numpy(np.tri(len(path) - shared, len(path), shared, dtype=bool))
        result.append(Segment(keys[shared:] - start, keys, mask))
    return result
