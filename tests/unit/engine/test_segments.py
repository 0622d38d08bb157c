"""Single segments, and the padded batches that a GPU uses, against one dense product."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nashlens.engine import flex, segments
from nashlens.engine.block import AS_WRITTEN
from nashlens.engine.core import Engine
from nashlens.engine.labels import LabelledPrompt
from nashlens.engine.segments import PaddedSegments, Segment, SegmentAttention, _alike
from nashlens.engine.session import Session
from tests.tiny_models import FAMILIES, tiny

CPU = torch.device("cpu")


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


def dense(made, depth, q, k, v, scale, softcap, window):
    """The oracle: every score, hidden ones by name, key heads repeated."""
    hidden = torch.ones(23, 30, dtype=torch.bool)
    for segment in made:
        for i, token in enumerate(segment.tokens.tolist()):
            for j, key in enumerate(segment.keys.tolist()):
                seen = j <= i if segment.mask is None else bool(segment.mask[i, j])
                near = window is None or depth[7 + token] - depth[key] < window
                hidden[token, key] = not (seen and near)
    group = len(q) // len(k)
    scores = q @ k.repeat_interleave(group, 0).transpose(1, 2) * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    return scores.masked_fill(hidden, -torch.inf).softmax(-1) @ v.repeat_interleave(group, 0)


@pytest.mark.parametrize("cells", [1, 40, 1 << 24])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("softcap", [None, 0.4])
@pytest.mark.parametrize("window", [None, 1, 3, 12, 100])
def test_both_ways_of_attending_equal_a_dense_product(
    monkeypatch, cells, kv_heads, softcap, window
):
    monkeypatch.setattr(segments, "MASK_CELLS", cells)
    random = torch.Generator().manual_seed(0)
    made = some_segments(random)
    # Rising along every segment's keys, as positions do along a path.
    depth = np.arange(30) // 2
    q = torch.randn(4, 23, 8, generator=random)
    k, v = (torch.randn(kv_heads, 30, 8, generator=random) for _ in range(2))
    expected = dense(made, depth, q, k, v, 0.3, softcap, window)
    attention = SegmentAttention(made, depth, CPU)
    found = attention(q, k, v, 0.3, softcap=softcap, window=window)
    torch.testing.assert_close(found, expected)
    padded = torch.full_like(q, float("nan"))
    inside, _ = attention._within(window)
    for some in _alike(inside):
        PaddedSegments.of(some, CPU).attend(q, k, v, 0.3, softcap, padded)
    torch.testing.assert_close(padded, expected)


def test_a_cap_and_a_window_change_the_result():
    random = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, n, 8, generator=random) for n in (23, 30, 30))
    attention = SegmentAttention(some_segments(random), np.arange(30), CPU)
    plain = attention(q, k, v, 0.3)
    assert (attention(q, k, v, 0.3, softcap=0.4) - plain).abs().max() > 0.1
    assert (attention(q, k, v, 0.3, window=3) - plain).abs().max() > 0.1
    assert (attention(q, k, v, 0.3, window=30) == plain).all()


def test_a_window_drops_the_keys_that_no_token_sees():
    tokens = torch.tensor([0, 1])
    segment = Segment(tokens, torch.arange(12), torch.ones(2, 12, dtype=torch.bool).tril(10))
    near = segment.within(3, torch.arange(12), 10)
    assert near.keys.tolist() == [8, 9, 10, 11]
    assert near.mask.tolist() == [[True, True, True, False], [False, True, True, True]]
    assert segment.within(12, torch.arange(12), 10) is segment


@pytest.mark.parametrize("family", FAMILIES)
def test_a_block_and_the_next_projection_in_one_call_equal_the_block_alone(family, monkeypatch):
    """What a GPU runs compiled, `Blocks.forward_ahead`, is what it runs otherwise."""
    calls = []
    between = flex._between
    if family == "Gemma2ForCausalLM":
        # It must trace as a whole: where it falls apart, it is slower than the parts were.
        between = torch.compile(between, dynamic=True, fullgraph=True, backend="eager")

    def counted(*arguments):
        calls.append(arguments)
        return between(*arguments)

    def scores(engine):
        session, stems, found = Session(engine), np.arange(3, 33).reshape(3, 10).tolist(), []
        for k in range(3):
            prompts = [[*stem, *range(20, 20 + 5 * k), 9] for stem in stems]
            found.append(
                session.label_logprobs([LabelledPrompt(ids, ([5], [6, 7])) for ids in prompts])
            )
        return np.array(found)

    engine = Engine(tiny(family))
    expected = scores(engine)
    engine.blocks.pieces = replace(flex.PIECES, steps=AS_WRITTEN, between=counted)
    monkeypatch.setattr(segments, "attends_in_batches", lambda _: True)
    np.testing.assert_allclose(scores(engine), expected, rtol=1e-5, atol=1e-5)
    assert len(calls) == 3 * engine.n_layers
