"""B4: models of two families and one size differ in their Nash distance.

Two models of one size and of different families each play themselves in direct mode, in the same
games. The estimate is the Nash distance of the first (how far a match's shares of outcomes are from
the nearest equilibrium) less that of the second, with Student's interval over matches. The control
is the same difference if the first one played uniformly at random.
"""

from __future__ import annotations

from itertools import combinations

from nashlens.findings.claim import JudgeSettings
from nashlens.findings.shared.distance import (
    APART_CONTRADICTED,
    APART_SUPPORTED,
    CONTROL_AT_RANDOM,
    NASH_TV,
    DistanceClaim,
    DistanceComparison,
    contrast_each,
    p_of_arms_apart,
    rule_of_arms_apart,
)
from nashlens.findings.shared.field import PlayField
from nashlens.findings.shared.play import EvidenceBySubject
from nashlens.findings.shared.sizes import list_sizes_and_families

MATCHED = 1.25
"""Largest ratio of two sizes that count as one: the paper's 70 and 72 billion lie well within."""


def estimate(play: PlayField, settings: JudgeSettings) -> EvidenceBySubject:
    """Yield, of each pair, the distance of the first less that of the second in direct play."""
    models = play.with_mode("direct")
    comparisons = []
    for one, two in combinations(models, 2):
        if one.family != two.family and two.parameters <= MATCHED * one.parameters:
            arms = {model.name: (model, "direct") for model in (one, two)}
            comparisons.append(DistanceComparison("--".join(arms), arms, p_of_arms_apart))
    lacking = (
        f"no two models of different families and of one size (at most {MATCHED:g} times apart)"
        f" play themselves in mode direct; there are {list_sizes_and_families(models)}"
    )
    return contrast_each(play, settings, comparisons, lacking)


CLAIM = DistanceClaim(
    id="B4",
    statement="Models of two families and one size differ in their Nash distance.",
    measure=f"{NASH_TV}: the first model less the second, direct self-play",
    control=CONTROL_AT_RANDOM.format("the first"),
    paper="",
    supported=APART_SUPPORTED,
    contradicted=APART_CONTRADICTED,
    estimate=estimate,
    rule=rule_of_arms_apart,
)
