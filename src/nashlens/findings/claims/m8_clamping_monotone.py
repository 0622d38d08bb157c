"""M8: behaviour is monotone in the clamped value of a Nash direction.

The residual stream is clamped to several values along a direction, on games that the direction was
not fitted on. The estimate is the rank correlation of these values with what the direction is meant
to move (as in M7), averaged over blocks, for the direction and the place where the change is
surest; bounds hold for all of them at once. The control is random directions, clamped as far at the
same places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nashlens.contrasts import rank_correlations
from nashlens.findings.claim import Claim, JudgeSettings, Missing, Tables, joined, with_bounds
from nashlens.findings.conditions import Outcome, above, at_least, below, case, decided, told
from nashlens.findings.shared.sweep import (
    CARRIES,
    LEAST_CHANGE,
    Best,
    SweepEvidence,
    after_layers,
    choose_best,
    common_evidence,
    compare_with_random,
    complete_sweep,
)
from nashlens.steering.readings import Target

LEAST_CORRELATION = 0.3
"""Mean rank correlation that counts as monotone at all."""
CORRELATION, CHANGE = range(2)
"""What `Target.monotone` reads."""


@dataclass(frozen=True, kw_only=True)
class ClampingMonotone(SweepEvidence):
    """The rank correlation of the target, and the change that it comes with."""

    monotone_share: float
    """Share of blocks whose target never falls."""
    change: float
    """Change of the target from the smallest to the largest value."""
    change_low: float
    """Its lower bound."""
    clamp_low: float
    """Smallest value."""
    clamp_high: float
    """Largest value."""


def estimate(tables: Tables, settings: JudgeSettings) -> ClampingMonotone | Missing:
    """Correlate each target with the clamped value, block by block, at every place."""
    responses = complete_sweep(tables, "clamp", "steering.clamps")
    if isinstance(responses, Missing):
        return responses
    best = choose_best(
        responses,
        Target.monotone,
        "M8",
        settings,
        lambda bounds, high, least: (
            (high[bounds.at(CORRELATION)] >= LEAST_CORRELATION) & (high[bounds.at(CHANGE)] >= least)
        ),
    )
    if isinstance(best, Missing):
        return best
    found, random, target = best.bounds.found, compare_with_random(best), best.target
    change = best.column(CHANGE)
    common = common_evidence(best, CORRELATION)
    steps = np.diff(target.values[target.chosen][:, best.place], axis=1)
    return ClampingMonotone(
        **common | {"low": max(common["low"], -1.0), "high": min(common["high"], 1.0)},
        control=_random_correlation(best),
        # Above 0 *and* beyond random.
        p_value=float(np.nanmax([best.p_value(CORRELATION, settings.resamples), random.p_value])),
        monotone_share=float((steps >= 0).all(axis=1).mean()),
        change=float(found.estimate[change]),
        change_low=float(best.bounds.low[change]),
        clamp_low=float(responses.doses[0]),
        clamp_high=float(responses.doses[-1]),
        random=random,
    )


def _random_correlation(best: Best) -> float:
    """Return the median size of random directions' mean rank correlation at the same place."""
    target, sizes = best.target, []
    for name in target.responses.random:
        values = target.responses.parts(name)[target.part][:, [best.place]].round(7)
        each = rank_correlations(values, target.responses.response(name).doses)
        sizes.append(abs(float(target.estimate(each).estimate[0])))
    return float(np.median(sizes)) if sizes else np.nan


def rule(e: ClampingMonotone) -> Outcome:
    """Ask for a correlation and a change that count, beyond every random direction."""
    needs = (
        above("lower bound of the rank correlation", e.low, 0.0),
        above("lower bound of the change (P)", e.change_low, 0.0),
        at_least("change (P)", e.change, e.least),
    )
    beaten = e.random.condition
    reach = told(
        f"at some place the correlation can reach {LEAST_CORRELATION:g} and the change"
        f" {LEAST_CHANGE:g} of P and what half of the random directions do",
        e.within_reach,
    )
    return decided(
        case(
            "inconclusive",
            *needs,
            below("number of random directions", e.random.n, 1),
            because="there is no random direction to compare with",
        ),
        case("inconclusive", *needs, without=[beaten], because="random directions do as much"),
        case("supported", *needs, beaten),
        case("contradicted", without=[reach]),
        case("inconclusive"),
    )


def reason(e: ClampingMonotone, outcome: Outcome) -> str:
    """Say the correlation, the share of monotone blocks, the change, and that of random ones."""
    numbers = (
        f"the {e.direction} direction {after_layers(e.layers)}: rank correlation of the {e.part}"
        f" with the clamped value {with_bounds(e)}, {100 * e.monotone_share:.0f}% of blocks"
        f" monotone; it changes by {e.change:+.2f} of P from {e.clamp_low:g} to {e.clamp_high:g}"
        " deviations"
    )
    if e.random.n:
        numbers += f", random directions by up to {e.random.largest:.2f}"
    return joined(numbers, outcome.because)


CLAIM = Claim(
    id="M8",
    statement="Behaviour is monotone in the clamped value of the Nash direction.",
    measure="mean rank correlation of the target of M7 with the clamped value, over blocks, for the"
    " kind of direction and the place where the target changes and random ones change it least",
    unit="in rank correlation",
    largest_effect=1.0,
    control="median size of it for random directions, clamped at the smallest and largest value",
    paper="significant positive correlation with the injected value",
    tables=("steering",),
    interval="student",
    supported="the rank correlation with the clamped value lies above 0, the target's change is at"
    f" least {LEAST_CHANGE:g} (for the `label` direction at least {CARRIES:.0%} of that on words"
    " that it knows) and above 0 with its interval, and no random direction changes it as much",
    contradicted=f"at no place can the correlation reach {LEAST_CORRELATION:g} and the change what"
    " counts and half of the random directions do",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
