"""Shapes by name, and models converted from them."""

import json

import numpy as np
import pytest
import torch

from nashlens.engine.core import Engine
from nashlens.errors import ModelError
from nashlens.models.convert import convert_source
from nashlens.models.inspect import inspect_source
from nashlens.models.load import load_model
from nashlens.models.shapes import SHAPES, Shape, find_shape
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.models.weights import load_readout
from nashlens.planted.tokenizer import write_words
from tests import reference

TINY = Shape("LlamaForCausalLM", 64, 96, 4, 4, 2, 16, 700, context=4096, rope_theta=1e4)
TINIES = {"tiny": TINY, "tied": Shape(*list(vars(TINY).values())[:-1], tied=True)}


@pytest.fixture
def tinies(monkeypatch):
    for name, shape in TINIES.items():
        monkeypatch.setitem(SHAPES, name, shape)


def test_a_shape_may_have_fewer_blocks():
    assert find_shape("llama-3-8b") == SHAPES["llama-3-8b"]
    assert find_shape("llama-3-8b@4") == SHAPES["llama-3-8b"].cut(4)
    assert inspect_source("shape:qwen2.5-72b@3").n_layers == 3


@pytest.mark.parametrize("name", ["llama", "llama-3-8b@0", "llama-3-8b@", "LLAMA-3-8B", "../x"])
def test_an_unknown_shape_is_refused_with_those_that_are_known(name):
    with pytest.raises(ModelError, match=r"no such shape.*llama-3-8b") as error:
        find_shape(name)
    assert "\n" not in str(error.value)


def test_more_blocks_than_the_shape_has_are_refused():
    with pytest.raises(ModelError, match="has 32 blocks"):
        find_shape("llama-3-8b@33")


@pytest.mark.parametrize("name", ["tiny", "tied"])
@pytest.mark.parametrize("native", [True, False])
def test_a_converted_shape_is_one_model_to_the_engine_and_to_the_lens(
    tmp_path, tinies, name, native
):
    folder = tmp_path / "model"
    manifest = convert_source(f"shape:{name}", folder)
    assert manifest["n_parameters"] == TINIES[name].parameters()
    assert manifest["chat_template"]
    loaded = load_model(folder, dtype="float32", native=native)
    assert sum(p.numel() for p in loaded.model.parameters()) == manifest["n_parameters"]
    ids = [ChatTokenizer(folder).encode("You choose one of two .")]
    engine, readout = Engine(loaded), load_readout(folder)
    ((_, residuals),) = list(engine.residuals(ids))
    logits = readout.unembedding @ readout.norm(np.asarray(residuals)[:, -1])[0]
    head = loaded.model.get_submodule(loaded.architecture.unembed).weight.float()
    assert torch.equal(head.cpu(), torch.from_numpy(np.asarray(readout.unembedding)))
    if not native:
        expected = reference.residuals(loaded, ids)
        assert np.abs(residuals - expected).max() < 1e-5 * np.abs(expected).max()
        with torch.no_grad():
            theirs = loaded.model(torch.tensor(ids, device=head.device)).logits[0, -1].cpu().numpy()
        np.testing.assert_allclose(logits, theirs, atol=1e-4)


def test_its_weights_are_the_same_whenever_it_is_loaded(tmp_path, tinies):
    convert_source("shape:tiny", tmp_path / "model")
    first, second = (load_model(tmp_path / "model", dtype="float32") for _ in range(2))
    other = load_model(tmp_path / "model", dtype="float32", native=False)
    weights = dict(first.model.named_parameters())
    for model in (second.model, other.model):
        for name, parameter in model.named_parameters():
            assert torch.equal(parameter, weights[name]), name


def test_a_shape_takes_a_tokenizer_that_fits(tmp_path, tinies, monkeypatch):
    write_words(tmp_path)
    folder = tmp_path / "model"
    convert_source("shape:tiny", folder, tokenizer=tmp_path)
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == 2
    assert (folder / "tokenizer.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()
    monkeypatch.setitem(SHAPES, "few", Shape(**{**vars(TINY), "vocab": 61}))
    with pytest.raises(ModelError, match="the shape's embedding 61 rows"):
        convert_source("shape:few", folder, tokenizer=tmp_path)
