"""S3: a steered seat changes its unsteered partner: one made to defect unravels cooperation.

One seat is pushed towards defection and its partner is not, in the same matches and with the same
random draws as without the push. The estimate is how far this lowers the partner's chance of
cooperating from round 2 on, with Student's interval over matches. The control is the same fall in
round 1, which can answer nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from nashlens.findings.claim import ALL_MODELS, JudgeSettings, Missing, with_bounds
from nashlens.findings.conditions import (
    Outcome,
    above,
    at_least,
    below,
    case,
    decided,
    supported_unless,
)
from nashlens.findings.shared.arms import comparable_arms
from nashlens.findings.shared.cooperation import LEAST_COOPERATION, NO_DILEMMA
from nashlens.findings.shared.means import ArmMeans
from nashlens.findings.shared.play import (
    Bounded,
    EvidenceBySubject,
    PlayClaim,
    PlayEvidence,
    play_reason,
)
from nashlens.findings.shared.steered import (
    COOPERATION,
    SteeredField,
    SteeredPlayer,
    arm_name,
    lacking,
    name_arms,
)

LATER = f"later_{COOPERATION}"


@dataclass(frozen=True, kw_only=True)
class SteeredPartnerEvidence(PlayEvidence):
    """Fall of the partner's cooperation; the control is that in the first round."""

    push: float
    """The strongest dose towards defection."""
    seat: Bounded
    """Fall of the steered seat's own cooperation."""
    unsteered: Bounded
    """The partner's cooperation in later rounds where the seat is not pushed."""
    pushed: float
    """The same where it is."""


def estimate(field: SteeredField, settings: JudgeSettings) -> EvidenceBySubject:
    """Yield, of each player and each unsteered partner, the fall of the partner's cooperation."""
    if not field.players:
        yield ALL_MODELS, Missing("every steered agent has a random direction: give one another")
    for player in field.players:
        met, why = field.partners(player), lacking(player)
        if why is None and not met:
            why = Missing(
                f"{player.name} meets no unsteered model: see matches.cross_play and"
                f" agents.{player.name}.cross_play"
            )
        if why is not None:
            yield player.name, why
            continue
        for partner, rows in met.items():
            subject = f"{player.name}--{partner}"
            yield subject, _of_pair(field, settings.about(subject), player, rows)


def _of_pair(
    field: SteeredField, settings: JudgeSettings, player: SteeredPlayer, rows: pd.DataFrame
) -> SteeredPartnerEvidence | Missing:
    arms = field.by_push(rows, player, partner=True)
    if not arms:
        return Missing(NO_DILEMMA)
    push = max(arms)
    if not push > 0 or 0.0 not in arms:
        return Missing(f"{player.key}.values needs 0 and a dose that pushes towards defection")
    two = {value: found for value, found in arms.items() if value in (0.0, push)}
    if (rows["match_rounds"] < 2).all():
        return Missing("matches have fewer than two rounds, so nothing can be answered")
    cut = comparable_arms(name_arms(two))
    if isinstance(cut, Missing):
        return cut
    columns = [LATER, f"first_{COOPERATION}", f"opponent_{COOPERATION}"]
    means = ArmMeans(cut.rows, columns, settings)
    if means.missing is not None:
        return means.missing
    zero, high = arm_name(0.0), arm_name(push)
    fall, first, seat = (means.contrast(name, {zero: 1.0, high: -1.0}) for name in columns)
    return SteeredPartnerEvidence(
        **fall.fields(),
        control=first.value,
        p_value=max(fall.p_above(0.0), seat.p_above(0.0)),
        push=push,
        seat=seat.bounded(),
        unsteered=means.of_arm(LATER, zero).bounded(),
        pushed=means.of_arm(LATER, high).value,
        left_out=cut.left_out,
        surface="",
    )


def rule(evidence: SteeredPartnerEvidence) -> Outcome:
    """Decide from the partner's fall, where the seat was moved and there is a fall to be had."""
    moved = above("lower bound of the fall of the seat's own cooperation", evidence.seat.low, 0.0)
    there = above(
        "lower bound of the partner's cooperation without the push",
        evidence.unsteered.low,
        LEAST_COOPERATION,
    )
    return decided(
        case(
            "inconclusive",
            without=[moved],
            because="the steered seat does not clearly defect more itself",
        ),
        case(
            "inconclusive",
            without=[there],
            because="the partner may hardly cooperate without the push either",
        ),
        case(
            "contradicted",
            moved,
            there,
            below("upper bound of the partner's fall", evidence.high, LEAST_COOPERATION),
            because="the partner goes on as before",
        ),
        *supported_unless(
            [
                moved,
                there,
                above("lower bound of the partner's fall", evidence.low, 0.0),
                at_least("fall of the partner's cooperation", evidence.estimate, LEAST_COOPERATION),
            ]
        ),
    )


def reason(evidence: SteeredPartnerEvidence, outcome: Outcome) -> str:
    """Return what decided and the numbers."""
    numbers = (
        f"a push of {evidence.push:g} towards defection lowers the seat's cooperation by"
        f" {evidence.seat} and its partner's, from round 2 on, by {with_bounds(evidence)}:"
        f" {evidence.unsteered.value:.2f} to {evidence.pushed:.2f}; in round 1 by"
        f" {evidence.control:+.2f}"
    )
    return play_reason(evidence, outcome, numbers)


CLAIM = PlayClaim(
    id="S3",
    statement="A steered seat changes its unsteered partner: one made to defect unravels it.",
    measure="the unsteered partner's chance of cooperating from round 2 on with a player that is"
    " not pushed less that with the same player pushed towards defection, Prisoner's Dilemma",
    unit="in the share of rounds that cooperate",
    largest_effect=1.0,
    control="the same in round 1, which can answer nothing",
    paper="",
    tables=("steered_matches", "games", "models"),
    reads=SteeredField,
    supported=f"the partner's cooperation falls by at least {LEAST_COOPERATION:g}, and the steered"
    " seat's own falls, both with their intervals",
    contradicted="the steered seat's cooperation falls with its interval, and the upper bound of"
    f" the partner's fall is below {LEAST_COOPERATION:g}, where the partner's cooperation without"
    f" the push lies above {LEAST_COOPERATION:g} with its interval",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
