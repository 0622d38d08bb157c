"""L2 logistic regression for many label vectors at once, in the row space of the features.

All problems of a training fold (targets and permutations) share their scaled features A, (n, d).
The penalised optimum lies in the row space of A, so A is rotated once to U S, at most n columns,
in which the Hessian A'DA is close to mean(D) S^2. That diagonal preconditions conjugate
gradients, which solve each Newton step for all problems in two matrix products an iteration.

The optimum is scikit-learn's: `LogisticRegression(C=C, class_weight="balanced")` on features
from `StandardScaler`, both fitted on the training rows alone, intercept not penalised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Array = NDArray[np.float64]

_RANK_TOLERANCE = 1e-12
"""Eigenvalues below this share of the largest are rounding, not signal."""


@dataclass(frozen=True)
class Basis:
    """Scaled features of one fold, rotated; column 0 is the intercept's column of ones."""

    train: Array
    """(n, rank + 1)."""
    test: Array
    """(m, rank + 1)."""
    eigenvalues: Array
    """(rank + 1,): squared length of each training column."""
    ridge: Array
    """(rank + 1,): 0 for the intercept, 1 elsewhere."""


def standardise(train: Array, test: Array) -> tuple[Array, Array]:
    """Scale by the training rows' mean and standard deviation, as StandardScaler does.

    A feature that is constant up to rounding is centred and left unscaled.
    """
    n = len(train)
    mean = train.mean(axis=0)
    var = train.var(axis=0)
    eps = np.finfo(np.float64).eps
    constant = var <= n * eps * var + (n * mean * eps) ** 2
    scale = np.sqrt(np.where(constant, 1.0, var))
    return (train - mean) / scale, (test - mean) / scale


def rotate(train: Array, test: Array) -> Basis:
    """Scale both parts by the training part and rotate them to its row space.

    Parameters
    ----------
    train : ndarray of float64, shape (n, d)
    test : ndarray of float64, shape (m, d)

    Returns
    -------
    Basis
        Rank 0, intercept alone, where no feature varies.
    """
    a, b = standardise(train, test)
    n, d = a.shape
    wide = n <= d
    values, vectors = np.linalg.eigh(a @ a.T if wide else a.T @ a)
    keep = values > _RANK_TOLERANCE * max(float(values.max(initial=0.0)), float(n))
    values, vectors = values[keep], vectors[:, keep]
    if wide:
        root = np.sqrt(values)
        z_train = vectors * root
        z_test = (b @ a.T) @ (vectors / root)
    else:
        z_train, z_test = a @ vectors, b @ vectors
    return Basis(
        train=np.hstack([np.ones((n, 1)), z_train]),
        test=np.hstack([np.ones((len(b), 1)), z_test]),
        eigenvalues=np.concatenate([[float(n)], values]),
        ridge=np.concatenate([[0.0], np.ones(len(values))]),
    )


def balanced_weights(labels: Array) -> Array:
    """Return weights n / (2 n_class) for each row of each problem, (n, problems)."""
    n = len(labels)
    ones = labels.sum(axis=0)
    with np.errstate(divide="ignore"):
        weight_1, weight_0 = n / (2.0 * ones), n / (2.0 * (n - ones))
    return np.where(labels == 1, weight_1, weight_0)


def _newton_step(basis: Basis, d: Array, gradient: Array, tolerance: Array) -> Array:
    """Solve (Z'DZ + ridge) step = -gradient for all problems by preconditioned CG."""
    z, ridge = basis.train, basis.ridge[:, None]
    scale = 1.0 / (ridge + basis.eigenvalues[:, None] * d.mean(axis=0))
    step = np.zeros_like(gradient)
    residual = -gradient
    y = scale * residual
    direction = y.copy()
    rho = np.einsum("ij,ij->j", residual, y)
    goal = (tolerance**2) * rho
    for _ in range(2 * len(ridge) + 10):
        product = z.T @ (d * (z @ direction)) + ridge * direction
        curvature = np.einsum("ij,ij->j", direction, product)
        # A converged problem has rho near 0: it stands still while the others go on.
        alpha = np.where(rho > goal, rho / np.maximum(curvature, 1e-300), 0.0)
        step += alpha * direction
        residual -= alpha * product
        y = scale * residual
        rho_next = np.einsum("ij,ij->j", residual, y)
        if np.all(rho_next <= goal):
            break
        direction = y + (rho_next / np.maximum(rho, 1e-300)) * direction
        rho = rho_next
    return step


