"""Cross-fitting: every row's decision value comes from a probe that never saw its group.

C is chosen inside each training set: one or two of its match folds are held out in turn, every C is
fitted to the rest, and the C with the smallest loss on what was held out is taken (of equal ones
the strongest penalty). The loss is the class-balanced logistic loss, or the squared error of a
regression. Permutations and control tasks take the C of their target.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nashlens.chunks import resumed, scope
from nashlens.contrasts import Array
from nashlens.memory import Batch
from nashlens.probes.basis import Basis, guide, rotate
from nashlens.probes.design import HeldOut
from nashlens.probes.solver import TOLERANCE, Solution, solve_logistic, solve_ridge

INNER_FOLDS = {"match": 2, "game": 1, "label_set": 1, "template": 1}
"""Number of folds of a training set that are held out in turn to choose C, by split."""
ROUGH = 1e-4
"""Tolerance of permutations, control tasks and the choice of C: their decision values are off by
about 1e-3 at most, which changes no score noticeably. The truth is fitted to the solver's own
tolerance."""


_BATCH = Batch("label columns of probes")


class Features:
    """One layer's activations for some prompts, ready for many training sets.

    Parameters
    ----------
    values : ndarray of float64, shape (n, d)
    device : str
        The torch device that fits; `auto` is a GPU where there is one.
    few : bool
        Training sets will be much smaller than n, so each gets a Gram space of its own.
    """

    def __init__(self, values: Array, device: str = "cpu", *, few: bool = False):
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.values = torch.as_tensor(values, dtype=torch.float64, device=device)
        self.device = device
        self.turn = None if few else guide(self.values)

    def rows(self, mask: NDArray[np.bool_]) -> Tensor:
        """Return the positions of the rows of a mask, (n,) bool, as a tensor on the device."""
        return torch.as_tensor(np.flatnonzero(mask), device=self.values.device)

    def basis(self, train: NDArray[np.bool_]) -> Basis:
        """Return all rows in the coordinates of a training set, (n,) bool."""
        return rotate(self.values, self.rows(train), self.turn)

    def tensor(self, values: Array) -> Tensor:
        """Return an array as a float64 tensor on the device."""
        return torch.as_tensor(values, dtype=torch.float64, device=self.values.device)


@dataclass(frozen=True)
class LabelColumns:
    """Labels that are fitted with one C: a target, and its control tasks and permutations."""

    labels: Array
    """(n, columns): the truth first, then control tasks and permutations."""
    regression: bool = False


@dataclass
class CrossFit:
    """Held-out decision values of some label columns."""

    decisions: Array
    """(n, columns): above 0 is class 1, or the predicted share; NaN where nothing was fitted."""
    baseline: Array
    """(n, columns): mean of each column over each row's training set."""
    chosen: list[float] = field(default_factory=list)
    """The C with which each group was predicted."""
    unconverged: int = 0
    """Number of fits that did not reach their optimum."""


_Held = tuple[Array, float, int]
"""Decision values of what is held out, C, and the number of fits without an optimum."""


def fit_columns(
    features: Features,
    train: NDArray[np.bool_],
    targets: Sequence[tuple[LabelColumns, Array]],
    *,
    exact: int = 1,
) -> list[tuple[Array, int]]:
    """Fit the label columns of several targets on one training set.

    Parameters
    ----------
    features : Features
        Of n rows.
    train : ndarray of bool, shape (n,)
    targets : sequence of (LabelColumns, ndarray of float64, shape (columns,))
        Labels of all n rows, and the C of each column.
    exact : int
        The first so many columns of each target are fitted to the solver's own tolerance, the
        others to `ROUGH`.

    Returns
    -------
    list of (ndarray, int)
        For each target, decision values of all rows, (n, columns), and the number of fits that did
        not reach their optimum.
    """
    basis = features.basis(train)
    results: list[tuple[Array, int]] = [(np.zeros((0, 0)), 0)] * len(targets)
    for regression in (False, True):
        members = [i for i, (c, _) in enumerate(targets) if c.regression == regression]
        if not members:
            continue
        # All columns of one kind of fit are joined to one problem, and their results split again.
        widths = [targets[i][0].labels.shape[1] for i in members]
        labels = features.tensor(np.hstack([targets[i][0].labels[train] for i in members]))
        C = features.tensor(np.concatenate([targets[i][1] for i in members]))
        if regression:
            theta, converged = solve_ridge(basis, labels, C), np.ones(sum(widths), dtype=bool)
        else:
            leading = np.concatenate([np.arange(width) < exact for width in widths])
            tolerance = features.tensor(np.where(leading, TOLERANCE, ROUGH))

            def solve(
                some: slice, labels: Tensor = labels, C: Tensor = C, tolerance: Tensor = tolerance
            ) -> Solution:
                return solve_logistic(basis, labels[:, some], C[some], tolerance=tolerance[some])

            solved = _BATCH.run(len(C), solve)
            theta = torch.cat([one.coefficients for one in solved], dim=1)
            converged = np.concatenate([one.converged for one in solved])
        ends = np.cumsum(widths)[:-1]
        decisions = np.split((basis.rows @ theta).cpu().numpy(), ends, axis=1)
        for i, own, good in zip(members, decisions, np.split(converged, ends), strict=True):
            results[i] = (own, int((~good).sum()))
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


