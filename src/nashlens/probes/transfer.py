"""The transfer matrix: probes fitted on one game, tried on another.

Off the diagonal a probe sees all matches of the training game and none of the tested one. On the
diagonal matches of the same game are held out by folds. C is chosen inside the training game.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.contrasts import percentile_interval, rank_p, resample_counts
from nashlens.probes.design import Settings, Target, permuted_labels, problem, read_target, usable
from nashlens.probes.fits import Block, Features, choose, cross_fit, fit_blocks
from nashlens.probes.questions import folds_of
from nashlens.probes.scores import balanced_accuracies, minimum_detectable, score_draws
from nashlens.probes.study import LoadLayer, finish, load_features
from nashlens.seeds import stream

Array = NDArray[np.float64]

_COUNTS = ("n_train", "n", "n_matches")
_FLOATS = (
    "balanced_accuracy",
    "ci_low",
    "ci_high",
    "permutation_mean",
    "permutation_high",
    "p_value",
    "minimum_detectable",
    "C",
)
COLUMNS = (
    "model",
    "target",
    "layer",
    "train",
    "test",
    "status",
    "reason",
    *_COUNTS,
    *_FLOATS,
    "folds",
    "permutations",
    "confidence",
)


@dataclass(frozen=True)
class _Task:
    """A target with what stays the same from layer to layer."""

    target: Target
    games: NDArray[np.str_]
    """(n,)."""
    matches: NDArray[np.str_]
    fold: NDArray[np.int64]
    permuted: Array
    """(n, permutations): exchanged within games."""
    counts: dict[str, Array]
    """Resamples of each game's matches."""
    reasons: dict[str, str]
    """Why a game cannot be learned or tested; empty where it can."""
    diagonal: dict[str, str]
    """Why a game cannot be cross-validated."""

    def where(self, game: str) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = self.games == game
        return found


def _prepare(used: pd.DataFrame, targets: Sequence[str], settings: Settings) -> list[_Task]:
    every_fold = folds_of(used, targets, settings)
    names = "probes", settings.model
    tasks = []
    for target in (read_target(used, name) for name in targets):
        if target.regression:
            continue
        games = used["game"].to_numpy(dtype=str)[target.rows]
        matches = used["match_id"].to_numpy(dtype=str)[target.rows]
        fold = every_fold[target.rows]
        rng = stream(settings.seed, *names, target.name, "transfer", "permutations")
        codes = np.unique(games, return_inverse=True)[1].astype(np.int64)
        permuted = permuted_labels(used, target, settings.permutations, rng, codes)
        counts, reasons, diagonal = {}, {}, {}
        for game in np.unique(used["game"].to_numpy(dtype=str)):
            rows = games == game
            labels = target.labels[rows]
            reasons[game] = ""
            if not len(labels):
                reasons[game] = f"undefined in {game}"
            elif len(np.unique(labels)) < 2:
                reasons[game] = f"constant in {game}: action {labels[0]:g} at every prompt"
            else:
                rng = stream(settings.seed, *names, target.name, "transfer", game)
                counts[game] = resample_counts(
                    len(np.unique(matches[rows])), settings.resamples, rng
                )
                part = Target(target.name, target.rows[rows], labels, 0)
                present = len(np.unique(fold[rows]))
                diagonal[game] = problem(part, fold[rows], matches[rows], "match", present)
        tasks.append(_Task(target, games, matches, fold, permuted, counts, reasons, diagonal))
    return tasks


