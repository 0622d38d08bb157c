import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from nashlens.engine.core import Engine
from nashlens.errors import DataError
from nashlens.lens import passages, tuned
from nashlens.lens.tuned import (
    fit_layer,
    fit_tuned_lens,
    hold_out,
    text_chunks,
    text_residuals,
)
from nashlens.lens.tuned_file import read_tuned_lens, writing_tuned_lens
from nashlens.models.weights import FinalNorm, Readout
from tests.tiny_models import tiny

WIDTH, TOKENS = 6, 400


def planted(noise=0.0, tokens=TOKENS):
    """Residuals whose last layer is an affine map of each earlier one."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(tokens, 3, WIDTH)).astype(np.float32)
    matrix = rng.normal(size=(WIDTH, WIDTH)).astype(np.float32)
    x[:, 1] = x[:, 0]
    x[:, 2] = x[:, 0] @ matrix + 2.0 + noise * rng.normal(size=(tokens, WIDTH))
    owner = np.repeat(np.arange(tokens // 20), 20)
    return x, owner, matrix


def readout(rng=0, vocabulary=11):
    rng = np.random.default_rng(rng)
    norm = FinalNorm(np.ones(WIDTH, np.float32), 1e-6)
    return Readout(norm, rng.normal(size=(vocabulary, WIDTH)).astype(np.float32))


def fit(x, owner, path):
    with writing_tuned_lens(path, x.shape[1] - 1, WIDTH) as file:
        table = fit_tuned_lens(x, owner, readout(), file, model="m", seed=1)
    return read_tuned_lens(path), table


def test_an_affine_map_is_found_and_the_logit_lens_beaten(tmp_path):
    x, owner, matrix = planted()
    lens, table = fit(x, owner, tmp_path / "m.safetensors")
    for layer in (0, 1):
        np.testing.assert_allclose(np.eye(WIDTH) + lens.matrices[layer], matrix, atol=0.1)
        np.testing.assert_allclose(lens.translate(layer, x[:, layer]), x[:, 2], atol=0.3)
    kl = table.groupby("layer")[["kl_logit", "kl_tuned"]].mean()
    assert (kl["kl_tuned"] < 0.02).all()
    assert (kl["kl_logit"] > 0.1).all()
    assert (table["error_tuned"] < 0.01 * table["error_logit"]).all()
    np.testing.assert_array_equal(lens.translate(2, x[:, 2]), x[:, 2])


def test_the_ridge_solution_is_the_normal_equations():
    """Whether tokens or dimensions are more."""
    for tokens in (40, 4):
        rng = np.random.default_rng(tokens)
        a, b, rows = (rng.normal(size=(n, WIDTH)) for n in (tokens, tokens, 5))
        ridge = tuned.Ridge.of(*(torch.from_numpy(side) for side in (a, b)))
        for penalty in (0.1, 3.0):
            slow = np.linalg.solve(a.T @ a + penalty * np.eye(WIDTH), a.T @ b)
            np.testing.assert_allclose(ridge.matrix(penalty).numpy(), slow, atol=1e-10)
            found = ridge.predict(ridge.seen(torch.from_numpy(rows)), penalty)
            np.testing.assert_allclose(found.numpy(), rows @ slow, atol=1e-10)


@pytest.mark.parametrize("tokens", [40, 6])
def test_the_penalty_is_the_one_that_predicts_held_out_text_best(tokens):
    """All by its definition: weights, centring, each penalty's matrix in full."""
    rng = np.random.default_rng(tokens)
    x = rng.normal(size=(tokens, WIDTH)).astype(np.float32)
    last = (x @ rng.normal(size=(WIDTH, WIDTH)) + rng.normal(size=x.shape)).astype(np.float32)
    held_out = np.arange(tokens) % 4 == 0
    w = 1.0 / (last.astype(float) ** 2).mean(axis=1)
    train, test = (w * side / (w * side).sum() for side in (~held_out, held_out))
    moved = last.astype(float) - x
    mean_x, mean_y = train @ x, train @ moved
    a = x - mean_x
    spread = (train[:, None] * a**2).sum() / WIDTH
    tried = []
    for penalty in tuned.PENALTIES:
        normal = a.T @ (train[:, None] * a) + penalty * spread * np.eye(WIDTH)
        matrix = np.linalg.solve(normal, a.T @ (train[:, None] * (moved - mean_y)))
        wrong = x @ matrix + mean_y - mean_x @ matrix - moved
        tried.append((test @ (wrong**2).mean(axis=1), penalty, matrix))
    error, penalty, matrix = min(tried, key=lambda one: one[0])
    found = fit_layer(x, last, held_out)
    assert found.penalty == penalty
    np.testing.assert_allclose(found.matrix, matrix, rtol=1e-4, atol=1e-5)
    assert found.error == pytest.approx(error / (test @ (last.astype(float) ** 2).mean(axis=1)))


