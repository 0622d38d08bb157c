"""The calibration in a few numbers: recall, layer errors, false positives, named components."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from nashlens.contrasts import wilson_interval

RECALL, PRECISION, LAYER_ERROR, FALSE_POSITIVES = 1.0, 1.0, 1.0, 0.05
"""Goals: at least the recall, and the precision of named components; at most the layer error, and
the rate of false positives."""


def summarise_calibration(checks: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Return the calibration in a few numbers, with the goals.

    Parameters
    ----------
    checks : DataFrame
        From `check`, for all models.
    confidence : float
        Coverage of Wilson's intervals.

    Returns
    -------
    DataFrame
        `quantity`, `estimate`, `ci_low`, `ci_high`, `n`, `goal`, `met`. `recall`: hits among
        planted facts. `component_precision`, `component_recall`: over all models together, how many
        of the components that are named as an override's cause are planted, and how many of the
        planted ones are named. `group_precision`, `group_recall`: the same of the heads whose
        group, ablated at the decision, takes the Nash answer away; recall where a group can hold
        them all. `spikes_found`: among effects of the largest size that were put into
        null models. `largest_layer_error`: over hits. `false_positive_rate`: checks of null models
        that found something. `null_models_with_any`: null models with at least one such check.
        `absent_facts_found`: the rate over facts that are absent from planted models.
    """
    checks = checks.reset_index(drop=True)
    outcome, null = checks["outcome"], checks["null"].astype(bool)
    there = checks[outcome.isin(["hit", "miss"])]
    put_in = there["fact"].str.startswith("spike_")
    planted, spikes = there[~put_in], there[put_in]
    absent = checks[outcome.isin(["false_positive", "true_negative"])]
    wrong = absent["outcome"] == "false_positive"
    nulls = absent[null.loc[absent.index]]
    any_wrong = (nulls["outcome"] == "false_positive").groupby(nulls["model"]).any()
    errors = planted.loc[planted["outcome"] == "hit", "layer_error"].dropna()
    rows = [
        _share("recall", (planted["outcome"] == "hit").sum(), len(planted), confidence)
        | {"goal": RECALL},
        *_components("component", checks[checks["fact"] == "components"], confidence),
        *_components("group", checks[checks["fact"] == "answering_group"], confidence),
        _share("spikes_found", (spikes["outcome"] == "hit").sum(), len(spikes), confidence)
        | {"goal": RECALL},
        {
            "quantity": "largest_layer_error",
            "estimate": float(errors.max()) if len(errors) else np.nan,
            "n": len(errors),
            "goal": LAYER_ERROR,
        },
        _share("false_positive_rate", wrong[nulls.index].sum(), len(nulls), confidence)
        | {"goal": FALSE_POSITIVES},
        _share("null_models_with_any", any_wrong.sum(), len(any_wrong), confidence),
        _share(
            "absent_facts_found",
            wrong.drop(nulls.index).sum(),
            len(absent) - len(nulls),
            confidence,
        ),
    ]
    frame = pd.DataFrame(rows)
    at_least = frame["quantity"].str.endswith(("recall", "precision", "spikes_found"))
    good = (frame["estimate"] >= frame["goal"]).where(at_least, frame["estimate"] <= frame["goal"])
    frame["met"] = good.astype("boolean").where(frame["goal"].notna())
    return frame.reindex(columns=["quantity", "estimate", "ci_low", "ci_high", "n", "goal", "met"])


def calibration_rates(checks: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Return the calibration in numbers, and how many null models show each fact.

    Parameters
    ----------
    checks, confidence
        As in `summarise_calibration`.

    Returns
    -------
    DataFrame
        The rows of `summarise_calibration`, then one for each fact, named in the column `fact`,
        whose `quantity` is `null_rate`; spikes of the wrong kind are one fact, for all claims.
    """
    put_in = checks["outcome"].isin(["hit", "miss"])
    nulls = checks[checks["null"].astype(bool) & ~put_in]
    facts = nulls["fact"].str.replace(r"^wrong_spike_.+", "wrong_spike", regex=True)
    rows = []
    for fact, part in nulls.groupby(facts, sort=False):
        wrong = (part["outcome"] == "false_positive").sum()
        rate = _share("null_rate", wrong, len(part), confidence)
        rows.append(rate | {"fact": fact, "goal": FALSE_POSITIVES})
    whole = summarise_calibration(checks, confidence)
    columns = ["quantity", "fact", *whole.columns[1:]]
    frame = pd.DataFrame(rows, columns=columns)
    frame["met"] = (frame["estimate"] <= frame["goal"]).astype("boolean")
    found = pd.concat([whole, frame], ignore_index=True)[columns]
    return found.astype({"fact": "str", "estimate": "float64", "ci_low": "float64"})


def _components(name: str, checks: pd.DataFrame, confidence: float) -> list[dict[str, Any]]:
    """Return rows of what is named, over models of which it is known."""
    known = checks[checks["outcome"] != "unknown"].fillna({"precision": 0.0})
    known = known.assign(both=(known["precision"] * known["found"]).round())
    # Where not all could be named there is no recall, nor where nothing is planted.
    whole = known[known["recall"].notna() | (known["planted"] == 0)]
    of_named, of_planted = int(known["found"].sum()), int(whole["planted"].sum())
    both, named = int(known["both"].sum()), int(whole["both"].sum())
    return [
        _share(f"{name}_precision", both, of_named, confidence) | {"goal": PRECISION},
        _share(f"{name}_recall", named, of_planted, confidence) | {"goal": RECALL},
    ]


def _share(quantity: str, hits: Any, n: int, confidence: float) -> dict[str, Any]:
    low, high = wilson_interval(int(hits), n, confidence)
    share = float(hits) / n if n else np.nan
    return {"quantity": quantity, "estimate": share, "ci_low": low, "ci_high": high, "n": n}
