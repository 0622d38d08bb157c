"""B5: a scratchpad and chain of thought differ in their Nash distance.

A model plays itself in the same games with a scratchpad and with chain of thought. The estimate is
its Nash distance with a scratchpad (how far a match's shares of outcomes are from the nearest
equilibrium) less that with chain of thought, with Student's interval over matches. The control is
the same difference if it played uniformly at random with a scratchpad.
"""

from __future__ import annotations

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
from nashlens.findings.shared.field import PlayField, modes_lacking
from nashlens.findings.shared.play import EvidenceBySubject


def estimate(play: PlayField, settings: JudgeSettings) -> EvidenceBySubject:
    """Return each model's distance with a scratchpad less that after reasoning."""
    modes = ("scratchpad", "cot")
    comparisons = []
    for model in play.with_mode(*modes):
        arms = {mode: (model, mode) for mode in modes}
        comparisons.append(DistanceComparison(model.name, arms, p_of_arms_apart))
    return contrast_each(play, settings, comparisons, modes_lacking(play, *modes))


CLAIM = DistanceClaim(
    id="B5",
    statement="A scratchpad and chain of thought differ in their Nash distance.",
    measure=f"{NASH_TV}: mode scratchpad less mode cot, in self-play",
    control=CONTROL_AT_RANDOM.format("scratchpad"),
    paper="",
    supported=APART_SUPPORTED,
    contradicted=APART_CONTRADICTED,
    estimate=estimate,
    rule=rule_of_arms_apart,
)
