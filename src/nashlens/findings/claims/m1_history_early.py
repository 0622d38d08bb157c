"""M1: the opponent's last action is decodable at the first layer.

A linear probe reads the opponent's last action from the residual stream after layer 1, at the
decision, in matches that it was not fitted on. The estimate is its balanced accuracy, with a
bootstrap interval over matches, and the control is the same probe on permuted labels. The prompt's
text holds the opponent's moves, so the probe must also beat what needs no training of the model:
the embedding, the prompt's bag of words, and layer 1 of the same architecture with random weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from nashlens.contrasts import one_sided_p
from nashlens.findings.claim import Claim, JudgeSettings, Missing, Tables, joined, with_bounds
from nashlens.findings.conditions import Outcome, above, at_least, below, case, decided
from nashlens.findings.shared.elsewhere import PositionEvidence, best_elsewhere
from nashlens.findings.shared.probe_rows import (
    BASELINES,
    ProbeEvidence,
    accuracy_error,
    held_out_accuracies,
    target_rows,
)

TARGET = "opponent_last"
DECODABLE = 0.6
"""Balanced accuracy from which something counts as decodable."""


@dataclass(frozen=True, kw_only=True)
class HistoryEarly(PositionEvidence, ProbeEvidence):
    """Accuracy at layer 1, with what it must beat."""

    embedding: float
    """Accuracy of the embedding; NaN where it was not measured, as the next two."""
    bag_of_words: float
    """Accuracy of how often each word occurs in the prompt."""
    random_weights: float
    """Accuracy of layer 1 of the same architecture with random weights."""
    selectivity: float
    """Accuracy above that of a control task."""
    permutation_mean: float
    """Mean accuracy with permuted labels."""
    permutation_p: float
    """Rank of the accuracy among those with permuted labels."""
    majority: float
    """Accuracy of the larger class, not balanced."""


def estimate(tables: Tables, settings: JudgeSettings) -> HistoryEarly | Missing:
    """Read the probe at layer 1."""
    rows = target_rows(tables["probes"], TARGET)
    if isinstance(rows, Missing):
        return rows
    first = rows[rows["layer"] == 1]
    if first.empty:
        return Missing("layer 1 was not probed: add it to probes.layers")
    row = first.iloc[0]
    return HistoryEarly(
        estimate=float(row["balanced_accuracy"]),
        low=float(row["ci_low"]),
        high=float(row["ci_high"]),
        n=int(row["n"]),
        n_matches=int(row["n_matches"]),
        control=float(row["permutation_high"]),
        p_value=accuracy_p(row, settings.z, settings.resamples),
        error=accuracy_error(row, settings.z),
        freedom=float(row["n_matches"]) - 1.0,
        critical=settings.z,
        embedding=float(row["embedding"]),
        bag_of_words=float(row["bag_of_words"]),
        random_weights=float(row["random_weights"]),
        held_out=held_out_accuracies(tables["probes"], row),
        selectivity=float(row["selectivity"]),
        permutation_mean=float(row["permutation_mean"]),
        permutation_p=float(row["p_value"]),
        majority=float(row["majority"]),
        elsewhere=best_elsewhere(tables["probes"], TARGET, DECODABLE),
    )


def accuracy_p(row: pd.Series, z: float, resamples: int) -> float:
    """Return the p-value of a probe being better than its control.

    The larger of two: the distance to the permutations' mean in standard errors of the bootstrap,
    and in standard deviations of the permutations (from their upper quantile). A rank among a few
    permutations cannot fall below 1 / (permutations + 1) and would decide nothing after correction;
    it is used where a permutation did as well as the truth.
    """
    values = row[["balanced_accuracy", "ci_low", "ci_high", "permutation_high"]]
    if values.isna().any():
        return float("nan")
    gain = float(row["balanced_accuracy"] - max(row["permutation_mean"], 0.5))
    by_cluster = one_sided_p(gain, accuracy_error(row, z), int(row["n_matches"]), resamples)
    spread = float(row["permutation_high"] - row["permutation_mean"])
    deviation = spread / float(ndtri(row["confidence"]))
    by_control = 1.0 if deviation <= 0 and gain <= 0 else float(ndtr(-gain / max(deviation, 1e-9)))
    rank = float(row["p_value"])
    beaten = rank > 1.5 / (1.0 + float(row["permutations"]))
    return max(by_cluster, by_control, rank if beaten else 0.0)


def rule(e: HistoryEarly) -> Outcome:
    """Compare the interval with permutations, baselines and `DECODABLE`."""
    reached = {name: float(getattr(e, name)) for name in BASELINES}
    known = {name: value for name, value in reached.items() if np.isfinite(value)}
    best = max(known, key=lambda name: known[name], default="")
    low = "lower bound of the balanced accuracy"
    beyond = above(f"{low}, against permuted labels and chance", e.low, max(e.control, 0.5))
    better = [above(f"{low}, against {BASELINES[best]}", e.low, known[best])] if best else []
    return decided(
        *(
            case(
                "inconclusive",
                beyond,
                without=[one],
                because=f"{BASELINES[best]} reaches {known[best]:.2f}",
            )
            for one in better
        ),
        case("supported", beyond, *better, at_least("balanced accuracy", e.estimate, DECODABLE)),
        case("contradicted", below("upper bound of the balanced accuracy", e.high, DECODABLE)),
        case("inconclusive"),
    )


def reason(e: HistoryEarly, outcome: Outcome) -> str:
    """Say the accuracy and its control."""
    numbers = f"balanced accuracy {with_bounds(e)} at layer 1, {e.control:.2f} with permuted labels"
    return joined(joined(numbers, outcome.because), e.positions)


CLAIM = Claim(
    id="M1",
    statement="The opponent's last action is decodable at the first layer.",
    measure="balanced accuracy of the opponent_last probe at layer 1",
    unit="in balanced accuracy",
    beyond=f"{DECODABLE:g}",
    largest_effect=1.0 - DECODABLE,
    control="upper quantile of the same with labels permuted",
    paper="96% at the first layer",
    tables=("probes",),
    supported="the interval of balanced accuracy lies above the permutations' upper quantile and"
    " above what the embedding, the prompt's bag of words and the same architecture with random"
    f" weights reach, and the estimate is at least {DECODABLE:g}",
    contradicted=f"the interval lies below {DECODABLE:g}",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
