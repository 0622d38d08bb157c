"""Every family against transformers' own forward: alone, left-padded, and on a GPU's paths."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from nashlens.engine import core, flex, segments
from nashlens.engine.blocks import Blocks
from nashlens.engine.core import Engine
from nashlens.engine.edits import Edit
from nashlens.engine.labels import LabelledPrompt
from nashlens.engine.session import Session
from nashlens.engine.sweeps import sweep
from nashlens.errors import DataError
from nashlens.lens.logit import lens_table
from nashlens.models.weights import load_readout
from tests import reference
from tests.designs import residuals_of
from tests.tiny_models import tiny

LENGTHS = (1, 3, 7, 14, 15, 20, 26)  # around windows of 4 to 6 and longrope's 14


@torch.inference_mode()
def theirs(loaded, sequences):
    """The input of the first block and the output of each, and the logits, at the last tokens.

    All sequences go through one forward, padded on the left.
    """
    longest = max(map(len, sequences))
    ids = torch.tensor([[0] * (longest - len(s)) + s for s in sequences])
    mask = torch.tensor([[0] * (longest - len(s)) + [1] * len(s) for s in sequences])
    blocks, seen = loaded.model.get_submodule(loaded.architecture.layers), []

    def keep(h):
        assert isinstance(h, torch.Tensor)
        assert h.shape == (*ids.shape, 32)
        seen.append(h[:, -1])

    hooks = [blocks[0].register_forward_pre_hook(lambda _m, args: keep(args[0]))]
    hooks += [b.register_forward_hook(lambda _m, _i, out: keep(out)) for b in blocks]
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    out = loaded.model(ids, attention_mask=mask, position_ids=positions, use_cache=False)
    for hook in hooks:
        hook.remove()
    return torch.stack(seen, dim=1).numpy(), out.logits[:, -1].numpy()


def close(ours, expected, tolerance=1e-5):
    assert np.abs(ours - expected).max() < tolerance * np.abs(expected).max()


@torch.inference_mode()
def logits_of(engine, states):
    return engine.blocks.logits(torch.from_numpy(states)).numpy()


@pytest.mark.parametrize("padded", [False, True])
def test_states_and_logits_are_transformers_own(loaded, rng, padded):
    sequences = [rng.integers(0, 61, n).tolist() for n in LENGTHS]
    sequences += [sequences[-1], sequences[-1][:9], [*sequences[2], 5, 6]]
    engine = Engine(loaded, 64)
    short = engine.blocks.short or 0
    # Within one padded forward, longrope turns all sequences as the longest one.
    groups = [[s for s in sequences if (len(s) > short) == long] for long in (False, True)]
    if not padded:
        groups = [[s] for s in sequences]
    for group in filter(None, groups):
        states, logits = theirs(loaded, group)
        ours = residuals_of(engine, group)
        close(ours, states)
        close(logits_of(engine, ours[:, -1]), logits)
        prompts = [LabelledPrompt(s, ([4], [9])) for s in group]
        logprobs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        close(engine.label_logprobs(prompts), logprobs[:, [4, 9]])


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("MistralForCausalLM", {"sliding_window": None}),
        ("MistralForCausalLM", {"sliding_window": 6}),
        ("Qwen2ForCausalLM", {"use_sliding_window": False}),
        ("Qwen2ForCausalLM", {"max_window_layers": 3}),
        ("Gemma2ForCausalLM", {"sliding_window": 100}),
        ("Gemma2ForCausalLM", {"attn_logit_softcapping": None}),
        ("Gemma2ForCausalLM", {"final_logit_softcapping": None}),
        ("Gemma2ForCausalLM", {"query_pre_attn_scalar": 16}),
        ("Gemma3ForCausalLM", {"sliding_window": 100}),
        ("Gemma3ForCausalLM", {"layer_types": ["full_attention"] * 4}),
        ("Gemma3ForCausalLM", {"final_logit_softcapping": None}),
        ("Phi3ForCausalLM", {"sliding_window": None}),
        ("Phi3ForCausalLM", {"original_max_position_embeddings": 100}),
        ("GPTNeoXForCausalLM", {"use_parallel_residual": False}),
        ("GPT2LMHeadModel", {"scale_attn_by_inverse_layer_idx": False}),
    ],
)
def test_each_switch_is_felt(rng, family, changes):
    prompts = [LabelledPrompt(rng.integers(0, 61, 20).tolist(), ([4], [9])) for _ in range(4)]
    switched = tiny(family, **changes)
    before, after = (Engine(m).label_logprobs(prompts) for m in (tiny(family), switched))
    assert np.abs(before - after).max() > 0.01, "a switch that does nothing proves nothing"
    assert np.abs(after - reference.label_logprobs(switched, prompts)).max() < 1e-4


def test_gemmas_local_blocks_turn_at_their_own_rate(rng):
    rates = {"full_attention": 50.0, "sliding_attention": 20.0}
    rope = {name: {"rope_type": "default", "rope_theta": rate} for name, rate in rates.items()}
    sequences = [rng.integers(0, 61, 20).tolist()]
    one = tiny("Gemma3ForCausalLM", rope_parameters=rope)
    found = residuals_of(Engine(one), sequences)
    close(found, theirs(one, sequences)[0])
    rope["sliding_attention"]["rope_theta"] = 50.0
    other = residuals_of(Engine(tiny("Gemma3ForCausalLM", rope_parameters=rope)), sequences)
    assert np.abs(found - other).max() > 0.01


def test_scaled_embeddings_are_the_first_residual(rng):
    loaded = tiny("Gemma2ForCausalLM")
    plain = loaded.model.model.embed_tokens.weight[7].detach().numpy()
    close(residuals_of(Engine(loaded), [[3, 7]])[0, 0], plain * 32**0.5)


def test_more_tokens_than_learned_positions_are_refused():
    engine = Engine(tiny("GPT2LMHeadModel"))
    residuals_of(engine, [[1] * 256])
    with pytest.raises(DataError, match="257 tokens; this model has 256 learned positions"):
        residuals_of(engine, [[1] * 257])
    with pytest.raises(ValueError, match="none were given"):
        engine.blocks.embed(torch.tensor([1]))


def some_prompts(rng):
    stem = rng.integers(0, 61, 22).tolist()
    cuts = (3, 9, 13, 14, 18, 22, 22)
    return [
        LabelledPrompt([*stem[:n], *rng.integers(0, 61, 2).tolist()], ([4, 5], [9])) for n in cuts
    ]


def everything(loaded, prompts, edits):
    """Residuals, label scores of the engine and of a growing session, and a sweep."""
    engine, session = Engine(loaded, 128), Session(Engine(loaded, 128))
    grown = np.concatenate([session.label_logprobs([p]) for p in prompts])
    states = residuals_of(engine, [p.ids for p in prompts])
    return states, engine.label_logprobs(prompts), grown, sweep(engine, prompts, edits)


@pytest.mark.parametrize("path", ["batches", "trees"])
def test_a_gpus_attention_equals_a_cpus(loaded, rng, monkeypatch, path):
    prompts, vector = some_prompts(rng), rng.normal(size=32)
    edits = [Edit(layer, "add", vector, 3.0) for layer in (0, 2)]
    expected = everything(loaded, prompts, edits)
    monkeypatch.setattr(segments, "attends_in_batches", lambda _device: True)
    if path == "trees":
        monkeypatch.setattr(core, "FLEX_TOKENS", 16)
        init = Blocks.__init__
        used = []
        counted = lambda *args: used.append(1) or flex.PIECES.sparse_block(*args)  # noqa: E731

        def on_gpu(self, loaded):
            init(self, loaded)
            self.pieces = replace(flex.PIECES, sparse_block=counted)

        monkeypatch.setattr(Blocks, "__init__", on_gpu)
    # What is compiled on a GPU runs here as it is written.
    with torch.compiler.set_stance("force_eager"):
        found = everything(loaded, prompts, edits)
    assert path == "batches" or used
    for ours, wanted in zip(found, expected, strict=True):
        close(ours, wanted)


def test_the_last_layers_lens_is_the_models_own_answer(loaded, rng, tmp_path):
    loaded.model.save_pretrained(tmp_path)
    sequences = [rng.integers(0, 61, n).tolist() for n in LENGTHS]
    states = residuals_of(Engine(loaded), sequences)
    prompts = pd.DataFrame(
        {
            "prompt_id": [f"p{i}" for i in range(len(sequences))],
            "match_id": "m",
            "dropped": "",
            "label_tokens_0": [[4]] * len(sequences),
            "label_tokens_1": [[9]] * len(sequences),
        }
    )
    names = prompts["prompt_id"].tolist()
    table = lens_table(
        lambda layer, ids: states[[names.index(name) for name in ids], layer],
        range(5),
        prompts,
        readout=load_readout(tmp_path),
        model="tiny",
        last=4,
    )
    last = table[table["layer"] == 4].set_index("prompt_id").loc[prompts["prompt_id"]]
    logits = np.concatenate([theirs(loaded, [s])[1] for s in sequences])
    close(last[["logit_0", "logit_1"]].to_numpy(), logits[:, [4, 9]])
    p = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))[:, [4, 9]]
    close(last["label_mass"].to_numpy(), p.sum(axis=1))
    close(last["p_action_0"].to_numpy(), p[:, 0] / p.sum(axis=1))
