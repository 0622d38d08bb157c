import gc

import numpy as np
import pytest
import torch

from nashlens.errors import ModelError
from nashlens.models.load import load_model, quantization_problem
from nashlens.models.quantise import dequantised_weights
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.models.weights import WeightReader, load_readout

IDS = torch.tensor([[1, 9, 12, 30, 40, 41, 8, 77]])


def logits(loaded):
    with torch.no_grad():
        return loaded.model(IDS).logits.float()


def test_a_loaded_model_says_what_it_is(planted):
    loaded = load_model(planted["random"], device="cpu", threads=1)
    assert loaded.architecture.name == "LlamaForCausalLM"
    assert (loaded.n_layers, loaded.width) == (4, 32)
    assert loaded.vocab == WeightReader(planted["random"]).unembedding().shape[0]
    assert (loaded.dtype, loaded.device) == (torch.float32, torch.device("cpu"))
    assert loaded.name == "random"
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())


@pytest.mark.parametrize("name", ["random", "random_qwen2"])
def test_weights_are_those_in_the_files(planted, name, tensors):
    loaded = load_model(planted[name], device="cpu")
    stored = tensors(planted[name])
    for key, parameter in loaded.model.named_parameters():
        assert np.array_equal(parameter.numpy(), stored[key]), key


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_other_dtypes(planted, dtype):
    loaded = load_model(planted["random"], device="cpu", dtype=dtype, native=False)
    assert loaded.dtype == getattr(torch, dtype)
    exact = logits(load_model(planted["random"], device="cpu", native=False))
    assert (logits(loaded) - exact).norm() / exact.norm() < 0.1


@pytest.mark.parametrize("name", ["random", "random_qwen2"])
def test_nf4_computes_with_its_dequantised_weights(planted, name):
    quantised = load_model(planted[name], device="cpu", quantization="nf4")
    plain = load_model(planted[name], device="cpu", native=False)
    names = []
    for key, module in quantised.model.named_modules():
        if type(module).__name__ == "Linear4bit":
            assert module.weight.quant_state.quant_type == "nf4"
            assert module.weight.quant_state.nested
            weight = dequantised_weights(module)
            target = plain.model.get_submodule(key).weight
            assert 0.02 < (weight - target).norm() / target.norm() < 0.15
            target.copy_(weight)
            names.append(key)
    assert len(names) == 7 * 4
    assert "lm_head" not in names
    torch.testing.assert_close(logits(quantised), logits(plain), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["random", "random_qwen2"])
def test_int8_stays_near_full_precision(planted, name):
    quantised = load_model(planted[name], device="cpu", quantization="int8")
    kinds = {type(m).__name__ for m in quantised.model.get_submodule("model.layers")[0].modules()}
    assert "Linear8bitLt" in kinds
    assert type(quantised.model.lm_head).__name__ == "Linear"
    exact = logits(load_model(planted[name], device="cpu", native=False))
    assert 0 < (logits(quantised) - exact).norm() / exact.norm() < 0.2


def test_quantization_problem(monkeypatch):
    assert quantization_problem("none", "cpu") is None
    assert quantization_problem("int8", "cpu") is None
    assert quantization_problem("nf4", "cpu") is None
    assert "not one of none, int8, nf4" in quantization_problem("int4", "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 0))
    assert "needs a GPU of compute capability 7.5" in quantization_problem("int8", "auto")
    assert quantization_problem("nf4", "cuda:0") is None
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    assert "needs bitsandbytes" in quantization_problem("nf4", "cuda")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"device": "cuda"}, "sees no GPU"),
        ({"device": "cpu", "parallel": "pipeline"}, "pipeline needs GPUs"),
        ({"device": "cpu", "parallel": "tensor"}, "tensor needs GPUs"),
        ({"parallel": "tensor", "quantization": "nf4"}, "cannot split weights quantised to nf4"),
        ({"device": "cpu", "parallel": "expert"}, "not none, pipeline or tensor"),
        ({"device": "cpu", "dtype": "float8"}, "dtype 'float8'"),
        ({"device": "cpu", "quantization": "int4"}, "not one of none, int8, nf4"),
    ],
)
def test_what_cannot_be_done_is_refused(planted, monkeypatch, options, part):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match=part):
        load_model(planted["random"], **options)


