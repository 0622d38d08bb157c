"""L2 logistic regression for many label vectors at once, in the row space of the features.

All problems of a training set share its features in rotated coordinates Z (`probes.basis`).
The Hessian Z'DZ + I of a problem is close to mean(D) diag(Z'Z) + I. Limited-memory BFGS (Nocedal
1980; Liu and Nocedal 1989) starts from that diagonal, and its curvature pairs correct it: an
iteration costs two matrix products for all problems together. Problems that have not converged
then are finished one by one by Newton's method with the exact Hessian.

Everything is float64, on a CPU or a GPU, but for problems that need only be solved roughly (label
permutations): these are first solved in float32, which takes half the time, and once more in
float64 if they did not reach their tolerance.

The optimum is scikit-learn's: `LogisticRegression(C=C, class_weight="balanced")` on features
from `StandardScaler`, both fitted on the training rows only, intercept not penalised. On a CPU it
is reached 662 times as fast as by a loop over scikit-learn's fits (docs/benchmarks.md: one layer of
1,000 prompts and width 4,096, 5 folds, 3 targets with 100 permutations each).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nashlens.probes.basis import Basis

Array: TypeAlias = NDArray[np.float64]

_PAIRS = 8
"""Number of curvature pairs that L-BFGS remembers."""
TOLERANCE = 1e-6
"""Default bound on the distance to the optimum, see `solve_logistic`."""
SINGLE = 5e-5
"""From this tolerance on problems are first solved in float32."""
_SINGLE_ITERATIONS = 60


@dataclass(frozen=True)
class Solution:
    """The optimum of each problem, and how near it is."""

    coefficients: Tensor
    """(rank + 1, problems): in the rotated coordinates, intercept first."""
    gap: Array
    """(problems,): length of the gradient in the norm of the inverse approximate Hessian, which is
    about the distance to the optimum in the Hessian's norm."""
    tolerance: Array
    """(problems,): the bound that the gap had to reach."""
    iterations: int
    """Number of iterations of L-BFGS for all problems together."""
    by_newton: int
    """Number of problems that needed the exact Hessian."""

    @property
    def converged(self) -> NDArray[np.bool_]:
        """(problems,): whether the gap is within the tolerance."""
        return self.gap <= self.tolerance


def balanced_weights(labels: Tensor) -> Tensor:
    """Return weights n / (2 n_class) for each row of each problem, (n, problems)."""
    n = len(labels)
    ones = labels.sum(dim=0)
    return torch.where(labels == 1, n / (2.0 * ones), n / (2.0 * (n - ones)))


def solve_logistic(
    basis: Basis,
    labels: Tensor,
    C: Tensor,
    *,
    tolerance: float | Tensor = TOLERANCE,
    iterations: int = 300,
) -> Solution:
    """Fit one logistic regression per column of labels.

    Parameters
    ----------
    basis : Basis
        With n training rows.
    labels : Tensor of float64, shape (n, problems)
        0 or 1.
    C : Tensor of float64, shape (problems,)
        Inverse strength of each problem's penalty.
    tolerance : float or Tensor, shape (problems,)
        Bound on the gap; decision values are off by at most about that times the length of a
        scaled feature vector, and in practice by far less. From `SINGLE` on float32 will do.
    iterations : int
        Largest number of iterations of L-BFGS; then Newton's method takes over.

    Returns
    -------
    Solution
        A problem with one class has an intercept of 1 or -1 that predicts it, and gap 0.
    """
    problems = labels.shape[1]
    goal = torch.as_tensor(tolerance, dtype=labels.dtype, device=labels.device).expand(problems)
    theta = labels.new_zeros((basis.train.shape[1], problems))
    gap = labels.new_zeros(problems)
    low, high = labels.min(dim=0).values, labels.max(dim=0).values
    # A permutation may leave one class out of a small training set: it then predicts the other.
    theta[0] = torch.where(low == high, 2.0 * low - 1.0, torch.zeros_like(low))
    active = torch.nonzero(low != high).flatten()
    # Without features there is nothing to learn: balanced weights put the intercept at exactly 0.
    if not len(active) or basis.train.shape[1] == 1:
        return Solution(theta, gap.cpu().numpy(), goal.cpu().numpy(), 0, 0)
    gap[active] = float("inf")
    steps = 0
    stages = (
        (basis.single(), active[goal[active] >= SINGLE], _SINGLE_ITERATIONS),
        (basis, active, iterations),
    )
    for rows, some, most in stages:
        # The second stage takes what the first one left, which starts anew.
        some = some[~(gap[some] <= goal[some])]
        if len(some):
            y = labels[:, some].to(rows.train.dtype)
            batch = _ProblemBatch(rows, y, C[some].to(y.dtype) * balanced_weights(y))
            found, size, taken = _lbfgs(batch, goal[some].to(y.dtype), most)
            theta[:, some], gap[some] = found.to(theta.dtype), size.to(gap.dtype)
            steps += taken
    unfinished = torch.nonzero(~(gap <= goal)).flatten().tolist()
    for k in unfinished:
        column = labels[:, [k]]
        single = _ProblemBatch(basis, column, C[[k]] * balanced_weights(column))
        theta[:, [k]], gap[k] = _newton(single, theta[:, [k]], float(goal[k]))
    return Solution(theta, gap.cpu().numpy(), goal.cpu().numpy(), steps, len(unfinished))


