"""LoRA adapters: merged weights against the plain formula, and what is refused."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from nashlens.errors import ModelError
from nashlens.models.adapter import merge_adapter, read_adapter
from nashlens.models.convert import convert_source
from nashlens.models.manifest import read_manifest
from nashlens.models.tokenizer import ChatTokenizer
from tests.tiny_models import tiny

IDS = torch.tensor([list(range(3, 23))])
TARGETS = {
    "LlamaForCausalLM": ["q_proj", "v_proj", "down_proj"],
    "Phi3ForCausalLM": ["qkv_proj", "gate_up_proj"],
    "GPTNeoXForCausalLM": ["query_key_value", "dense_4h_to_h"],
    # Its maps hold their weights as (inputs, outputs).
    "GPT2LMHeadModel": ["c_attn", "mlp.c_proj"],
}


def maps_of(model, targets):
    """The linear maps whose names end so: path -> module."""
    return {
        path: module
        for path, module in model.named_modules()
        if any(path.endswith(f".{target}") for target in targets)
    }


def sizes(module):
    """Outputs and inputs of a linear map."""
    transposed = type(module).__name__ == "Conv1D"
    return module.weight.shape[::-1] if transposed else module.weight.shape


def write_adapter(folder, shapes, *, rank=3, alpha=7.0, drop=(), **config):
    """A random adapter of linear maps as PEFT saves it; returns its matrices."""
    folder.mkdir(exist_ok=True)
    random = torch.Generator().manual_seed(5)
    tensors = {}
    for path, (outputs, inputs) in shapes.items():
        for half, shape in (("A", (rank, inputs)), ("B", (outputs, rank))):
            name = f"base_model.model.{path}.lora_{half}.weight"
            tensors[name] = torch.randn(shape, generator=random) * 0.1
    for name in drop:
        del tensors[name]
    save_file(tensors, folder / "adapter_model.safetensors")
    known = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": alpha,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "modules_to_save": None,
        "target_modules": sorted({path.rpartition(".")[2] for path in shapes}),
        "use_dora": False,
        "use_rslora": False,
    }
    (folder / "adapter_config.json").write_text(json.dumps(known | config))
    return tensors


def halves_of(tensors, path):
    return (tensors[f"base_model.model.{path}.lora_{half}.weight"] for half in "AB")


@pytest.fixture
def llama(tmp_path):
    """A tiny Llama in a folder, and shapes of the maps that adapters change."""
    model = tiny("LlamaForCausalLM").model
    model.save_pretrained(tmp_path / "base")
    found = maps_of(model, TARGETS["LlamaForCausalLM"])
    return tmp_path / "base", {path: sizes(module) for path, module in found.items()}


@pytest.mark.parametrize(("rslora", "scale"), [(False, 7 / 3), (True, 7 / 3**0.5)])
def test_merged_weights_are_the_formulas(llama, tmp_path, rslora, scale):
    base, shapes = llama
    tensors = write_adapter(tmp_path / "adapter", shapes, use_rslora=rslora)
    before = load_file(base / "model.safetensors")
    merge_adapter(base, read_adapter(tmp_path / "adapter"))
    after = load_file(base / "model.safetensors")
    assert set(after) == set(before)
    assert len(shapes) == 12
    for name, weight in before.items():
        path = name.removesuffix(".weight")
        if path in shapes:
            a, b = halves_of(tensors, path)
            weight = (weight.double() + scale * b.double() @ a.double()).float()
            assert not torch.equal(after[name], before[name])
        np.testing.assert_allclose(after[name], weight, rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("family", TARGETS)
def test_the_merged_model_computes_what_the_unmerged_one_does(family, tmp_path):
    model = tiny(family).model
    model.save_pretrained(tmp_path / "base")
    found = maps_of(model, TARGETS[family])
    shapes = {path: sizes(module) for path, module in found.items()}
    tensors = write_adapter(tmp_path / "adapter", shapes, target_modules=TARGETS[family])
    with torch.inference_mode():
        without = model(IDS).logits
    for path, module in found.items():
        a, b = halves_of(tensors, path)
        module.register_forward_hook(
            lambda _, inputs, output, a=a, b=b: output + 7 / 3 * (inputs[0] @ a.T) @ b.T
        )
    merge_adapter(tmp_path / "base", read_adapter(tmp_path / "adapter"))
    merged = type(model).from_pretrained(tmp_path / "base", attn_implementation="eager").eval()
    with torch.inference_mode():
        expected, found = model(IDS).logits, merged(IDS).logits
    assert (expected - without).abs().max() > 0.1
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_sixteen_bit_weights_take_the_sum_in_float32(llama, tmp_path):
    base, shapes = llama
    path = base / "model.safetensors"
    save_file({name: t.bfloat16() for name, t in load_file(path).items()}, path)
    before = load_file(path)
    # Far below the spacing of bfloat16.
    tensors = write_adapter(tmp_path / "adapter", shapes, alpha=1e-3)
    merge_adapter(base, read_adapter(tmp_path / "adapter"))
    after = load_file(path)
    for module in shapes:
        a, b = halves_of(tensors, module)
        name = f"{module}.weight"
        np.testing.assert_allclose(
            after[name] - before[name].float(), 1e-3 / 3 * b @ a, rtol=0, atol=1e-7
        )
    assert after["model.norm.weight"].dtype == torch.bfloat16


REFUSED = {
    "another method": ({"peft_type": "IA3"}, "peft_type is 'IA3'.*merge it with PEFT"),
    "DoRA": ({"use_dora": True}, "use_dora is not merged here: merge it with PEFT"),
    "trained biases": ({"bias": "lora_only"}, "trained biases.*merge it with PEFT"),
    "whole modules": ({"modules_to_save": ["lm_head"]}, "modules_to_save is not merged here"),
    "ranks by map": ({"rank_pattern": {"q_proj": 2}}, "rank_pattern is not merged here"),
    "PiSSA": ({"init_lora_weights": "pissa_niter_4"}, "changed the base's weights as well"),
    "no alpha": ({"lora_alpha": None}, "lora_alpha is None, and a number is needed"),
    "a wrong rank": ({"r": 4}, r"has A \[3, \d+\] and B \[.*\], which adapter_config.json's r = 4"),
    "no rank": ({"r": "8"}, "r is '8', and a whole number from 1 is needed"),
    "a target without weights": (
        {"target_modules": ["q_proj", "v_proj", "down_proj", "k_proj"]},
        "nothing for 'k_proj' of adapter_config.json's target_modules; fetch it again",
    ),
    "weights that are no target": (
        {"target_modules": ["q_proj", "v_proj"]},
        "down_proj is none of adapter_config.json's target_modules",
    ),
    "a pattern that is none": ({"target_modules": "(q_proj"}, "is no pattern"),
    "targets by a pattern": ({"target_modules": r".*\.q_proj"}, "is none of .*target_modules"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_plain_lora_is_refused(llama, tmp_path, case):
    config, words = REFUSED[case]
    write_adapter(tmp_path / "adapter", llama[1], **config)
    with pytest.raises(ModelError, match=words) as caught:
        read_adapter(tmp_path / "adapter")
    assert str(tmp_path / "adapter" / "adapter_") in str(caught.value)


def test_files_that_are_missing_or_damaged(llama, tmp_path):
    folder = tmp_path / "adapter"
    with pytest.raises(ModelError, match="no such folder; give that of a PEFT adapter"):
        read_adapter(folder)
    write_adapter(folder, llama[1])
    weights, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    weights.rename(folder / "adapter_model.bin")
    with pytest.raises(ModelError, match="only pickled weights"):
        read_adapter(folder)
    (folder / "adapter_model.bin").unlink()
    with pytest.raises(ModelError, match=r"no adapter_model\.safetensors"):
        read_adapter(folder)
    weights.write_bytes(b"cut")
    with pytest.raises(ModelError, match="not an intact safetensors file"):
        read_adapter(folder)
    config.write_text("{")
    with pytest.raises(ModelError, match=r"cannot be read as JSON .*fetch it again"):
        read_adapter(folder)
    config.write_text("[" * 100_000)
    with pytest.raises(ModelError, match="nested too deep"):
        read_adapter(folder)


def test_an_adapter_of_another_model_is_refused_and_nothing_is_changed(llama, tmp_path):
    base, shapes = llama
    before = (base / "model.safetensors").read_bytes()
    wider = {path: (outputs, inputs + 1) for path, (outputs, inputs) in shapes.items()}
    deeper = shapes | {"model.layers.9.self_attn.q_proj": (32, 32)}
    fewer = dict(list(shapes.items())[:-1])
    for found, words in (
        (wider, r"it has the shape \[32, 49\], and the model \[32, 48\]"),
        (deeper, r"changes model.layers.9.self_attn.q_proj, and the model's files have no"),
        (fewer, "it has nothing for model.layers.3.mlp.down_proj, which is one of its"),
    ):
        write_adapter(tmp_path / "adapter", found)
        with pytest.raises(ModelError, match=words):
            merge_adapter(base, read_adapter(tmp_path / "adapter"))
    half = f"base_model.model.{next(iter(shapes))}.lora_B.weight"
    write_adapter(tmp_path / "adapter", shapes, drop=[half])
    with pytest.raises(ModelError, match="has only one of A and B"):
        read_adapter(tmp_path / "adapter")
    assert (base / "model.safetensors").read_bytes() == before
    assert not list(base.glob(".*"))


def test_conversion_merges_into_a_copy_and_says_so(hf_folder, tmp_path):
    source = hf_folder / "model.safetensors"
    before = source.read_bytes()
    shapes = {
        name.removesuffix(".weight"): tuple(tensor.shape)
        for name, tensor in load_file(source).items()
        if name.endswith("q_proj.weight")
    }
    write_adapter(tmp_path / "adapter", shapes)
    plain = convert_source(f"path:{hf_folder}", tmp_path / "plain")
    merged = convert_source(f"path:{hf_folder}", tmp_path / "merged", adapter=tmp_path / "adapter")
    assert source.read_bytes() == before
    assert plain["adapter"] is None
    said = read_manifest(tmp_path / "merged")["adapter"]
    assert (said["rank"], said["modules"], said["scale"]) == (3, 4, pytest.approx(7 / 3))
    assert set(said["files"]) == {"adapter_config.json", "adapter_model.safetensors"}
    assert merged["n_parameters"] == plain["n_parameters"]
    changed = {
        name
        for name, tensor in load_file(tmp_path / "merged" / "model.safetensors").items()
        if not torch.equal(tensor, load_file(source)[name])
    }
    assert changed == {f"{path}.weight" for path in shapes}


def test_a_model_without_its_chat_template_writes_plain_paragraphs(tmp_path):
    convert_source("planted:random", tmp_path / "chat")
    manifest = convert_source("planted:random", tmp_path / "plain", chat_template="none")
    assert manifest["chat_template"] is False
    messages = [{"role": "system", "content": "one"}, {"role": "user", "content": "two"}]
    assert ChatTokenizer(tmp_path / "plain").chat(messages) == "one\n\ntwo\n\n"
    assert ChatTokenizer(tmp_path / "chat").chat(messages) != "one\n\ntwo\n\n"
