"""X2: two large models keep up each other's cooperation.

Two large models meet in the Prisoner's Dilemma. The estimate is the share of their decisions that
cooperate, with Student's interval over matches, and the control is that share when each of them
plays itself. Two models that cooperate whatever the other does reinforce nothing, so each must
cooperate more with a script that always does than with one that never does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

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
from nashlens.findings.shared.arms import ComparableArms, comparable_arms, rows_of_games
from nashlens.findings.shared.cooperation import (
    LEAST_COOPERATION,
    MAJORITY,
    comparable_dilemmas,
    full_cooperation_note,
    of_each_meeting,
    seats_prosocial_actions,
    with_locks,
)
from nashlens.findings.shared.field import PlayField
from nashlens.findings.shared.means import ArmMeans, MeanEstimate
from nashlens.findings.shared.play import (
    Bounded,
    EvidenceBySubject,
    PlayClaim,
    PlayEvidence,
    play_reason,
    surface_case,
)
from nashlens.findings.shared.sizes import SizedModel

LARGE = 30e9
"""Number of parameters from which on a model is large: the paper's three have 32, 70 and 72
billion."""
SCRIPTS = {"ALLC": 0, "ALLD": 1}
"""The action that a script always plays. Which of the two cooperates depends on the game."""


@dataclass(frozen=True, kw_only=True)
class ReinforcementEvidence(PlayEvidence):
    """Cooperation of two models with each other; the control is that with themselves."""

    sizes: str
    """The models with their sizes."""
    gain: Bounded
    """Cooperation with each other less that with themselves."""
    locked: Bounded
    """Share of their matches that lock on cooperation."""
    locked_chance: float
    """Chance of that under uniformly random play."""
    nash_tv: float
    """Mean Nash distance of their matches."""
    answers: Mapping[str, float]
    """Cooperation with a script that always cooperates less that with one that never does, by
    model."""
    answers_low: Mapping[str, float]
    """Lower bounds of `answers`."""
    unanswered: list[str]
    """Why a model's answer is unknown."""


def estimate(play: PlayField, settings: JudgeSettings) -> EvidenceBySubject:
    """Yield the cooperation of each two large models that meet."""
    large = [model for model in play.models if model.parameters >= LARGE]
    no_pair = f"no two models of {LARGE / 1e9:g}B or more meet"
    yield from of_each_meeting(play, settings, combinations(large, 2), no_pair, _of_pair)


def _of_pair(
    play: PlayField, settings: JudgeSettings, one: SizedModel, two: SizedModel
) -> ReinforcementEvidence | Missing:
    played = {"cross-play": play.cross_play(one.name, two.name)}
    played |= {f"{m.name} with itself": play.self_play(m.name, "direct") for m in (one, two)}
    arms = comparable_dilemmas(play, played)
    if isinstance(arms, Missing):
        return arms
    means = ArmMeans(
        _of_both_seats(play, arms, one, two),
        ["cooperation", "locked_cooperation", "chance", "nash_tv"],
        settings,
    )
    if means.missing is not None:
        return means.missing
    rate, lock = (means.of_arm(name, "cross") for name in ("cooperation", "locked_cooperation"))
    gain = means.contrast("cooperation", {"cross": 1.0, "one": -0.5, "two": -0.5})
    answers = {model.name: _answer_to_scripts(play, settings, model) for model in (one, two)}
    known = {name: answer for name, answer in answers.items() if isinstance(answer, MeanEstimate)}
    p_values = [found.p_above(MAJORITY) for found in (rate, lock)]
    p_values += [answer.p_above(0.0) for answer in known.values()]
    players = [(model, "direct") for model in (one, two)]
    return ReinforcementEvidence(
        **rate.fields(),
        control=means.contrast("cooperation", {"one": 0.5, "two": 0.5}).value,
        p_value=max(p_values),
        sizes=f"{one.size}, {two.size}",
        gain=gain.bounded(),
        locked=lock.bounded(),
        locked_chance=means.of_arm("chance", "cross").value,
        nash_tv=means.of_arm("nash_tv", "cross").value,
        answers={name: answer.value for name, answer in known.items()},
        answers_low={name: answer.bounds()[0] for name, answer in known.items()},
        unanswered=[answer.reason for answer in answers.values() if isinstance(answer, Missing)],
        left_out=arms.left_out,
        surface=play.first_surface_problem(players, arms.games, settings.confidence),
    )