@dataclass
class _ProblemBatch:
    """Problems that are solved together."""

    basis: Basis
    labels: Tensor
    """(n, problems)."""
    weights: Tensor
    """(n, problems): C times the class weight."""

    def select(self, keep: Tensor) -> _ProblemBatch:
        return _ProblemBatch(self.basis, self.labels[:, keep], self.weights[:, keep])

    def gradient(self, theta: Tensor, p: Tensor) -> Tensor:
        """Return the gradient, (rank + 1, problems), from the probabilities of class 1."""
        basis = self.basis
        return basis.train.T @ (self.weights * (p - self.labels)) + basis.ridge[:, None] * theta

    def scale(self, p: Tensor) -> Tensor:
        """Return the diagonal that stands in for the Hessian, (rank + 1, problems)."""
        spread = (self.weights * p * (1.0 - p)).mean(dim=0).clamp_min(1e-12 * self.weights.min())
        return self.basis.ridge[:, None] + self.basis.diagonal[:, None] * spread

    def objective(self, theta: Tensor, margin: Tensor) -> Tensor:
        """Return the penalised loss, (problems,)."""
        loss = torch.nn.functional.softplus(torch.where(self.labels == 1, -margin, margin))
        penalty = 0.5 * (self.basis.ridge[:, None] * theta**2).sum(dim=0)
        return (self.weights * loss).sum(dim=0) + penalty


def _size(gradient: Tensor, scale: Tensor) -> Tensor:
    return (gradient * gradient / scale).sum(dim=0).sqrt()


def _lbfgs(batch: _ProblemBatch, tolerance: Tensor, iterations: int) -> tuple[Tensor, Tensor, int]:
    """Return coefficients, gaps and the number of iterations; problems leave as they converge."""
    basis, problems = batch.basis, batch.labels.shape[1]
    final = batch.labels.new_zeros((basis.train.shape[1], problems))
    gap = batch.labels.new_full((problems,), float("inf"))
    index = torch.arange(problems, device=final.device)
    p = torch.full_like(batch.labels, 0.5)
    # The first step is that of ridge regression on the labels, up to the diagonal's error.
    theta = final.clone()
    theta = -batch.gradient(theta, p) / batch.scale(p)
    margin = basis.train @ theta
    p = torch.sigmoid(margin)
    gradient = batch.gradient(theta, p)
    pairs: list[tuple[Tensor, Tensor, Tensor]] = []
    steps = 0
    while True:
        scale = batch.scale(p)
        size = _size(gradient, scale)
        final[:, index], gap[index] = theta, size
        moving = size > tolerance[index]
        if steps == iterations or not moving.any():
            break
        steps += 1
        # Columns of problems that have converged are dropped once they are worth a copy.
        if moving.sum() <= 0.7 * len(index):
            keep = torch.nonzero(moving).flatten()
            index, batch = index[keep], batch.select(keep)
            theta, margin, p = theta[:, keep], margin[:, keep], p[:, keep]
            gradient, scale = gradient[:, keep], scale[:, keep]
            pairs = [(s[:, keep], y[:, keep], r[keep]) for s, y, r in pairs]
        direction = _two_loops(pairs, gradient, scale)
        change = basis.train @ direction
        slope = (gradient * direction).sum(dim=0)
        length, p = _search(batch, theta, direction, margin, change, slope)
        move = length * direction
        theta, margin, before = theta + move, margin + length * change, gradient
        # The new curvature pair: how far each problem moved, and how its gradient changed.
        gradient = batch.gradient(theta, p)
        bend = gradient - before
        product = (move * bend).sum(dim=0)
        inverse = torch.where(product > 0, 1.0 / product, torch.zeros_like(product))
        # A pair that tells nothing (a problem that has converged) is left out by its zero.
        pairs = [*pairs, (move, bend, inverse.nan_to_num(posinf=0.0))][-_PAIRS:]
    return final, gap, steps


