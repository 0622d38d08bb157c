"""The probe study: every target at every layer, with its controls.

A probe is L2 logistic regression with balanced class weights on features scaled inside each
training fold. A match never stands in two folds. Balanced accuracy is pooled over the held-out
predictions of all folds; 0.5 is chance whatever the class sizes.

What can be decoded is not thereby used by the model. And a target that is constant within each
game (the Nash action of a fixed game) can be read off the game's identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.errors import DataError
from nashlens.probes.design import (
    TARGETS,
    Target,
    grouped_folds,
    permuted_labels,
    read_target,
    usable,
)
from nashlens.probes.solver import held_out
from nashlens.seeds import stream
from nashlens.statistics import (
    balanced_accuracy_columns,
    balanced_accuracy_statistic,
    cluster_sums,
    percentile_interval,
    resample_counts,
)

LoadLayer = Callable[[int], NDArray[np.floating]]

COLUMNS = (
    "model",
    "target",
    "layer",
    "status",
    "n",
    "n_missing",
    "n_matches",
    "n_class_0",
    "n_class_1",
    "balanced_accuracy",
    "ci_low",
    "ci_high",
    "permutation_mean",
    "permutation_high",
    "p_value",
    "majority",
    "embedding",
    "folds",
    "C",
    "permutations",
    "confidence",
)


@dataclass(frozen=True)
class _Problem:
    """A target, ready to fit at any layer."""

    target: Target
    matches: NDArray[np.str_]
    fold: NDArray[np.int64]
    """(n,)."""
    labels: NDArray[np.float64]
    """(n, 1 + permutations): the true labels first."""
    counts: NDArray[np.float64]
    """(resamples, matches): the same resamples at every layer, so layers are paired."""
    degenerate: bool


def balanced_accuracies(
    labels: NDArray[np.float64], predicted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the balanced accuracy of each column of predictions, (problems,)."""
    hit = labels == predicted
    one = labels == 1
    with np.errstate(divide="ignore", invalid="ignore"):
        recall_1 = (hit & one).sum(axis=0) / one.sum(axis=0)
        recall_0 = (hit & ~one).sum(axis=0) / (~one).sum(axis=0)
    return 0.5 * (recall_0 + recall_1)


def _is_degenerate(target: Target, matches: NDArray[np.str_], fold: NDArray, folds: int) -> bool:
    if len(np.unique(target.labels)) < 2 or len(np.unique(matches)) < folds:
        return True
    # Each training part needs both classes, and something must be held out.
    return any(len(np.unique(target.labels[fold != k])) < 2 for k in np.unique(fold))


def _prepare(
    prompts: pd.DataFrame,
    targets: Sequence[str],
    folds: int,
    permutations: int,
    resamples: int,
    seed: int,
    model: str,
) -> list[_Problem]:
    known = [name for name in TARGETS if name in prompts.columns]
    columns = known + sorted(set(targets) - set(known))
    fold = grouped_folds(prompts, columns, folds, stream(seed, "probes", "folds"))
    problems = []
    for name in targets:
        target = read_target(prompts, name)
        matches = prompts["match_id"].to_numpy(dtype=str)[target.rows]
        degenerate = _is_degenerate(target, matches, fold[target.rows], folds)
        labels, counts = target.labels[:, None], np.zeros((0, 0))
        if not degenerate:
            rng = stream(seed, "probes", model, name, "permutations")
            control = permuted_labels(prompts, target, permutations, rng)
            labels = np.hstack([labels, control])
            rng = stream(seed, "probes", model, name, "bootstrap")
            counts = resample_counts(len(np.unique(matches)), resamples, rng)
        problems.append(_Problem(target, matches, fold[target.rows], labels, counts, degenerate))
    return problems


def _predict(
    features: NDArray[np.float64], problems: Sequence[_Problem], C: float, *, control: bool
) -> list[NDArray[np.float64]]:
    """Return held-out predictions, (n, 1 + permutations) for each problem.

    Targets that are defined on the same prompts share folds and features and are fitted together.
    """
    predicted: list[NDArray[np.float64]] = [np.zeros((0, 0))] * len(problems)
    shared: dict[bytes, list[int]] = {}
    for i, problem in enumerate(problems):
        shared.setdefault(problem.target.rows.tobytes(), []).append(i)
    for members in shared.values():
        first = problems[members[0]]
        x, fold = features[first.target.rows], first.fold
        blocks = [problems[i].labels if control else problems[i].labels[:, :1] for i in members]
        labels = np.hstack(blocks)
        decision = np.empty_like(labels)
        for k in np.unique(fold):
            test = fold == k
            decision[test] = held_out(x[~test], x[test], labels[~test], C)
        ends = np.cumsum([block.shape[1] for block in blocks])[:-1]
        for i, part in zip(members, np.split(decision, ends, axis=1), strict=True):
            predicted[i] = (part > 0).astype(np.float64)
    return predicted


