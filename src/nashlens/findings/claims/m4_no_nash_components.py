"""M4: no dedicated group of heads or MLPs computes the Nash action.

Heads and MLPs are chosen on some histories and ablated on others in three groups: heads, MLPs, and
both together at all positions. The estimate is how far the logit of the Nash action falls against
the other action, free of preferences for labels and places (the *action part*), beyond random
groups in the same prompts, which are the control. Intervals are Student's over histories, and one
that contradicts the claim holds for all three groups at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from nashlens.circuits.readings import ARMS, Ablations, rows_of_arms
from nashlens.findings.claim import (
    Claim,
    Evidence,
    JudgeSettings,
    Missing,
    Tables,
    joined,
    with_bounds,
)
from nashlens.findings.conditions import (
    Condition,
    Outcome,
    above,
    at_least,
    at_most,
    below,
    case,
    decided,
)

LEAST_DROP = 0.2
"""Drop of the Nash action's lead, in logits, that counts as a change (P from 0.55 to 0.5)."""
LEAST_SHARE = 0.5
"""Share of the Nash action's lead that counts as a change, too."""
LEAST_MASS = 0.1
"""Share of the labels' probability that an ablation must leave, so that it counts. What answers
raises that probability too: without it a planted model keeps a third."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What ablating one kind of group costs, beyond random groups."""

    component: str
    """`head`, `mlp`, or `both`."""
    positions: str
    """`decision`, or `all`."""
    heads: str
    """The candidate group: `layer.head`, or `layer.mlp`."""
    estimate: float
    low: float
    high: float
    at_once_low: float
    """Lower bound that holds for all arms at once."""
    n: int
    n_matches: int
    p_value: float
    error: float
    freedom: float
    random_groups: int
    """Number of random groups."""
    drop: float
    """Drop of the Nash action's logit when the candidate group is ablated."""
    random_mean: float
    """Mean drop of the random groups."""
    random_largest: float
    """Largest drop of a random group."""
    word_part: float
    """What ablating the candidate group costs the pair's first label."""
    place_part: float
    """What it costs the option listed first."""
    mass_kept: float
    """Share of the two labels' probability that the ablation leaves in the median prompt."""
    spread_label_sets: float
    """Standard deviation of the estimate between label sets; NaN where there is one."""
    spread_templates: float
    """The same between templates."""
    preference: float
    """Logit by which the Nash action leads without an ablation: its action part."""
    preference_low: float
    """Its lower bound."""
    preference_high: float
    """Its upper bound."""

    @property
    def matters(self) -> bool:
        """Whether the group computes the Nash action, as far as can be told."""
        return all(one.holds for one in _against(self))

    @property
    def name(self) -> str:
        """The arm in words."""
        return ARMS[self.component, self.positions]


@dataclass(frozen=True, kw_only=True)
class NoNashComponents(Evidence):
    """The arm that decides, and all arms, the heads at the decision first."""

    decides: Arm
    arms: tuple[Arm, ...]


def estimate(tables: Tables, settings: JudgeSettings) -> NoNashComponents | Missing:
    """Contrast each candidate group with the random ones, block by block."""
    rows = rows_of_arms(tables["heads"])
    if not rows:
        return Missing("the heads table has no prompt on which a group was ablated")
    found = [_arm(*arm, table, settings, len(rows)) for arm, table in rows.items()]
    first = found[0]
    if isinstance(first, Missing):
        return first
    # An arm of too few histories says nothing: neither for the claim nor against it.
    arms = tuple(arm for arm in found if isinstance(arm, Arm))
    against = [arm for arm in arms if arm.matters]
    if against:
        decides = max(against, key=lambda arm: arm.at_once_low)
    else:
        decides = max(arms, key=lambda arm: np.nan_to_num(max(arm.high, -arm.low), nan=-np.inf))
    return NoNashComponents(
        estimate=decides.estimate,
        low=decides.low,
        high=decides.high,
        n=decides.n,
        n_matches=decides.n_matches,
        control=decides.random_largest - decides.random_mean,
        # All arms must lie within the bounds.
        p_value=float(np.max([arm.p_value for arm in arms])),
        error=decides.error,
        freedom=decides.freedom,
        decides=decides,
        arms=arms,
    )


def _arm(
    component: str, positions: str, table: pd.DataFrame, settings: JudgeSettings, arms: int
) -> Arm | Missing:
    """Contrast one arm's candidate group with its random ones."""
    kinds = ("candidate", "random", "none")
    candidate, random, baseline = (Ablations(table, kind) for kind in kinds)
    problem = _problem(candidate, random, baseline)
    if problem is not None:
        return problem
    blocks, costs = candidate.blocks, random.parts["action"]
    drop = candidate.parts["action"]
    difference = drop - costs.mean(axis=1, keepdims=True)
    lead = Ablations(table, "none", "logit_nash").parts["action"]
    other = [candidate.parts[part] for part in ("word", "place")]
    # Columns: the estimate and its opposite, the unablated lead, the drop and its other parts,
    # each random group.
    found = blocks.estimate(np.hstack([difference, -difference, lead, drop, *other, costs]))
    if np.isnan(found.error[0]):
        return Missing("a game has one history to test on: no interval", "inconclusive")
    mean, (low, high) = found.estimate, found.interval(settings.confidence)
    at_once, _ = found.interval(settings.confidence, at_once=arms)
    # Two one-sided tests: the claim is that the drop lies within the bounds on either side.
    p = found.p_above(-LEAST_DROP, settings.resamples)[:2].max()
    effect = blocks.estimate(difference)
    masses = [Ablations(table, kind, "label_mass").values[:, 0] for kind in ("candidate", "none")]
    return Arm(
        component=component,
        positions=positions,
        heads=str(candidate.places["heads"].iloc[0]),
        estimate=float(mean[0]),
        low=float(low[0]),
        high=float(high[0]),
        at_once_low=float(at_once[0]),
        n=found.n,
        n_matches=found.n_clusters,
        p_value=float(p),
        error=float(found.error[0]),
        freedom=float(found.freedom[0]),
        random_groups=len(random.names),
        drop=float(mean[3]),
        random_mean=float(mean[6:].mean()),
        random_largest=float(mean[6:].max()),
        word_part=float(mean[4]),
        place_part=float(mean[5]),
        # Label sets differ in their mass by factors: a mean would be that of a few prompts.
        mass_kept=float(np.median(masses[0] / masses[1])),
        spread_label_sets=float(effect.over("label_set")[2][0]),
        spread_templates=float(effect.over("template")[2][0]),
        preference=float(mean[2]),
        preference_low=float(low[2]),
        preference_high=float(high[2]),
    )


