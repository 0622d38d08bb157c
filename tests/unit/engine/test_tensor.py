"""Tensor parallelism, with several shards on the CPU, against the same model in one piece."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nashlens.engine import core, flex
from nashlens.engine.block import AS_WRITTEN
from nashlens.engine.core import Engine
from nashlens.engine.edits import Edit
from nashlens.engine.labels import LabelledPrompt
from nashlens.engine.session import Session
from nashlens.engine.sweeps import sweep
from nashlens.engine.tensor import Copies, TensorBlocks
from nashlens.models.random_weights import build_random
from nashlens.models.shapes import Shape
from nashlens.models.sharded import build_shards
from nashlens.models.split import TENSOR_PARALLEL
from tests.designs import residuals_of
from tests.tiny_models import tiny

CPU = torch.device("cpu")
TOLERANCE = 1e-5


def shard(loaded, parts):
    """Split a tiny model over CPU shards, by way of its own parameters."""
    weights = dict(loaded.model.named_parameters())

    def read(name, shape, part, device):
        weight = weights[name]
        assert weight.shape == shape
        if part is not None:
            axis, first, end = part
            weight = weight.narrow(axis, first, end - first)
        return weight.detach().clone().to(device)

    shards = build_shards(loaded.model.config, [CPU] * parts, read)
    return replace(loaded, model=None, shards=shards)


def pair(name, parts):
    """Return a model in one piece and in shards, with heads that divide."""
    thirds = {"hidden_size": 48, "num_attention_heads": 6, "num_key_value_heads": 3}
    loaded = tiny(name, **(thirds if parts == 3 else {}))
    return loaded, shard(loaded, parts)


@pytest.fixture(params=[(name, n) for name in TENSOR_PARALLEL for n in (2, 3)], ids=str)
def engines(request):
    plain, sharded = pair(*request.param)
    return Engine(plain, 64), Engine(sharded, 64)


def matches(rng, n, label_tokens=1):
    stem = rng.integers(0, 61, 20).tolist()
    prompts = []
    for _ in range(n):
        tail = rng.integers(0, 61, int(rng.integers(1, 9))).tolist()
        labels = tuple(rng.integers(0, 61, label_tokens).tolist() for _ in range(2))
        prompts.append(LabelledPrompt(stem[: int(rng.integers(1, 20))] + tail, labels))
    return prompts


def relative(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def test_each_shard_holds_its_part_of_every_product(engines):
    plain, sharded = engines
    assert isinstance(sharded.blocks, TensorBlocks)
    parts = sharded.blocks.parts
    for whole, *slices in zip(plain.blocks.blocks, *(part.blocks for part in parts), strict=True):
        for name, axis in (("q", 0), ("k", 0), ("v", 0), ("o", 1)):
            joined = torch.cat([getattr(block, name).weight for block in slices], dim=axis)
            assert torch.equal(joined, getattr(whole, name).weight)
        joined = torch.cat([block.mlp.down_proj.weight for block in slices], dim=1)
        assert torch.equal(joined, whole.mlp.down_proj.weight)
    assert not parts[0].embedding.weight.is_meta
    assert all(part.embedding.weight.is_meta for part in parts[1:])
    assert sum(not part.unembedding.weight.is_meta for part in parts) == 1


def test_residuals_and_label_scores_are_those_of_one_device(engines, rng):
    plain, sharded = engines
    prompts = matches(rng, 10, label_tokens=2)
    sequences = [prompt.ids for prompt in prompts]
    assert relative(residuals_of(sharded, sequences), residuals_of(plain, sequences)) < TOLERANCE
    ours, theirs = sharded.label_logprobs(prompts), plain.label_logprobs(prompts)
    assert relative(ours, theirs) < TOLERANCE


def test_sweeps_are_those_of_one_device(engines, rng):
    plain, sharded = engines
    prompts = matches(rng, 4, label_tokens=2)
    vector = rng.normal(size=plain.width)
    edits = [Edit(layer, "add", vector, value) for layer in (0, 2, 4) for value in (-1.0, 0.0, 2.0)]
    ours, theirs = sweep(sharded, prompts, edits), sweep(plain, prompts, edits)
    assert np.abs(theirs - theirs[:, 1:2]).max() > 0.1, "the edits did nothing: a vacuous test"
    assert relative(ours, theirs) < TOLERANCE
    none = sweep(sharded, prompts, [replace(edit, kind="none") for edit in edits])
    zero = sweep(sharded, prompts, [replace(edit, value=0.0) for edit in edits])
    assert (none == zero).all()


def test_sessions_are_those_of_one_device(engines, rng):
    plain, sharded = engines
    sessions, history = (Session(plain), Session(sharded)), rng.integers(0, 61, 12).tolist()
    for _ in range(3):
        prompts = [LabelledPrompt([*history, t], ([1], [2])) for t in (5, 6)]
        theirs, ours = (session.label_logprobs(prompts) for session in sessions)
        assert relative(ours, theirs) < TOLERANCE
        history += rng.integers(0, 61, 3).tolist()


def test_long_rows_with_a_block_sparse_mask(rng, monkeypatch):
    """What a GPU compiles, run as it is written."""
    monkeypatch.setattr(core, "FLEX_TOKENS", 16)
    masks = []

    def attend(block, h, rotations, mask):
        masks.append(mask)
        return flex._sparse_attention_share(block, h, rotations, mask)

    plain, loaded = pair("Qwen3ForCausalLM", 2)
    sharded = Engine(loaded, 128)
    sharded.blocks.pieces = replace(flex.PIECES, steps=AS_WRITTEN, sparse_attention_share=attend)
    prompts = matches(rng, 12)
    sequences = [prompt.ids for prompt in prompts]
    assert (
        relative(residuals_of(sharded, sequences), residuals_of(Engine(plain), sequences))
        < TOLERANCE
    )
    edits = [Edit(1, "add", rng.normal(size=32), 2.0)]
    assert (
        relative(sweep(sharded, prompts, edits), sweep(Engine(plain), prompts, edits)) < TOLERANCE
    )
    assert masks


def test_a_trees_mask_takes_what_it_reads_to_another_device():
    ends = np.array([4, 2, 4, 4])
    mask = flex.TreeMask(ends, np.array([0, 1, 1, 2]), CPU)
    assert mask.to(CPU) is mask
    there = mask.to(torch.device("meta"))
    assert there is mask.to(torch.device("meta"))
    inside = [cell.cell_contents for cell in there.within(None).mask_mod.__closure__]
    assert [x.device.type for x in inside if isinstance(x, torch.Tensor)] == ["meta"]


def test_sliding_windows_shorter_than_the_prompts(rng):
    plain = tiny("MistralForCausalLM", sliding_window=4)
    sequences = [prompt.ids for prompt in matches(rng, 6)]
    theirs = residuals_of(Engine(plain), sequences)
    assert relative(residuals_of(Engine(shard(plain, 2)), sequences), theirs) < TOLERANCE
    wide = residuals_of(
        Engine(shard(tiny("MistralForCausalLM", sliding_window=None), 2)), sequences
    )
    assert relative(wide, theirs) > 0.01, "the window did nothing: a vacuous test"


def test_biases_after_a_sum_are_added_once(rng):
    plain = tiny("LlamaForCausalLM", attention_bias=True, mlp_bias=True)
    prompts = [prompt.ids for prompt in matches(rng, 4)]
    ours = residuals_of(Engine(shard(plain, 2)), prompts)
    assert relative(ours, residuals_of(Engine(plain), prompts)) < TOLERANCE


def test_random_shards_are_slices_of_the_random_model(rng):
    shape = Shape("Qwen2ForCausalLM", 64, 96, 4, 4, 2, 16, 61, context=256, rope_theta=1e4)
    plain = build_random(shape, devices=[CPU], dtype=torch.float32)
    sharded = build_random(shape, devices=[CPU] * 2, dtype=torch.float32, parallel="tensor")
    sequences = [prompt.ids for prompt in matches(rng, 4)]
    ours, theirs = residuals_of(Engine(sharded), sequences), residuals_of(Engine(plain), sequences)
    assert relative(ours, theirs) < TOLERANCE


def test_copies_sum_and_spread():
    group = Copies([CPU, CPU, CPU])
    parts = [torch.full((2, 3), float(i)) for i in (1, 2, 4)]
    assert torch.equal(group.sum_on_first(parts), torch.full((2, 3), 7.0))
    assert all(torch.equal(x, torch.full((2, 3), 7.0)) for x in group.sum_on_all(parts))
    assert len(group.broadcast(parts[0])) == 3
