"""Products of a block that are computed as one."""

import numpy as np
import pytest
import torch

from nashlens.engine.block import join_linear
from nashlens.engine.cache import KeyValues
from nashlens.engine.core import Engine
from tests.tiny_models import tiny


def linears(*widths, bias=True):
    return [torch.nn.Linear(5, width, bias=bias) for width in widths]


@pytest.mark.parametrize("bias", [True, False])
def test_one_map_gives_what_its_parts_give(bias):
    parts, x = linears(4, 2, 3, bias=bias), torch.randn(7, 5)
    expected = torch.cat([part(x) for part in parts], dim=1)
    whole = join_linear(parts)
    torch.testing.assert_close(whole(x), expected)
    # The parts still compute, and with the same memory.
    torch.testing.assert_close(torch.cat([part(x) for part in parts], dim=1), expected)
    whole.weight.data[4:6] = 0.0
    assert not parts[1].weight.any()


def test_parts_that_are_joined_already_are_not_copied():
    parts = linears(4, 2)
    first, second = join_linear(parts), join_linear(parts)
    assert first.weight.data_ptr() == second.weight.data_ptr()
    assert first.bias.data_ptr() == second.bias.data_ptr()
    # In another order they are another map.
    x = torch.randn(3, 5)
    other = join_linear(parts[::-1])
    torch.testing.assert_close(other(x), torch.cat([parts[1](x), parts[0](x)], dim=1))


class Quantised(torch.nn.Linear):
    """A map of a type of its own, as quantised ones are."""


def test_what_cannot_be_joined_stays_as_it_is():
    assert join_linear([*linears(4), Quantised(5, 2)]) is None
    assert join_linear([*linears(4), *linears(2, bias=False)]) is None


@pytest.mark.parametrize("family", ["LlamaForCausalLM", "Qwen2ForCausalLM"])
def test_a_block_with_a_joined_projection_is_the_same_block(rng, family):
    loaded = tiny(family)
    sequences = [rng.integers(3, 60, n).tolist() for n in (9, 14)]
    engine = Engine(loaded)
    expected = [values for _, values in engine.residuals(sequences)]
    for block in engine.blocks.blocks:
        block.fused, block.qkv = join_linear([block.q, block.k, block.v]), "fused"
    found = [values for _, values in engine.residuals(sequences)]
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(expected), atol=1e-5)


def test_kept_keys_and_values_keep_no_larger_product_alive():
    product = torch.randn(6, 10)
    k, v = (part.view(6, 2, 2).transpose(0, 1) for part in product[:, 2:].split(4, dim=1))
    kept = KeyValues()
    kept.keep(k, v)
    for found, expected in ((kept.keys, k), (kept.values, v)):
        torch.testing.assert_close(found, expected)
        assert found.untyped_storage().nbytes() == found.nbytes
