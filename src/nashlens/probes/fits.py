"""Cross-fitting: every row's decision value from a probe that never saw its part.

C is chosen inside each training set: one or two of the match folds in it are held out, every C is
fitted to the rest, and the one with the smallest loss on what was held out is taken (the
class-balanced logistic loss, or the squared error of a regression; of equals the strongest
penalty). Permutations and control tasks take the C of their target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nashlens.probes.basis import Basis, guide, rotate
from nashlens.probes.solver import TOLERANCE, ridge_solve, solve

Array = NDArray[np.float64]

INNER_FOLDS = {"match": 2, "game": 1, "label_set": 1, "template": 1}
"""Folds of a training set that are held out in turn to choose C, by split."""
ROUGH = 1e-4
"""Tolerance of permutations, control tasks and the choice of C: their decision values are off by
some 1e-3 at most, which moves no score that is averaged over matches by anything that counts. The
truth is fitted to the solver's own tolerance."""


class Features:
    """One layer's activations for some prompts, ready for many training sets.

    Parameters
    ----------
    values : ndarray of float64, shape (n, d)
    device : str
        Of torch.
    few : bool
        Training sets will be much smaller than n, so each is better off in its own Gram space.
    """

    def __init__(self, values: Array, device: str = "cpu", *, few: bool = False):
        self.values = torch.as_tensor(values, dtype=torch.float64, device=device)
        self.device = device
        self.turn = None if few else guide(self.values)

    def rows(self, mask: NDArray[np.bool_]) -> Tensor:
        """Return the positions of some rows, (n,) bool, as a tensor on the same device."""
        return torch.as_tensor(np.flatnonzero(mask), device=self.values.device)

    def basis(self, train: NDArray[np.bool_]) -> Basis:
        """Return all rows in the coordinates of a training set, (n,) bool."""
        return rotate(self.values, self.rows(train), self.turn)

    def tensor(self, values: Array) -> Tensor:
        """Return an array as a tensor on the same device."""
        return torch.as_tensor(values, dtype=torch.float64, device=self.values.device)


@dataclass(frozen=True)
class Block:
    """A target with the columns that are fitted like it."""

    labels: Array
    """(n, columns): the truth first, then control tasks and permutations."""
    regression: bool = False


@dataclass
class CrossFit:
    """Held-out decision values of one block."""

    decisions: Array
    """(n, columns): above 0 is class 1, or the predicted share; NaN where nothing was fitted."""
    baseline: Array
    """(n, columns): mean of each column over each row's training set."""
    chosen: list[float] = field(default_factory=list)
    """The C of each held-out part."""
    unconverged: int = 0
    """Fits that did not reach their optimum."""


def fit(
    basis: Basis, labels: Tensor, C: Tensor, tolerance: Tensor, *, regression: bool
) -> tuple[Tensor, NDArray[np.bool_]]:
    """Return decision values of all rows, (m, columns), and which columns converged.

    Parameters
    ----------
    basis : Basis
        With n training rows of m.
    labels : Tensor of float64, shape (n, columns)
    C, tolerance : Tensor of float64, shape (columns,)
    regression : bool
    """
    if regression:
        theta = ridge_solve(basis, labels, C)
        return basis.rows @ theta, np.ones(labels.shape[1], dtype=bool)
    solution = solve(basis, labels, C, tolerance=tolerance)
    return basis.rows @ solution.coefficients, solution.converged


def fit_blocks(
    features: Features,
    train: NDArray[np.bool_],
    blocks: Sequence[tuple[Array, Array, bool]],
    *,
    exact: int = 1,
) -> list[tuple[Array, int]]:
    """Fit blocks of columns on one training set.

    Parameters
    ----------
    features : Features
        Of n rows.
    train : ndarray of bool, shape (n,)
    blocks : sequence of (labels, C, regression)
        Labels (n, columns), and the C of each column.
    exact : int
        Leading columns of each block that are fitted to the solver's own tolerance; the others
        to `ROUGH`.

    Returns
    -------
    list of (ndarray, int)
        Each block's decision values of all rows, (n, columns), and its number of fits that did
        not reach their optimum.
    """
    basis = features.basis(train)
    results: list[tuple[Array, int]] = [(np.zeros((0, 0)), 0)] * len(blocks)
    for kind in (False, True):
        members = [i for i, block in enumerate(blocks) if block[2] == kind]
        if not members:
            continue
        labels = np.hstack([blocks[i][0][train] for i in members])
        strength = np.concatenate([blocks[i][1] for i in members])
        lead = [np.arange(blocks[i][0].shape[1]) < exact for i in members]
        tolerance = np.where(np.concatenate(lead), TOLERANCE, ROUGH)
        values, converged = fit(
            basis,
            features.tensor(labels),
            features.tensor(strength),
            features.tensor(tolerance),
            regression=kind,
        )
        ends = np.cumsum([blocks[i][0].shape[1] for i in members])[:-1]
        parts = np.split(values.cpu().numpy(), ends, axis=1)
        for i, part, good in zip(members, parts, np.split(converged, ends), strict=True):
            results[i] = (part, int((~good).sum()))
    return results


