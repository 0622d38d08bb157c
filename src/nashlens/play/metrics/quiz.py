"""What the quiz measures: the share of right answers of each model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from nashlens.contrasts import cluster_bootstrap
from nashlens.estimates import Bootstrap

CHANCE = 0.5
ALL = "all"
"""The kind that means all questions of a template together."""


def quiz_accuracy(answers: pd.DataFrame, how: Bootstrap) -> pd.DataFrame:
    """Return the share of right answers by model, template and kind of question.

    Parameters
    ----------
    answers : pandas.DataFrame
        From `nashlens.play.quiz.ask_quiz`, of one or several models.
    how : Bootstrap
        Whole histories are resampled.

    Returns
    -------
    pandas.DataFrame
        One row a model, template and kind, and one of kind `all` for every template.
    """
    both = pd.concat([answers.assign(kind=ALL), answers], ignore_index=True)
    rows = []
    for (model, template, kind), answered in both.groupby(
        ["model", "template", "kind"], sort=False
    ):
        known = answered[answered["correct"].notna()]
        row: dict[str, Any] = {"model": model, "template": template, "kind": kind}
        row |= {"n": len(known), "n_histories": known["history_id"].nunique()}
        row |= {"n_dropped": len(answered) - len(known), "chance": CHANCE}
        row["confidence"] = how.confidence
        row |= dict.fromkeys(("accuracy", "ci_low", "ci_high", "p_right", "answer_mass"), np.nan)
        if len(known):
            interval = cluster_bootstrap(
                known["correct"].astype(float),
                known["history_id"],
                **how.options("quiz accuracy", str(model), str(template), str(kind)),
            )
            row |= {
                "accuracy": float(interval.estimate),
                "ci_low": float(interval.low),
                "ci_high": float(interval.high),
                "p_right": float(known["p_right"].mean()),
                "answer_mass": float(known["answer_mass"].median()),
            }
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["model", "template"], kind="stable", ignore_index=True)


def accuracy_by_model(quiz: pd.DataFrame) -> pd.DataFrame:
    """Return each model's accuracy over all templates, with its interval.

    Templates are asked about different histories. So the share of right answers over all of them
    weighs each template by its number of questions, and the distances from the estimate to the
    bounds add in quadrature.

    Parameters
    ----------
    quiz : pandas.DataFrame
        From `quiz_accuracy`.
    """
    columns = ["model", "quiz_accuracy", "quiz_low", "quiz_high", "quiz_n"]
    rows = []
    asked = quiz[(quiz["kind"] == ALL) & (quiz["n"] > 0)]
    for model, templates in asked.groupby("model", sort=True):
        n = templates["n"].to_numpy(float)
        weight, accuracy = n / n.sum(), templates["accuracy"].to_numpy(float)
        estimate = float(weight @ accuracy)
        below, above = (
            float(np.sqrt(((weight * (templates[name].to_numpy(float) - accuracy)) ** 2).sum()))
            for name in ("ci_low", "ci_high")
        )
        low, high = max(0.0, estimate - below), min(1.0, estimate + above)
        if np.isnan([below, above]).any():
            low = high = np.nan
        rows.append([model, estimate, low, high, int(n.sum())])
    return pd.DataFrame(rows, columns=columns).astype({"model": "str"})
