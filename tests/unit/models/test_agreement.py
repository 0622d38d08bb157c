"""A config.json that makes no sense, or is another model's than the weights', is refused early."""

import json
import shutil
import struct
import time

import numpy as np
import pytest
from transformers.activations import ACT2FN

from nashlens.errors import ModelError
from nashlens.models.agreement import ACTIVATIONS, number_problems, weight_problems
from nashlens.models.convert import convert_source
from nashlens.models.inspect import inspect_source
from nashlens.models.load import load_model
from nashlens.models.registry import ARCHITECTURES
from nashlens.models.tensor_files import read_entries
from tests.tiny_models import FAMILIES, tiny

HEADS = ("lm_head.", "embed_out.")
LINEAR = {"rope_type": "linear"}
NAN, INF = float("nan"), float("inf")
# Keys of a config.json, each with the words of its line. GONE leaves the key out.
GONE = object()
BAD = {
    "no vocabulary": ({"vocab_size": GONE}, "it has no vocab_size: fetch it again"),
    "a null vocabulary": ({"vocab_size": None}, "it has no vocab_size"),
    "no width": ({"hidden_size": GONE}, "it has no hidden_size"),
    "no heads": ({"num_attention_heads": GONE}, "it has no num_attention_heads"),
    "zero heads": ({"num_attention_heads": 0}, "num_attention_heads is 0: 1 or more is needed"),
    "fewer than no heads": ({"num_attention_heads": -1}, "num_attention_heads is -1: 1 or more"),
    "another number of heads": (
        *({"num_attention_heads": 2}, "q_proj.weight has shape (32, 32), and by config.json (16,"),
    ),
    "heads in no groups": (
        {"num_attention_heads": 3}, "is 3, no multiple of num_key_value_heads, 2"
    ),
    "no key heads": ({"num_key_value_heads": 0}, "num_key_value_heads is 0: 1 or more"),
    "fewer than no key heads": ({"num_key_value_heads": -2}, "num_key_value_heads is -2: 1 or"),
    "more key heads": ({"num_key_value_heads": 4}, "k_proj.weight has shape (16, 32), and by"),
    "null key heads of others": (
        *({"num_key_value_heads": None}, "k_proj.weight has shape (16, 32), and by"),
    ),
    "heads of no size": ({"head_dim": 0}, "head_dim is 0: 1 or more is needed"),
    "heads of another size": ({"head_dim": 4}, "q_proj.weight has shape (32, 32), and by"),
    "another width": ({"hidden_size": 64}, "embed_tokens.weight has shape (231, 32), and by"),
    "another vocabulary": ({"vocab_size": 232}, "by config.json (232, 32)"),
    "another MLP": ({"intermediate_size": 65}, "down_proj.weight has shape (32, 64), and by"),
    "an MLP of nothing": ({"intermediate_size": 0}, "intermediate_size is 0: 1 or more"),
    # transformers leaves the others out without a word.
    "fewer blocks": ({"num_hidden_layers": 3}, "is 3, and the weights hold 4 blocks"),
    "more blocks": ({"num_hidden_layers": 99}, "is 99, and the weights hold 4 blocks"),
    "no positions": ({"max_position_embeddings": None}, "it has no max_position_embeddings"),
    "an epsilon in words": ({"rms_norm_eps": "x"}, "rms_norm_eps is 'x': a number between 0 and"),
    "no epsilon": ({"rms_norm_eps": None}, "rms_norm_eps is None: a number between"),
    "an epsilon below 0": ({"rms_norm_eps": -1}, "rms_norm_eps is -1: a number between"),
    "an epsilon of 0": ({"rms_norm_eps": 0}, "rms_norm_eps is 0: a number between"),
    "a large epsilon": ({"rms_norm_eps": 10}, "rms_norm_eps is 10: a number between"),
    "an epsilon of NaN": ({"rms_norm_eps": NAN}, "rms_norm_eps is nan"),
    "an endless epsilon": ({"rms_norm_eps": INF}, "rms_norm_eps is inf"),
    "no rotation": (
        {"rope_parameters": {"rope_theta": 0}}, "rope_parameters.rope_theta is 0: a number above 0"
    ),
    "a rotation in words": ({"rope_parameters": {"rope_theta": "x"}}, "rope_theta is 'x'"),
    "a rotation of NaN": ({"rope_parameters": {"rope_theta": NAN}}, "rope_theta is nan"),
    "a rotation of NaN, as it was": ({"rope_theta": NAN, "rope_parameters": GONE}, "is nan"),
    "no factor": ({"rope_scaling": LINEAR}, "rope_scaling.factor is None: a number above 0"),
    "a factor of 0": ({"rope_scaling": LINEAR | {"factor": 0}}, "factor is 0"),
    "a factor below 0": ({"rope_scaling": LINEAR | {"factor": -2}}, "factor is -2"),
    "a factor in words": ({"rope_scaling": LINEAR | {"factor": "2"}}, "factor is '2'"),
    "an activation that is none": ({"hidden_act": "nope"}, "hidden_act is 'nope': there is no"),
    "a number for an activation": ({"hidden_act": 3}, "hidden_act is 3: there is no"),
    "no activation": ({"hidden_act": None}, "hidden_act is None: there is no"),
    "biases that are not there": (
        {"attention_bias": True}, "attention_bias is True, and the file lacks model.layers.0.self"
    ),
    "biases of an MLP": ({"mlp_bias": True}, "mlp_bias is True, and the file lacks"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model as it is found: Llama of 4 blocks."""
    folder = tmp_path_factory.mktemp("found") / "model"
    convert_source("planted:random", folder)
    for name in ("manifest.json", ".checked.json", "planted.json"):
        (folder / name).unlink()
    return folder


@pytest.fixture
def copied(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "model")
    return tmp_path / "model"


def edit(folder, edits):
    config = json.loads((folder / "config.json").read_text()) | edits
    kept = {key: value for key, value in config.items() if value is not GONE}
    (folder / "config.json").write_text(json.dumps(kept))


@pytest.mark.parametrize(("edits", "words"), BAD.values(), ids=BAD)
def test_a_config_that_is_not_of_these_weights(copied, edits, words):
    edit(copied, edits)
    started = time.monotonic()
    found = inspect_source(f"path:{copied}").problems
    assert time.monotonic() - started < 5
    assert any(words in problem for problem in found), found
    assert len(found) < 4
    assert not any("\n" in problem or len(problem) > 300 for problem in found)
    with pytest.raises(ModelError):
        convert_source(f"path:{copied}", copied.parent / "converted")


@pytest.mark.parametrize(
    "edits",
    [
        {},
        {"hidden_act": "gelu"},
        {"head_dim": None},
        {"head_dim": GONE},
        {"rope_scaling": LINEAR | {"factor": 2}, "rope_parameters": GONE},
        {"pretraining_tp": 2, "torch_dtype": "nope", "eos_token_id": [2, 3]},
    ],
)
def test_a_config_that_may_be(copied, edits):
    edit(copied, edits)
    assert inspect_source(f"path:{copied}").problems == ()


def with_tensor(folder, name, shape):
    """Add a tensor to a folder's weights."""
    path = folder / "model.safetensors"
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    added = np.ones(shape, dtype="<f4").tobytes()
    offsets = [len(data), len(data) + len(added)]
    header[name] = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data + added)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "model.layers.2.self_attn.q_norm.weight",
            "q_norm.weight is no part of a Llama",
        ),
        ("model.layers.2.self_attn.sinks", "self_attn.sinks is no part of"),
        (
            "model.layers.0.self_attn.q_proj.bias",
            "attention_bias is False, and the file has",
        ),
        ("model.layers.0.mlp.down_proj.bias", "mlp_bias is False, and the file has"),
        ("model.layers.4.input_layernorm.weight", "is 4, and the weights hold 5 blocks"),
        ("layers.7.mlp.up_proj.weight", "and the weights hold 8 blocks"),
    ],
)
def test_tensors_that_nothing_would_read(copied, name, words):
    with_tensor(copied, name, [32])
    (problem,) = inspect_source(f"path:{copied}").problems
    assert words in problem


