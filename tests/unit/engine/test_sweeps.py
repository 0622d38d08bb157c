"""Sweeps against one hooked forward per prompt, label and intervention, in float32."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nashlens.engine import copies, core, flex, segments
from nashlens.engine.core import Engine
from nashlens.engine.edits import Edit
from nashlens.engine.forest import pack
from nashlens.engine.forks import Fork, forks_of
from nashlens.engine.labels import LabelledPrompt, label_runs
from nashlens.engine.sweeps import sweep
from nashlens.errors import DataError
from tests import reference
from tests.prompt_sets import matches

TOLERANCE = 1e-5


def expected(loaded, prompts, interventions, positions):
    return np.stack(
        [reference.label_logprobs(loaded, prompts, i, positions) for i in interventions], axis=1
    )


def assert_equal(ours, theirs):
    assert np.abs(ours - theirs).max() < TOLERANCE * np.abs(theirs).max()


def starting(positions, prompts, rng):
    """Return positions as given, or one drawn for each prompt."""
    return [int(rng.integers(len(p.ids))) for p in prompts] if positions == "from" else positions


def interventions_of(rng):
    """Every kind at the first, a middle and the last layer, and several edits at once."""
    vectors = rng.normal(size=(3, 32))
    kinds = [("none", 1.0), ("add", 2.0), ("add", -1.0), ("clamp", 3.0), ("ablate", 7.0)]
    single = [
        Edit(layer, kind, vectors[i % 3], value)
        for layer in (0, 2, 4)
        for i, (kind, value) in enumerate(kinds)
    ]
    return [
        *single,
        tuple(Edit(layer, "add", vectors[0], 1.5) for layer in (0, 1, 2)),
        (Edit(3, "clamp", vectors[1], 2.0), Edit(1, "ablate", vectors[2])),
        # Twice at one layer, in this order; neither direction is orthogonal to the other.
        (Edit(2, "clamp", vectors[0], 2.0), Edit(2, "add", vectors[1], 3.0)),
        (Edit(2, "add", vectors[1], 3.0), Edit(2, "clamp", vectors[0], 2.0)),
    ]


@pytest.mark.parametrize("label_tokens", [1, 3])
@pytest.mark.parametrize("positions", ["last", "from", "all"])
def test_a_sweep_equals_one_hooked_forward_per_intervention(loaded, rng, positions, label_tokens):
    prompts = matches(rng, 3, label_tokens)
    interventions = interventions_of(rng)
    positions = starting(positions, prompts, rng)
    theirs = expected(loaded, prompts, interventions, positions)
    moves = np.abs(theirs - theirs[:, :1]).max(axis=(0, 2))
    assert (moves[[i for i, e in enumerate(interventions) if "none" not in str(e)]] > 0.01).all()
    for batch_tokens in (16, 4096):
        ours = sweep(Engine(loaded, batch_tokens), prompts, interventions, positions)
        assert_equal(ours, theirs)


@pytest.mark.parametrize("positions", ["last", "from", "all"])
def test_alpha_zero_is_bit_identical_to_no_edit(loaded, rng, positions):
    prompts = matches(rng, 4, 2)
    positions = starting(positions, prompts, rng)
    vector = rng.normal(size=32)
    engine = Engine(loaded)
    zero = sweep(engine, prompts, [Edit(n, "add", vector, 0.0) for n in range(5)], positions)
    none = sweep(engine, prompts, [Edit(n, "none", vector, 5.0) for n in range(5)], positions)
    assert (zero == none).all()
    assert_equal(zero, engine.label_logprobs(prompts)[:, None])


@pytest.mark.parametrize("positions", ["last", "from", "all"])
def test_what_a_gpu_does_equals_what_a_cpu_does(loaded, rng, monkeypatch, positions):
    """Segments in batches and rows with a block-sparse mask, as written, not compiled."""
    prompts = matches(rng, 5, 2)
    interventions = interventions_of(rng)
    # The first is edited everywhere, yet in one fork with others that need kept tokens.
    starts = [0, *starting("from", prompts[1:], rng)] if positions == "from" else positions
    engine = Engine(loaded, 400)
    theirs = sweep(engine, prompts, interventions, starts)
    for module in (core, copies):
        monkeypatch.setattr(module, "FLEX_TOKENS", 8)
        monkeypatch.setattr(module, "FLEX_PAD", 16)
    monkeypatch.setattr(segments, "attends_in_batches", lambda _device: True)
    lengths = []

    class Counted(flex.TreeMask):
        def __init__(self, ends, depth, device):
            lengths.append(len(ends))
            super().__init__(ends, depth, device)

    engine.blocks.pieces = replace(flex.PIECES, sparse_mask=Counted)
    with torch.compiler.set_stance("force_eager"):
        assert_equal(sweep(engine, prompts, interventions, starts), theirs)
    assert all(length % 16 == 0 for length in lengths)
    # Copies that attend to kept tokens have no such mask; the row itself has one.
    assert (max(lengths) > min(lengths)) == (positions == "all")


@pytest.mark.parametrize("start", ["last", "middle", 0, "mixed"])
@pytest.mark.parametrize("label_tokens", [1, 2])
@pytest.mark.parametrize("cells", [1 << 24, 2000, 1])
def test_copies_attend_by_a_part_of_one_table(monkeypatch, rng, start, label_tokens, cells):
    """Any number of the first copies attends as segments made for just them do."""
    monkeypatch.setattr(copies, "MASK_CELLS", cells)
    # Both labels begin alike, or have a run of their own each.
    labels = ([1], [2]) if label_tokens == 1 else ([3, 1], [4, 2])
    prompts = [LabelledPrompt(rng.integers(0, 9, n).tolist(), labels) for n in (9, 14, 11)]
    runs = label_runs(prompts)
    ((row, packed),) = pack([run.sequence for run in runs], 99)
    starts = {"last": lambda r: r.length - 1, "middle": lambda r: r.length // 2, 0: lambda r: 0}
    starts["mixed"] = lambda r: (0, r.length // 2, r.length - 1)[r.prompt]
    marks = [np.where(np.arange(len(r.sequence)) >= starts[start](r), 0, -1) for r in runs]
    runs, marks = ([some[p.index] for p in packed] for some in (runs, marks))
    (fork,) = forks_of(runs, [p.path for p in packed], marks, 99)
    depth, device, most = np.array(row.depth), torch.device("cpu"), 7
    attention = copies.CopiesAttention(fork, most, depth)
    for n in range(1, most + 1):
        new = n * len(fork)
        shapes = (4, new), (2, len(depth) + new), (2, len(depth) + new)
        q, k, v = (torch.from_numpy(rng.normal(size=(*shape, 8))) for shape in shapes)
        theirs = attention.first(n, device)(q, k, v, 0.3)
        with monkeypatch.context() as patch:
            patch.setattr(segments, "attends_in_batches", lambda _device: True)
            patch.setattr(Fork, "segments", None)  # not needed
            ours = attention.first(n, device)(q, k, v, 0.3)
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_ablating_is_clamping_at_zero(loaded, rng):
    prompts, vector = matches(rng, 3), rng.normal(size=32)
    ablated = sweep(Engine(loaded), prompts, [Edit(2, "ablate", vector, 3.0)])
    clamped = sweep(Engine(loaded), prompts, [Edit(2, "clamp", vector, 0.0)])
    assert (ablated == clamped).all()


tokens = st.lists(st.integers(0, 2), min_size=1, max_size=16)
label = st.lists(st.integers(0, 2), min_size=1, max_size=3)
edit = st.builds(
    Edit,
    st.integers(0, 4),
    st.sampled_from(["none", "add", "clamp", "ablate"]),
    st.integers(0, 3).map(lambda i: np.random.default_rng(i).normal(size=32)),
    st.sampled_from([-2.0, 0.0, 3.0]),
)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.builds(LabelledPrompt, tokens, st.tuples(label, label)), min_size=1, max_size=8),
    st.lists(st.one_of(edit, st.lists(edit, min_size=1, max_size=3).map(tuple)), min_size=1),
    st.sampled_from(["last", "from", "all"]),
    st.integers(1, 60),
    st.randoms(),
)
def test_any_forest_equals_the_reference(loaded, prompts, interventions, positions, budget, random):
    if positions == "from":
        positions = [random.randrange(len(prompt.ids)) for prompt in prompts]
    ours = sweep(Engine(loaded, budget), prompts, interventions[:6], positions)
    assert_equal(ours, expected(loaded, prompts, interventions[:6], positions))


def test_prompts_of_one_position_share_their_edited_tokens(loaded, rng, monkeypatch):
    """The point of packing: what an edit changes is computed once for all that share it."""
    stem = rng.integers(0, 61, 20).tolist()
    prompts = [LabelledPrompt([*stem, i], ([1], [2])) for i in range(10)]
    engine, computed = Engine(loaded), []
    forward = type(engine.blocks).forward

    def counted(self, index, given):
        computed.append(len(given.h))
        return forward(self, index, given)

    monkeypatch.setattr(type(engine.blocks), "forward", counted)
    for positions, steered in (("last", 10), ("all", 30), ([15] * 10, 15)):
        computed.clear()
        sweep(engine, prompts, [Edit(2, "add", np.ones(32), 1.0)], positions)
        assert computed == [30] * 4 + [steered] * 2


@pytest.mark.parametrize("positions", ["last", "all"])
def test_out_of_memory_halves_the_budget_and_loses_nothing(loaded, rng, monkeypatch, positions):
    prompts = matches(rng, 30, 2)
    interventions = interventions_of(rng)[-6:]
    engine, plenty = Engine(loaded, 256), Engine(loaded, 4096)
    theirs = sweep(plenty, prompts, interventions, positions)
    forward, calls = type(engine.blocks).forward, []

    def hungry(self, index, given):
        calls.append(len(given.h))
        # Memory ends in the middle of the forks, the row itself having had enough.
        if len(given.h) > 80 and len(calls) > 4:
            raise torch.OutOfMemoryError("pretend")
        return forward(self, index, given)

    monkeypatch.setattr(type(engine.blocks), "forward", hungry)
    assert_equal(sweep(engine, prompts, interventions, positions), theirs)
    assert engine.batch_tokens < 256


def test_bad_edits_and_positions_are_refused(loaded):
    prompt = LabelledPrompt([1, 2], ([3], [4]))
    engine, edit = Engine(loaded), Edit(1, "add", np.ones(32), 1.0)
    with pytest.raises(DataError, match="layers 0 to 4"):
        sweep(engine, [prompt], [(edit, Edit(5, "add", np.ones(32), 1.0))])
    with pytest.raises(DataError, match="finite and not zero"):
        sweep(engine, [prompt], [Edit(1, "ablate", np.zeros(32))])
    with pytest.raises(DataError, match="at least one edit"):
        sweep(engine, [prompt], [])
    with pytest.raises(DataError, match="holds no edit"):
        sweep(engine, [prompt], [()])
    with pytest.raises(DataError, match="prompt 0 has positions 0 to 1"):
        sweep(engine, [prompt], [edit], [2])
    with pytest.raises(DataError, match="2 positions for 1 prompts"):
        sweep(engine, [prompt], [edit], [0, 0])
    with pytest.raises(DataError, match="found 'first'"):
        sweep(engine, [prompt], [edit], "first")


def test_after_the_last_block_only_what_is_scored_is_computed(loaded, rng):
    """Of forks whose every token is edited, the last block's MLP sees one token a copy."""
    engine, prompts, seen = Engine(loaded), matches(rng, 1, 1), []
    handles = [
        block.mlp.register_forward_pre_hook(lambda _m, args, k=k: seen.append((k, len(args[0]))))
        for k, block in enumerate(engine.blocks.blocks)
    ]
    vector = rng.normal(size=32)
    try:
        sweep(engine, prompts[:1], [Edit(1, "add", vector, v) for v in (0.5, 1.0)], "all")
    finally:
        for handle in handles:
            handle.remove()
    last = engine.n_layers - 1
    # First the unsteered row, then two copies, of which the block before has all tokens.
    assert seen[-1] == (last, 2)
    assert seen[-2] == (last - 1, 2 * len(prompts[0].ids))
