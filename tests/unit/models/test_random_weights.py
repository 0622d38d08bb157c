"""Shapes against numbers known in public, and models built from them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nashlens.engine.core import Engine
from nashlens.errors import ModelError
from nashlens.models.quantise import dequantised_weights
from nashlens.models.random_weights import build_random, stages
from nashlens.models.registry import ARCHITECTURES
from nashlens.models.shapes import SHAPES, Shape
from nashlens.models.skeleton import skeleton
from tests import reference

TINY = Shape("LlamaForCausalLM", 64, 96, 4, 4, 2, 16, 61, context=256, rope_theta=1e4)
QWEN = replace(TINY, architecture="Qwen2ForCausalLM", tied=True)
CPU = torch.device("cpu")
IDS = [[1, 9, 12, 30, 40], [1, 9, 12, 7], [3]]


def residuals(loaded):
    engine = Engine(loaded)
    result = np.empty((len(IDS), engine.n_layers + 1, engine.width), dtype=np.float32)
    for indices, values in engine.residuals(IDS):
        result[indices] = values
    return result


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("smollm2-135m", 0.1345),
        ("qwen2.5-0.5b", 0.494),
        ("llama-3-8b", 8.03),
        ("llama-3-70b", 70.6),
        ("qwen2.5-32b", 32.8),
        ("qwen2.5-72b", 72.7),
    ],
)
def test_shapes_have_the_public_parameter_counts(name, billions):
    shape = SHAPES[name]
    assert abs(shape.parameters() / (billions * 1e9) - 1) < 0.01
    assert sum(p.numel() for p in skeleton(shape.config()).parameters()) == shape.parameters()


@pytest.mark.parametrize("shape", [TINY, QWEN])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_random_weights_are_normal_and_norms_are_one(shape, dtype):
    loaded = build_random(shape, devices=[CPU], dtype=dtype)
    assert (loaded.n_layers, loaded.width, loaded.vocab) == (4, 64, 61)
    assert sum(p.numel() for p in loaded.model.parameters()) == shape.parameters()
    for name, parameter in loaded.model.named_parameters():
        assert parameter.dtype == dtype
        assert not parameter.requires_grad
        if "norm" in name:
            assert (parameter == 1).all()
        elif parameter.numel() > 1000:
            assert abs(parameter.float().std() / 0.02 - 1) < 0.1
    assert ("model.layers.0.self_attn.q_proj.bias" in dict(loaded.model.named_parameters())) == (
        shape is QWEN
    )
    again = build_random(shape, devices=[CPU], dtype=dtype)
    other = build_random(shape, devices=[CPU], dtype=dtype, seed=1)
    query = "model.layers.1.self_attn.q_proj.weight"
    assert torch.equal(loaded.model.get_parameter(query), again.model.get_parameter(query))
    assert not torch.equal(loaded.model.get_parameter(query), other.model.get_parameter(query))


@pytest.mark.parametrize("shape", [TINY, QWEN])
def test_a_built_model_runs_as_the_engine_says(shape):
    loaded = build_random(shape, devices=[CPU], dtype=torch.float32, layers=2)
    assert loaded.n_layers == 2
    expected = reference.residuals(loaded, IDS)
    assert np.abs(residuals(loaded) - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("shape", [TINY, QWEN])
def test_nf4_weights_are_the_quantised_random_ones(shape):
    quantised = build_random(shape, devices=[CPU], dtype=torch.float32, quantization="nf4")
    plain = build_random(shape, devices=[CPU], dtype=torch.float32)
    names = []
    for path, module in quantised.model.named_modules():
        if type(module).__name__ == "Linear4bit":
            assert module.weight.dtype == torch.uint8
            assert module.weight.quant_state.quant_type == "nf4"
            assert module.weight.quant_state.nested
            weight = dequantised_weights(module)
            target = plain.model.get_submodule(path).weight
            assert 0.02 < (weight - target).norm() / target.norm() < 0.15
            target.copy_(weight)
            names.append(path)
    assert len(names) == 7 * 4
    assert type(quantised.model.lm_head).__name__ == "Linear"
    np.testing.assert_allclose(residuals(quantised), residuals(plain), atol=1e-4)


@pytest.mark.parametrize("shape", [TINY, QWEN])
def test_int8_weights_stay_near_the_random_ones(shape):
    quantised = build_random(shape, devices=[CPU], dtype=torch.float32, quantization="int8")
    product = quantised.model.get_submodule("model.layers.0.self_attn.q_proj")
    assert type(product).__name__ == "Linear8bitLt"
    assert product.weight.dtype == torch.int8
    exact = residuals(build_random(shape, devices=[CPU], dtype=torch.float32))
    assert 0 < np.linalg.norm(residuals(quantised) - exact) / np.linalg.norm(exact) < 0.05


def test_a_pipeline_gives_each_device_consecutive_blocks_of_equal_bytes():
    devices = [torch.device("cuda:0"), torch.device("cuda:1")]
    shape = SHAPES["llama-3-70b"]
    where = stages(skeleton(shape.config()), ARCHITECTURES[shape.architecture], devices)
    assert [where[f"model.layers.{i}"].index for i in range(80)] == [0] * 40 + [1] * 40
    assert where["model.embed_tokens"].index == 0
    assert {where["model.norm"].index, where["lm_head"].index} == {1}


def test_a_pipeline_has_the_weights_of_one_device():
    spread = build_random(TINY, devices=[CPU, CPU], dtype=torch.float32, parallel="pipeline")
    whole = build_random(TINY, devices=[CPU], dtype=torch.float32)
    for (name, ours), theirs in zip(
        spread.model.named_parameters(), whole.model.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs), name


def test_what_does_not_fit_together_is_refused():
    two = {"devices": [CPU, CPU], "dtype": torch.float32}
    with pytest.raises(ModelError, match="none needs one device"):
        build_random(TINY, **two)
    with pytest.raises(ModelError, match="cannot split weights quantised"):
        build_random(TINY, **two, parallel="tensor", quantization="nf4")
    with pytest.raises(ModelError, match="not none, pipeline or tensor"):
        build_random(TINY, **two, parallel="expert")
    with pytest.raises(ModelError, match="not int8 or nf4"):
        build_random(TINY, devices=[CPU], dtype=torch.float32, quantization="int4")