def _describe(problem: _Problem) -> dict[str, object]:
    labels = problem.target.labels
    ones = int(labels.sum())
    n = len(labels)
    return {
        "target": problem.target.name,
        "status": "degenerate" if problem.degenerate else "ok",
        "n": n,
        "n_missing": problem.target.n_missing,
        "n_matches": len(np.unique(problem.matches)),
        "n_class_0": n - ones,
        "n_class_1": ones,
        "majority": max(ones, n - ones) / n if n else np.nan,
    }


def _estimate(
    problem: _Problem, predicted: NDArray[np.float64], confidence: float
) -> dict[str, float]:
    accuracy = balanced_accuracies(problem.labels, predicted)
    columns = balanced_accuracy_columns(problem.target.labels, predicted[:, 0])
    sums, sizes = cluster_sums(columns, problem.matches)
    draws = balanced_accuracy_statistic(problem.counts @ sums, problem.counts @ sizes)
    low, high = percentile_interval(draws, confidence)
    control = accuracy[1:]
    return {
        "balanced_accuracy": float(accuracy[0]),
        "ci_low": float(low[0]),
        "ci_high": float(high[0]),
        "permutation_mean": float(control.mean()),
        "permutation_high": float(np.quantile(control, confidence)),
        # The data themselves count as one arrangement, so p is never 0.
        "p_value": (1 + int((control >= accuracy[0] - 1e-12).sum())) / (1 + len(control)),
    }


def _load(load_layer: LoadLayer, layer: int, rows: int) -> NDArray[np.float64]:
    features = np.asarray(load_layer(layer), dtype=np.float64)
    if features.ndim != 2 or len(features) != rows:
        raise DataError(
            f"activations of layer {layer}: found shape {features.shape}, need ({rows}, width),"
            " one row for each prompt that is not dropped; extract the activations again"
        )
    if not np.isfinite(features).all():
        raise DataError(
            f"activations of layer {layer} hold values that are not finite;"
            " extract them in float32 or bfloat16"
        )
    return features


def fit_probes(
    load_layer: LoadLayer,
    layers: Sequence[int],
    prompts: pd.DataFrame,
    *,
    targets: Sequence[str],
    C: float,
    folds: int,
    permutations: int,
    confidence: float,
    resamples: int,
    seed: int,
    model: str,
    progress: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> pd.DataFrame:
    """Fit every target's probe at every layer.

    Parameters
    ----------
    load_layer : callable
        Layer to activations, (n, width): one row for each row of `prompts` whose `dropped` is
        empty, in that order.
    layers : sequence of int
        0 is the embedding.
    prompts : DataFrame
        The prompts table; equal prompts of different matches are kept.
    targets : sequence of str
        Columns of `prompts` with 0, 1 or missing.
    C : float
        Inverse strength of the L2 penalty.
    folds, permutations, resamples : int
    confidence : float
        Coverage of the interval, and the control's upper quantile.
    seed : int
        The experiment's seed.
    model : str
        Name for the table, and for the random streams.
    progress : callable, optional
        Wraps the iteration over layers, as `tqdm.tqdm` does.

    Returns
    -------
    DataFrame
        One row per target and layer, columns as in docs/reference/results.md. A target with one
        class, or with too few matches for the folds, has status `degenerate` and no estimates.

    Raises
    ------
    DataError
        If a target is no 0/1 column, no prompt is left, or activations do not fit the prompts.
    """
    used = usable(prompts)
    if used.empty:
        raise DataError(f"probes of {model}: every prompt was dropped; shorten the prompts")
    problems = _prepare(used, targets, folds, permutations, resamples, seed, model)
    sound = [p for p in problems if not p.degenerate]
    embedding: dict[str, float] = {}
    if sound:
        predicted = _predict(_load(load_layer, 0, len(used)), sound, C, control=False)
        for problem, part in zip(sound, predicted, strict=True):
            accuracy = balanced_accuracies(problem.labels[:, :1], part)
            embedding[problem.target.name] = float(accuracy[0])
    records: list[dict[str, object]] = []
    for layer in progress(list(layers)):
        estimates: dict[str, dict[str, float]] = {}
        if sound:
            predicted = _predict(_load(load_layer, layer, len(used)), sound, C, control=True)
            for problem, part in zip(sound, predicted, strict=True):
                estimates[problem.target.name] = _estimate(problem, part, confidence)
        for problem in problems:
            name = problem.target.name
            row = {**_describe(problem), **estimates.get(name, {})}
            records.append({**row, "layer": layer, "embedding": embedding.get(name, np.nan)})
    frame = pd.DataFrame.from_records(records)
    frame = frame.assign(
        model=model, folds=folds, C=float(C), permutations=permutations, confidence=confidence
    ).reindex(columns=list(COLUMNS))
    floats = [c for c in COLUMNS[COLUMNS.index("balanced_accuracy") : COLUMNS.index("folds")]]
    frame[floats] = frame[floats].astype(np.float64)
    order = {name: i for i, name in enumerate(targets)}
    frame = frame.sort_values(
        ["target", "layer"], key=lambda c: c.map(order) if c.name == "target" else c, kind="stable"
    )
    return frame.reset_index(drop=True)
