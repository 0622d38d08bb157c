"""Questions: a target in a split, with everything that stays the same from layer to layer.

Permutations, control tasks and resamples of matches are drawn once for each question, so layers
are paired and the largest score over layers has a null distribution of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.contrasts import Array, percentile_interval, resample_counts
from nashlens.probes.controls import control_tasks, permuted_labels
from nashlens.probes.design import (
    HeldOut,
    ProbeSettings,
    ProbeTarget,
    grouped_folds,
    hold_out,
    read_target,
    split_problem,
)
from nashlens.probes.fits import INNER_FOLDS, CrossFit, Features, LabelColumns, cross_fit
from nashlens.probes.scores import (
    auroc_interval,
    column_scores,
    permutation_columns,
    score_draws,
)
from nashlens.seeds import stream
from nashlens.vocabulary.targets import SPLITS, TARGETS

TASKS = 5
"""Number of control tasks, over which selectivity is averaged."""


@dataclass(frozen=True, kw_only=True)
class ProbeQuestion:
    """A target in a split, ready to be asked of any features of the same prompts."""

    target: ProbeTarget
    """Defined at n of the prompts."""
    split: str
    reason: str
    """Why it cannot be asked; empty where it can."""
    matches: NDArray[np.str_]
    """(n,)."""
    fold: NDArray[np.int64]
    """(n,): the match fold of each row."""
    held_out: HeldOut
    """What is tested together, of n rows."""
    columns: Array
    """(n, 1 + control tasks + permutations): the labels that are fitted, the truth first."""
    n_tasks: int
    """Number of control tasks among the columns."""
    permuted: Array
    """(n, permutations): labels with which unchanged predictions are scored; (n, 0) where
    permutations are fitted."""
    counts: Array
    """(resamples, matches): the same resamples for every layer and baseline."""

    def truth(self) -> LabelColumns:
        """Return only the truth, to be fitted."""
        return LabelColumns(self.columns[:, :1], self.target.regression)

    def with_controls(self) -> LabelColumns:
        """Return the truth with its control tasks and permutations, to be fitted."""
        return LabelColumns(self.columns, self.target.regression)


class FittedQuestions(NamedTuple):
    """Questions, and the fits of those that can be asked by their position."""

    questions: Sequence[ProbeQuestion]
    fits: Mapping[int, CrossFit]

    def pairs(self) -> Iterator[tuple[ProbeQuestion, CrossFit]]:
        """Yield each question that can be asked with its fit."""
        for i, fit in self.fits.items():
            yield self.questions[i], fit


def match_folds(
    prompts: pd.DataFrame, targets: Sequence[str], settings: ProbeSettings
) -> NDArray[np.int64]:
    """Return the match fold of each usable prompt, the same for every model and target."""
    known = [name for name in TARGETS if name in prompts.columns]
    columns = known + sorted(set(targets) - set(known))
    return grouped_folds(prompts, columns, settings.folds, stream(settings.seed, "probes", "folds"))


def prepare_questions(
    prompts: pd.DataFrame,
    targets: Sequence[str],
    settings: ProbeSettings,
    *,
    splits: Sequence[str] = SPLITS,
    controls: bool = True,
) -> list[ProbeQuestion]:
    """Return every target in every split, in that order.

    Parameters
    ----------
    prompts : DataFrame
        Usable prompts.
    targets : sequence of str
    settings : ProbeSettings
    splits : sequence of str
    controls : bool
        Draw control tasks and permutations.
    """
    fold = match_folds(prompts, targets, settings)
    every_match = prompts["match_id"].to_numpy(dtype=str)
    questions = []
    for name in targets:
        target = read_target(prompts, name)
        rows, matches = target.rows, every_match[target.rows]
        bootstrap_rng = stream(settings.seed, "probes", settings.model, name, "bootstrap")
        counts = resample_counts(len(np.unique(matches)), settings.resamples, bootstrap_rng)
        for split in splits:
            held_out = hold_out(prompts, split, fold).rows(rows)
            question = ProbeQuestion(
                target=target,
                split=split,
                reason=split_problem(target, held_out, matches, split, settings.folds),
                matches=matches,
                fold=fold[rows],
                held_out=held_out,
                columns=target.labels[:, None],
                n_tasks=0,
                permuted=np.zeros((len(rows), 0)),
                counts=counts,
            )
            if controls and not question.reason:
                question = _add_controls(question, prompts, settings)
            questions.append(question)
    return questions


def _add_controls(
    question: ProbeQuestion, prompts: pd.DataFrame, settings: ProbeSettings
) -> ProbeQuestion:
    """Add permutations, and in the split by match control tasks; there both are fitted."""
    target, permutations = question.target, settings.permutations
    names = "probes", settings.model, target.name
    permutation_rng = stream(settings.seed, *names, question.split, "permutations")
    if question.split != "match":
        # Histories exchange labels only where they are held out together.
        together = question.fold if question.held_out.apart else question.held_out.groups
        permuted = permuted_labels(prompts, target, permutations, permutation_rng, together)
        return replace(question, permuted=permuted)
    task_rng = stream(settings.seed, *names, "tasks")
    tasks = control_tasks(prompts, target, TASKS, task_rng)
    permuted = permuted_labels(prompts, target, permutations, permutation_rng)
    return replace(question, columns=np.hstack([question.columns, tasks, permuted]), n_tasks=TASKS)


def asked_together(questions: Sequence[ProbeQuestion]) -> Iterator[list[list[int]]]:
    """Yield the positions of questions that share their features, together by split.

    Targets that are defined on the same prompts share them; what cannot be asked is left out.
    """
    by_rows: dict[bytes, dict[str, list[int]]] = {}
    for i, question in enumerate(questions):
        if not question.reason:
            by_split = by_rows.setdefault(question.target.rows.tobytes(), {})
            by_split.setdefault(question.split, []).append(i)
    for by_split in by_rows.values():
        yield list(by_split.values())


def fit_questions(
    values: Array, questions: Sequence[ProbeQuestion], settings: ProbeSettings, *, controls: bool
) -> FittedQuestions:
    """Cross-fit all questions that can be asked on one set of features.

    Targets that are defined on the same prompts share folds and features and are fitted together.

    Parameters
    ----------
    values : ndarray of float64, shape (prompts, d)
    questions : sequence of ProbeQuestion
    settings : ProbeSettings
    controls : bool
        Also fit control tasks and permutations.
    """
    fits: dict[int, CrossFit] = {}
    for by_split in asked_together(questions):
        rows = questions[by_split[0][0]].target.rows
        features = Features(values[rows], settings.device)
        for same in by_split:
            first = questions[same[0]]
            columns = [
                questions[i].with_controls() if controls else questions[i].truth() for i in same
            ]
            inner = INNER_FOLDS[first.split]
            found = cross_fit(
                features, columns, first.held_out, first.fold, settings.C, inner=inner
            )
            fits.update(zip(same, found, strict=True))
    return FittedQuestions(questions, fits)


def scores_of(question: ProbeQuestion, fit: CrossFit, columns: slice) -> Array:
    """Return the scores of some of a question's fitted columns."""
    return column_scores(
        question.columns[:, columns],
        fit.decisions[:, columns],
        fit.baseline[:, columns],
        question.target.regression,
    )


