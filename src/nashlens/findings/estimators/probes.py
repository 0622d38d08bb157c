"""Claims about what probes decode: M1, M2, M3.

They read the probes table alone, so standard errors come from its intervals.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.special import ndtri
from scipy.stats import spearmanr

from nashlens.findings.measurement import (
    Measurement,
    Missing,
    Settings,
    accuracy_error,
    accuracy_p,
    one_sided_p,
)

WEAK_LIMIT = 0.65
"""Balanced accuracy that still counts as weak encoding (the paper's largest is 0.56)."""
BASELINES = ("embedding", "bag_of_words", "random_weights")
"""Columns of what a probe reaches without the model's training."""


def _target(probes: pd.DataFrame, target: str) -> pd.DataFrame | Missing:
    """Return a target's sound rows of the split by match, by layer, or why there are none."""
    rows = probes[(probes["target"] == target) & (probes["split"] == "match")]
    if rows.empty:
        return Missing(f"{target} was not probed: add it to probes.targets")
    sound = rows[(rows["status"] == "ok") & rows["balanced_accuracy"].notna()]
    if sound.empty:
        return Missing(
            f"the {target} target is degenerate: {rows['reason'].iloc[0]}", "inconclusive"
        )
    return sound.sort_values("layer").reset_index(drop=True)


def _elsewhere(probes: pd.DataFrame, row: pd.Series) -> dict[str, float]:
    """Return the accuracy of a row's probe where games, label sets or templates are held out."""
    same = probes[(probes["target"] == row["target"]) & (probes["layer"] == row["layer"])]
    others = same[(same["split"] != "match") & (same["status"] == "ok")]
    return {
        f"held_out_{split}": float(value)
        for split, value in zip(others["split"], others["balanced_accuracy"], strict=True)
    }


def history_at_layer_1(
    tables: Mapping[str, pd.DataFrame], settings: Settings
) -> Measurement | Missing:
    """M1: accuracy at layer 1, against permuted labels and against what needs no training.

    That is the embedding, the prompt's bag of words, and layer 1 of the same architecture with
    random weights; a baseline that was not made is left out.
    """
    rows = _target(tables["probes"], "opponent_last")
    if isinstance(rows, Missing):
        return rows
    first = rows[rows["layer"] == 1]
    if first.empty:
        return Missing("layer 1 was not probed: add it to probes.layers")
    row = first.iloc[0]
    return Measurement(
        estimate=float(row["balanced_accuracy"]),
        low=float(row["ci_low"]),
        high=float(row["ci_high"]),
        n=int(row["n"]),
        n_matches=int(row["n_matches"]),
        control=float(row["permutation_high"]),
        p_value=accuracy_p(row, settings.z, settings.resamples),
        detail={
            **{name: float(row[name]) for name in BASELINES},
            **_elsewhere(tables["probes"], row),
            "selectivity": float(row["selectivity"]),
            "permutation_mean": float(row["permutation_mean"]),
            "permutation_p": float(row["p_value"]),
            "majority": float(row["majority"]),
        },
    )


def history_consumed(
    tables: Mapping[str, pd.DataFrame], settings: Settings
) -> Measurement | Missing:
    """M2: loss from layer 1 to the last layer.

    Layer 1 is fixed beforehand, as the paper has it; the peak would be chosen by the data. The
    two accuracies share their prompts, so adding their variances overstates the error.
    """
    rows = _target(tables["probes"], "opponent_last")
    if isinstance(rows, Missing):
        return rows
    deep = rows[rows["layer"] >= 1].reset_index(drop=True)
    if deep.empty or deep.loc[0, "layer"] != 1 or len(deep) < 2:
        return Missing("layer 1 and a later layer are needed: add them to probes.layers")
    first, last = deep.iloc[0], deep.iloc[-1]
    loss = float(first["balanced_accuracy"] - last["balanced_accuracy"])
    error = float(np.hypot(accuracy_error(first, settings.z), accuracy_error(last, settings.z)))
    accuracy = deep["balanced_accuracy"].to_numpy(dtype=float)
    peak = deep.iloc[int(accuracy.argmax())]
    level = np.ptp(accuracy) == 0 or len(accuracy) < 3
    return Measurement(
        estimate=loss,
        low=loss - settings.z * error,
        high=loss + settings.z * error,
        n=int(first["n"]),
        n_matches=int(first["n_matches"]),
        control=float(first["permutation_mean"] - last["permutation_mean"]),
        p_value=one_sided_p(loss, error, int(first["n_matches"]), settings.resamples),
        detail={
            "first": float(first["balanced_accuracy"]),
            "first_low": float(first["ci_low"]),
            "first_control": float(first["permutation_high"]),
            "last": float(last["balanced_accuracy"]),
            "last_layer": int(last["layer"]),
            "peak": float(peak["balanced_accuracy"]),
            "peak_layer": int(peak["layer"]),
            "spearman_depth": (
                float("nan") if level else float(spearmanr(deep["layer"], accuracy).statistic)
            ),
        },
    )


def constant_within_games(prompts: pd.DataFrame, target: str) -> bool:
    """Tell whether a game's name fixes the target, so that decoding the game would do."""
    known = prompts[prompts[target].notna()]
    return bool((known.groupby("game")[target].nunique() <= 1).all())


def nash_weakly_encoded(
    tables: Mapping[str, pd.DataFrame], settings: Settings
) -> Measurement | Missing:
    """M3: the largest accuracy over layers, with bounds for the largest of the true values.

    Upper: the largest of the layers' own upper bounds; the true maximum lies at some one layer,
    whose bound covers it, so no correction is due. Lower: the largest of the lower bounds, each
    at a level divided by the number of layers.
    """
    rows = _target(tables["probes"], "nash_action")
    if isinstance(rows, Missing):
        return rows
    if rows[["ci_low", "ci_high"]].isna().any(axis=None):
        return Missing("the nash_action probe has no interval (too few matches)", "inconclusive")
    accuracy = rows["balanced_accuracy"].to_numpy(dtype=float)
    error = np.array([accuracy_error(row, settings.z) for _, row in rows.iterrows()])
    wide = float(ndtri(1.0 - (1.0 - settings.confidence) / (2.0 * len(rows))))
    best = int(accuracy.argmax())
    matches = int(rows["n_matches"].max())
    # The claim is about every layer: it is as doubtful as the layer that speaks most against it.
    p = [
        one_sided_p(WEAK_LIMIT - a, e, matches, settings.resamples)
        for a, e in zip(accuracy, error, strict=True)
    ]
    return Measurement(
        estimate=float(accuracy[best]),
        low=float((accuracy - wide * error).max()),
        high=min(float((accuracy + settings.z * error).max()), 1.0),
        n=int(rows["n"].max()),
        n_matches=matches,
        control=float(rows["permutation_max_high"].max()),
        p_value=float(max(p)),
        detail={
            "layer": int(rows["layer"].iloc[best]),
            "layers": len(rows),
            "limit": WEAK_LIMIT,
            "permutation_p": float(rows["p_value_max"].iloc[best]),
            **_elsewhere(tables["probes"], rows.iloc[best]),
            "game_fixes_target": constant_within_games(tables["prompts"], "nash_action"),
        },
    )
