"""Rows of the probes table, as the claims about what probes decode read them (M1, M2, M3).

These claims read the probes table only, so their standard errors come from its intervals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from nashlens.findings.claim import NOT_IN_DETAIL, Evidence, Missing
from nashlens.kept import at_position
from nashlens.vocabulary.positions import DECISION

BASELINES = {
    "embedding": "the embedding alone",
    "bag_of_words": "the prompt's bag of words",
    "random_weights": "the same architecture with random weights",
}
"""Columns of what a probe reaches without the model's training, in words."""


@dataclass(frozen=True, kw_only=True)
class ProbeEvidence(Evidence):
    """Evidence from a probe that was also tested on what its training lacked."""

    held_out: Mapping[str, float] = field(metadata=NOT_IN_DETAIL)
    """Accuracy where a game, label set or template is held out, by `held_out_{split}`."""

    def detail(self) -> dict[str, Any]:
        """Return the fields by name, each held-out accuracy under a name of its own."""
        return {**super().detail(), **self.held_out}


def target_rows(
    probes: pd.DataFrame, target: str, position: str = DECISION
) -> pd.DataFrame | Missing:
    """Return a target's sound rows of the split by match, by layer, or why there are none."""
    probes = at_position(probes, position)
    rows = probes[(probes["target"] == target) & (probes["split"] == "match")]
    if rows.empty:
        return Missing(f"{target} was not probed: add it to probes.targets")
    sound = rows[(rows["status"] == "ok") & rows["balanced_accuracy"].notna()]
    if sound.empty:
        return Missing(
            f"the {target} target is degenerate: {rows['reason'].iloc[0]}", "inconclusive"
        )
    return sound.sort_values("layer").reset_index(drop=True)


def named_layers(rows: pd.DataFrame) -> str:
    """Name the layers of some rows: those between them were not probed."""
    layers = sorted(set(rows["layer"].astype(int)))
    if len(layers) > 2 and layers[-1] - layers[0] == len(layers) - 1:
        return f"layers {layers[0]} to {layers[-1]}"
    *others, last = map(str, layers)
    return f"layers {', '.join(others)} and {last}" if others else f"layer {last}"


def held_out_accuracies(probes: pd.DataFrame, row: pd.Series) -> dict[str, float]:
    """Return the accuracy of a row's probe where games, label sets or templates are held out."""
    probes = at_position(probes, row.get("position", DECISION))
    same = probes[(probes["target"] == row["target"]) & (probes["layer"] == row["layer"])]
    others = same[(same["split"] != "match") & (same["status"] == "ok")]
    return {
        f"held_out_{split}": float(value)
        for split, value in zip(others["split"], others["balanced_accuracy"], strict=True)
    }


def accuracy_error(row: pd.Series, z: float) -> float:
    """Return a probe row's standard error from its interval, which is `z` errors to each side.

    Perfect accuracy has an interval of width 0; its error is then taken as half a match.
    """
    width = float(row["ci_high"] - row["ci_low"])
    return max(width / (2.0 * z), 0.5 / float(row["n_matches"]))


def best_baseline(row: pd.Series) -> tuple[str, float]:
    """Return a probe row's largest baseline and its accuracy; an empty name where none was made."""
    known = {name: float(row[name]) for name in BASELINES if np.isfinite(row[name])}
    if not known:
        return "", float("nan")
    name = max(known, key=lambda one: known[one])
    return name, known[name]
