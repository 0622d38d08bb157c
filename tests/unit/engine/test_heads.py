"""Ablated heads against one hooked forward per prompt, label and group, in float32."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nashlens.engine import core, flex, segments, sweeps
from nashlens.engine.core import Engine
from nashlens.engine.edits import Edit
from nashlens.engine.heads import ablate_heads, head_outputs
from nashlens.engine.labels import LabelledPrompt
from nashlens.engine.stack import BlockInput
from nashlens.engine.sweeps import sweep
from nashlens.errors import DataError
from tests import reference
from tests.prompt_sets import matches

from .test_tensor import pair

TOLERANCE = 1e-5
EVERY = [(layer, head) for layer in (1, 2, 3, 4) for head in range(4)]
GROUPS = [
    [],
    *[[head] for head in EVERY],
    [(1, 0), (1, 3)],
    [(4, 1), (2, 2), (2, 3)],
    EVERY,
]


def expected(loaded, prompts, groups, replacement):
    return np.stack(
        [reference.ablated_label_logprobs(loaded, prompts, g, replacement) for g in groups], axis=1
    )


def close(ours, theirs):
    return np.abs(ours - theirs).max() < TOLERANCE * np.abs(theirs).max()


def replacement_of(loaded, prompts, kind):
    means = reference.head_outputs(loaded, [p.ids for p in prompts]).mean(axis=0)
    return means if kind == "mean" else np.zeros_like(means)


def test_head_outputs_are_the_output_projections_input(loaded, rng):
    sequences = [p.ids for p in matches(rng, 6)]
    theirs = reference.head_outputs(loaded, sequences)
    for batch_tokens in (16, 4096):
        ours = head_outputs(Engine(loaded, batch_tokens), sequences)
        assert ours.shape == theirs.shape
        assert close(ours, theirs)


@pytest.mark.parametrize("label_tokens", [1, 3])
@pytest.mark.parametrize("kind", ["mean", "zero"])
def test_ablations_equal_one_hooked_forward_per_group(loaded, rng, kind, label_tokens):
    prompts = matches(rng, 3, label_tokens)
    replacement = replacement_of(loaded, prompts, kind)
    theirs = expected(loaded, prompts, GROUPS, replacement)
    assert (np.abs(theirs - theirs[:, :1]).max(axis=(0, 2))[1:] > 1e-3).all()
    for batch_tokens in (16, 4096):
        ours = ablate_heads(Engine(loaded, batch_tokens), prompts, GROUPS, replacement)
        assert close(ours, theirs)


def test_ablating_nothing_is_bit_identical_to_no_edit(loaded, rng):
    prompts, engine = matches(rng, 4, 2), Engine(loaded)
    nothing = ablate_heads(engine, prompts, [[]] * 5, np.ones((4, 4, engine.head_dim)))
    none = sweep(engine, prompts, [Edit(0, "none", np.ones(32))] * 5)
    assert (nothing == none).all()
    assert close(nothing, engine.label_logprobs(prompts)[:, None])


def test_a_head_replaced_by_its_own_output_changes_nothing(loaded, rng):
    (prompt,) = matches(rng, 1, 2)[:1]
    engine = Engine(loaded)
    own = head_outputs(engine, [prompt.ids])[0]
    ours = ablate_heads(engine, [prompt], [[], EVERY], own)
    assert close(ours[:, 1], ours[:, 0])


heads = st.tuples(st.integers(1, 4), st.integers(0, 3))
tokens = st.lists(st.integers(0, 2), min_size=1, max_size=16)
label = st.lists(st.integers(0, 2), min_size=1, max_size=3)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.builds(LabelledPrompt, tokens, st.tuples(label, label)), min_size=1, max_size=6),
    st.lists(st.lists(heads, max_size=5), min_size=1, max_size=5),
    st.integers(1, 60),
)
def test_any_groups_and_forest_equal_the_reference(loaded, prompts, groups, budget):
    replacement = np.random.default_rng(3).normal(size=(4, 4, Engine(loaded).head_dim))
    replacement = replacement.astype(np.float32)
    ours = ablate_heads(Engine(loaded, budget), prompts, groups, replacement)
    assert close(ours, expected(loaded, prompts, groups, replacement))


@pytest.mark.parametrize("parts", [2, 3])
def test_heads_on_several_devices_are_the_same_heads(rng, parts):
    plain, sharded = (Engine(loaded, 64) for loaded in pair("LlamaForCausalLM", parts))
    prompts, last = matches(rng, 3, 2), plain.n_heads - 1
    ids = [p.ids for p in prompts]
    means = head_outputs(plain, ids).mean(axis=0)
    assert close(head_outputs(sharded, ids).mean(axis=0), means)
    groups = [[(2, last)], [(1, 0), (3, 1), (3, last)]]
    ours = ablate_heads(sharded, prompts, groups, means)
    assert close(ours, ablate_heads(plain, prompts, groups, means))


def test_what_a_gpu_does_equals_what_a_cpu_does(loaded, rng, monkeypatch):
    """Rows with a block-sparse mask, forks with segments in batches; as written, not compiled."""
    # The last prompt is one token: its fork alone could have such a mask, too.
    prompts = matches(rng, 5, 2)
    engine = Engine(loaded, 400)
    replacement = replacement_of(loaded, prompts, "mean")
    outputs = head_outputs(engine, [p.ids for p in prompts])
    theirs = ablate_heads(engine, prompts, GROUPS, replacement)
    for module in (core, sweeps):
        monkeypatch.setattr(module, "FLEX_TOKENS", 2)
        monkeypatch.setattr(module, "FLEX_PAD", 16)
    monkeypatch.setattr(segments, "attends_in_batches", lambda _device: True)
    engine.blocks.pieces = flex.PIECES
    with torch.compiler.set_stance("force_eager"):
        assert close(head_outputs(engine, [p.ids for p in prompts]), outputs)
        assert close(ablate_heads(engine, prompts, GROUPS, replacement), theirs)
        alone = ablate_heads(engine, prompts[-1:], GROUPS, replacement)
    assert close(alone, theirs[-1:])


def test_only_what_can_change_is_computed(loaded, rng, monkeypatch):
    """Many prompts of one stem: the decision token alone, from the ablated block up."""
    stem = rng.integers(0, 61, 20).tolist()
    prompts = [LabelledPrompt([*stem, i], ([1], [2])) for i in range(10)]
    engine, computed = Engine(loaded), []
    forward = type(engine.blocks).forward

    def counted(self, index, given):
        computed.append(len(given.h))
        return forward(self, index, given)

    monkeypatch.setattr(type(engine.blocks), "forward", counted)
    replacement = np.zeros((4, 4, engine.head_dim))
    ablate_heads(engine, prompts, [[(4, 1)], [(3, 0), (4, 0)], [(4, 2)]], replacement)
    assert computed == [30] * 4 + [10, 30]


def test_a_block_sparse_mask_refuses_a_change(loaded):
    blocks = Engine(loaded).blocks
    with pytest.raises(ValueError, match="block-sparse"):
        blocks.forward(0, BlockInput(torch.zeros(1, 32), (), None, None, change=lambda a, _: a))


def test_heads_that_are_not_there_are_refused(loaded):
    engine, prompt = Engine(loaded), LabelledPrompt([1, 2], ([3], [4]))
    values = np.zeros((4, 4, engine.head_dim))
    with pytest.raises(DataError, match="at least one group"):
        ablate_heads(engine, [prompt], [], values)
    for head in ((0, 1), (5, 1), (1, 4), (1, -1)):
        with pytest.raises(DataError, match="layers 1 to 4 with heads 0 to 3"):
            ablate_heads(engine, [prompt], [[head]], values)
    with pytest.raises(DataError, match=r"needs \(4, 4, "):
        ablate_heads(engine, [prompt], [[(1, 0)]], values[:3])
