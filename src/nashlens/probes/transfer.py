"""The transfer matrix: probes fitted on one game and tested on another.

Off the diagonal a probe sees all matches of the training game and none of the tested one. On the
diagonal, matches of the same game are held out by folds. C is chosen inside the training game.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.activations.store import LoadLayer
from nashlens.chunks import each
from nashlens.contrasts import Array, percentile_interval, resample_counts
from nashlens.probes.controls import permuted_labels
from nashlens.probes.design import (
    HeldOut,
    ProbeSettings,
    ProbeTarget,
    read_target,
    split_problem,
    usable,
)
from nashlens.probes.fits import Features, LabelColumns, choose_penalties, cross_fit, fit_columns
from nashlens.probes.questions import match_folds
from nashlens.probes.scores import balanced_accuracies, permutation_columns, score_draws
from nashlens.probes.table import ProbeColumns, Row, load_features
from nashlens.seeds import stream

Cell = tuple[str, str, str]
"""Target, training game, tested game."""

COLUMNS = ProbeColumns(
    keys=("model", "position", "target", "layer", "train", "test", "status", "reason"),
    counts=("n_train", "n", "n_matches"),
    numbers=(
        *("balanced_accuracy", "ci_low", "ci_high"),
        *("permutation_mean", "permutation_high", "p_value", "minimum_detectable", "C"),
    ),
)


@dataclass(frozen=True)
class _TransferTarget:
    """A target with what stays the same from layer to layer."""

    target: ProbeTarget
    games: NDArray[np.str_]
    """(n,): the game of each row."""
    matches: NDArray[np.str_]
    """(n,)."""
    fold: NDArray[np.int64]
    """(n,): the match fold of each row."""
    permuted: Array
    """(n, permutations): exchanged within games."""
    counts: dict[str, Array]
    """Resamples of each game's matches."""
    reasons: dict[str, str]
    """Why a game cannot be trained on or tested; empty where it can."""
    diagonal: dict[str, str]
    """Why a game cannot be cross-validated; empty where it can."""

    def rows_of(self, game: str) -> NDArray[np.bool_]:
        rows: NDArray[np.bool_] = self.games == game
        return rows


def _prepare_target(
    used: pd.DataFrame, target: ProbeTarget, fold: NDArray[np.int64], settings: ProbeSettings
) -> _TransferTarget:
    names = "probes", settings.model, target.name, "transfer"
    games = used["game"].to_numpy(dtype=str)[target.rows]
    matches = used["match_id"].to_numpy(dtype=str)[target.rows]
    permutation_rng = stream(settings.seed, *names, "permutations")
    codes = np.unique(games, return_inverse=True)[1].astype(np.int64)
    permuted = permuted_labels(used, target, settings.permutations, permutation_rng, codes)
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
            bootstrap_rng = stream(settings.seed, *names, game)
            n_matches = len(np.unique(matches[rows]))
            counts[game] = resample_counts(n_matches, settings.resamples, bootstrap_rng)
            there = ProbeTarget(target.name, target.rows[rows], labels, 0)
            folds = len(np.unique(fold[rows]))
            diagonal[game] = split_problem(
                there, HeldOut(fold[rows]), matches[rows], "match", folds
            )
    return _TransferTarget(target, games, matches, fold, permuted, counts, reasons, diagonal)


