"""M3: the Nash action is only weakly encoded, at every layer.

The estimate is the largest balanced accuracy over layers, with bounds for the largest of the true
values. Upper: the largest of the layers' own upper bounds; the true maximum lies at some one layer,
whose bound covers it, so no correction is due. Lower: the largest of the lower bounds, each at a
level divided by the number of layers.

Where no game's Nash action varies, decoding which game it is does as well. A strong probe is then
inconclusive, and no contradiction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtri

from nashlens.contrasts import one_sided_p
from nashlens.findings.claim import (
    Claim,
    JudgeSettings,
    Missing,
    Outcome,
    Tables,
    joined,
    verdict_of,
    with_bounds,
)
from nashlens.findings.shared.probe_rows import (
    ProbeEvidence,
    accuracy_error,
    held_out_accuracies,
    target_rows,
)

TARGET = "nash_action"
WEAK_LIMIT = 0.65
"""Balanced accuracy that still counts as weak encoding (the paper's largest is 0.56)."""


@dataclass(frozen=True, kw_only=True)
class NashWeak(ProbeEvidence):
    """The largest accuracy, and whether the game alone would give it."""

    layer: int
    """Layer of the largest accuracy."""
    layers: int
    """Number of layers probed."""
    limit: float
    """`WEAK_LIMIT`."""
    permutation_p: float
    """Rank of the accuracy among the permutations' largest over layers."""
    game_fixes_target: bool
    """Whether every game has one Nash action only."""


def estimate(tables: Tables, settings: JudgeSettings) -> NashWeak | Missing:
    """Find the layer with the largest accuracy."""
    rows = target_rows(tables["probes"], TARGET)
    if isinstance(rows, Missing):
        return rows
    if rows[["ci_low", "ci_high"]].isna().any(axis=None):
        return Missing(f"the {TARGET} probe has no interval (too few matches)", "inconclusive")
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
    return NashWeak(
        estimate=float(accuracy[best]),
        low=float((accuracy - wide * error).max()),
        high=min(float((accuracy + settings.z * error).max()), 1.0),
        n=int(rows["n"].max()),
        n_matches=matches,
        control=float(rows["permutation_max_high"].max()),
        p_value=float(max(p)),
        layer=int(rows["layer"].iloc[best]),
        layers=len(rows),
        limit=WEAK_LIMIT,
        permutation_p=float(rows["p_value_max"].iloc[best]),
        held_out=held_out_accuracies(tables["probes"], rows.iloc[best]),
        game_fixes_target=constant_within_games(tables["prompts"], TARGET),
    )


def constant_within_games(prompts: pd.DataFrame, target: str) -> bool:
    """Tell whether a game's name fixes the target, so that decoding the game would do."""
    known = prompts[prompts[target].notna()]
    return bool((known.groupby("game")[target].nunique() <= 1).all())


def rule(e: NashWeak) -> Outcome:
    """Compare the bounds with `WEAK_LIMIT`."""
    strong = e.low > WEAK_LIMIT
    if strong and e.game_fixes_target and not e.high <= WEAK_LIMIT:
        return Outcome(
            "inconclusive",
            "each game fixes its Nash action here, so decoding which game it is would do as well",
        )
    return Outcome(verdict_of(e.high <= WEAK_LIMIT, strong))


def reason(e: NashWeak, outcome: Outcome) -> str:
    """Say the largest accuracy and the limit."""
    numbers = (
        f"largest balanced accuracy {with_bounds(e)}, at layer {e.layer} of {e.layers} probed;"
        f" the limit is {e.limit:.2f}"
    )
    return joined(numbers, outcome.because)


CLAIM = Claim(
    id="M3",
    statement="The Nash action is only weakly encoded, at every layer.",
    measure="largest balanced accuracy of the nash_action probe over layers",
    unit="in balanced accuracy",
    beyond=f"{WEAK_LIMIT:g}",
    largest_effect=1.0 - WEAK_LIMIT,
    control="upper quantile of the same with labels permuted",
    paper="never above 56%",
    tables=("probes", "prompts"),
    supported=f"the upper bound of the largest accuracy over layers is at most {WEAK_LIMIT:g}",
    contradicted=f"its lower bound lies above {WEAK_LIMIT:g}, and the Nash action varies within a"
    " game",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
