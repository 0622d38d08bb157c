"""M10: the override is spread over many components, a choir and not a soloist.

The late components that write against the Nash action are ablated one after another, the one that
writes the most on other histories first. The estimate is the share of the whole effect that the
first two have, with Student's interval over histories, and the control is that share in random
orders. No single component may add half of the effect in any order that was tried, with bounds for
all steps at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.circuits.concentration import LEAST_EFFECT, Curves, added, gini, needed
from nashlens.circuits.readings import Ablations
from nashlens.factorial import BlockEstimate
from nashlens.findings.claim import (
    Claim,
    Evidence,
    JudgeSettings,
    Missing,
    Tables,
    joined,
    with_bounds,
)
from nashlens.findings.conditions import Outcome, above, at_least, below, case, decided
from nashlens.findings.shared.override import override_problem, writers_problem

FEW = 2
"""Number of components that are no choir."""
HALF = 0.5
"""Share of the effect that as few, or a single one in any order, must carry to be no choir."""


@dataclass(frozen=True, kw_only=True)
class Choir(Evidence):
    """The share of the first components, and how many carry how much."""

    components: int
    """Number of late components that are put in order: they write nearly all against Nash."""
    against: int
    """Number of all late components that write against the Nash action."""
    late_components: int
    """Number of all late heads and MLPs."""
    held: float
    """Share of the whole effect that those have together that are put in order."""
    sizes: int
    """How many numbers of components were tried."""
    total: float
    """Logits that the Nash action gains when all that write against it are ablated: the whole
    effect."""
    total_low: float
    """Its lower bound."""
    total_high: float
    """Its upper bound."""
    half: float
    """How many components carry 50% of it: the smallest number that was tried and does."""
    most: float
    """How many carry 80%."""
    nearly_all: float
    """How many carry 95%."""
    random_half: float
    """How many carry 50% in random orders, on average."""
    gini: float
    """Gini coefficient of what each late component adds: 0 where all add the same."""
    largest_step: float
    """Largest share that a step adds in any order."""
    step_components: int
    """How many components that step adds."""
    largest_step_low: float
    """Largest lower bound of a share that a single component adds, for all steps and orders at
    once."""
    largest_step_high: float
    """Largest upper bound of what any step adds, likewise."""


def estimate(tables: Tables, settings: JudgeSettings) -> Choir | Missing:
    """Estimate the share of the first components, and each one's, if there is an override."""
    problem = override_problem(tables, settings)
    return from_override(tables["override"], settings) if problem is None else problem


def from_override(override: pd.DataFrame, settings: JudgeSettings) -> Choir | Missing:
    """Estimate them in every order, whether or not the lens shows an override."""
    curves = Curves(override)
    problem = writers_problem(curves.chosen, Ablations(override, "none"))
    if problem is not None:
        return problem
    values, size, blocks = curves.values, len(curves.sizes), curves.chosen.blocks
    whole = values[0][:, -1:]
    mean = blocks.estimate(np.hstack(values)).estimate.reshape(len(values), size)
    total = float(mean[0, -1])
    if total <= 0:
        return Missing(
            f"ablating the components moves the Nash action by {total:.2f} logits: there is no"
            " effect to be shared out",
            "inconclusive",
        )
    components = curves.candidates
    few = curves.sizes.tolist().index(min(FEW, components))
    beyond = values[0][:, [few]] - HALF * whole
    found = blocks.estimate(np.hstack([beyond, whole, -beyond]))
    low, high = found.interval(settings.confidence)
    steps = np.hstack([np.diff(curve, axis=1, prepend=0.0) for curve in values])
    widths = np.tile(curves.widths, len(values))
    step = _largest(blocks.estimate(steps - HALF * whole), widths, settings)
    by_chance = mean[1:, few].mean() / total if len(values) > 1 else np.nan
    counts = [float(needed(mean[0], share, curves.sizes)) for share in (0.5, 0.8, 0.95)]
    half_by_chance = needed(mean[1:], 0.5, curves.sizes)
    late = int(override["late_components"].iloc[0])
    return Choir(
        estimate=HALF + float(found.estimate[0]) / total,
        low=HALF + float(low[0]) / total,
        high=HALF + float(high[0]) / total,
        n=found.n,
        n_matches=found.n_clusters,
        control=float(by_chance),
        p_value=float(found.p_above(0.0, settings.resamples)[2]) if components > FEW else 1.0,
        error=float(found.error[0]) / total,
        freedom=float(found.freedom[0]),
        components=components,
        against=int(curves.sizes[-1]),
        late_components=late,
        held=float(mean[0, curves.sizes == components][0]) / total,
        sizes=size,
        total=total,
        total_low=float(low[1]),
        total_high=float(high[1]),
        half=counts[0],
        most=counts[1],
        nearly_all=counts[2],
        random_half=float(half_by_chance.mean()) if len(values) > 1 else float("nan"),
        gini=float(gini(added(mean[0], curves.widths, late))),
        largest_step=HALF + step.estimate / total,
        step_components=step.components,
        largest_step_low=HALF + step.low / total,
        largest_step_high=HALF + step.high / total,
    )