def _problem(candidate: Ablations, random: Ablations, baseline: Ablations) -> Missing | None:
    lists = [ablations.prompts["prompt_id"].tolist() for ablations in (candidate, random, baseline)]
    if not random.names or lists.count(lists[0]) < len(lists):
        return Missing("there is no random group of components to compare with", "inconclusive")
    if not len(candidate.blocks):
        return Missing(
            "no scenario was asked in both prompts.label_maps and both prompts.option_orders:"
            " without that an action cannot be told from its token and its place"
        )
    return None


def _against(arm: Arm) -> tuple[Condition, ...]:
    """Return what holds of a group that computes the Nash action, as far as can be told."""
    return (
        above(
            f"{arm.name}: lower bound of the drop beyond random groups, for all at once (logits)",
            arm.at_once_low,
            LEAST_DROP,
        ),
        above(f"{arm.name}: drop, against that of any random group", arm.drop, arm.random_largest),
        at_least(
            f"{arm.name}: share of the labels' probability that is kept", arm.mass_kept, LEAST_MASS
        ),
    )


def rule(e: NoNashComponents) -> Outcome:
    """Ask whether a drop counts, and whether there was a preference to lose."""
    # The lead is that of the arm with the most histories.
    lead = e.arms[0]
    limit = min(LEAST_DROP, LEAST_SHARE * lead.preference)
    no_lead = at_most(
        "lower bound of the Nash action's lead with nothing ablated (logits)",
        lead.preference_low,
        LEAST_DROP,
    )
    broken = [
        case(
            "inconclusive",
            below(
                f"{arm.name}: share of the labels' probability that is kept",
                arm.mass_kept,
                LEAST_MASS,
            ),
            at_least(_beyond(arm, "upper"), arm.high, limit),
            because=f"ablating {arm.name} breaks the answer as such",
        )
        for arm in e.arms
    ]
    within = [
        one
        for arm in e.arms
        for one in (
            above(_beyond(arm, "lower"), arm.low, -LEAST_DROP),
            below(_beyond(arm, "upper"), arm.high, limit),
        )
    ]
    return decided(
        case("contradicted", *_against(e.decides)),
        case(
            "inconclusive",
            no_lead,
            because="no preference for the Nash action that components could compute",
        ),
        *broken,
        case("supported", *within),
        case("inconclusive"),
    )


def _beyond(arm: Arm, bound: str) -> str:
    return f"{arm.name}: {bound} bound of the drop beyond random groups (logits)"


def reason(e: NoNashComponents, outcome: Outcome) -> str:
    """Say the drop, that of random groups, the lead, and the other arms."""
    arm = e.decides
    others = "; ".join(
        f"{other.name} ({other.heads}) {other.estimate:.2f} [{other.low:.2f}, {other.high:.2f}]"
        for other in e.arms
        if other is not arm
    )
    numbers = (
        f"ablating {arm.name} ({arm.heads}) costs the Nash action {arm.drop:.2f} logits,"
        f" {arm.random_groups} random groups {arm.random_mean:.2f} on average and"
        f" {arm.random_largest:.2f} at most: beyond them {with_bounds(e)} logits"
        f"{'; ' * bool(others)}{others}; unablated it leads by {arm.preference:.2f}"
        f" [{arm.preference_low:.2f}, {arm.preference_high:.2f}]; the pair's first label loses"
        f" {arm.word_part:.2f}"
    )
    return joined(numbers, outcome.because, ": ")


CLAIM = Claim(
    id="M4",
    statement="No dedicated group of heads or MLPs computes the Nash action.",
    measure="action part of the drop of the Nash action's logit when a chosen group of heads, of"
    " MLPs, or of both at all positions is ablated, beyond the mean of random groups; of the group"
    " that decides",
    unit="logits",
    control="largest of the random groups, beyond their mean",
    paper="ablating the most plausible heads changes nothing",
    tables=("heads",),
    interval="student",
    supported="what ablating the chosen heads costs the Nash action, beyond random groups, lies"
    f" with its interval within {LEAST_DROP:g} logits and below {LEAST_SHARE:.0%} of the Nash"
    f" action's lead, which is above {LEAST_DROP:g} logits with its interval; so does what the"
    " chosen MLPs cost, and both at all positions",
    contradicted=f"one of these drops lies above {LEAST_DROP:g} logits with an interval that holds"
    " for all of them at once, beyond every random group, and the two labels keep"
    f" {LEAST_MASS:.0%} of their probability in the median prompt",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