def _objective(f: Array, theta: Array, y: Array, weights: Array, ridge: Array) -> Array:
    loss = np.logaddexp(0.0, np.where(y == 1, -f, f))
    return (weights * loss).sum(axis=0) + 0.5 * (ridge * theta**2).sum(axis=0)


def solve(
    basis: Basis, labels: Array, C: float, *, tolerance: float = 1e-6, iterations: int = 100
) -> Array:
    """Fit one logistic regression per column of labels.

    Parameters
    ----------
    basis : Basis
        Rotated features of n training rows.
    labels : ndarray of float64, shape (n, problems)
        0 or 1.
    C : float
        Inverse strength of the penalty.
    tolerance : float
        Bound on the distance to the optimum in the (approximate) Hessian's norm; decision values
        are off by at most that times the length of a scaled feature vector.
    iterations : int
        Newton steps at most.

    Returns
    -------
    ndarray of float64, shape (rank + 1, problems)
        Coefficients in the rotated basis, intercept first.
    """
    z, ridge = basis.train, basis.ridge[:, None]
    theta = np.zeros((z.shape[1], labels.shape[1]))
    active = np.flatnonzero((labels.min(axis=0) == 0) & (labels.max(axis=0) == 1))
    # A permutation may leave one class out of a small fold: it then predicts the other.
    for k in set(range(labels.shape[1])) - set(active.tolist()):
        theta[0, k] = 1.0 if labels[0, k] == 1 else -1.0
    if z.shape[1] == 1:
        return theta  # Nothing to learn from: balanced weights put the intercept at exactly 0.
    weights = C * balanced_weights(labels)
    f = z @ theta
    for _ in range(iterations):
        y, w, t, margin = labels[:, active], weights[:, active], theta[:, active], f[:, active]
        p = expit(margin)
        gradient = z.T @ (w * (p - y)) + ridge * t
        d = np.maximum(w * p * (1.0 - p), 1e-12 * w)
        scale = ridge + basis.eigenvalues[:, None] * d.mean(axis=0)
        size = np.sqrt((gradient**2 / scale).sum(axis=0))
        moving = size > tolerance
        if not moving.any():
            break
        active, y, w, t = active[moving], y[:, moving], w[:, moving], t[:, moving]
        margin, gradient, d, size = (
            margin[:, moving],
            gradient[:, moving],
            d[:, moving],
            size[moving],
        )
        step = _newton_step(basis, d, gradient, np.minimum(0.1, np.sqrt(size) * 0.3))
        theta[:, active], f[:, active] = _line_search(basis, t, step, margin, gradient, y, w)
    return theta


def _line_search(
    basis: Basis, t: Array, step: Array, margin: Array, gradient: Array, y: Array, w: Array
) -> tuple[Array, Array]:
    """Halve each problem's Newton step until its objective falls (Armijo)."""
    ridge = basis.ridge[:, None]
    slope = np.einsum("ij,ij->j", gradient, step)
    change = basis.train @ step
    start = _objective(margin, t, y, w, ridge)
    length = np.ones(t.shape[1])
    # Near the optimum the fall drowns in rounding, so it is allowed that much.
    slack = 1e-12 * (1.0 + np.abs(start))
    for _ in range(30):
        value = _objective(margin + length * change, t + length * step, y, w, ridge)
        worse = value > start + 1e-4 * length * slope + slack
        if not worse.any():
            break
        length = np.where(worse, 0.5 * length, length)
    return t + length * step, margin + length * change


def held_out(train: Array, test: Array, labels: Array, C: float) -> Array:
    """Return decision values of the test rows, (m, problems), for all label vectors.

    Parameters
    ----------
    train : ndarray of float64, shape (n, d)
    test : ndarray of float64, shape (m, d)
    labels : ndarray of float64, shape (n, problems)
        0 or 1, for the training rows.
    C : float

    Returns
    -------
    ndarray of float64, shape (m, problems)
        Above 0 is class 1.
    """
    basis = rotate(train, test)
    return basis.test @ solve(basis, labels, C)
