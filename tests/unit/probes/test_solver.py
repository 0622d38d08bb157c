import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nashlens.probes.solver import held_out, rotate, solve


def _oracle(train, test, labels, C):
    pipe = make_pipeline(
        StandardScaler(),
        LogisticRegression(C=C, class_weight="balanced", tol=1e-10, max_iter=20000),
    )
    columns = [pipe.fit(train, y).decision_function(test) for y in labels.T]
    return np.stack(columns, axis=1)


@pytest.mark.parametrize(("n", "d"), [(40, 90), (120, 20), (60, 60)])
@pytest.mark.parametrize("C", [0.001, 0.01, 1.0, 30.0])
def test_decision_values_equal_scikit_learn(n, d, C):
    rng = np.random.default_rng(n + d)
    spectrum = 1.0 / np.arange(1, d + 1)
    mixing = rng.normal(size=(d, d)) * spectrum[:, None]
    train = rng.normal(size=(n, d)) @ mixing + 5.0
    test = rng.normal(size=(15, d)) @ mixing + 5.0
    train[:, 3] = test[:, 3] = 7.3  # a constant feature
    labels = (rng.random((n, 4)) < [0.5, 0.2, 0.8, 0.5]).astype(float)
    labels[:, 3] = train[:, 0] > np.median(train[:, 0])
    found = held_out(train, test, labels, C)
    np.testing.assert_allclose(found, _oracle(train, test, labels, C), atol=1e-4)


def test_constant_features_leave_no_rank_and_no_decision():
    train, test = np.full((20, 5), 0.1), np.full((4, 5), 0.1)
    labels = np.repeat([[0.0], [1.0]], [7, 13], axis=0)
    assert rotate(train, test).train.shape == (20, 1)
    assert (held_out(train, test, labels, 1.0) == 0).all()


def test_duplicated_rows_and_features_are_no_problem():
    rng = np.random.default_rng(1)
    base = rng.normal(size=(10, 6))
    train = np.repeat(np.hstack([base, base]), 3, axis=0)
    labels = np.repeat((base[:, :1] > 0).astype(float), 3, axis=0)
    found = held_out(train, train, labels, 0.1)
    np.testing.assert_allclose(found, _oracle(train, train, labels, 0.1), atol=1e-4)


def test_problems_do_not_depend_on_their_neighbours():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(30, 50))
    labels = (rng.random((30, 6)) < 0.5).astype(float)
    basis = rotate(x, x)
    together = basis.test @ solve(basis, labels, 1.0)
    for k in range(6):
        alone = basis.test @ solve(basis, labels[:, [k]], 1.0)
        np.testing.assert_allclose(together[:, [k]], alone, atol=1e-5)


def test_a_problem_with_one_class_predicts_it():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(12, 4))
    labels = np.stack([np.ones(12), np.arange(12) % 2], axis=1).astype(float)
    found = held_out(x, x[:3], labels, 1.0)
    assert (found[:, 0] > 0).all()
    np.testing.assert_allclose(found[:, 1:], _oracle(x, x[:3], labels[:, 1:], 1.0), atol=1e-4)
