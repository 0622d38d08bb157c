"""S1: steering a player moves its cooperation and its Nash distance in play, both ways, with dose.

A player meets itself in the Prisoner's Dilemma with the same push in both seats, in the same
matches and with the same random draws at every dose. The estimate is its chance of cooperating
under the strongest push away from defection less that under the strongest push towards it, with
Student's interval over matches. The control is the largest such change along a random direction of
the same length.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nashlens.findings.claim import JudgeSettings, Missing, with_bounds
from nashlens.findings.conditions import (
    Outcome,
    above,
    at_least,
    below,
    case,
    decided,
    supported_unless,
    told,
)
from nashlens.findings.shared.arms import comparable_arms
from nashlens.findings.shared.cooperation import LEAST_COOPERATION, NO_DILEMMA
from nashlens.findings.shared.means import ArmMeans, MeanEstimate
from nashlens.findings.shared.play import (
    Bounded,
    EvidenceBySubject,
    PlayClaim,
    PlayEvidence,
    play_reason,
)
from nashlens.findings.shared.steered import (
    COOPERATION,
    DISTANCE,
    SteeredField,
    SteeredPlayer,
    arm_name,
    name_arms,
    of_each_player,
)


@dataclass(frozen=True, kw_only=True)
class SteeredPlayEvidence(PlayEvidence):
    """The change of cooperation; the control is the largest one along a random direction."""

    direction: str
    """Kind of direction."""
    pushes: list[float]
    """Doses, counted towards defection."""
    cooperation: list[float]
    """At each of them."""
    distance: list[float]
    """Nash distance (nash_tv) at each."""
    to_defection: Bounded
    """Fall of cooperation from no push to the strongest one towards defection."""
    to_cooperation: Bounded
    """Its rise from no push to the strongest one away from defection."""
    nearer: Bounded
    """Fall of the Nash distance from the one end to the other."""
    backwards: bool
    """Whether a larger push moves cooperation back, with the interval of that step."""
    n_random: int
    """Number of random directions."""
    beyond: Bounded
    """The change less the size of the random directions' largest; NaN without them."""


def estimate(field: SteeredField, settings: JudgeSettings) -> EvidenceBySubject:
    """Yield the change of each player's cooperation with dose."""
    yield from of_each_player(field, settings, _of_player)


def _of_player(
    field: SteeredField, settings: JudgeSettings, player: SteeredPlayer
) -> SteeredPlayEvidence | Missing:
    if player.direction == "label":
        return Missing(f"{player.key}.direction: label pushes towards a word, and not an action")
    if not player.doses[0] < 0 < player.doses[-1]:
        return Missing(f"{player.key}.values needs a negative value, 0 and a positive value")
    rows = field.self_play(player)
    if rows.empty:
        return Missing(
            f"{player.name} does not play itself: see matches.self_play and"
            f" agents.{player.name}.self_play"
        )
    arms = field.by_push(rows, player)
    if len(arms) < 3:
        return Missing(NO_DILEMMA)
    pushes, controls = list(arms), field.controls(player)
    ends = (pushes[0], pushes[-1])
    every = name_arms(arms)
    for control in controls:
        found = field.by_push(field.self_play(control), control)
        every |= name_arms(
            {push: found[push] for push in ends if push in found}, f"{control.name} "
        )
    cut = comparable_arms(every)
    if isinstance(cut, Missing):
        return cut
    means = ArmMeans(cut.rows, [COOPERATION, DISTANCE], settings)
    if means.missing is not None:
        return means.missing
    low, zero, high = (arm_name(push) for push in (ends[0], 0.0, ends[1]))
    ways = {low: 1.0, high: -1.0}
    change, nearer = (means.contrast(name, ways) for name in (COOPERATION, DISTANCE))
    down, up = (
        means.contrast(COOPERATION, {low: 1.0, zero: -1.0}),
        means.contrast(COOPERATION, {zero: 1.0, high: -1.0}),
    )
    # A random direction has no sign of its own, so both are taken off.
    random = [
        {f"{control.name} {low}": sign, f"{control.name} {high}": -sign}
        for control in controls
        for sign in (1.0, -1.0)
    ]
    beyond = [
        means.contrast(COOPERATION, ways | {name: -w for name, w in one.items()}) for one in random
    ]
    least = min(beyond, key=lambda found: found.bounds()[0], default=None)
    tested = [up, down, nearer, *beyond]
    return SteeredPlayEvidence(
        **change.fields(),
        control=max((means.contrast(COOPERATION, one).value for one in random), default=np.nan),
        p_value=max(found.p_above(0.0) for found in tested),
        direction=player.direction,
        pushes=pushes,
        cooperation=[means.of_arm(COOPERATION, arm_name(push)).value for push in pushes],
        distance=[means.of_arm(DISTANCE, arm_name(push)).value for push in pushes],
        to_defection=up.bounded(),
        to_cooperation=down.bounded(),
        nearer=nearer.bounded(),
        backwards=any(_falls(means, *pair) for pair in pairwise(pushes)),
        n_random=len(controls),
        beyond=Bounded(np.nan, np.nan, np.nan) if least is None else least.bounded(),
        left_out=cut.left_out,
        surface="",
    )


