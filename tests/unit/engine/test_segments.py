"""Padded batches, which a GPU uses, against one call a segment."""

import pytest
import torch

from nashlens.engine import segments
from nashlens.engine.segments import Attention, Segment, _alike, _Batch


def some_segments(random):
    """Segments over 7 earlier and 23 new tokens: causal, masked, and with several to one key."""
    new = torch.randperm(23, generator=random)
    made, at = [], 0
    for t, before in ((1, 7), (4, 3), (9, 0), (2, 5), (7, 6)):
        tokens, at = new[at : at + t].sort().values, at + t
        earlier = torch.randperm(7, generator=random)[:before].sort().values
        mask = torch.ones(t, before + t, dtype=torch.bool).tril(before) if before else None
        made.append(Segment(tokens, torch.cat((earlier, 7 + tokens)), mask))
    return made


@pytest.mark.parametrize("cells", [1, 40, 1 << 24])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_padded_batches_equal_single_segments(monkeypatch, cells, kv_heads):
    monkeypatch.setattr(segments, "_MASK_CELLS", cells)
    random = torch.Generator().manual_seed(0)
    made = some_segments(random)
    q = torch.randn(4, 23, 8, generator=random)
    k, v = (torch.randn(kv_heads, 30, 8, generator=random) for _ in range(2))
    one_by_one = Attention(made, torch.device("cpu"))(q, k, v, 0.3)
    padded = torch.full_like(q, float("nan"))
    for some in _alike(made):
        _Batch.of(some, torch.device("cpu")).attend(q, k, v, 0.3, padded)
    torch.testing.assert_close(padded, one_by_one)
