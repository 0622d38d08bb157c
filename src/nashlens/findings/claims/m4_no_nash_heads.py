"""M4: no dedicated group of heads computes the Nash action.

The candidate group was chosen on other histories than those measured here. The estimate is what
ablating it costs the Nash action: the action part of the drop of its logit over the other action's,
so that preferences for labels and places cancel in every block, minus the mean of random groups of
other heads of the same layers in the same blocks, so that what any ablation there costs does not
count.

Where the model does not favour the Nash action, there is nothing for heads to compute, and a null
result says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nashlens.circuits.readings import Ablations
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

LEAST_DROP = 0.2
"""Drop of the Nash action's lead, in logits, that counts as a change (P from 0.55 to 0.5)."""
LEAST_SHARE = 0.5
"""Share of the Nash action's lead that counts as a change, too."""


@dataclass(frozen=True, kw_only=True)
class NoNashHeads(Evidence):
    """The drop beyond random groups, with what it is made of."""

    heads: str
    """The candidate group, `layer.head` each."""
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


def estimate(tables: Tables, settings: JudgeSettings) -> NoNashHeads | Missing:
    """Contrast the candidate group with the random ones, block by block."""
    heads = tables["heads"]
    candidate, random = Ablations(heads, "candidate"), Ablations(heads, "random")
    test = heads[heads["phase"] == "test"]
    problem = _problem(candidate, random, Ablations(test, "none"))
    if problem is not None:
        return problem
    blocks, costs = candidate.blocks, random.parts["action"]
    drop = candidate.parts["action"]
    difference = drop - costs.mean(axis=1, keepdims=True)
    lead = Ablations(test, "none", "logit_nash").parts["action"]
    other = [candidate.parts[part] for part in ("word", "place")]
    # Columns: the estimate and its opposite, the unablated lead, the drop and its other parts,
    # each random group.
    found = blocks.estimate(np.hstack([difference, -difference, lead, drop, *other, costs]))
    if np.isnan(found.error[0]):
        return Missing("a game has one history to test on: no interval", "inconclusive")
    mean, (low, high) = found.estimate, found.interval(settings.confidence)
    # Two one-sided tests: the claim is that the drop lies within the bounds on either side.
    p = found.p_above(-LEAST_DROP, settings.resamples)[:2].max()
    effect = blocks.estimate(difference)
    return NoNashHeads(
        estimate=float(mean[0]),
        low=float(low[0]),
        high=float(high[0]),
        n=found.n,
        n_matches=found.n_clusters,
        control=float(mean[6:].max() - mean[6:].mean()),
        p_value=float(p),
        error=float(found.error[0]),
        freedom=float(found.freedom[0]),
        heads=str(candidate.places["heads"].iloc[0]),
        random_groups=len(random.names),
        drop=float(mean[3]),
        random_mean=float(mean[6:].mean()),
        random_largest=float(mean[6:].max()),
        word_part=float(mean[4]),
        place_part=float(mean[5]),
        spread_label_sets=float(effect.over("label_set")[2][0]),
        spread_templates=float(effect.over("template")[2][0]),
        preference=float(mean[2]),
        preference_low=float(low[2]),
        preference_high=float(high[2]),
    )


def _problem(candidate: Ablations, random: Ablations, baseline: Ablations) -> Missing | None:
    if not len(candidate):
        return Missing("the heads table has no prompt on which a group of heads was ablated")
    lists = [ablations.prompts["prompt_id"].tolist() for ablations in (candidate, random, baseline)]
    if not random.names or lists.count(lists[0]) < len(lists):
        return Missing("there is no random group of heads to compare with", "inconclusive")
    if not len(candidate.blocks):
        return Missing(
            "no scenario was asked in both prompts.label_maps and both prompts.option_orders:"
            " without that an action cannot be told from its token and its place"
        )
    return None


def rule(e: NoNashHeads) -> Outcome:
    """Ask whether the drop counts, and whether there was a preference to lose."""
    if e.low > LEAST_DROP and e.drop > e.random_largest:
        return Outcome("contradicted")
    if e.preference_low <= LEAST_DROP:
        return Outcome("inconclusive", "no preference for the Nash action that heads could compute")
    limit = min(LEAST_DROP, LEAST_SHARE * e.preference)
    return Outcome(verdict_of(e.low > -LEAST_DROP and e.high < limit))


def reason(e: NoNashHeads, outcome: Outcome) -> str:
    """Say the drop, that of random groups, and the lead."""
    numbers = (
        f"ablating heads {e.heads} costs the Nash action {e.drop:.2f} logits, {e.random_groups}"
        f" random groups {e.random_mean:.2f} on average and {e.random_largest:.2f} at most: beyond"
        f" them {with_bounds(e)} logits; unablated it leads by {e.preference:.2f}"
        f" [{e.preference_low:.2f}, {e.preference_high:.2f}]; the pair's first label loses"
        f" {e.word_part:.2f}"
    )
    return joined(numbers, outcome.because, ": ")


CLAIM = Claim(
    id="M4",
    statement="No dedicated group of heads computes the Nash action.",
    measure="action part of the drop of the Nash action's logit when a chosen group of heads is"
    " ablated, beyond the mean of random groups",
    unit="logits",
    control="largest of the random groups, beyond their mean",
    paper="ablating the most plausible heads changes nothing",
    tables=("heads",),
    interval="student",
    supported="what ablating the chosen heads costs the Nash action, beyond random groups, lies"
    f" with its interval within {LEAST_DROP:g} logits and below {LEAST_SHARE:.0%} of the Nash"
    f" action's lead, which is above {LEAST_DROP:g} logits with its interval",
    contradicted=f"that drop lies above {LEAST_DROP:g} logits with its interval, and beyond every"
    " random group",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
