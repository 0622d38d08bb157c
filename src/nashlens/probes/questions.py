"""Questions: a target in a split, with everything that stays the same from layer to layer.

Permutations, control tasks and resamples of matches are drawn once for each question, so layers
are paired and the largest score over layers has a null distribution of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.contrasts import percentile_interval, rank_p, resample_counts
from nashlens.probes.design import (
    Settings,
    Target,
    control_tasks,
    grouped_folds,
    held_out_parts,
    permuted_labels,
    problem,
    read_target,
)
from nashlens.probes.fits import INNER_FOLDS, Block, CrossFit, Features, cross_fit
from nashlens.probes.scores import (
    auroc_interval,
    minimum_detectable,
    score_draws,
    scores,
)
from nashlens.seeds import stream
from nashlens.vocabulary.targets import SPLITS, TARGETS

Array = NDArray[np.float64]

TASKS = 5
"""Control tasks that selectivity is averaged over."""


@dataclass(frozen=True)
class Question:
    """A target in a split, ready to be asked of any features of the same prompts."""

    target: Target
    split: str
    reason: str
    """Why it cannot be asked; empty where it can."""
    matches: NDArray[np.str_]
    """(n,)."""
    fold: NDArray[np.int64]
    """(n,): match fold."""
    parts: NDArray[np.int64]
    """(n,): what is held out together."""
    columns: Array
    """(n, 1 + tasks + permutations): what is fitted, the truth first."""
    tasks: int
    permuted: Array
    """(n, permutations): labels to score unchanged predictions against; (n, 0) where permutations
    are fitted."""
    counts: Array
    """(resamples, matches): the same resamples for every layer and baseline."""

    def truth(self) -> Block:
        """Return the truth alone, to be fitted."""
        return Block(self.columns[:, :1], self.target.regression)

    def block(self) -> Block:
        """Return everything to be fitted."""
        return Block(self.columns, self.target.regression)


def folds_of(prompts: pd.DataFrame, targets: Sequence[str], settings: Settings) -> NDArray:
    """Return the match fold of each usable prompt, the same for every model and target."""
    known = [name for name in TARGETS if name in prompts.columns]
    columns = known + sorted(set(targets) - set(known))
    return grouped_folds(prompts, columns, settings.folds, stream(settings.seed, "probes", "folds"))


def prepare(
    prompts: pd.DataFrame,
    targets: Sequence[str],
    settings: Settings,
    *,
    splits: Sequence[str] = SPLITS,
    controls: bool = True,
) -> list[Question]:
    """Return every target in every split, in that order.

    Parameters
    ----------
    prompts : DataFrame
        Usable prompts.
    targets : sequence of str
    settings : Settings
    splits : sequence of str
    controls : bool
        Draw control tasks and permutations.
    """
    seed, model = settings.seed, settings.model
    tasks, permutations = (TASKS, settings.permutations) if controls else (0, 0)
    fold = folds_of(prompts, targets, settings)
    matches = prompts["match_id"].to_numpy(dtype=str)
    questions = []
    for name in targets:
        target = read_target(prompts, name)
        rows = target.rows
        rng = stream(seed, "probes", model, name, "bootstrap")
        counts = resample_counts(len(np.unique(matches[rows])), settings.resamples, rng)
        for split in splits:
            parts = held_out_parts(prompts, split, fold)[0][rows]
            reason = problem(target, parts, matches[rows], split, settings.folds)
            columns, permuted, used = target.labels[:, None], np.zeros((len(rows), 0)), 0
            rng = stream(seed, "probes", model, name, split, "permutations")
            if not reason and split == "match":
                extra = [columns]
                if tasks:
                    draw = stream(seed, "probes", model, name, "tasks")
                    extra.append(control_tasks(prompts, target, tasks, draw))
                extra.append(permuted_labels(prompts, target, permutations, rng))
                columns, used = np.hstack(extra), tasks
            elif not reason:
                permuted = permuted_labels(prompts, target, permutations, rng, parts)
            questions.append(
                Question(
                    target, split, reason, matches[rows], fold[rows], parts, columns, used,
                    permuted, counts,
                )
            )  # fmt: skip
    return questions


def ask(
    values: Array, questions: Sequence[Question], settings: Settings, *, controls: bool
) -> dict[int, CrossFit]:
    """Cross-fit all sound questions on one set of features.

    Targets that are defined on the same prompts share folds and features and are fitted together.

    Parameters
    ----------
    values : ndarray of float64, shape (prompts, d)
    questions : sequence of Question
    settings : Settings
    controls : bool
        Also fit control tasks and permutations.

    Returns
    -------
    dict of int to CrossFit
        By position among the questions.
    """
    found: dict[int, CrossFit] = {}
    by_rows: dict[bytes, list[int]] = {}
    for i, question in enumerate(questions):
        if not question.reason:
            by_rows.setdefault(question.target.rows.tobytes(), []).append(i)
    for members in by_rows.values():
        features = Features(values[questions[members[0]].target.rows], settings.device)
        for split in dict.fromkeys(questions[i].split for i in members):
            same = [i for i in members if questions[i].split == split]
            first = questions[same[0]]
            blocks = [questions[i].block() if controls else questions[i].truth() for i in same]
            fits = cross_fit(
                features, blocks, first.parts, first.fold, settings.C, inner=INNER_FOLDS[split]
            )
            found.update(zip(same, fits, strict=True))
    return found


def score_with_interval(
    question: Question, fit: CrossFit, confidence: float
) -> tuple[float, float, float]:
    """Return the truth's score and its bounds."""
    truth = question.columns[:, :1], fit.decisions[:, :1], fit.baseline[:, :1]
    regression = question.target.regression
    draws = score_draws(*truth, regression, question.matches, question.counts)
    low, high = percentile_interval(draws, confidence)
    return float(scores(*truth, regression)[0]), float(low[0]), float(high[0])


