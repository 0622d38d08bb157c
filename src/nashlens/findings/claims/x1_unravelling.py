"""X1: a small model's early defection unravels a larger partner's cooperation.

A small model meets a larger one in the Prisoner's Dilemma. The estimate is the larger one's
cooperation in rounds that can answer the small one's first defection less that in rounds that
cannot, averaged over matches (0 in a match without a defection), with Student's interval. The
control is a seat that does not respond, whose change is 0; and since some stop cooperating whoever
they meet, the larger model must also cooperate less than with itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from nashlens.findings.claim import JudgeSettings, Missing, with_bounds
from nashlens.findings.conditions import (
    Outcome,
    above,
    at_least,
    at_most,
    below,
    case,
    decided,
    supported_unless,
)
from nashlens.findings.shared.cooperation import (
    LEAST_COOPERATION,
    MAJORITY,
    comparable_dilemmas,
    of_each_meeting,
)
from nashlens.findings.shared.field import PlayField
from nashlens.findings.shared.means import ArmMeans
from nashlens.findings.shared.play import (
    Bounded,
    EvidenceBySubject,
    PlayClaim,
    PlayEvidence,
    play_reason,
    surface_case,
)
from nashlens.findings.shared.sizes import SMALL, STEP, SizedModel


@dataclass(frozen=True, kw_only=True)
class UnravellingEvidence(PlayEvidence):
    """Change of the partner's cooperation; the control is a seat that does not respond."""

    small: str
    """The small model with its size."""
    large: str
    """Its partner with its size."""
    first: float
    """Share of matches in which the small model defects, and not after its partner."""
    cooperation: float
    """Share of the partner's decisions that cooperate with the small model."""
    early: Bounded
    """Share of matches in which the small model defects in the first third of rounds."""
    self_play: Bounded
    """Share of the partner's decisions that cooperate with itself."""
    fall: Bounded
    """`cooperation` less `self_play`."""


def estimate(play: PlayField, settings: JudgeSettings) -> EvidenceBySubject:
    """Yield, of each small model and larger one that meet, the change that a defection makes."""
    pairs = [
        (small, large)
        for small in play.models
        for large in play.models
        if small.parameters < SMALL and large.parameters >= STEP * small.parameters
    ]
    no_pair = f"no model below {SMALL / 1e9:g}B meets one of {STEP:g} times its size or more"
    yield from of_each_meeting(play, settings, pairs, no_pair, _of_pair)


def _of_pair(
    play: PlayField, settings: JudgeSettings, small: SizedModel, large: SizedModel
) -> UnravellingEvidence | Missing:
    played = {
        f"{large.name} with {small.name}": play.cross_play(large.name, small.name),
        f"{large.name} with itself": play.self_play(large.name, "direct"),
    }
    arms = comparable_dilemmas(play, played)
    if isinstance(arms, Missing):
        return arms
    with_small, with_itself = arms.rows.values()
    if (with_small["match_rounds"] < 2).all():
        return Missing("matches have fewer than two rounds, so no defection can be answered")
    with_small = _with_answers(with_small)
    cooperation = ArmMeans({"cross": with_small, "self": with_itself}, ["cooperation"], settings)
    means = ArmMeans(
        {"cross": with_small},
        ["change", "early", "first"],
        settings,
        ranges={"change": (-1.0, 1.0)},
    )
    missing = means.missing or cooperation.missing
    if missing is not None:
        return missing
    change, early = means.of_arm("change", "cross"), means.of_arm("early", "cross")
    fall = cooperation.contrast("cooperation", {"cross": 1.0, "self": -1.0})
    players = [(model, "direct") for model in (small, large)]
    return UnravellingEvidence(
        **change.fields(),
        control=0.0,
        p_value=max(change.p_below(0.0), fall.p_below(0.0), early.p_above(MAJORITY)),
        small=small.size,
        large=large.size,
        first=means.of_arm("first", "cross").value,
        cooperation=cooperation.of_arm("cooperation", "cross").value,
        early=early.bounded(),
        self_play=cooperation.of_arm("cooperation", "self").bounded(),
        fall=fall.bounded(),
        left_out=arms.left_out,
        surface=play.first_surface_problem(players, arms.games, settings.confidence),
    )