@pytest.mark.parametrize(
    "name", ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"]
)
def test_what_older_files_hold_as_well(copied, name):
    with_tensor(copied, name, [4])
    assert inspect_source(f"path:{copied}").problems == ()


def saved(family, folder):
    """Write a tiny model of a family; return its config and the shapes of its tensors."""
    tiny(family).model.save_pretrained(folder)
    entries = read_entries(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    return config, {name: entry.shape for name, entry in entries.items()}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_familys_own_files_agree(family, tmp_path):
    config, shapes = saved(family, tmp_path)
    assert list(number_problems(config)) == []
    assert list(weight_problems(config, shapes)) == []
    layers = ARCHITECTURES[config["architectures"][0]].layers
    fewer = {name: shape for name, shape in shapes.items() if f"{layers}.3." not in name}
    (problem,) = weight_problems(config, fewer)
    assert problem == "num_hidden_layers is 4, and the weights hold 3 blocks: fetch it again"


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_what_transformers_does_not_fill_in_is_refused(family, tmp_path):
    config, shapes = saved(family, tmp_path)
    for key in ("head_dim", "num_key_value_heads"):
        given = config | {key: None}
        if key in config and not list(weight_problems(given, shapes)):
            (tmp_path / "config.json").write_text(json.dumps(given))
            load_model(tmp_path, device="cpu", native=False)
    without = {name: shape for name, shape in shapes.items() if not name.startswith(HEADS)}
    found = list(weight_problems(config | {"tie_word_embeddings": False}, without))
    assert [line.partition(" lacks ")[0] for line in found] == [
        "tie_word_embeddings is False, and the file"
    ]


@pytest.mark.parametrize(("given", "stored"), [(True, False), (False, True)])
def test_biases_of_gpt_neox_are_those_of_its_config(given, stored, tmp_path):
    tiny("GPTNeoXForCausalLM", attention_bias=stored).model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    entries = read_entries(tmp_path / "model.safetensors")
    shapes = {name: entry.shape for name, entry in entries.items()}
    assert list(weight_problems(config, shapes)) == []
    (problem,) = weight_problems(config | {"attention_bias": given}, shapes)
    assert problem.startswith(f"attention_bias is {given}, and the file ")


def test_activations_are_transformers_own():
    assert set(ACT2FN) >= ACTIVATIONS
