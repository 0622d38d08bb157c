import numpy as np
import pytest
import torch

from nashlens.memory import Batch
from nashlens.probes import fits
from nashlens.probes.design import HeldOut
from nashlens.probes.fits import Features, LabelColumns, choose_penalties, cross_fit
from tests.unit.probes.solved import held_out


@pytest.fixture
def drawn():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 20))
    labels = (rng.random((90, 3)) < 0.5).astype(float)
    labels[:, 0] = x[:, 0] + 0.5 * rng.normal(size=90) > 0
    return x, labels, np.arange(90) % 5


@pytest.mark.parametrize("few", [False, True])
def test_each_part_is_predicted_by_the_others(drawn, few):
    x, labels, fold = drawn
    (found,) = cross_fit(
        Features(x, few=few), [LabelColumns(labels)], HeldOut(fold), fold, [0.3], inner=2
    )
    for k in range(5):
        out = fold == k
        wanted = held_out(x[~out], x[out], labels[~out], 0.3)
        # Only the first column is fitted to the solver's own tolerance.
        np.testing.assert_allclose(found.decisions[out, 0], wanted[:, 0], atol=1e-4)
        np.testing.assert_allclose(found.decisions[out], wanted, atol=5e-3)
        np.testing.assert_allclose(found.baseline[out] - labels[~out].mean(axis=0), 0, atol=1e-12)
    assert found.chosen == [0.3] * 5
    assert found.unconverged == 0


def test_the_choice_of_c_sees_no_held_out_row(drawn):
    x, labels, fold = drawn
    train = fold != 0
    grid = [1e-6, 0.1, 100.0]
    seen = choose_penalties(Features(x), [LabelColumns(labels)], train, fold, grid, inner=2)
    spoiled, other = x.copy(), labels.copy()
    spoiled[~train] = 1e3
    other[~train] = 1 - other[~train]
    found = choose_penalties(Features(spoiled), [LabelColumns(other)], train, fold, grid, inner=2)
    assert found == seen == [0.1]


def test_the_choice_is_the_slow_obvious_one(drawn):
    x, labels, fold = drawn
    grid = [0.001, 0.03, 1.0]
    train = fold != 4
    loss = np.zeros(3)
    for held in (1, 2):
        rest, out = train & (fold != held), train & (fold == held)
        y = labels[out, 0]
        for k, c in enumerate(grid):
            d = held_out(x[rest], x[out], labels[rest, :1], c)[:, 0]
            each = np.log1p(np.exp(-np.where(y == 1, d, -d)))
            loss[k] += 0.5 * (each[y == 0].mean() + each[y == 1].mean())
    found = choose_penalties(
        Features(x), [LabelColumns(labels)], train, fold, grid, inner=2, first=1
    )
    assert found == [grid[int(loss.argmin())]]


def test_shares_are_fitted_beside_actions(drawn):
    x, labels, fold = drawn
    share = x[:, 1:2] * 0.1 + 0.5
    targets = [LabelColumns(labels[:, :1]), LabelColumns(share, regression=True)]
    action, number = cross_fit(Features(x), targets, HeldOut(fold), fold, [0.01, 10.0], inner=1)
    assert np.abs(number.decisions - share).max() < 0.02
    assert set(number.chosen) == {10.0}
    assert ((action.decisions[:, 0] > 0) == (labels[:, 0] == 1)).mean() > 0.7


def test_features_are_float64_wherever_they_come_from():
    assert Features(np.ones((3, 2), dtype=np.float32)).values.dtype == torch.float64


def test_out_of_memory_halves_the_columns_that_are_fitted_at_once(drawn, monkeypatch, caplog):
    x, labels, fold = drawn
    labels = np.hstack([labels, 1 - labels, labels])
    asked = [LabelColumns(labels)], HeldOut(fold), fold, [0.03, 0.3]
    (whole,) = cross_fit(Features(x), *asked, inner=1)
    solve = fits.solve_logistic

    def scarce(basis, columns, *args, **options):
        if columns.shape[1] > 3:
            raise torch.OutOfMemoryError("pretend")
        return solve(basis, columns, *args, **options)

    monkeypatch.setattr(fits, "solve_logistic", scarce)
    monkeypatch.setattr(fits, "_BATCH", Batch("label columns of probes"))
    (found,) = cross_fit(Features(x), *asked, inner=1)
    assert found.chosen == whole.chosen
    np.testing.assert_allclose(found.decisions, whole.decisions, atol=5e-3)
    assert caplog.text.count("label columns of probes at once from now on") == 1
