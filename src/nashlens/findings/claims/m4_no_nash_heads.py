"""M4: no dedicated group of heads computes the Nash action.

The candidate group was chosen on other matches than those measured here. The estimate is what
ablating it costs the Nash action: the drop of its logit over the other action's, averaged over
games and label maps (so that label preferences cancel), minus the mean drop of random groups of
other heads of the same layers on the same prompts, so that what any ablation there costs does not
count. Intervals are Student's t, since each game and label map has few matches.

Where the model does not favour the Nash action, there is nothing for heads to compute, and a null
result says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nashlens.circuits.readings import Ablations
from nashlens.contrasts import one_sided_p
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
    token_part: float
    """What ablating the candidate group costs the pair's first label."""
    preference: float
    """Logit by which the Nash action leads without an ablation."""
    preference_low: float
    """Its lower bound."""
    preference_high: float
    """Its upper bound."""


def estimate(tables: Tables, settings: JudgeSettings) -> NoNashHeads | Missing:
    """Contrast the candidate group with the random ones, cell by cell of the design."""
    heads = tables["heads"]
    candidate, random = (Ablations(heads, kind, "test") for kind in ("candidate", "random"))
    baseline = Ablations(heads, "none", "test", "logit_nash")
    problem = _problem(candidate, random, baseline)
    if problem is not None:
        return problem
    # Columns: the estimate, the unablated lead, the drop, its token part, each random group.
    values = np.hstack(
        [
            candidate.values - random.values.mean(axis=1, keepdims=True),
            baseline.values,
            candidate.values,
            candidate.token(),
            random.values,
        ]
    )
    mean, draws = candidate.cell_means(values, resamples=settings.resamples, rng=settings.rng("M4"))
    if not len(draws):
        return Missing("no resample of matches holds every game and label map", "inconclusive")
    low, high = candidate.interval(mean, draws, settings.confidence)
    # Two one-sided tests: the claim is that the drop lies within the bounds on either side.
    error = float(candidate.errors(draws)[0])
    p = [
        one_sided_p(gap, error, candidate.freedom + 1, settings.resamples)
        for gap in (LEAST_DROP - mean[0], LEAST_DROP + mean[0])
    ]
    return NoNashHeads(
        estimate=float(mean[0]),
        low=float(low[0]),
        high=float(high[0]),
        n=len(candidate),
        n_matches=len(set(candidate.matches)),
        control=float(mean[4:].max() - mean[4:].mean()),
        p_value=float(max(p)),
        heads=str(candidate.places["heads"].iloc[0]),
        random_groups=len(random.names),
        drop=float(mean[2]),
        random_mean=float(mean[4:].mean()),
        random_largest=float(mean[4:].max()),
        token_part=float(mean[3]),
        preference=float(mean[1]),
        preference_low=float(low[1]),
        preference_high=float(high[1]),
    )


def _problem(candidate: Ablations, random: Ablations, baseline: Ablations) -> Missing | None:
    if not len(candidate):
        return Missing("the heads table has no prompt on which a group of heads was ablated")
    lists = [ablations.prompts["prompt_id"].tolist() for ablations in (candidate, random, baseline)]
    if not random.names or lists.count(lists[0]) < len(lists):
        return Missing("there is no random group of heads to compare with", "inconclusive")
    if candidate.prompts["label_map"].nunique() < 2:
        return Missing(
            "prompts.label_maps has one value: without the swap an action cannot be told from its"
            " token"
        )
    if candidate.least_matches() < 2:
        return Missing(
            "a game and label map has fewer than two matches to test on: no interval",
            "inconclusive",
        )
    return None


def rule(e: NoNashHeads) -> Outcome:
    """Ask whether the drop counts, and whether there was a preference to lose."""
    if e.low > LEAST_DROP and e.drop > e.random_largest:
        return Outcome("contradicted")
    if e.preference_low <= 0:
        return Outcome("inconclusive", "no preference for the Nash action that heads could compute")
    limit = min(LEAST_DROP, LEAST_SHARE * e.preference)
    return Outcome(verdict_of(e.low > -LEAST_DROP and e.high < limit))


def reason(e: NoNashHeads, outcome: Outcome) -> str:
    """Say the drop, that of random groups, and the lead."""
    numbers = (
        f"ablating heads {e.heads} costs the Nash action {e.drop:.2f} logits, {e.random_groups}"
        f" random groups {e.random_mean:.2f} on average and {e.random_largest:.2f} at most: beyond"
        f" them {with_bounds(e)}; unablated it leads by {e.preference:.2f} [{e.preference_low:.2f},"
        f" {e.preference_high:.2f}]"
    )
    return joined(numbers, outcome.because, ": ")


CLAIM = Claim(
    id="M4",
    statement="No dedicated group of heads computes the Nash action.",
    measure="drop of the Nash action's logit when a chosen group of heads is ablated, beyond"
    " the mean of random groups",
    unit="logits",
    control="largest of the random groups, beyond their mean",
    paper="ablating the most plausible heads changes nothing",
    tables=("heads",),
    interval="student",
    supported="what ablating the chosen heads costs the Nash action, beyond random groups, lies"
    f" with its interval within {LEAST_DROP:g} logits and below {LEAST_SHARE:.0%} of the Nash"
    " action's lead, which is above 0 with its interval",
    contradicted=f"that drop lies above {LEAST_DROP:g} logits with its interval, and beyond every"
    " random group",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
