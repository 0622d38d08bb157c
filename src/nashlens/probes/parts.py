"""Probes scored on parts of the prompts: one template, one label set, one half of the matches.

Nothing is refitted. The held-out predictions of the split by match, of the truth as of the
permutations, the control tasks and the baselines, are scored on the prompts of one part alone. So a
probe was trained on all templates and label sets and is tested on one: *does what it found hold
there?* The splits by template and label set, which hold one out of the training too, ask the
stricter question whether a probe carries over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.contrasts import rank_p, resample_counts
from nashlens.parts import FACTORS, RESAMPLES, members
from nashlens.probes.design import Settings
from nashlens.probes.fits import CrossFit
from nashlens.probes.questions import Question, null_scores, score_with_interval
from nashlens.probes.scores import minimum_detectable, scores
from nashlens.probes.study import correct, describe, finish
from nashlens.seeds import stream

PART_TARGETS = ("opponent_last", "nash_action")
"""What claims are about."""
_COUNTS = ("n", "n_matches", "n_class_0", "n_class_1")
_FLOATS = (
    "balanced_accuracy",
    "ci_low",
    "ci_high",
    "permutation_mean",
    "permutation_high",
    "p_value",
    "permutation_max_high",
    "p_value_max",
    "minimum_detectable",
    "control_task",
    "selectivity",
    "majority",
    "embedding",
    "bag_of_words",
    "random_weights",
)
COLUMNS = (
    *("model", "target", "split", "factor", "level", "layer", "status", "reason"),
    *_COUNTS,
    *_FLOATS,
    *("folds", "permutations", "confidence"),
)

Fits = tuple[Sequence[Question], Mapping[int, CrossFit]]
"""Questions and the fits of those that could be asked, by position."""


def restrict(
    question: Question, fit: CrossFit, rows: NDArray[np.bool_], counts: NDArray
) -> tuple[Question, CrossFit]:
    """Return a question and its fit on some of the question's rows.

    Parameters
    ----------
    question : Question
        Of n rows.
    fit : CrossFit
    rows : ndarray of bool, shape (n,)
    counts : ndarray, shape (resamples, matches of these rows)
    """
    target = replace(
        question.target, rows=question.target.rows[rows], labels=question.target.labels[rows]
    )
    asked = replace(
        question,
        target=target,
        reason=problem(target.labels, question.matches[rows]),
        matches=question.matches[rows],
        fold=question.fold[rows],
        parts=question.parts[rows],
        columns=question.columns[rows],
        permuted=question.permuted[rows],
        counts=counts,
    )
    return asked, replace(fit, decisions=fit.decisions[rows], baseline=fit.baseline[rows])


def problem(labels: NDArray[np.float64], matches: NDArray[np.str_]) -> str:
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
    """One level of a factor, as a question's rows."""

    factor: str
    level: str
    rows: NDArray[np.bool_]
    counts: NDArray[np.uint16]
    """(resamples, matches): small, since they are kept from layer to layer."""
    baseline: NDArray[np.bool_] | None
    """The same level of the random-weights model's prompts."""