def estimate(
    question: Question, fit: CrossFit, confidence: float
) -> tuple[dict[str, float], Array]:
    """Return a question's estimates, by column of the table, and its null scores."""
    value, low, high = score_with_interval(question, fit, confidence)
    regression = question.target.regression
    if regression:
        row = {"r2": value, "r2_low": low, "r2_high": high}
    else:
        row = {"balanced_accuracy": value, "ci_low": low, "ci_high": high}
        area = auroc_interval(
            question.columns[:, 0], fit.decisions[:, 0], question.parts, question.matches,
            question.counts, confidence,
        )  # fmt: skip
        row |= dict(zip(("auroc", "auroc_low", "auroc_high"), area, strict=True))
    null = null_scores(question, fit)
    if len(null):
        row["permutation_mean"] = float(null.mean())
        row["permutation_high"] = float(np.quantile(null, confidence))
        row["p_value"] = rank_p(value, null)
        row["minimum_detectable"] = minimum_detectable(null, confidence)
    if question.tasks:
        row |= _selectivity(question, fit, value, confidence)
    row["C"] = float(np.median(fit.chosen))
    row["unconverged"] = fit.unconverged
    return row, null


def null_scores(question: Question, fit: CrossFit) -> Array:
    """Return the score of each permutation; empty where labels cannot be exchanged."""
    regression = question.target.regression
    first = 1 + question.tasks
    if fit.decisions.shape[1] > first:
        part = slice(first, None)
        return scores(
            question.columns[:, part], fit.decisions[:, part], fit.baseline[:, part], regression
        )
    permuted = question.permuted
    # Where each held-out part has one class alone, no exchange changes anything.
    if not permuted.shape[1] or (permuted == question.columns[:, :1]).all():
        return np.zeros(0)
    same = np.broadcast_to(fit.decisions[:, :1], permuted.shape)
    return scores(permuted, same, fit.baseline[:, :1], regression)


def _selectivity(
    question: Question, fit: CrossFit, value: float, confidence: float
) -> dict[str, float]:
    part = slice(0, 1 + question.tasks)
    labels, decisions = question.columns[:, part], fit.decisions[:, part]
    baseline, regression = fit.baseline[:, part], question.target.regression
    task = float(scores(labels, decisions, baseline, regression)[1:].mean())
    draws = score_draws(labels, decisions, baseline, regression, question.matches, question.counts)
    gain = draws[:, :1] - draws[:, 1:].mean(axis=1, keepdims=True)
    low, high = percentile_interval(gain, confidence)
    return {
        "control_task": task,
        "selectivity": value - task,
        "selectivity_low": float(low[0]),
        "selectivity_high": float(high[0]),
    }