def fit_transfer(
    load_layer: LoadLayer,
    layers: Sequence[int],
    prompts: pd.DataFrame,
    targets: Sequence[str],
    settings: ProbeSettings,
    threads: int = 1,
) -> pd.DataFrame:
    """Fit every target in every game and test it in all games, at every layer.

    Parameters are those of `nashlens.probes.study.fit_probes`; targets that are shares are left
    out.

    Returns
    -------
    DataFrame
        One row per target, layer, training and tested game, columns as in
        docs/reference/results.md. A cell that cannot be filled has its reason.
    """
    used = usable(prompts)
    fold = match_folds(used, targets, settings)
    every = [read_target(used, name) for name in targets]
    prepared = [
        _prepare_target(used, target, fold[target.rows], settings)
        for target in every
        if not target.regression
    ]
    games = sorted(used["game"].astype(str).unique())
    # Targets that are defined on the same prompts are fitted together.
    by_rows: dict[bytes, list[_TransferTarget]] = {}
    for one in prepared:
        by_rows.setdefault(one.target.rows.tobytes(), []).append(one)

    def fit(layer: int) -> list[Row]:
        values = load_features(load_layer, layer, len(used))
        scored: dict[Cell, Row] = {}
        rows: list[Row] = []
        for group in by_rows.values():
            features = Features(values[group[0].target.rows], settings.device, few=True)
            for game in games:
                scored |= _fit_in_game(features, group, game, games, settings)
        for one, train, test in itertools.product(prepared, games, games):
            row = _cell_columns(one, train, test) | {"layer": layer}
            rows.append(row | scored.get((one.target.name, train, test), {}))
        return rows

    found = each(
        layers, fit, "transfer", unit="layer", threads=threads, processes=settings.device == "cpu"
    )
    return COLUMNS.table([row for rows in found for row in rows], settings)


def _cell_columns(one: _TransferTarget, train: str, test: str) -> Row:
    """Return what a row says of its cell: sizes, and whether it can be filled."""
    reason = one.reasons[train] or one.reasons[test]
    if not reason and train == test:
        reason = one.diagonal[train]
    rows = one.rows_of(test)
    return {
        "target": one.target.name,
        "train": train,
        "test": test,
        "status": "degenerate" if reason else "ok",
        "reason": reason,
        "n_train": int(one.rows_of(train).sum()),
        "n": int(rows.sum()),
        "n_matches": len(np.unique(one.matches[rows])),
    }


def _fit_in_game(
    features: Features,
    group: Sequence[_TransferTarget],
    game: str,
    games: Sequence[str],
    settings: ProbeSettings,
) -> dict[Cell, Row]:
    """Fit the targets of a group, which share their rows, in one game; test them in all."""
    cells: dict[Cell, Row] = {}
    varying = [one for one in group if not one.reasons[game]]
    if not varying:
        return cells
    train, fold = varying[0].rows_of(game), varying[0].fold
    labels = [LabelColumns(one.target.labels[:, None]) for one in varying]
    chosen = choose_penalties(features, labels, train, fold, settings.C, inner=1)
    each_C = [np.array([C]) for C in chosen]
    fitted = fit_columns(features, train, list(zip(labels, each_C, strict=True)))
    for one, (decisions, _), C in zip(varying, fitted, chosen, strict=True):
        for test in games:
            if test != game and not one.reasons[test]:
                own = decisions[one.rows_of(test)]
                cells[one.target.name, game, test] = _score(one, test, own, C, settings)
    # The diagonal: the same game's matches, held out by folds.
    inside = [one for one in varying if not one.diagonal[game]]
    if inside:
        there = Features(features.values[features.rows(train)].cpu().numpy(), features.device)
        labels = [LabelColumns(one.target.labels[train, None]) for one in inside]
        fits = cross_fit(there, labels, HeldOut(fold[train]), fold[train], settings.C, inner=1)
        for one, fit in zip(inside, fits, strict=True):
            C = float(np.median(fit.chosen))
            cells[one.target.name, game, game] = _score(one, game, fit.decisions, C, settings)
    return cells


def _score(
    one: _TransferTarget, test: str, decisions: Array, C: float, settings: ProbeSettings
) -> Row:
    """Score decision values, (n, 1), of one game's prompts."""
    rows = one.rows_of(test)
    labels, matches = one.target.labels[rows, None], one.matches[rows]
    predicted = (decisions > 0).astype(np.float64)
    value = float(balanced_accuracies(labels, predicted)[0])
    draws = score_draws(labels, decisions, decisions, False, matches, one.counts[test])
    low, high = percentile_interval(draws, settings.confidence)
    row: Row = {
        "balanced_accuracy": value,
        "ci_low": float(low[0]),
        "ci_high": float(high[0]),
        "C": C,
    }
    permuted = one.permuted[rows]
    if permuted.shape[1] and not (permuted == labels).all():
        null = balanced_accuracies(permuted, np.broadcast_to(predicted, permuted.shape))
        row |= permutation_columns(value, null, settings.confidence)
    return row