@pytest.mark.parametrize("name", ["random", "random_qwen2"])
def test_a_split_model_is_the_whole_one(planted, monkeypatch, name):
    """Two shards on the CPU stand for two GPUs."""
    from nashlens.engine.core import Engine
    from nashlens.models import load

    cpu = torch.device("cpu")
    monkeypatch.setattr(load, "target_device", lambda *_: cpu)
    monkeypatch.setattr(load, "_gpus", lambda: [cpu, cpu])
    split = load_model(planted[name], parallel="tensor")
    whole = load_model(planted[name], device="cpu")
    assert split.model is None
    for field in ("n_layers", "width", "vocab", "dtype", "name", "quantization"):
        assert getattr(split, field) == getattr(whole, field)
    (_, ours), (_, theirs) = (next(Engine(m).residuals(IDS.tolist())) for m in (split, whole))
    assert np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()
    monkeypatch.setattr(load, "_gpus", lambda: [cpu] * 3)
    with pytest.raises(ModelError, match=r"random.*parallel: tensor: num_.* over 3 GPUs evenly"):
        load_model(planted[name], parallel="tensor")


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collection_is_as_it_was(planted, tmp_path, enabled):
    (gc.enable if enabled else gc.disable)()
    try:
        load_model(planted["random"], device="cpu")
        assert gc.isenabled() is enabled
        with pytest.raises(ModelError):
            load_model(tmp_path, device="cpu")
        assert gc.isenabled() is enabled
    finally:
        gc.enable()


def test_missing_weights_are_never_made_up(hf_folder, tensors):
    from safetensors.numpy import save_file

    stored = tensors(hf_folder)
    del stored["model.layers.2.mlp.up_proj.weight"]
    save_file(stored, hf_folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack model\.layers\.2\.mlp\.up_proj\.weight"):
        load_model(hf_folder, device="cpu")
    with pytest.raises(ModelError, match=r"no config\.json"):
        load_model(hf_folder / "nothing", device="cpu")


@pytest.mark.parametrize("name", ["random", "random_qwen2"])
def test_the_lens_parts_give_the_models_own_logits(planted, name):
    loaded = load_model(planted[name], device="cpu", native=False)
    kept = []
    layers = loaded.model.get_submodule(loaded.architecture.layers)
    handle = layers[-1].register_forward_hook(lambda _m, _i, out: kept.append(out))
    expected = logits(loaded)[0].numpy()
    handle.remove()
    x = kept[0][0].numpy()
    readout = load_readout(planted[name], [5, 3, 60])
    rows, normed = readout.unembedding, readout.norm(x)
    np.testing.assert_allclose(normed @ rows.T, expected[:, [5, 3, 60]], atol=1e-4, rtol=1e-4)
    everything = WeightReader(planted[name]).unembedding()
    assert np.array_equal(everything[[5, 3, 60]], rows)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_weights_are_read_exactly(tmp_path, dtype, planted):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(planted["random"], dtype=dtype)
    model.save_pretrained(tmp_path)
    reader = WeightReader(tmp_path)
    for key, parameter in model.named_parameters():
        found = reader.tensor(key)
        assert found.dtype == np.float32
        assert np.array_equal(found, parameter.detach().float().numpy()), key
    with pytest.raises(ModelError, match="no tensor 'x'"):
        reader.tensor("x")


@pytest.mark.embedded
def test_the_embedded_model_answers(embedded):
    loaded = load_model(embedded[0], device="cpu", native=False)
    assert loaded.model.lm_head.weight is loaded.model.model.embed_tokens.weight
    tokenizer = ChatTokenizer(embedded[0])
    question = "What is the capital of France? Answer with one word."
    ids = tokenizer.encode(tokenizer.chat([{"role": "user", "content": question}]))
    answer = loaded.model.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0, len(ids) :].tolist())
