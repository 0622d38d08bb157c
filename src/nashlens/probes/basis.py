"""Features of one training set, scaled and rotated so that many problems can share them.

All problems of a training set (targets, permutations, values of C) share its scaled features A,
(n, d). The penalised optimum lies in the row space of A, so A is rotated once to coordinates Z in
which Z'Z is diagonal or nearly so. If n < d they come from the eigenvectors of the Gram matrix A A'
(Gram space), else from an orthogonal `guide`, (d, d), that all training sets of a layer share. A
rotation changes neither the penalty nor the decision values.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_RANK_TOLERANCE = 1e-12
"""Eigenvalues below this share of the largest are rounding errors, not signal."""


@dataclass(frozen=True)
class Basis:
    """Rows in the rotated coordinates of one training set; column 0 is the intercept's ones."""

    rows: Tensor
    """(m, rank + 1): all rows, scaled by the training rows' mean and deviation."""
    train: Tensor
    """(n, rank + 1): the training rows among them."""
    diagonal: Tensor
    """(rank + 1,): squared length of each training column."""
    ridge: Tensor
    """(rank + 1,): 0 for the intercept, 1 elsewhere."""

    def single(self) -> Basis:
        """Return the same in float32, without the rows that are only predicted."""
        train = self.train.float()
        return Basis(train, train, self.diagonal.float(), self.ridge.float())


def standardise(features: Tensor, train: Tensor) -> Tensor:
    """Scale all rows by the training rows' mean and standard deviation, as StandardScaler does.

    A feature that is constant in the training rows up to rounding becomes 0, so it gets no weight.
    """
    part = features[train]
    mean, n = part.mean(dim=0), len(part)
    var = part.var(dim=0, unbiased=False)
    eps = torch.finfo(torch.float64).eps
    # scikit-learn's own test, so that both find the same features constant.
    constant = var <= n * eps * var + (n * mean * eps) ** 2
    scale = torch.where(constant, torch.full_like(var, float("inf")), var).sqrt()
    return (features - mean) / scale


def worth_a_guide(n: int, d: int) -> bool:
    """Say whether training sets of (n, d) features share a `guide`."""
    # It saves every training set its own eigenvectors, so it may be somewhat larger.
    return 2 * n >= d


def guide(features: Tensor) -> Tensor | None:
    """Return an orthogonal matrix, (d, d), that nearly diagonalises every training set's Z'Z.

    Its columns are the eigenvectors of the covariance of all rows. They change the path to an
    optimum and not where it lies, so they may come from rows that are held out.

    Returns
    -------
    Tensor or None
        None if there are far fewer rows than features: Gram space is smaller then.
    """
    n, d = features.shape
    if not worth_a_guide(n, d):
        return None
    scaled = standardise(features, torch.arange(n, device=features.device))
    return torch.linalg.eigh(scaled.T @ scaled)[1]


def rotate(features: Tensor, train: Tensor, turn: Tensor | None) -> Basis:
    """Scale all rows by the training rows and rotate them.

    Parameters
    ----------
    features : Tensor of float64, shape (m, d)
    train : Tensor of int64, shape (n,)
        Positions of the training rows.
    turn : Tensor, shape (d, d), optional
        From `guide`; None for Gram space.

    Returns
    -------
    Basis
        If no feature varies its rank is 0: only the intercept is left.
    """
    scaled = standardise(features, train)
    if not scaled[train].any():
        rotated = scaled[:, :0]
    elif turn is not None:
        rotated = scaled @ turn
    else:
        # With A A' = V diag(v) V', a row a becomes a A' V / sqrt(v), leaving out v near 0.
        gram = scaled @ scaled[train].T
        values, vectors = torch.linalg.eigh(gram[train])
        floor = max(float(values.max()), float(len(train)))
        keep = values > _RANK_TOLERANCE * floor
        rotated = gram @ (vectors[:, keep] / values[keep].sqrt())
    rows = torch.hstack([rotated.new_ones((len(rotated), 1)), rotated])
    part = rows[train]
    ridge = torch.ones_like(rows[0])
    ridge[0] = 0.0
    return Basis(rows, part, (part * part).sum(dim=0), ridge)