def _two_loops(
    pairs: list[tuple[Tensor, Tensor, Tensor]], gradient: Tensor, scale: Tensor
) -> Tensor:
    """Return the quasi-Newton direction of each problem (Nocedal and Wright, algorithm 7.4)."""
    q, factors = gradient.clone(), []
    for move, bend, inverse in reversed(pairs):
        factor = inverse * (move * q).sum(dim=0)
        q -= factor * bend
        factors.append(factor)
    q /= scale
    for (move, bend, inverse), factor in zip(pairs, reversed(factors), strict=True):
        q += (factor - inverse * (bend * q).sum(dim=0)) * move
    return -q


def _search(
    batch: _ProblemBatch,
    theta: Tensor,
    direction: Tensor,
    margin: Tensor,
    change: Tensor,
    start: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return each problem's step length and the probabilities there.

    Along a line the margins are linear, so trying a length costs no matrix product. The
    derivative is brought to a tenth of its `start` by Newton's method within a bracket.
    """
    # The penalty's share of the derivative at length t is linear + t * square.
    ridge = batch.basis.ridge[:, None]
    linear = (ridge * theta * direction).sum(dim=0)
    square = (ridge * direction * direction).sum(dim=0)
    weighted = batch.weights * change
    length = torch.ones_like(linear)
    low, high = torch.zeros_like(length), torch.full_like(length, float("inf"))
    for _ in range(30):
        p = torch.sigmoid(margin + length * change)
        slope = (weighted * (p - batch.labels)).sum(dim=0) + linear + length * square
        # At the optimum the derivative is rounding error, and any length will do.
        off = (slope.abs() > 0.1 * start.abs()) & (start < 0)
        if not off.any():
            break
        low = torch.where(slope < 0, length, low)
        high = torch.where(slope > 0, length, high)
        # Newton's step where it stays inside the bracket, else its middle.
        curvature = (weighted * change * p * (1.0 - p)).sum(dim=0) + square
        tried = length - slope / curvature.clamp_min(1e-300)
        middle = torch.where(high.isinf(), 2.0 * length, 0.5 * (low + high))
        inside = (tried > low) & (tried < high) & (tried < 10.0 * length)
        length = torch.where(off, torch.where(inside, tried, middle), length)
    else:
        p = torch.sigmoid(margin + length * change)
    return length, p


def _newton(
    batch: _ProblemBatch, theta: Tensor, tolerance: float, steps: int = 100
) -> tuple[Tensor, float]:
    """Finish one problem by Newton's method; its gap is in the exact Hessian's norm."""
    train, ridge = batch.basis.train, batch.basis.ridge
    size = float("inf")
    for _ in range(steps):
        margin = train @ theta
        p = torch.sigmoid(margin)
        gradient = batch.gradient(theta, p)
        curvature = (batch.weights * p * (1.0 - p)).clamp_min(1e-14)
        factor, failed = torch.linalg.cholesky_ex(train.T @ (curvature * train) + ridge.diag())
        if int(failed):
            return theta, float("inf")
        move = -torch.cholesky_solve(gradient, factor)
        size = float((-(gradient * move).sum()).clamp_min(0.0).sqrt())
        if size <= tolerance:
            break
        start, length = batch.objective(theta, margin), 1.0
        change = train @ move
        for _ in range(40):
            value = batch.objective(theta + length * move, margin + length * change)
            # Near the optimum rounding hides the fall of the loss, so that much is allowed for.
            if bool(value <= start - 1e-4 * length * size**2 + 1e-12 * (1.0 + start.abs())):
                break
            length *= 0.5
        theta = theta + length * move
    return theta, size


def solve_ridge(basis: Basis, values: Tensor, C: Tensor) -> Tensor:
    """Fit one ridge regression per column, the penalty 1 / C, the intercept not penalised.

    Parameters
    ----------
    basis : Basis
    values : Tensor of float64, shape (n, problems)
    C : Tensor of float64, shape (problems,)
        `Ridge(alpha=1 / C)` of scikit-learn.

    Returns
    -------
    Tensor, shape (rank + 1, problems)
    """
    z = basis.train[:, 1:]
    mean = values.mean(dim=0)
    right = z.T @ (values - mean)
    square = z.T @ z
    theta = torch.vstack([mean, torch.zeros_like(right)])
    if not z.shape[1]:  # without features only the mean is left
        return theta
    identity = torch.eye(len(square), dtype=z.dtype, device=z.device)
    for c in torch.unique(C).tolist():
        same = torch.eq(C, c)
        factor = torch.linalg.cholesky(square + identity / c)
        theta[1:, same] = torch.cholesky_solve(right[:, same], factor)
    return theta
