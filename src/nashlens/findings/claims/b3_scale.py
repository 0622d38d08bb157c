"""B3: in direct mode, the larger model of a family plays nearer to Nash.

The largest and the smallest model of a family each play themselves in direct mode, in the same
games. The estimate is the Nash distance of the larger one (how far a match's shares of outcomes are
from the nearest equilibrium) less that of the smaller one, with Student's interval over matches.
The control is the same difference if the larger one played uniformly at random.
"""

from __future__ import annotations

from nashlens.findings.claim import JudgeSettings
from nashlens.findings.conditions import (
    Outcome,
    above,
    at_most,
    below,
    case,
    decided,
    supported_unless,
)
from nashlens.findings.shared.distance import (
    CONTROL_AT_RANDOM,
    LEAST_DISTANCE,
    NASH_TV,
    DistanceClaim,
    DistanceComparison,
    DistanceContrast,
    DistanceEvidence,
    contrast_each,
    random_doubt,
)
from nashlens.findings.shared.field import PlayField, sizes_lacking
from nashlens.findings.shared.play import EvidenceBySubject, surface_case
from nashlens.findings.shared.sizes import families


def estimate(play: PlayField, settings: JudgeSettings) -> EvidenceBySubject:
    """Return each family's distance of its largest model less that of its smallest."""
    models = play.with_mode("direct")
    comparisons = []
    for small, *_, large in families(models):
        arms = {"largest": (large, "direct"), "smallest": (small, "direct")}
        comparisons.append(DistanceComparison(f"{large.family} family", arms, _p_value))
    return contrast_each(play, settings, comparisons, sizes_lacking(models, "direct"))


def _p_value(contrast: DistanceContrast) -> float:
    return max(contrast.difference.p_below(0.0), contrast.arms["largest"].nearer_p)


def rule(evidence: DistanceEvidence) -> Outcome:
    """Decide from the difference, whose largest model must be nearer than random play."""
    return decided(
        surface_case(evidence),
        case(
            "contradicted",
            above("lower bound of the difference", evidence.low, -LEAST_DISTANCE),
            because="the larger model is no nearer",
        ),
        *supported_unless(
            [
                below("upper bound of the difference", evidence.high, 0.0),
                at_most("difference", evidence.estimate, -LEAST_DISTANCE),
            ],
            random_doubt(evidence.arms["largest"], "the largest"),
        ),
    )


CLAIM = DistanceClaim(
    id="B3",
    statement="In direct mode, the larger model of a family plays nearer to Nash.",
    measure=f"{NASH_TV}: a family's largest model less its smallest, direct self-play",
    control=CONTROL_AT_RANDOM.format("the largest"),
    paper="",
    supported=f"the larger model is nearer by at least {LEAST_DISTANCE:g}, with the interval below"
    " 0, and nearer than uniformly random play",
    contradicted=f"the interval stays above -{LEAST_DISTANCE:g}",
    estimate=estimate,
    rule=rule,
)
