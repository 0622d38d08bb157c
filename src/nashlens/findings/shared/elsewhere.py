"""Where in the prompt a target is decoded best, apart from the decision (M1, M2).

Claims are judged at the decision. Where `probes.positions` has further positions, their reason says
what is found there: a history may well be written where it stands and not at the decision. The
best of several positions and layers was chosen, so its accuracy errs on the large side.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from nashlens.findings.claim import NOT_IN_DETAIL, Evidence, Missing
from nashlens.findings.shared.probe_rows import target_rows
from nashlens.vocabulary.positions import DECISION


@dataclass(frozen=True)
class Elsewhere:
    """The largest accuracy of a target's probes at any position but the decision."""

    position: str
    layer: int
    accuracy: float
    """Balanced accuracy there."""
    low: float
    high: float
    """Its interval, of this position and layer only."""
    first: int | None
    """First layer, from 1, from which on the target is decodable there; None for none."""
    last: float
    """Accuracy at the last layer there."""
    decision: float
    """The largest accuracy at the decision."""
    decision_layer: int

    def detail(self) -> dict[str, Any]:
        """Return the fields under names that say what they are about."""
        return {
            "best_position": self.position,
            "best_position_accuracy": self.accuracy,
            "best_position_low": self.low,
            "best_position_high": self.high,
            "best_position_layer": self.layer,
            "best_position_first_layer": self.first,
            "best_position_last": self.last,
            "decision_peak": self.decision,
            "decision_peak_layer": self.decision_layer,
        }

    def words(self) -> str:
        """Say it in a clause."""
        since = "no layer decodes it for sure"
        if self.first is not None:
            since = f"it is decodable from layer {self.first} on"
        return (
            f"of the other positions {self.position} is best: {since}, with"
            f" {self.accuracy:.2f} [{self.low:.2f}, {self.high:.2f}] at layer {self.layer} and"
            f" {self.last:.2f} at the last; at the decision the largest is {self.decision:.2f}, at"
            f" layer {self.decision_layer}"
        )


@dataclass(frozen=True, kw_only=True)
class PositionEvidence(Evidence):
    """Evidence at the decision, with what was found at other positions."""

    elsewhere: Elsewhere | None = field(default=None, metadata=NOT_IN_DETAIL)
    """None where only the decision was probed."""

    def detail(self) -> dict[str, Any]:
        """Return the fields by name, with those of the best other position."""
        return {**super().detail(), **(self.elsewhere.detail() if self.elsewhere else {})}

    @property
    def positions(self) -> str:
        """What was found at other positions, in words; empty where none was probed."""
        return self.elsewhere.words() if self.elsewhere else ""


def best_elsewhere(probes: pd.DataFrame, target: str, decodable: float) -> Elsewhere | None:
    """Find the position, other than the decision, at which a target is decoded best.

    Parameters
    ----------
    probes : DataFrame
        The probes table.
    target : str
    decodable : float
        Balanced accuracy from which something counts as decodable, if its interval also lies above
        what permuted labels reach.

    Returns
    -------
    Elsewhere or None
        None where no other position has a sound probe after the embedding.
    """
    if "position" not in probes.columns:
        return None
    found = {name: target_rows(probes, target, name) for name in probes["position"].unique()}
    deep = {
        name: rows[rows["layer"] >= 1]
        for name, rows in found.items()
        if not isinstance(rows, Missing) and (rows["layer"] >= 1).any()
    }
    decision = deep.pop(DECISION, None)
    if decision is None or not deep:
        return None
    tops = {name: _largest(rows) for name, rows in deep.items()}
    best = max(tops, key=lambda name: float(tops[name]["balanced_accuracy"]))
    top, rows = tops[best], deep[best]
    floor = rows["permutation_high"].clip(lower=0.5)
    sure = (rows["ci_low"] > floor) & (rows["balanced_accuracy"] >= decodable)
    peak = _largest(decision)
    return Elsewhere(
        position=best,
        layer=int(top["layer"]),
        accuracy=float(top["balanced_accuracy"]),
        low=float(top["ci_low"]),
        high=float(top["ci_high"]),
        first=int(rows.loc[sure, "layer"].iloc[0]) if sure.any() else None,
        last=float(rows["balanced_accuracy"].iloc[-1]),
        decision=float(peak["balanced_accuracy"]),
        decision_layer=int(peak["layer"]),
    )


def _largest(rows: pd.DataFrame) -> pd.Series:
    """Return the row with the largest accuracy."""
    return rows.iloc[int(rows["balanced_accuracy"].to_numpy(dtype=float).argmax())]