def _loss(decisions: Array, truth: Array, regression: bool) -> Array:
    """Return the held-out loss of each column of decision values, (columns,)."""
    y = truth[:, None]
    if regression:
        squared: Array = ((decisions - y) ** 2).mean(axis=0)
        return squared
    loss = np.logaddexp(0.0, np.where(y == 1, -decisions, decisions))
    # Each class that is there weighs the same, as in the fit.
    classes = [loss[truth == value].mean(axis=0) for value in np.unique(truth)]
    balanced: Array = np.mean(classes, axis=0)
    return balanced


def choose(
    features: Features,
    blocks: Sequence[Block],
    train: NDArray[np.bool_],
    fold: NDArray[np.int64],
    grid: Sequence[float],
    *,
    inner: int,
    first: int = 0,
) -> list[float]:
    """Choose each block's C inside a training set.

    Parameters
    ----------
    features : Features
        Of n rows.
    blocks : sequence of Block
        Only their first columns are looked at.
    train : ndarray of bool, shape (n,)
    fold : ndarray of int, shape (n,)
        Match folds.
    grid : sequence of float
    inner : int
        How many folds are held out in turn.
    first : int
        Which fold of the training set is held out first, so that parts use different ones.
    """
    grid = sorted(grid)
    if len(grid) == 1:
        return [grid[0]] * len(blocks)
    inside = np.unique(fold[train])
    total = np.zeros((len(blocks), len(grid)))
    strength = np.asarray(grid, dtype=np.float64)
    for step in range(min(inner, len(inside) - 1)):
        held = inside[(first + step) % len(inside)]
        rest, out = train & (fold != held), train & (fold == held)
        sound = [i for i, b in enumerate(blocks) if len(np.unique(b.labels[rest, 0])) > 1]
        columns = [np.repeat(blocks[i].labels[:, :1], len(grid), axis=1) for i in sound]
        fitted = fit_blocks(
            features,
            rest,
            [(c, strength, blocks[i].regression) for i, c in zip(sound, columns, strict=True)],
            exact=0,
        )
        for i, (decisions, _) in zip(sound, fitted, strict=True):
            truth = blocks[i].labels[out, 0]
            if len(truth):
                total[i] += _loss(decisions[out], truth, blocks[i].regression)
    return [grid[int(k)] for k in total.argmin(axis=1)]


def cross_fit(
    features: Features,
    blocks: Sequence[Block],
    parts: NDArray[np.int64],
    fold: NDArray[np.int64],
    grid: Sequence[float],
    *,
    inner: int,
) -> list[CrossFit]:
    """Hold out every part in turn.

    Parameters
    ----------
    features : Features
        Of n rows.
    blocks : sequence of Block
        Each of which has two classes (values) in every training set.
    parts : ndarray of int, shape (n,)
        What is held out together.
    fold : ndarray of int, shape (n,)
        Match folds, for the choice of C.
    grid : sequence of float
        Values of C to choose from.
    inner : int
        Folds of each training set that are held out to choose C.

    Returns
    -------
    list of CrossFit
        One for each block.
    """
    found = [
        CrossFit(np.full(b.labels.shape, np.nan), np.full(b.labels.shape, np.nan)) for b in blocks
    ]
    for first, part in enumerate(np.unique(parts)):
        train = parts != part
        chosen = choose(features, blocks, train, fold, grid, inner=inner, first=first)
        fitted = fit_blocks(
            features,
            train,
            [
                (b.labels, np.full(b.labels.shape[1], c), b.regression)
                for b, c in zip(blocks, chosen, strict=True)
            ],
        )
        for k, (decisions, unconverged) in enumerate(fitted):
            found[k].decisions[~train] = decisions[~train]
            found[k].baseline[~train] = blocks[k].labels[train].mean(axis=0)
            found[k].chosen.append(chosen[k])
            found[k].unconverged += unconverged
    return found