def _draws_of(question: ProbeQuestion, fit: CrossFit, columns: slice) -> Array:
    """Return the scores of some of a question's fitted columns in each resample of matches."""
    return score_draws(
        question.columns[:, columns],
        fit.decisions[:, columns],
        fit.baseline[:, columns],
        question.target.regression,
        question.matches,
        question.counts,
    )


def score_with_interval(
    question: ProbeQuestion, fit: CrossFit, confidence: float
) -> tuple[float, float, float]:
    """Return the truth's score and its bounds."""
    truth = slice(0, 1)
    low, high = percentile_interval(_draws_of(question, fit, truth), confidence)
    return float(scores_of(question, fit, truth)[0]), float(low[0]), float(high[0])


def estimate_columns(
    question: ProbeQuestion, fit: CrossFit, confidence: float
) -> tuple[dict[str, float], Array]:
    """Return a question's estimates, by column of the table, and its permutations' scores."""
    value, low, high = score_with_interval(question, fit, confidence)
    if question.target.regression:
        row = {"r2": value, "r2_low": low, "r2_high": high}
    else:
        row = {"balanced_accuracy": value, "ci_low": low, "ci_high": high}
        row["auroc"], row["auroc_low"], row["auroc_high"] = auroc_interval(
            question.columns[:, 0],
            fit.decisions[:, 0],
            question.held_out.groups,
            question.matches,
            question.counts,
            confidence,
        )
    null = null_scores(question, fit)
    row |= permutation_columns(value, null, confidence)
    if question.n_tasks:
        row |= _selectivity(question, fit, value, confidence)
    row["C"] = float(np.median(fit.chosen))
    row["unconverged"] = fit.unconverged
    return row, null


def null_scores(question: ProbeQuestion, fit: CrossFit) -> Array:
    """Return the score of each permutation; empty where labels cannot be exchanged."""
    first = 1 + question.n_tasks
    if fit.decisions.shape[1] > first:
        return scores_of(question, fit, slice(first, None))
    permuted = question.permuted
    # Where each group that is held out has only one class, no exchange changes anything.
    if not permuted.shape[1] or (permuted == question.columns[:, :1]).all():
        return np.zeros(0)
    unchanged = np.broadcast_to(fit.decisions[:, :1], permuted.shape)
    return column_scores(permuted, unchanged, fit.baseline[:, :1], question.target.regression)


def _selectivity(
    question: ProbeQuestion, fit: CrossFit, value: float, confidence: float
) -> dict[str, float]:
    fitted = slice(0, 1 + question.n_tasks)
    task = float(scores_of(question, fit, fitted)[1:].mean())
    draws = _draws_of(question, fit, fitted)
    # In each resample: the truth's score minus the mean of the control tasks' scores.
    gain = draws[:, :1] - draws[:, 1:].mean(axis=1, keepdims=True)
    low, high = percentile_interval(gain, confidence)
    return {
        "control_task": task,
        "selectivity": value - task,
        "selectivity_low": float(low[0]),
        "selectivity_high": float(high[0]),
    }
