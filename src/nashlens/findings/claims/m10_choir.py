"""M10: the override is spread over many components, a choir and not a soloist.

The late components that write against the Nash action are ablated one after another, the one that
writes the most on other histories first. The estimate is the share of the whole effect (the Nash
action's gain when all are ablated, action part) that the first two have. Where one or two carry it,
that is most of it; in a choir it is little. The order may be wrong, which would make a soloist look
like a choir: so in no order that was tried, the random ones included, may a single component add
half of the effect.

The control is the same share in random orders of the same components.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from nashlens.circuits.concentration import LEAST_EFFECT, gini, needed
from nashlens.circuits.readings import Ablations
from nashlens.contrasts import Array
from nashlens.factorial import BlockEstimate
from nashlens.findings.claim import (
    Claim,
    Evidence,
    JudgeSettings,
    Missing,
    Outcome,
    Tables,
    joined,
    verdict_of,
    with_bounds,
)
from nashlens.findings.shared.override import override_problem, writers_problem

FEW = 2
"""Number of components that are no choir."""
HALF = 0.5
"""Share of the effect that as few, or a single one in any order, must carry to be no choir."""


@dataclass(frozen=True, kw_only=True)
class Choir(Evidence):
    """The share of the first components, and how many carry how much."""

    components: int
    """Number of late components that write against the Nash action."""
    late_components: int
    """Number of all late heads and MLPs."""
    total: float
    """Logits that the Nash action gains when all of them are ablated: the whole effect."""
    total_low: float
    """Its lower bound."""
    total_high: float
    """Its upper bound."""
    half: float
    """How many components carry 50% of it."""
    most: float
    """How many carry 80%."""
    nearly_all: float
    """How many carry 95%."""
    random_half: float
    """How many carry 50% in random orders, on average."""
    gini: float
    """Gini coefficient of what each late component adds: 0 where all add the same."""
    largest_step: float
    """Largest share that a single component adds in any order."""
    largest_step_low: float
    """Largest lower bound of such a share, for all components and orders at once."""
    largest_step_high: float
    """Largest upper bound, likewise."""


def estimate(tables: Tables, settings: JudgeSettings) -> Choir | Missing:
    """Estimate the share of the first components, and each one's, if there is an override."""
    problem = override_problem(tables, settings)
    return from_override(tables["override"], settings) if problem is None else problem


def from_override(override: pd.DataFrame, settings: JudgeSettings) -> Choir | Missing:
    """Estimate them in every order, whether or not the lens shows an override."""
    first, orders = Ablations(override, "first"), Ablations(override, "order")
    problem = writers_problem(first, Ablations(override, "none"))
    if problem is not None:
        return problem
    size, blocks = len(first.names), first.blocks
    curves = [-first.parts["action"]]
    if orders.names:
        curves += np.split(-orders.parts["action"], len(orders.names) // size, axis=1)
    whole = curves[0][:, -1:]
    mean = blocks.estimate(np.hstack(curves)).estimate.reshape(len(curves), size)
    total = float(mean[0, -1])
    if total <= 0:
        return Missing(
            f"ablating the components moves the Nash action by {total:.2f} logits: there is no"
            " effect to be shared out",
            "inconclusive",
        )
    few = min(FEW, size) - 1
    beyond = curves[0][:, [few]] - HALF * whole
    found = blocks.estimate(np.hstack([beyond, whole, -beyond]))
    low, high = found.interval(settings.confidence)
    steps = np.hstack([np.diff(curve, axis=1, prepend=0.0) for curve in curves])
    step, step_low, step_high = _bounds(blocks.estimate(steps - HALF * whole), settings)
    by_chance = mean[1:, few].mean() / total if len(curves) > 1 else np.nan
    counts = [float(needed(mean[0], share)) for share in (0.5, 0.8, 0.95)]
    late = int(override["late_components"].iloc[0])
    return Choir(
        estimate=HALF + float(found.estimate[0]) / total,
        low=HALF + float(low[0]) / total,
        high=HALF + float(high[0]) / total,
        n=found.n,
        n_matches=found.n_clusters,
        control=float(by_chance),
        p_value=float(found.p_above(0.0, settings.resamples)[2]) if size > FEW else 1.0,
        error=float(found.error[0]) / total,
        freedom=float(found.freedom[0]),
        components=size,
        late_components=late,
        total=total,
        total_low=float(low[1]),
        total_high=float(high[1]),
        half=counts[0],
        most=counts[1],
        nearly_all=counts[2],
        random_half=float(needed(mean[1:], 0.5).mean()) if len(curves) > 1 else float("nan"),
        gini=float(gini(np.pad(np.diff(mean[0], prepend=0.0), (0, late - size)))),
        largest_step=HALF + step / total,
        largest_step_low=HALF + step_low / total,
        largest_step_high=HALF + step_high / total,
    )


def _bounds(found: BlockEstimate, settings: JudgeSettings) -> tuple[float, float, float]:
    """Return the largest estimate, lower and upper bound, bounds for all columns at once."""
    rng = settings.rng("M10")
    low, high, _ = found.simultaneous(settings.confidence, settings.resamples, rng)
    values: list[Array] = [found.estimate, low, high]
    estimate_, low_, high_ = (float(one.max()) for one in values)
    return estimate_, low_, high_


def rule(e: Choir) -> Outcome:
    """Ask whether there is an effect, and whether few components carry half of it."""
    if not e.total_low > LEAST_EFFECT:
        return Outcome("inconclusive", "they may cause nothing that could be shared out")
    if e.largest_step_low > HALF:
        return Outcome("contradicted", "a single component adds most of it")
    spread = e.high < HALF and e.largest_step_high < HALF
    return Outcome(verdict_of(spread, e.low >= HALF))


def reason(e: Choir, outcome: Outcome) -> str:
    """Say how much the first have, how many carry how much, and how it is in random orders."""
    numbers = (
        f"of {e.late_components} late components {e.components} write against the Nash action;"
        f" ablating all of these brings it {e.total:.2f} [{e.total_low:.2f}, {e.total_high:.2f}]"
        f" logits, of which the first {min(FEW, e.components)} have a share of {with_bounds(e)}"
        f" (in random orders {e.control:.2f}); 50%, 80% and 95% take {e.half:.0f}, {e.most:.0f} and"
        f" {e.nearly_all:.0f} components; a single one adds {e.largest_step:.2f} at most"
        f" [{e.largest_step_low:.2f}, {e.largest_step_high:.2f}] in any order; Gini coefficient"
        f" {e.gini:.2f}"
    )
    return joined(numbers, outcome.because)


CLAIM = Claim(
    id="M10",
    statement="The override is spread over many components: a choir, not a soloist.",
    measure=f"share of the effect of all late components against the Nash action that the first"
    f" {FEW} have, ablated in the order in which they write on other histories",
    unit="of the effect",
    control="the same share in random orders",
    beyond=f"{HALF:g}",
    paper="",
    tables=("override", "lens", "prompts"),
    interval="student",
    supported=f"M6 is supported, ablating all of them brings back more than {LEAST_EFFECT:g} logits"
    f" of Nash play with the interval, the first {FEW} have less than {HALF:.0%} of that with the"
    " interval, and in no order that was tried does a single one add as much, with bounds for all"
    " at once",
    contradicted=f"the effect is as large, and the first {FEW} have {HALF:.0%} of it or more, or a"
    " single one adds as much in some order, with their intervals",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