class _Step(NamedTuple):
    """The step of any order that adds the most beyond half of the effect."""

    estimate: float
    components: int
    low: float
    """Of single components."""
    high: float


def _largest(found: BlockEstimate, widths: NDArray[np.intp], settings: JudgeSettings) -> _Step:
    """Return the largest estimate, lower and upper bound, bounds for all steps at once."""
    rng = settings.rng("M10")
    low, high, _ = found.simultaneous(settings.confidence, settings.resamples, rng)
    most = int(found.estimate.argmax())
    # The first step of every order is one component.
    alone = float(low[widths == 1].max())
    return _Step(float(found.estimate[most]), int(widths[most]), alone, float(high.max()))


def rule(e: Choir) -> Outcome:
    """Ask whether there is an effect, and whether few components carry half of it."""
    effect = above("lower bound of the whole effect (logits)", e.total_low, LEAST_EFFECT)
    step = "bound of the share that a single component adds in any order"
    few = f"bound of the share of the first {FEW}"
    return decided(
        case(
            "inconclusive",
            without=[effect],
            because="they may cause nothing that could be shared out",
        ),
        case(
            "contradicted",
            effect,
            above(f"largest lower {step}", e.largest_step_low, HALF),
            because="a single component adds most of it",
        ),
        case(
            "supported",
            effect,
            below(f"upper {few}", e.high, HALF),
            below(f"largest upper {step}", e.largest_step_high, HALF),
        ),
        case("contradicted", effect, at_least(f"lower {few}", e.low, HALF)),
        case("inconclusive"),
    )


def reason(e: Choir, outcome: Outcome) -> str:
    """Say how much the first have, how many carry how much, and how it is in random orders."""
    tried = "" if e.sizes >= e.against else f" of {e.sizes} numbers that were tried"
    low, high = e.largest_step_low, e.largest_step_high
    step = f"a single one adds {e.largest_step:.2f} at most [{low:.2f}, {high:.2f}] in any order"
    if e.step_components > 1:
        step = (
            f"a step of {e.step_components} adds {e.largest_step:.2f}, the most in any order, and"
            f" none above {high:.2f}"
        )
    numbers = (
        f"of {e.late_components} late components {e.against} write against the Nash action;"
        f" ablating all of these brings it {e.total:.2f} [{e.total_low:.2f}, {e.total_high:.2f}]"
        f" logits, of which the {e.components} that write nearly all have a share of {e.held:.2f},"
        f" and the first {min(FEW, e.components)} one of {with_bounds(e)}"
        f" (in random orders {e.control:.2f}); 50%, 80% and 95% take {e.half:.0f}, {e.most:.0f} and"
        f" {e.nearly_all:.0f} components{tried}; {step}; Gini coefficient"
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
    " interval, and in no order that was tried does a step, of one component or of several, add as"
    " much, with bounds for all at once",
    contradicted=f"the effect is as large, and the first {FEW} have {HALF:.0%} of it or more, or a"
    " single one adds as much in some order, with their intervals",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
