"""M8: behaviour is monotone in the clamped value of the Nash direction.

The estimate is the prompts' mean rank correlation of P(action 1) with the clamped value, at the
layer with the largest slope; bounds hold for all layers at once. Where no random direction was
clamped, those that were added show how monotone any push is; the control is theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nashlens.contrasts import bootstrap_draws, one_sided_p, simultaneous_interval
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
from nashlens.findings.shared.sweep import (
    LEAST_CHANGE,
    Sweep,
    SweepEvidence,
    compare_with_random,
    complete_sweep,
    slopes,
)
from nashlens.steering.readings import rank_correlations

LEAST_CORRELATION = 0.3
"""Mean rank correlation that counts as monotone at all."""


@dataclass(frozen=True, kw_only=True)
class ClampingMonotone(SweepEvidence):
    """The rank correlation at the steepest layer, and the change that it comes with."""

    monotone_share: float
    """Share of prompts whose P(action 1) never falls."""
    change: float
    """Change of P(action 1) from the smallest to the largest value."""
    change_low: float
    """Its lower bound."""
    largest_change_high: float
    """Largest upper bound of the change at any layer."""
    largest_high: float
    """Largest upper bound of the correlation at any layer."""
    clamp_low: float
    """Smallest value."""
    clamp_high: float
    """Largest value."""


def estimate(tables: Tables, settings: JudgeSettings) -> ClampingMonotone | Missing:
    """Correlate P(action 1) with the clamped value, prompt by prompt, at every layer."""
    sweep = complete_sweep(tables, "clamp", "steering.clamps")
    if isinstance(sweep, Missing):
        return sweep
    size = len(sweep.layers)
    correlation = rank_correlations(sweep.p, sweep.values)
    change = sweep.p[:, :, -1] - sweep.p[:, :, 0]
    found, draws = bootstrap_draws(
        np.hstack([correlation, change]),
        sweep.matches,
        resamples=settings.resamples,
        rng=settings.rng("M8"),
    )
    low, high = simultaneous_interval(found, draws, settings.confidence)
    best = sweep.steepest
    random = compare_with_random(sweep)
    error = float(draws[:, best].std())
    p = one_sided_p(found[best], error, sweep.n_matches, settings.resamples)
    controls = []
    for _, values, cube in sweep.random or Sweep(tables["steering"], "add").random:
        steepest = int(np.abs(slopes(cube, values)).argmax())
        controls.append(abs(float(rank_correlations(cube[:, steepest], values).mean())))
    return ClampingMonotone(
        estimate=float(found[best]),
        low=max(float(low[best]), -1.0),
        high=min(float(high[best]), 1.0),
        n=len(sweep),
        n_matches=sweep.n_matches,
        control=float(np.median(controls)) if controls else np.nan,
        # Above 0, which pays for the choice among the layers, *and* beyond random where known.
        p_value=float(np.nanmax([min(1.0, size * p), random.p_value])),
        layer=int(sweep.layers[best]),
        layers=size,
        monotone_share=float((np.diff(sweep.p[:, best], axis=1) >= 0).all(axis=1).mean()),
        change=float(found[size + best]),
        change_low=float(low[size + best]),
        largest_change_high=float(high[size:].max()),
        largest_high=float(high[:size].max()),
        clamp_low=float(sweep.values[0]),
        clamp_high=float(sweep.values[-1]),
        random=random,
    )


def rule(e: ClampingMonotone) -> Outcome:
    """Ask for a correlation and a change that count, beyond random directions where known."""
    supported = e.low > 0 and e.change_low > 0 and e.change >= LEAST_CHANGE
    if supported and e.random.n and not e.random.beaten:
        return Outcome("inconclusive", "random directions do as much")
    contradicted = e.largest_high < LEAST_CORRELATION or e.largest_change_high < LEAST_CHANGE
    return Outcome(verdict_of(supported, contradicted))


def reason(e: ClampingMonotone, outcome: Outcome) -> str:
    """Say the correlation, the share of monotone prompts and the change."""
    numbers = (
        f"rank correlation {with_bounds(e)} at layer {e.layer}, {100 * e.monotone_share:.0f}% of"
        f" prompts monotone; P(action 1) changes by {e.change:+.2f} from {e.clamp_low:g} to"
        f" {e.clamp_high:g}"
    )
    return joined(numbers, outcome.because)


CLAIM = Claim(
    id="M8",
    statement="Behaviour is monotone in the clamped value of the Nash direction.",
    measure="mean rank correlation of P(action 1) with the clamped value, steepest layer",
    unit="in rank correlation",
    largest_effect=1.0,
    control="median size of it for random directions (added, if none was clamped)",
    paper="significant positive correlation with the injected value",
    tables=("steering",),
    supported="the rank correlation with the clamped value lies above 0 and the change at or above"
    f" {LEAST_CHANGE:g}, above 0 with its interval; where random directions were clamped, none has"
    " as large a slope",
    contradicted=f"no layer's correlation can reach {LEAST_CORRELATION:g}, or its change"
    f" {LEAST_CHANGE:g}",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
