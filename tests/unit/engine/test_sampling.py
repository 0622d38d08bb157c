"""Draws invert the cumulative distribution, and depend on the seed and the token's index alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nashlens.engine.generation.sampling import INVALID, draw_tokens, uniforms


@given(st.integers(0, 1 << 100), st.integers(0, 40), st.integers(1, 40))
def test_the_first_numbers_do_not_depend_on_how_many_there_are(seed, n, more):
    first, all_ = uniforms(seed, n), uniforms(seed, n + more)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, all_[:n])
    assert ((all_ >= 0) & (all_ < 1)).all()


def test_seeds_differ():
    assert not np.isclose(uniforms(0, 50), uniforms(1, 50)).any()
    drawn = uniforms(2, 100_000)
    assert abs(drawn.mean() - 0.5) < 0.01
    assert abs(drawn.var() - 1 / 12) < 0.01


@given(
    st.lists(st.floats(-80, 80, width=32), min_size=1, max_size=200),
    st.integers(0, (1 << 23) - 1),
    st.floats(0.05, 5),
)
def test_a_draw_inverts_the_cumulative_distribution(logits, number, temperature):
    row = torch.tensor([logits], dtype=torch.float32)
    uniform = torch.tensor([number / (1 << 23)], dtype=torch.float32)
    token = int(draw_tokens(row, uniform, temperature))
    assert 0 <= token < len(logits)
    p = torch.softmax(row[0].double() / temperature, dim=-1).numpy()
    c = np.concatenate(([0.0], p.cumsum()))
    assert c[token] - 1e-5 <= number / (1 << 23) <= c[token + 1] + 1e-5


def test_greedy_takes_the_first_of_equals():
    rows = torch.tensor([[0.0, 2.0, 2.0], [5.0, 1.0, 1.0]])
    assert draw_tokens(rows, None, 0.0).tolist() == [1, 0]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_rows_that_are_not_finite_are_marked(temperature):
    rows = torch.tensor([[0.0, float("nan")], [0.0, 1.0]])
    assert draw_tokens(rows, torch.tensor([0.9, 0.9]), temperature).tolist() == [INVALID, 1]
