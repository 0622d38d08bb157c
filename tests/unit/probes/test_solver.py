import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nashlens.probes.basis import guide, rotate
from nashlens.probes.solver import solve_logistic, solve_ridge
from tests.unit.probes.solved import held_out


def _oracle(train, test, labels, C):
    pipe = make_pipeline(
        StandardScaler(),
        LogisticRegression(C=C, class_weight="balanced", tol=1e-10, max_iter=20000),
    )
    columns = [pipe.fit(train, y).decision_function(test) for y in labels.T]
    return np.stack(columns, axis=1)


def _tensors(*arrays):
    return [torch.as_tensor(a, dtype=torch.float64) for a in arrays]


def _spread(n, d, seed):
    """Features with a decaying spectrum, far from 0, one of them constant."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(d, d)) / np.arange(1, d + 1)[:, None]
    rows = rng.normal(size=(n, d)) @ mixing + 5.0
    rows[:, 3] = 7.3
    return rows, rng


@pytest.mark.parametrize(("n", "d"), [(40, 90), (120, 20), (60, 60)])
@pytest.mark.parametrize("C", [0.001, 0.01, 1.0, 30.0])
def test_decision_values_equal_scikit_learn(n, d, C):
    rows, rng = _spread(n + 15, d, n + d)
    train, test = rows[:n], rows[n:]
    labels = (rng.random((n, 4)) < [0.5, 0.2, 0.8, 0.5]).astype(float)
    labels[:, 3] = train[:, 0] > np.median(train[:, 0])
    solutions = []
    found = held_out(train, test, labels, C, report=solutions.append)
    assert solutions[0].converged.all()
    np.testing.assert_allclose(found, _oracle(train, test, labels, C), atol=1e-4)


@pytest.mark.parametrize("C", [0.0003, 0.03, 30.0])
@pytest.mark.parametrize("d", [20, 200])
def test_rough_problems_are_solved_in_float32_and_nearly_as_well(d, C):
    rows, rng = _spread(150, d, d)
    features, train = torch.tensor(rows), torch.arange(120)
    basis = rotate(features, train, guide(features))
    y = torch.tensor((rng.random((120, 6)) < 0.4).astype(float))
    strengths = torch.full((6,), C, dtype=torch.float64)
    exact = solve_logistic(basis, y, strengths)
    mixed = torch.tensor([1e-6, 1e-4, 1e-4, 1e-6, 1e-4, 1e-4], dtype=torch.float64)
    rough = solve_logistic(basis, y, strengths, tolerance=mixed)
    assert rough.converged.all()
    found, wanted = (basis.rows @ one.coefficients for one in (rough, exact))
    np.testing.assert_allclose(found, wanted, atol=5e-3)
    # Problems with a strict tolerance never see float32.
    np.testing.assert_allclose(found[:, [0, 3]], wanted[:, [0, 3]], atol=1e-5)


def test_what_float32_cannot_solve_is_solved_in_float64(monkeypatch):
    rows, rng = _spread(70, 30, 8)
    features, train = torch.tensor(rows), torch.arange(60)
    basis = rotate(features, train, guide(features))
    y = torch.tensor((rng.random((60, 3)) < 0.5).astype(float))
    strengths = torch.full((3,), 1.0, dtype=torch.float64)
    monkeypatch.setattr("nashlens.probes.solver._SINGLE_ITERATIONS", 0)
    solution = solve_logistic(basis, y, strengths, tolerance=1e-4)
    assert solution.converged.all()
    assert solution.iterations > 0
    found = (basis.rows @ solution.coefficients)[60:].numpy()
    oracle = _oracle(rows[:60], rows[60:], y.numpy(), 1.0)
    np.testing.assert_allclose(found, oracle, atol=5e-3)


def test_each_problem_has_its_own_c():
    rows, rng = _spread(70, 30, 5)
    labels = np.repeat((rng.random((60, 1)) < 0.4).astype(float), 3, axis=1)
    strengths = np.array([0.003, 0.1, 2.0])
    found = held_out(rows[:60], rows[60:], labels, strengths)
    for k, c in enumerate(strengths):
        oracle = _oracle(rows[:60], rows[60:], labels[:, [k]], c)
        np.testing.assert_allclose(found[:, [k]], oracle, atol=1e-4)


@pytest.mark.parametrize("wide", [True, False])
def test_newton_takes_over_where_the_first_method_does_not_arrive(wide):
    rows, rng = _spread(50, 90 if wide else 12, 6)
    labels = (rng.random((40, 3)) < 0.5).astype(float)
    features, train, y = torch.tensor(rows), torch.arange(40), torch.tensor(labels)
    basis = rotate(features, train, guide(features))
    solution = solve_logistic(basis, y, torch.full((3,), 10.0, dtype=torch.float64), iterations=2)
    assert solution.by_newton == 3
    assert solution.converged.all()
    found = (basis.rows @ solution.coefficients)[40:].numpy()
    np.testing.assert_allclose(found, _oracle(rows[:40], rows[40:], labels, 10.0), atol=1e-4)


def test_what_has_not_converged_says_so():
    rows, rng = _spread(50, 12, 7)
    features, y = torch.tensor(rows), torch.tensor((rng.random((50, 2)) < 0.5).astype(float))
    basis = rotate(features, torch.arange(50), guide(features))
    C = torch.ones(2, dtype=torch.float64)
    # Rounding alone is larger than this.
    impossible = solve_logistic(basis, y, C, tolerance=1e-40, iterations=5)
    assert not impossible.converged.any()
    assert (impossible.gap > 1e-40).all()


def test_a_shared_guide_changes_the_path_and_not_the_optimum():
    rows, rng = _spread(100, 25, 8)
    labels = (rng.random((100, 2)) < 0.5).astype(float)
    features, y = _tensors(rows, labels)
    C = torch.full((2,), 0.3, dtype=torch.float64)
    turn = guide(features)
    for part in (torch.arange(60), torch.arange(30, 100), torch.arange(0, 100, 3)):
        basis = rotate(features, part, turn)
        found = (basis.rows @ solve_logistic(basis, y[part], C).coefficients).numpy()
        oracle = _oracle(rows[part], rows, labels[part], 0.3)
        np.testing.assert_allclose(found, oracle, atol=1e-4)


def test_constant_features_leave_no_rank_and_no_decision():
    train, test = np.full((20, 50), 0.1), np.full((4, 50), 0.1)
    labels = np.repeat([[0.0], [1.0]], [7, 13], axis=0)
    basis = rotate(torch.tensor(train), torch.arange(20), None)
    assert basis.train.shape == (20, 1)
    assert (held_out(train, test, labels, 1.0) == 0).all()
    # In primal coordinates too, where rounding must not pass for a decision.
    assert (held_out(train[:, :5], test[:, :5], labels, 1.0) == 0).all()


def test_duplicated_rows_and_features_are_no_problem():
    rng = np.random.default_rng(1)
    base = rng.normal(size=(10, 6))
    train = np.repeat(np.hstack([base, base]), 3, axis=0)
    labels = np.repeat((base[:, :1] > 0).astype(float), 3, axis=0)
    found = held_out(train, train, labels, 0.1)
    np.testing.assert_allclose(found, _oracle(train, train, labels, 0.1), atol=1e-4)


def test_problems_do_not_depend_on_their_neighbours():
    rng = np.random.default_rng(2)
    x, labels = _tensors(rng.normal(size=(30, 50)), rng.random((30, 6)) < 0.5)
    basis = rotate(x, torch.arange(30), None)
    C = torch.ones(6, dtype=torch.float64)
    together = basis.rows @ solve_logistic(basis, labels, C).coefficients
    for k in range(6):
        alone = basis.rows @ solve_logistic(basis, labels[:, [k]], C[[k]]).coefficients
        np.testing.assert_allclose(together[:, [k]], alone, atol=1e-5)


def test_a_problem_with_one_class_predicts_it():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(12, 4))
    labels = np.stack([np.ones(12), np.arange(12) % 2, np.zeros(12)], axis=1).astype(float)
    found = held_out(x, x[:3], labels, 1.0)
    assert (found[:, 0] > 0).all()
    assert (found[:, 2] < 0).all()
    np.testing.assert_allclose(found[:, [1]], _oracle(x, x[:3], labels[:, [1]], 1.0), atol=1e-4)


@pytest.mark.parametrize(("n", "d"), [(40, 90), (120, 20)])
def test_ridge_regression_equals_scikit_learn(n, d):
    rows, rng = _spread(n + 9, d, n)
    values = rng.normal(size=(n, 3)) + rows[:n, :1]
    strengths = np.array([0.01, 1.0, 0.01])
    features, y, c = _tensors(rows, values, strengths)
    basis = rotate(features, torch.arange(n), guide(features))
    found = (basis.rows[n:] @ solve_ridge(basis, y, c)).numpy()
    for k, strength in enumerate(strengths):
        pipe = make_pipeline(StandardScaler(), Ridge(alpha=1 / strength))
        oracle = pipe.fit(rows[:n], values[:, k]).predict(rows[n:])
        np.testing.assert_allclose(found[:, k], oracle, atol=1e-8)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_gives_the_same_decision_values():
    rows, rng = _spread(75, 90, 9)
    labels = (rng.random((60, 4)) < 0.5).astype(float)
    cpu = held_out(rows[:60], rows[60:], labels, 0.1)
    gpu = held_out(rows[:60], rows[60:], labels, 0.1, device="cuda")
    np.testing.assert_allclose(gpu, cpu, atol=1e-6)
