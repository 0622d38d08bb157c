"""Probes scored on parts of the prompts: one template, one label set, one half of the matches.

Nothing is refitted. The held-out predictions of the split by match, also those of permutations,
control tasks and baselines, are scored on the prompts of one part only. So a probe was trained on
all templates and label sets and is tested on one: *does what it found hold there?* The splits by
template and label set leave one out of the training too, and ask the stricter question whether a
probe carries over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.contrasts import resample_counts
from nashlens.parts import FACTORS, RESAMPLES, members
from nashlens.probes.design import ProbeSettings
from nashlens.probes.fits import CrossFit
from nashlens.probes.questions import (
    FittedQuestions,
    ProbeQuestion,
    null_scores,
    score_with_interval,
    scores_of,
)
from nashlens.probes.scores import column_scores, permutation_columns
from nashlens.probes.table import LayerRow, LayerRows, ProbeColumns, Row, question_columns
from nashlens.seeds import stream

COLUMNS = ProbeColumns(
    keys=("model", "position", "target", "split", "factor", "level", "layer", "status", "reason"),
    counts=("n", "n_matches", "n_class_0", "n_class_1"),
    numbers=(
        *("balanced_accuracy", "ci_low", "ci_high"),
        *("permutation_mean", "permutation_high", "p_value"),
        *("permutation_max_high", "p_value_max", "minimum_detectable"),
        *("control_task", "selectivity", "majority"),
        *("embedding", "bag_of_words", "random_weights"),
    ),
)


def restrict_question(
    question: ProbeQuestion, fit: CrossFit, rows: NDArray[np.bool_], counts: NDArray
) -> tuple[ProbeQuestion, CrossFit]:
    """Return a question and its fit on some of the question's rows.

    Parameters
    ----------
    question : ProbeQuestion
        Of n rows.
    fit : CrossFit
    rows : ndarray of bool, shape (n,)
    counts : ndarray, shape (resamples, matches of these rows)
    """
    target = replace(
        question.target, rows=question.target.rows[rows], labels=question.target.labels[rows]
    )
    restricted = replace(
        question,
        target=target,
        reason=part_problem(target.labels, question.matches[rows]),
        matches=question.matches[rows],
        fold=question.fold[rows],
        held_out=question.held_out.rows(np.flatnonzero(rows)),
        columns=question.columns[rows],
        permuted=question.permuted[rows],
        counts=counts,
    )
    return restricted, replace(fit, decisions=fit.decisions[rows], baseline=fit.baseline[rows])


def part_problem(labels: NDArray[np.float64], matches: NDArray[np.str_]) -> str:
    """Say why a target cannot be scored on a part; empty where it can."""
    values = np.unique(labels)
    if not len(values):
        return "undefined at every prompt of this part"
    if len(values) < 2:
        return f"constant: action {values[0]:g} at every prompt of this part"
    if len(np.unique(matches)) < 2:
        return "one match only in this part"
    return ""


@dataclass(frozen=True)
class _Part:
    """One level of a factor, as rows of a question."""

    factor: str
    level: str
    rows: NDArray[np.bool_]
    counts: NDArray[np.uint16]
    """(resamples, matches): small numbers, since they are kept from layer to layer."""
    untrained_rows: NDArray[np.bool_] | None
    """The same level among the prompts of the model with random weights."""


class PartScores:
    """Scores of probes on parts, gathered layer by layer while `fit_probes` has the predictions.

    Parameters
    ----------
    prompts : DataFrame
        Usable prompts.
    targets : sequence of str
        Targets that are scored on parts, if they are actions.
    questions : sequence of ProbeQuestion
        About these prompts.
    settings : ProbeSettings
    untrained_prompts : DataFrame, optional
        The prompts of the model with random weights.
    """

    def __init__(
        self,
        prompts: pd.DataFrame,
        targets: Sequence[str],
        questions: Sequence[ProbeQuestion],
        settings: ProbeSettings,
        untrained_prompts: pd.DataFrame | None = None,
    ):
        self._prompts, self._untrained_prompts = prompts, untrained_prompts
        self._settings, self._rows = settings, LayerRows()
        # The same at every layer.
        self._parts = {
            one.target.name: self._drawn_parts(one)
            for one in questions
            if one.split == "match" and one.target.name in targets
        }

    def add(self, rows: Sequence[LayerRow]) -> None:
        """Add a layer's `scored` rows to the table."""
        self._rows.add(rows)

    def scored(
        self, layer: int, probes: FittedQuestions, baselines: Mapping[str, FittedQuestions]
    ) -> list[LayerRow]:
        """Score a layer's predictions, and its baselines', on every part.

        Parameters
        ----------
        layer : int
        probes : FittedQuestions
            With control tasks and permutations.
        baselines : mapping of str to FittedQuestions
            By column; `random_weights` has questions about its own prompts.
        """
        rows: list[LayerRow] = []
        for question, fit in probes.pairs():
            name = question.target.name
            for part in self._parts.get(name, ()) if question.split == "match" else ():
                row, null = self._score(question, fit, part)
                for column, fitted in baselines.items():
                    untrained = column == "random_weights"
                    row[column] = _baseline_score(name, fitted, part, untrained=untrained)
                row["layer"] = layer
                rows.append(((name, part.factor, part.level), row, null))
        return rows

    def table(self) -> pd.DataFrame:
        """Return one row per target, factor, level and layer, see docs/reference/results.md."""
        return COLUMNS.table(self._rows.rows(self._settings.confidence), self._settings)

    def _drawn_parts(self, question: ProbeQuestion) -> list[_Part]:
        settings, seed = self._settings, self._settings.seed
        resamples = min(settings.resamples, RESAMPLES)
        parts = []
        for factor in FACTORS:
            levels = members(self._prompts, factor, seed)
            untrained = {}
            if self._untrained_prompts is not None:
                untrained = members(self._untrained_prompts, factor, seed, drawn=self._prompts)
            for level, mask in levels.items():
                rows = mask[question.target.rows]
                matches = len(np.unique(question.matches[rows]))
                names = "probes", settings.model, question.target.name, "bootstrap", factor, level
                counts = np.zeros((resamples, 0))
                if matches:
                    counts = resample_counts(matches, resamples, stream(seed, *names))
                small = counts.astype(np.uint16)
                parts.append(_Part(factor, level, rows, small, untrained.get(level)))
        return parts

    def _score(
        self, question: ProbeQuestion, fit: CrossFit, part: _Part
    ) -> tuple[Row, NDArray[np.float64] | None]:
        counts, confidence = part.counts.astype(np.float64), self._settings.confidence
        there, fit = restrict_question(question, fit, part.rows, counts)
        row = question_columns(there) | {"factor": part.factor, "level": part.level}
        if there.reason:
            return row, None
        value, low, high = score_with_interval(there, fit, confidence)
        row |= {"balanced_accuracy": value, "ci_low": low, "ci_high": high}
        # In a small part a permutation may have one label only and no score: the same permutations
        # at every layer, so the others stay paired from layer to layer.
        null = null_scores(there, fit)
        null = null[~np.isnan(null)]
        row |= permutation_columns(value, null, confidence)
        if there.n_tasks:
            # So may a control task.
            task = scores_of(there, fit, slice(1, 1 + there.n_tasks))
            known = task[~np.isnan(task)]
            if len(known):
                row |= {"control_task": known.mean(), "selectivity": value - known.mean()}
        return row, null


def _baseline_score(target: str, fitted: FittedQuestions, part: _Part, *, untrained: bool) -> float:
    """Return a baseline's score on a part; NaN where it has none."""
    for question, fit in fitted.pairs():
        if (question.target.name, question.split) != (target, "match"):
            continue
        rows = part.rows
        if untrained:
            if part.untrained_rows is None:
                break
            rows = part.untrained_rows[question.target.rows]
        if part_problem(question.target.labels[rows], question.matches[rows]):
            break
        truth = question.columns[rows, :1], fit.decisions[rows, :1], fit.baseline[rows, :1]
        return float(column_scores(*truth, question.target.regression)[0])
    return float("nan")