def test_pure_noise_leaves_the_logit_lens_alone():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, WIDTH)).astype(np.float32)
    last = x + 0.5 * rng.normal(size=x.shape).astype(np.float32)
    held_out = np.arange(60) >= 45
    matrix, _, penalty, error, identity = fit_layer(x, last, held_out)
    assert penalty == max(tuned.PENALTIES)
    assert np.abs(matrix).max() < 0.1
    assert error < 1.15 * identity


def test_divergences_are_those_of_the_distributions(tmp_path):
    x, owner, _ = planted(noise=1.0)
    lens, table = fit(x, owner, tmp_path / "m.safetensors")
    held_out = hold_out(owner, 1, "m")
    assert table["n_test"].iloc[0] == held_out.sum()
    assert table["layer"].value_counts().tolist() == [held_out.sum()] * 2
    one = readout()

    def log_p(h):
        return log_softmax(one.norm(h).astype(np.float64) @ one.unembedding.T, axis=1)

    # All held-out tokens are tested here, in whatever order they are drawn.
    assert held_out.sum() <= tuned.KL_TOKENS
    final, here = log_p(x[held_out, 2]), log_p(lens.translate(0, x[held_out, 0]))
    kl = (np.exp(final) * (final - here)).sum(axis=1)
    found = table[table["layer"] == 0]
    np.testing.assert_allclose(found["kl_tuned"], kl, atol=1e-4)
    np.testing.assert_array_equal(found["chunk"], owner[held_out])


def test_whole_chunks_are_held_out():
    _, owner, _ = planted()
    held_out = hold_out(owner, 1, "m")
    assert 0.1 < held_out.mean() < 0.3
    assert all(len(set(held_out[owner == name])) == 1 for name in set(owner))
    assert (hold_out(owner, 2, "m") != held_out).any()


class Words:
    """A tokenizer of words, with a BOS."""

    def encode(self, text):
        return [0, *(1 + sum(map(ord, word)) % 50 for word in text.split())]


def test_chunks_begin_with_the_bos_and_keep_to_the_bound():
    assert len(passages.corpus()) > 5
    every = text_chunks(Words(), 10**6)
    assert all(chunk[0] == 0 and 0 not in chunk[1:] for chunk in every)
    assert max(map(len, every)) == tuned.CHUNK
    some = text_chunks(Words(), 300)
    assert 300 - 2 * tuned.SKIPPED <= sum(map(len, some)) <= 300
    with pytest.raises(DataError, match=r"lens\.tuned_tokens"):
        text_chunks(Words(), 20)


def test_text_residuals_are_those_of_the_plain_sequences():
    engine = Engine(tiny("LlamaForCausalLM"), 64)
    chunks = [[1, *range(2, 14)], [1, *range(20, 28)]]
    values, owner = text_residuals(engine, chunks)
    assert owner.tolist() == [0] * 9 + [1] * 5
    for row, (chunk, end) in enumerate([(0, 5), (0, 6)]):
        [(_, own)] = list(engine.residuals([chunks[chunk][:end]]))
        np.testing.assert_allclose(values[row], own[0], rtol=1e-4, atol=1e-4)
