"""nf4 on a CPU: right whatever the processor, where the library's own kernels are not."""

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit

from nashlens.models.quantise import dequantised_weights, quantised_linear


def product(shape, bias=False, dtype=torch.float32):
    random = torch.Generator().manual_seed(0)
    weights = {"weight": torch.randn(shape, generator=random) * 0.02}
    if bias:
        weights["bias"] = torch.randn(shape[0], generator=random)
    return weights, quantised_linear(dict(weights), "nf4", dtype)


@pytest.mark.parametrize("shape", [(64, 64), (16, 128), (61, 192)])
def test_weights_are_the_librarys_where_rows_are_whole_blocks(shape):
    _, module = product(shape)
    theirs = dequantize_4bit(module.weight.data, module.weight.quant_state)
    torch.testing.assert_close(dequantised_weights(module), theirs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("shape", [(64, 48), (48, 96), (61, 40), (7, 9)])
def test_weights_are_near_the_original_whatever_the_shape(shape):
    weights, module = product(shape)
    gap = (dequantised_weights(module) - weights["weight"]).norm() / weights["weight"].norm()
    assert 0.02 < gap < 0.15


@pytest.mark.parametrize("bias", [False, True])
def test_a_product_computes_in_float32(bias):
    weights, module = product((48, 96), bias)
    x = torch.randn(5, 96, generator=torch.Generator().manual_seed(1))
    expected = x @ dequantised_weights(module).T + weights.get("bias", 0.0)
    torch.testing.assert_close(module(x), expected, atol=1e-5, rtol=1e-5)
    assert module(x.bfloat16()).dtype == torch.bfloat16