class PartScores:
    """Scores of probes on parts, gathered layer by layer while `fit_probes` has the predictions.

    Parameters
    ----------
    prompts : DataFrame
        Usable prompts.
    settings : Settings
    some : DataFrame, optional
        The prompts of the model with random weights.
    """

    def __init__(self, prompts: pd.DataFrame, settings: Settings, some: pd.DataFrame | None = None):
        self.prompts, self.settings, self.some = prompts, settings, some
        self._parts: dict[str, list[_Part]] = {}
        self._rows: dict[tuple[str, str, str], list[dict[str, object]]] = {}
        self._nulls: dict[tuple[str, str, str], list[NDArray[np.float64]]] = {}

    def add(self, layer: int, probes: Fits, baselines: Mapping[str, Fits]) -> None:
        """Score a layer's predictions, and its baselines', on every part.

        Parameters
        ----------
        layer : int
        probes : (questions, fits)
            With control tasks and permutations.
        baselines : mapping of str to (questions, fits)
            By column; `random_weights` has questions of its own prompts.
        """
        questions, fits = probes
        for i, question in enumerate(questions):
            name = question.target.name
            if question.split != "match" or name not in PART_TARGETS or question.reason:
                continue
            if name not in self._parts:
                self._parts[name] = self._cut(question)
            for part in self._parts[name]:
                row, null = self._score(question, fits[i], part)
                for column, other in baselines.items():
                    row[column] = _baseline(name, other, part, own=column == "random_weights")
                key = (name, part.factor, part.level)
                self._rows.setdefault(key, []).append({**row, "layer": layer})
                if null is not None:
                    self._nulls.setdefault(key, []).append(null)

    def table(self) -> pd.DataFrame:
        """Return one row per target, factor, level and layer, see docs/reference/results.md."""
        for key, rows in self._rows.items():
            correct(rows, self._nulls.get(key, []), self.settings.confidence)
        frame = pd.DataFrame.from_records([row for rows in self._rows.values() for row in rows])
        return finish(frame, self.settings, COLUMNS, _FLOATS, _COUNTS)

    def _cut(self, question: Question) -> list[_Part]:
        seed = self.settings.seed
        parts = []
        for factor in FACTORS:
            levels = members(self.prompts, factor, seed)
            twins = {}
            if self.some is not None:
                twins = members(self.some, factor, seed, drawn=self.prompts)
            for level, mask in levels.items():
                rows = mask[question.target.rows]
                matches = len(np.unique(question.matches[rows]))
                rng = stream(seed, "probes", self.settings.model, question.target.name, "bootstrap",
                             factor, level)  # fmt: skip
                resamples = min(self.settings.resamples, RESAMPLES)
                counts = np.zeros((resamples, 0))
                if matches:
                    counts = resample_counts(matches, resamples, rng)
                parts.append(_Part(factor, level, rows, counts.astype(np.uint16), twins.get(level)))
        return parts

    def _score(
        self, question: Question, fit: CrossFit, part: _Part
    ) -> tuple[dict[str, object], NDArray[np.float64] | None]:
        asked, there = restrict(question, fit, part.rows, part.counts.astype(np.float64))
        row = describe(asked) | {"factor": part.factor, "level": part.level}
        if asked.reason:
            return row, None
        confidence = self.settings.confidence
        value, low, high = score_with_interval(asked, there, confidence)
        row |= {"balanced_accuracy": value, "ci_low": low, "ci_high": high}
        null = null_scores(asked, there)
        # A permutation may leave one label alone in a small part: at every layer, so that what is
        # left is still paired from layer to layer.
        null = null[~np.isnan(null)]
        if len(null):
            row |= {
                "permutation_mean": float(null.mean()),
                "permutation_high": float(np.quantile(null, confidence)),
                "p_value": rank_p(value, null),
                "minimum_detectable": minimum_detectable(null, confidence),
            }
        if asked.tasks:
            tasks = slice(1, 1 + asked.tasks)
            task = scores(
                asked.columns[:, tasks], there.decisions[:, tasks], there.baseline[:, tasks], False
            )
            # So may a control task.
            known = task[~np.isnan(task)]
            if len(known):
                row |= {"control_task": known.mean(), "selectivity": value - known.mean()}
        return row, null


def _baseline(name: str, fits: Fits, part: _Part, *, own: bool) -> float:
    """Return a baseline's score on a part; NaN where it has none."""
    questions, found = fits
    for i, fit in found.items():
        question = questions[i]
        if (question.target.name, question.split) != (name, "match"):
            continue
        rows = part.rows
        if own:
            if part.baseline is None:
                return float("nan")
            rows = part.baseline[question.target.rows]
        if problem(question.target.labels[rows], question.matches[rows]):
            return float("nan")
        return float(
            scores(
                question.columns[rows, :1],
                fit.decisions[rows, :1],
                fit.baseline[rows, :1],
                question.target.regression,
            )[0]
        )
    return float("nan")