def inner_splits(
    train: NDArray[np.bool_], fold: NDArray[np.int64], inner: int, first: int = 0
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Yield what C is fitted to and what is held out for its choice, within a training set.

    Arguments as for `choose_penalties`; each result is of all n rows.
    """
    inside = np.unique(fold[train])
    for step in range(min(inner, len(inside) - 1)):
        held = inside[(first + step) % len(inside)]
        yield train & (fold != held), train & (fold == held)


def choose_penalties(
    features: Features,
    targets: Sequence[LabelColumns],
    train: NDArray[np.bool_],
    fold: NDArray[np.int64],
    grid: Sequence[float],
    *,
    inner: int,
    first: int = 0,
) -> list[float]:
    """Choose each target's C inside a training set.

    Parameters
    ----------
    features : Features
        Of n rows.
    targets : sequence of LabelColumns
        Only the first column of each is read.
    train : ndarray of bool, shape (n,)
    fold : ndarray of int, shape (n,)
        The match fold of each row.
    grid : sequence of float
        Values of C to choose from.
    inner : int
        Number of folds that are held out in turn.
    first : int
        Which fold of the training set is held out first, so that training sets use different ones.
    """
    grid = sorted(grid)
    if len(grid) == 1:
        return [grid[0]] * len(targets)
    total = np.zeros((len(targets), len(grid)))
    for rest, out in inner_splits(train, fold, inner, first):
        two_classes = [i for i, c in enumerate(targets) if len(np.unique(c.labels[rest, 0])) > 1]
        # One copy of the truth for each C.
        columns = [
            LabelColumns(
                np.repeat(targets[i].labels[:, :1], len(grid), axis=1), targets[i].regression
            )
            for i in two_classes
        ]
        C = np.asarray(grid, dtype=np.float64)
        fitted = fit_columns(features, rest, [(c, C) for c in columns], exact=0)
        for i, (decisions, _) in zip(two_classes, fitted, strict=True):
            truth = targets[i].labels[out, 0]
            if len(truth):
                total[i] += _loss(decisions[out], truth, targets[i].regression)
    return [grid[int(k)] for k in total.argmin(axis=1)]


def cross_fit(
    features: Features,
    targets: Sequence[LabelColumns],
    held_out: HeldOut,
    fold: NDArray[np.int64],
    grid: Sequence[float],
    *,
    inner: int,
) -> list[CrossFit]:
    """Hold out every group in turn.

    Parameters
    ----------
    features : Features
        Of n rows.
    targets : sequence of LabelColumns
        Each has two classes (values) in every training set.
    held_out : HeldOut
        What is tested together, of n rows.
    fold : ndarray of int, shape (n,)
        The match fold of each row, for the choice of C.
    grid : sequence of float
        Values of C to choose from.
    inner : int
        Number of folds of each training set that are held out to choose C.

    Returns
    -------
    list of CrossFit
        One for each target.
    """
    shapes = [target.labels.shape for target in targets]
    results = [CrossFit(np.full(shape, np.nan), np.full(shape, np.nan)) for shape in shapes]

    def predict(first: int, train: NDArray[np.bool_], test: NDArray[np.bool_]) -> list[_Held]:
        chosen = choose_penalties(features, targets, train, fold, grid, inner=inner, first=first)
        each_C = [np.full(shape[1], C) for shape, C in zip(shapes, chosen, strict=True)]
        fitted = fit_columns(features, train, list(zip(targets, each_C, strict=True)))
        return [
            (decisions[test], C, unconverged)
            for C, (decisions, unconverged) in zip(chosen, fitted, strict=True)
        ]

    with scope("folds"):
        for first, group in enumerate(np.unique(held_out.groups)):
            train, test = held_out.training(int(group)), held_out.groups == group
            held = resumed(str(first), partial(predict, first, train, test))
            for target, found, (decisions, C, bad) in zip(targets, results, held, strict=True):
                found.decisions[test] = decisions
                found.baseline[test] = target.labels[train].mean(axis=0)
                found.chosen.append(C)
                found.unconverged += bad
    return results