def _of_both_seats(
    play: PlayField, arms: ComparableArms, one: SizedModel, two: SizedModel
) -> dict[str, pd.DataFrame]:
    """Return the matches of each arm with both seats' cooperation and locks."""
    cross, *with_itself = (with_locks(play, rows) for rows in arms.rows.values())
    # A row has one seat's cooperation: the other's is in the partner's own row of the match.
    seats = rows_of_games(play.cross_play(two.name, one.name), play.dilemmas)
    partner = cross["match_id"].map(seats.set_index("match_id")["cooperation"])
    cross = cross.assign(cooperation=(cross["cooperation"] + partner) / 2).dropna(subset=["locked"])
    return dict(zip(("cross", "one", "two"), (cross, *with_itself), strict=True))


def _answer_to_scripts(
    play: PlayField, settings: JudgeSettings, model: SizedModel
) -> MeanEstimate | Missing:
    """Return a model's cooperation with one that always cooperates less that with a defector."""
    rows = pd.concat(
        [
            rows_of_games(play.scripted(model.name, name), play.dilemmas).assign(script=action)
            for name, action in SCRIPTS.items()
        ]
    )
    # A game of the config may have its actions in the other order: then ALLD cooperates.
    _, partner = seats_prosocial_actions(play, rows)
    kind = rows["script"] == partner
    arms = comparable_arms(
        {
            f"{model.name} with a script that always cooperates (ALLC, or ALLD where that is"
            " action 1)": rows[kind],
            f"{model.name} with one that never does": rows[~kind],
        }
    )
    if isinstance(arms, Missing):
        return arms
    by_kind = dict(zip(("kind", "unkind"), arms.rows.values(), strict=True))
    means = ArmMeans(by_kind, ["cooperation"], settings)
    return means.missing or means.contrast("cooperation", {"kind": 1.0, "unkind": -1.0})


def rule(evidence: ReinforcementEvidence) -> Outcome:
    """Decide from cooperation and locks, and from whether both models answer the scripts."""
    unmoved = [name for name, low in evidence.answers_low.items() if not low > 0]
    gain = "cooperation with each other less that with themselves"
    return decided(
        surface_case(evidence),
        case(
            "contradicted",
            below("upper bound of the share that cooperates", evidence.high, MAJORITY),
            because="there is little cooperation to keep up",
        ),
        case(
            "contradicted",
            at_most(gain, evidence.gain.value, -LEAST_COOPERATION),
            below(f"upper bound of {gain}", evidence.gain.high, 0.0),
            because="less than with themselves",
        ),
        *supported_unless(
            [
                above("lower bound of the share that cooperates", evidence.low, MAJORITY),
                above(
                    "lower bound of the share of matches that lock on it, against half and chance",
                    evidence.locked.low,
                    max(MAJORITY, evidence.locked_chance),
                ),
            ],
            (
                at_least(gain, evidence.gain.value, -LEAST_COOPERATION),
                "it may be less than with themselves",
            ),
            (
                at_most("models whose answer to scripts is unknown", len(evidence.unanswered), 0),
                f"whether they answer is unknown: {'; '.join(evidence.unanswered)}",
            ),
            (
                at_most("models whose answer to scripts may be none", len(unmoved), 0),
                f"{' and '.join(unmoved)} may cooperate whatever the other does",
            ),
        ),
    )


def reason(evidence: ReinforcementEvidence, outcome: Outcome) -> str:
    """Return what decided and the numbers."""
    answers = ", ".join(f"{name} {value:+.2f}" for name, value in evidence.answers.items())
    numbers = (
        f"locked on cooperation in {evidence.locked.value:.2f} of matches, at nash_tv"
        f" {evidence.nash_tv:.2f}{full_cooperation_note(evidence.estimate)}; cooperation"
        f" {with_bounds(evidence)} with each other, {evidence.control:.2f} with themselves"
        f" ({evidence.gain}); with a script that always cooperates less with one that never does:"
        f" {answers or 'unknown'}"
    )
    return play_reason(evidence, outcome, numbers)


CLAIM = PlayClaim(
    id="X2",
    statement="Two large models keep up each other's cooperation.",
    measure="share of decisions that cooperate when two large models meet, Prisoner's Dilemma",
    unit="in the share of decisions that cooperate",
    beyond=f"{MAJORITY:.0%}",
    largest_effect=1.0 - MAJORITY,
    control="the same when each of them plays itself",
    paper="indefinitely; 100% cooperation, and yet d_Nash 0.000, which cooperation cannot give",
    supported="most decisions cooperate and most matches lock on it, with their intervals, no less"
    f" by {LEAST_COOPERATION:g} than with themselves, and both cooperate more with a script that"
    " always cooperates than with one that never does",
    contradicted=f"less than half of decisions cooperate; or less by {LEAST_COOPERATION:g} than"
    " with themselves, with its interval",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