def fit_transfer(
    load_layer: LoadLayer,
    layers: Sequence[int],
    prompts: pd.DataFrame,
    targets: Sequence[str],
    settings: Settings,
    *,
    progress: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> pd.DataFrame:
    """Fit every target in every game and try it in all games, at every layer.

    Parameters are those of `nashlens.probes.study.fit_probes`; shares are left out.

    Returns
    -------
    DataFrame
        One row per target, layer, training and tested game, columns as in
        docs/reference/results.md. A cell that cannot be filled has its reason.
    """
    used = usable(prompts)
    tasks = _prepare(used, targets, settings)
    games = sorted(used["game"].astype(str).unique())
    by_rows: dict[bytes, list[_Task]] = {}
    for task in tasks:
        by_rows.setdefault(task.target.rows.tobytes(), []).append(task)
    records: list[dict[str, object]] = []
    for layer in progress(list(layers)):
        values = load_features(load_layer, layer, len(used))
        cells: dict[tuple[str, str, str], dict[str, object]] = {}
        for group in by_rows.values():
            features = Features(values[group[0].target.rows], settings.device, few=True)
            for game in games:
                cells |= _from_game(features, group, game, games, settings)
        for task in tasks:
            for train in games:
                for test in games:
                    row = _describe(task, train, test)
                    row |= cells.get((task.target.name, train, test), {})
                    records.append({**row, "layer": layer})
    frame = pd.DataFrame.from_records(records, columns=None if records else list(COLUMNS))
    return finish(frame, settings, COLUMNS, _FLOATS, _COUNTS)


def _describe(task: _Task, train: str, test: str) -> dict[str, object]:
    reason = task.reasons[train] or task.reasons[test]
    if not reason and train == test:
        reason = task.diagonal[train]
    rows = task.where(test)
    return {
        "target": task.target.name,
        "train": train,
        "test": test,
        "status": "degenerate" if reason else "ok",
        "reason": reason,
        "n_train": int(task.where(train).sum()),
        "n": int(rows.sum()),
        "n_matches": len(np.unique(task.matches[rows])),
    }


def _from_game(
    features: Features,
    group: Sequence[_Task],
    game: str,
    games: Sequence[str],
    settings: Settings,
) -> dict[tuple[str, str, str], dict[str, object]]:
    """Fit the targets of a group, which share their rows, on one game; test them on all."""
    tasks = [task for task in group if not task.reasons[game]]
    cells: dict[tuple[str, str, str], dict[str, object]] = {}
    if not tasks:
        return cells
    train, fold = tasks[0].where(game), tasks[0].fold
    blocks = [Block(task.target.labels[:, None]) for task in tasks]
    chosen = choose(features, blocks, train, fold, settings.C, inner=1)
    fitted = fit_blocks(
        features,
        train,
        [(b.labels, np.array([c]), False) for b, c in zip(blocks, chosen, strict=True)],
    )
    for task, (decisions, _), c in zip(tasks, fitted, chosen, strict=True):
        for test in games:
            if test != game and not task.reasons[test]:
                rows = task.where(test)
                cells[task.target.name, game, test] = {
                    **_score(task, test, decisions[rows], settings.confidence),
                    "C": c,
                }
    inside = [task for task in tasks if not task.diagonal[game]]
    if inside:
        own = Features(features.values[features.rows(train)].cpu().numpy(), features.device)
        parts = fold[train]
        blocks = [Block(task.target.labels[train, None]) for task in inside]
        for task, fit in zip(
            inside, cross_fit(own, blocks, parts, parts, settings.C, inner=1), strict=True
        ):
            cells[task.target.name, game, game] = {
                **_score(task, game, fit.decisions, settings.confidence),
                "C": float(np.median(fit.chosen)),
            }
    return cells


def _score(task: _Task, test: str, decisions: Array, confidence: float) -> dict[str, object]:
    """Score decision values, (n, 1), of one game's prompts."""
    rows = task.where(test)
    labels, matches = task.target.labels[rows, None], task.matches[rows]
    predicted = (decisions > 0).astype(np.float64)
    value = float(balanced_accuracies(labels, predicted)[0])
    draws = score_draws(labels, decisions, decisions, False, matches, task.counts[test])
    low, high = percentile_interval(draws, confidence)
    row: dict[str, object] = {
        "balanced_accuracy": value,
        "ci_low": float(low[0]),
        "ci_high": float(high[0]),
    }
    permuted = task.permuted[rows]
    if permuted.shape[1] and not (permuted == labels).all():
        null = balanced_accuracies(permuted, np.broadcast_to(predicted, permuted.shape))
        row["permutation_mean"] = float(null.mean())
        row["permutation_high"] = float(np.quantile(null, confidence))
        row["p_value"] = rank_p(value, null)
        row["minimum_detectable"] = minimum_detectable(null, confidence)
    return row
