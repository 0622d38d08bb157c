"""Modules of our own compute what transformers' do, and leave to it what they do not cover."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from nashlens.engine.core import Engine
from nashlens.engine.labels import LabelledPrompt
from nashlens.errors import ModelError
from nashlens.models.load import load_model
from nashlens.models.native import NATIVE, CausalLM, native_config
from tests import reference
from tests.tiny_models import tiny

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 3.0,
    "original_max_position_embeddings": 30,
}
CASES = {
    "Llama": ("LlamaForCausalLM", {}),
    "Llama with biases": ("LlamaForCausalLM", {"attention_bias": True, "mlp_bias": True}),
    "Llama 3.1's rotations": ("LlamaForCausalLM", {"rope_parameters": LLAMA3}),
    "wide heads, tied": ("LlamaForCausalLM", {"head_dim": 16, "tie_word_embeddings": True}),
    "Mistral": ("MistralForCausalLM", {"sliding_window": 5}),
    "Mistral without a window": ("MistralForCausalLM", {"sliding_window": None}),
    "Qwen2": ("Qwen2ForCausalLM", {"use_sliding_window": False}),
    "Mistral, which has no biases": ("MistralForCausalLM", {"attention_bias": True}),
    "Qwen3": ("Qwen3ForCausalLM", {"head_dim": 16, "attention_bias": True}),
}
IDS = [1, 9, 12, 30, 40, 41, 8, 57, 3, 22, 31, 7, 45]


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_they_compute_what_transformers_computes(case, dtype, tmp_path):
    family, changes = CASES[case]
    tiny(family, **changes).model.save_pretrained(tmp_path)
    ours, theirs = (
        load_model(tmp_path, device="cpu", dtype=dtype, native=native) for native in (True, False)
    )
    assert isinstance(ours.model, CausalLM)
    assert not isinstance(theirs.model, CausalLM)
    assert not ours.model.training
    assert not any(p.requires_grad for p in ours.model.parameters())
    for field in ("n_layers", "width", "vocab", "dtype", "device", "name", "architecture"):
        assert getattr(ours, field) == getattr(theirs, field)
    prompts = [LabelledPrompt(IDS[:n], ([4, 9], [9])) for n in (5, 13)]
    found, same = (Engine(loaded).label_logprobs(prompts) for loaded in (ours, theirs))
    np.testing.assert_array_equal(found, same)
    if dtype == "float32":
        np.testing.assert_allclose(found, reference.label_logprobs(theirs, prompts), atol=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"architectures": ["Gemma2ForCausalLM"]},
        {"hidden_act": "gelu"},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}},
        {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}},
        {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}},
        {"rope_parameters": None, "rope_theta": 1e4, "rope_scaling": {"type": "linear"}},
        {"rope_parameters": {"type": "linear", "factor": 4.0, "rope_theta": 1e4}},
        # Which transformers reads, and not rope_parameters.
        {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
        {"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": True},
        {"architectures": ["MistralForCausalLM"]},
    ],
    ids=str,
)
def test_what_they_do_not_cover_is_left_to_transformers(change, tmp_path):
    tiny("LlamaForCausalLM").model.save_pretrained(tmp_path)
    config = config_of(tmp_path)
    assert native_config(config) is not None
    assert native_config(config | change) is None


def test_an_older_config_is_read(tmp_path):
    tiny("LlamaForCausalLM", rope_parameters={"rope_theta": 77.0}).model.save_pretrained(tmp_path)
    config = config_of(tmp_path)
    del config["rope_parameters"]
    assert native_config(config | {"rope_theta": 77.0}).rope_parameters["rope_theta"] == 77.0
    assert native_config(config) is None


@pytest.mark.parametrize("family", NATIVE)
def test_damaged_weights_are_refused(family, tmp_path):
    tiny(family, use_sliding_window=False).model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    name = "model.layers.2.mlp.up_proj.weight"
    save_file({**stored, name: stored[name][:-1].clone()}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"up_proj\.weight has shape .* delete its manifest"):
        load_model(tmp_path, device="cpu")
    del stored[name]
    save_file(stored, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lack model\.layers\.2\.mlp\.up_proj\.weight"):
        load_model(tmp_path, device="cpu")


def test_a_model_saved_without_its_head_is_read(tmp_path):
    tiny("LlamaForCausalLM", tie_word_embeddings=True).model.model.save_pretrained(tmp_path)
    config = config_of(tmp_path) | {"architectures": ["LlamaForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    ours = load_model(tmp_path, device="cpu")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    for name, parameter in theirs.named_parameters():
        assert torch.equal(ours.model.get_parameter(name), parameter), name


def test_a_job_starts_without_importing_transformers(tmp_path):
    tiny("LlamaForCausalLM").model.save_pretrained(tmp_path)
    code = """
import sys
from nashlens.engine.core import Engine
from nashlens.models.load import load_model
next(Engine(load_model(sys.argv[1], device="cpu")).residuals([[1, 2]]))
print(sorted({"transformers", "torch._dynamo", "scipy", "sklearn"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
