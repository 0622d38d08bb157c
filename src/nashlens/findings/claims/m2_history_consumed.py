"""M2: later layers consume the opponent's history.

The probe of the opponent's last action at layer 1 is compared with that at the last layer, on the
same prompts, at the decision. The estimate is the loss of balanced accuracy between them; its
interval adds the bootstrap errors of both, which makes it too wide rather than too narrow. The
control is the same loss with permuted labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nashlens.contrasts import one_sided_p, rank_correlations
from nashlens.findings.claim import Claim, JudgeSettings, Missing, Tables, joined, with_bounds
from nashlens.findings.claims.m1_history_early import DECODABLE
from nashlens.findings.conditions import Outcome, above, at_least, below, case, decided
from nashlens.findings.shared.elsewhere import PositionEvidence, best_elsewhere
from nashlens.findings.shared.probe_rows import accuracy_error, named_layers, target_rows

TARGET = "opponent_last"
LEAST_LOSS = 0.05
"""Loss of balanced accuracy that counts as consumption."""


@dataclass(frozen=True, kw_only=True)
class HistoryConsumed(PositionEvidence):
    """The loss, with the accuracies that it is made of."""

    first: float
    """Balanced accuracy at layer 1."""
    first_low: float
    """Its lower bound."""
    first_control: float
    """Upper quantile at layer 1 with labels permuted."""
    last: float
    """Balanced accuracy at the last layer."""
    last_layer: int
    peak: float
    """Largest balanced accuracy of any probed layer."""
    peak_layer: int
    probed: str
    """Which layers were probed, in words."""
    spearman_depth: float
    """Rank correlation of accuracy with depth; NaN with fewer than three layers."""


def estimate(tables: Tables, settings: JudgeSettings) -> HistoryConsumed | Missing:
    """Take the last layer's accuracy from that of layer 1."""
    rows = target_rows(tables["probes"], TARGET)
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
    return HistoryConsumed(
        estimate=loss,
        low=loss - settings.z * error,
        high=loss + settings.z * error,
        n=int(first["n"]),
        n_matches=int(first["n_matches"]),
        control=float(first["permutation_mean"] - last["permutation_mean"]),
        p_value=one_sided_p(loss, error, int(first["n_matches"]), settings.resamples),
        error=error,
        freedom=float(first["n_matches"]) - 1.0,
        critical=settings.z,
        first=float(first["balanced_accuracy"]),
        first_low=float(first["ci_low"]),
        first_control=float(first["permutation_high"]),
        last=float(last["balanced_accuracy"]),
        last_layer=int(last["layer"]),
        peak=float(peak["balanced_accuracy"]),
        peak_layer=int(peak["layer"]),
        probed=named_layers(deep),
        spearman_depth=(
            float("nan")
            if level
            else float(rank_correlations(accuracy, deep["layer"].to_numpy(dtype=float)))
        ),
        elsewhere=best_elsewhere(tables["probes"], TARGET, DECODABLE),
    )


def rule(e: HistoryConsumed) -> Outcome:
    """Ask for a loss that counts, of something that was decodable and falls with depth."""
    decodable = above(
        "lower bound of the balanced accuracy at layer 1, against permuted labels and chance",
        e.first_low,
        max(e.first_control, 0.5),
    )
    grows = below("upper bound of the loss", e.high, 0.0)
    loss = (
        above("lower bound of the loss", e.low, 0.0),
        at_least("loss of balanced accuracy", e.estimate, LEAST_LOSS),
    )
    level = at_least("rank correlation of accuracy with depth", e.spearman_depth, 0.0)
    return decided(
        case(
            "inconclusive",
            without=[decodable, grows],
            because="nothing was decodable at layer 1 to be consumed",
        ),
        case("inconclusive", *loss, level, because="the accuracy does not fall with depth"),
        case("supported", *loss, without=[level]),
        case("contradicted", below("upper bound of the loss", e.high, LEAST_LOSS)),
        case("inconclusive"),
    )


def reason(e: HistoryConsumed, outcome: Outcome) -> str:
    """Say the accuracies and the loss."""
    numbers = (
        f"balanced accuracy {e.first:.2f} at layer 1 and {e.last:.2f} at layer {e.last_layer}: a"
        f" loss of {with_bounds(e)}; peak {e.peak:.2f} at layer {e.peak_layer}, of {e.probed}"
    )
    return joined(joined(numbers, outcome.because), e.positions)


CLAIM = Claim(
    id="M2",
    statement="Later layers consume the opponent's history.",
    measure="balanced accuracy of the opponent_last probe, layer 1 minus the last layer",
    unit="in balanced accuracy",
    largest_effect=1.0,
    control="the same difference with labels permuted (mean)",
    paper="consumed progressively by later layers",
    tables=("probes",),
    supported="the loss from layer 1 to the last layer lies above 0 with its interval and is at"
    f" least {LEAST_LOSS:g}, and accuracy falls with depth",
    contradicted="the interval of the loss lies below 0, or below"
    f" {LEAST_LOSS:g} where the history was decodable at layer 1",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