def _falls(means: ArmMeans, smaller: float, larger: float) -> bool:
    """Say whether cooperation is higher under the larger push, with its interval."""
    step: MeanEstimate = means.contrast(
        COOPERATION, {arm_name(larger): 1.0, arm_name(smaller): -1.0}
    )
    return step.bounds()[0] > 0


def rule(evidence: SteeredPlayEvidence) -> Outcome:
    """Ask for a change that counts, both ways, in the Nash distance too, and beyond chance."""
    both = [
        above(f"lower bound of the change of cooperation towards {way}", part.low, 0.0)
        for way, part in (
            ("defection", evidence.to_defection),
            ("cooperation", evidence.to_cooperation),
        )
    ]
    doubts = (
        (
            told("no larger push moves it back, with its interval", not evidence.backwards),
            "a larger push moves it back",
        ),
        (
            above("lower bound of the fall of the Nash distance", evidence.nearer.low, 0.0),
            "the Nash distance does not move along",
        ),
        (
            above("number of players along a random direction", evidence.n_random, 0),
            "no player is steered along a random direction, as the control",
        ),
        (
            above(
                "lower bound of the change beyond that along random directions",
                evidence.beyond.low,
                0.0,
            ),
            "a random direction of the same length may move it as much",
        ),
    )
    return decided(
        case(
            "contradicted",
            below("upper bound of the change", evidence.high, LEAST_COOPERATION),
            because="no dose moves its cooperation by what counts",
        ),
        *(
            case(
                "inconclusive",
                without=[one],
                because="it does not clearly move both ways from no push",
            )
            for one in both
        ),
        *supported_unless(
            [
                *both,
                above("lower bound of the change", evidence.low, 0.0),
                at_least("change of cooperation", evidence.estimate, LEAST_COOPERATION),
            ],
            *doubts,
        ),
    )


def reason(evidence: SteeredPlayEvidence, outcome: Outcome) -> str:
    """Return what decided and the numbers."""
    levels = ", ".join(
        f"{share:.2f} at {push:+g}"
        for push, share in zip(evidence.pushes, evidence.cooperation, strict=True)
    )
    control = (
        f"random directions ({evidence.n_random}) up to {evidence.control:.2f}"
        if evidence.n_random
        else "no player along a random direction to compare with"
    )
    numbers = (
        f"the {evidence.direction} direction moves cooperation by {with_bounds(evidence)}: {levels}"
        f" (pushes towards defection); nash_tv falls by {evidence.nearer}; {control}"
    )
    return play_reason(evidence, outcome, numbers)


CLAIM = PlayClaim(
    id="S1",
    statement="Steering a player moves its cooperation and its Nash distance in play, both ways,"
    " with dose.",
    measure="chance of cooperating with itself under the dose that pushes most away from defection"
    " less that under the one that pushes most towards it, Prisoner's Dilemma",
    unit="in the share of rounds that cooperate",
    largest_effect=1.0,
    control="largest change in size along a random direction of the same length",
    paper="at the first three layers cooperation rises from 0.1% to 98.6%, in single decisions",
    tables=("steered_matches", "games", "models"),
    reads=SteeredField,
    supported=f"the change is at least {LEAST_COOPERATION:g}, and from no push it goes both ways"
    " with both intervals; no step between doses goes back with its interval; the Nash distance"
    " falls along, and a player along a random direction moves less, with intervals",
    contradicted=f"the upper bound of the change is below {LEAST_COOPERATION:g}",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