def _with_answers(rows: pd.DataFrame) -> pd.DataFrame:
    """Add what the partner's first defection changes, whether it is early, and the first at all."""
    own, partner = (
        rows[name].to_numpy(float, na_value=np.nan)
        for name in ("first_defection", "partner_first_defection")
    )
    third = np.maximum(1, rows["match_rounds"].to_numpy(float) // 3)
    answer = rows["cooperation_after"] - rows["cooperation_before"]
    # Without a defection, or with one in the last round, there is nothing to answer: no change.
    return rows.assign(
        change=answer.fillna(0.0),
        early=(partner <= third).astype(float),
        first=(partner <= np.where(np.isnan(own), np.inf, own)).astype(float),
    )


def rule(evidence: UnravellingEvidence) -> Outcome:
    """Decide from the change, and from whether it answers an early defection of the small model."""
    early, change = "bound of the share of matches with an early defection", "bound of the change"
    there = above(
        "lower bound of the partner's cooperation with itself",
        evidence.self_play.low,
        LEAST_COOPERATION,
    )
    return decided(
        surface_case(evidence),
        case(
            "contradicted",
            below(f"upper {early}", evidence.early.high, MAJORITY),
            because="the small model seldom defects early",
        ),
        case(
            "inconclusive",
            without=[there],
            because="the partner may hardly cooperate even with itself: nothing to unravel",
        ),
        case(
            "contradicted",
            there,
            above(f"lower {change}", evidence.low, -LEAST_COOPERATION),
            because="the partner goes on as before",
        ),
        *supported_unless(
            [
                there,
                below(f"upper {change}", evidence.high, 0.0),
                at_most(
                    "change of the partner's cooperation", evidence.estimate, -LEAST_COOPERATION
                ),
            ],
            (
                above(f"lower {early}", evidence.early.low, MAJORITY),
                "too few matches show an early defection",
            ),
            (
                at_least(
                    "share of matches in which the small model defects first",
                    evidence.first,
                    MAJORITY,
                ),
                "the partner often defects first",
            ),
            (
                below(
                    "upper bound of the partner's cooperation less that with itself",
                    evidence.fall.high,
                    0.0,
                ),
                "the partner cooperates no less than with itself",
            ),
        ),
    )


def reason(evidence: UnravellingEvidence, outcome: Outcome) -> str:
    """Return what decided and the numbers."""
    numbers = (
        f"{evidence.small} defects early in {evidence.early.value:.2f} of matches (first of the two"
        f" in {evidence.first:.2f}); then the cooperation of {evidence.large} changes by"
        f" {with_bounds(evidence)}; in all it is {evidence.cooperation:.2f}, with itself"
        f" {evidence.self_play.value:.2f}: {evidence.fall}"
    )
    return play_reason(evidence, outcome, numbers)


CLAIM = PlayClaim(
    id="X1",
    statement="A small model's early defection unravels a larger partner's cooperation.",
    measure="the larger model's cooperation in rounds that can answer the small one's first"
    " defection less that in rounds that cannot, Prisoner's Dilemma",
    unit="in the share of rounds that cooperate",
    largest_effect=1.0,
    control="a seat that does not respond",
    paper="the small model defects in 98% of every cross-play pairing, and large partners then"
    " defect; d_Nash 0.063 in each (nash_norm, as we read it)",
    supported=f"the partner's cooperation falls by at least {LEAST_COOPERATION:g} after it, with"
    " its interval, and is lower than with itself; the small model defects in the first third of"
    " most matches, and first",
    contradicted="the small model seldom defects early; or the interval of the fall stays above"
    f" -{LEAST_COOPERATION:g}, where the partner's cooperation with itself lies above"
    f" {LEAST_COOPERATION:g} with its interval",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
