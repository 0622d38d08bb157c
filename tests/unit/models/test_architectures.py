"""Every architecture as a folder: inspected, converted, loaded, and its weights read."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from nashlens.engine.core import Engine
from nashlens.engine.labels import LabelledPrompt
from nashlens.errors import ModelError
from nashlens.models.convert import convert_source
from nashlens.models.inspect import ModelFacts, inspect_source
from nashlens.models.load import load_model
from nashlens.models.manifest import read_manifest
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.models.weights import WeightReader, load_readout
from tests import reference
from tests.tiny_models import FAMILIES, architecture, tiny

IDS = list(range(3, 23))


@pytest.fixture(params=sorted(FAMILIES))
def family(request):
    return request.param


@pytest.fixture
def saved(family, planted, tmp_path):
    """A family's model as transformers saves it, with a tokenizer."""
    folder = tmp_path / "saved"
    tiny(family).model.save_pretrained(folder)
    config = "tokenizer_config.json"
    (folder / config).write_bytes((planted["random"] / config).read_bytes())
    # As many words as the embedding has rows.
    tokenizer = json.loads((planted["random"] / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {word: i for word, i in words.items() if i < 61}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def logits(model):
    with torch.inference_mode():
        return model(torch.tensor([IDS]), use_cache=False).logits[0].numpy()


def test_a_folder_is_converted_and_loaded(family, saved, tmp_path, edit):
    name = architecture(family)
    if name == "Phi3ForCausalLM":
        # As the released ones have it; what it names is never run.
        edit(saved / "config.json", auto_map={"AutoModelForCausalLM": "modeling_phi3.Phi3"})
    assert inspect_source(f"path:{saved}") == ModelFacts(name, 4, 32, 256, 61)
    convert_source(f"path:{saved}", tmp_path / "model")
    manifest = read_manifest(tmp_path / "model")
    assert (manifest["architecture"], manifest["n_layers"], manifest["width"]) == (name, 4, 32)
    assert (manifest["context_length"], manifest["vocab_size"]) == (256, 61)
    assert ChatTokenizer(tmp_path / "model").max_length == 256
    loaded = load_model(tmp_path / "model", device="cpu")
    theirs = load_model(tmp_path / "model", device="cpu", native=False)
    assert manifest["n_parameters"] == sum(p.numel() for p in theirs.model.parameters())
    assert (loaded.n_layers, loaded.width, loaded.vocab) == (4, 32, 61)
    np.testing.assert_allclose(logits(theirs.model), logits(tiny(family).model), atol=1e-4)
    prompts = [LabelledPrompt(IDS[:n], ([4, 9], [9])) for n in (5, 19)]
    ours = Engine(loaded).label_logprobs(prompts)
    assert np.abs(ours - reference.label_logprobs(theirs, prompts)).max() < 1e-4


@pytest.mark.parametrize("family", ["GPT2LMHeadModel", "GPTNeoXForCausalLM", "Phi3ForCausalLM"])
def test_fused_projections_are_quantised_and_the_engine_runs_them(family, saved):
    loaded = load_model(saved, device="cpu", quantization="nf4")
    a = loaded.architecture
    fused = loaded.model.get_submodule(a.layers)[0].get_submodule(a.fused)
    assert type(fused).__name__ == "Linear4bit"
    prompts = [LabelledPrompt(IDS[:n], ([4, 9], [9])) for n in (5, 19)]
    ours = Engine(loaded).label_logprobs(prompts)
    assert np.abs(ours - reference.label_logprobs(loaded, prompts)).max() < 1e-3


def test_every_path_of_the_table_exists(family):
    loaded = tiny(family)
    a, model = loaded.architecture, loaded.model
    for path in (a.embed, a.positions, a.embedded, a.norm, a.unembed, a.rotary):
        assert path is None or model.get_submodule(path)
    block = model.get_submodule(a.layers)[0]
    assert block.get_submodule(a.attention).scaling > 0
    for path in (a.input_norm, a.fused, a.q, a.k, a.v, a.o, a.q_norm, a.k_norm):
        assert path is None or block.get_submodule(path)
    for path in (a.attention_out_norm, a.mlp_norm, a.mlp, a.mlp_out_norm):
        assert path is None or block.get_submodule(path)


def test_every_module_of_a_block_is_in_the_table(family):
    """What the table forgot would be left out of the engine's forward without a word."""
    loaded = tiny(family)
    a = loaded.architecture
    paths = (a.input_norm, a.fused, a.q, a.k, a.v, a.o, a.q_norm, a.k_norm)
    known = [p for p in (*paths, a.attention_out_norm, a.mlp_norm, a.mlp, a.mlp_out_norm) if p]
    for name, _ in loaded.model.get_submodule(a.layers)[0].named_parameters():
        assert any(name.startswith(f"{path}.") for path in known), name
    outside = (a.embed, a.positions, a.layers, a.norm, a.unembed)
    for name, _ in loaded.model.named_parameters():
        assert any(name.startswith(f"{path}.") for path in outside if path), name


def test_all_tensors_of_the_readout_are_the_models(family, saved):
    model, readout = tiny(family).model, load_readout(saved)
    assert np.array_equal(readout.unembedding, model.get_output_embeddings().weight.detach())
    x = np.random.default_rng(0).normal(size=(5, 32)).astype(np.float32) * 7 + 2
    with torch.no_grad():
        norm = model.get_submodule(WeightReader(saved).architecture.norm)
        expected = norm(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(readout.norm(x), expected, atol=1e-4, rtol=1e-5)
    rows = load_readout(saved, [5, 3]).unembedding
    assert np.array_equal(rows, readout.unembedding[[5, 3]])


def test_a_tied_model_with_another_unembedding_in_its_file_uses_that(tmp_path):
    tiny("Qwen2ForCausalLM").model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    head = np.random.default_rng(0).normal(size=(61, 32)).astype(np.float32)
    save_file({**stored, "lm_head.weight": head}, tmp_path / "model.safetensors", {"format": "pt"})
    theirs = load_model(tmp_path, device="cpu").model.lm_head.weight.numpy()
    assert np.array_equal(theirs, head)
    assert np.array_equal(load_readout(tmp_path).unembedding, head)


def test_an_untied_model_without_an_unembedding_is_refused(tmp_path):
    tiny("MistralForCausalLM").model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    del stored["lm_head.weight"]
    save_file(stored, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"no tensor 'lm_head\.weight'"):
        load_readout(tmp_path)


def test_gpt2_saved_without_its_head_is_read(tmp_path):
    model = tiny("GPT2LMHeadModel").model
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    short = {name.removeprefix("transformer."): value for name, value in stored.items()}
    assert short.keys().isdisjoint(stored)
    save_file(short, tmp_path / "model.safetensors", {"format": "pt"})
    np.testing.assert_allclose(
        logits(load_model(tmp_path, device="cpu").model), logits(model), atol=1e-5
    )
    assert np.array_equal(load_readout(tmp_path).unembedding, short["wte.weight"])
    assert np.array_equal(load_readout(tmp_path).norm.bias, short["ln_f.bias"])
