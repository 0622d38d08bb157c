"""S2: steering moves play without breaking the player.

Every dose of a steered player is compared with no push in what it may break: its answers to the
quiz, the probability on the two labels, invalid answers, and how it predicts plain text. The
estimate is the change of quiz accuracy at the dose that loses most, on the same questions, with
bounds for all doses at once, and the control is the accuracy without a push. Each measure has a
bound that is fixed beforehand, and as a push that moves nothing breaks nothing, play must move as
well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nashlens.findings.claim import JudgeSettings, Missing, with_bounds
from nashlens.findings.conditions import (
    Condition,
    Outcome,
    above,
    case,
    decided,
    supported_unless,
    told,
)
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
    SteeredField,
    SteeredPlayer,
    arm_name,
    mean_of,
    name_arms,
    of_each_player,
)

QUIZ_LOSS = 0.1
"""Share of the quiz's questions that a dose may lose."""
MASS_LEFT = 0.5
"""Share of the label mass without a push that must be left."""
INVALID = 0.05
"""Share of further answers that may be invalid."""
DIVERGENCE = 0.5
"""KL divergence on plain text that counts as whole, nats a token."""
PERPLEXITY = 2.0
"""Times by which perplexity on plain text may grow."""
_QUESTION = ["history_id", "kind", "asked_round", "question", "right", "wrong"]


class Damage(NamedTuple):
    """One measure at one dose, as its excess over what is allowed: above 0 is broken."""

    name: str
    dose: float
    value: float
    """The measure itself, in its own unit."""
    excess: MeanEstimate


@dataclass(frozen=True, kw_only=True)
class WholenessEvidence(PlayEvidence):
    """Change of quiz accuracy at the worst dose; the control is the dose 0."""

    dose: float
    """The dose that loses most."""
    moved: Bounded
    """Size of the largest change of cooperation with a dose."""
    worst: dict[str, float]
    """Each measure at the dose where it is worst."""
    worst_dose: dict[str, float]
    """That dose."""
    broken: list[str]
    """Measures beyond their bound with the interval."""
    open: list[str]
    """Measures whose interval holds the bound."""


def estimate(field: SteeredField, settings: JudgeSettings) -> EvidenceBySubject:
    """Yield what each player's doses break."""
    yield from of_each_player(field, settings, _of_player)


def _of_player(
    field: SteeredField, settings: JudgeSettings, player: SteeredPlayer
) -> WholenessEvidence | Missing:
    answers = field.answers_by_dose(player)
    if set(answers) != set(player.doses):
        return Missing(f"{player.name} plays neither itself nor an unsteered model at every dose")
    means = ArmMeans(name_arms(answers), ["label_mass", "invalid"], settings)
    if means.missing is not None:
        return means.missing
    doses = [dose for dose in player.doses if dose != 0.0]
    quiz = _quiz_changes(field, settings, player, doses)
    text = list(_of_text(field, settings, player))
    # Damage that was not looked for is none that was ruled out.
    seen = {
        f"no question of the quiz was asked of {player.name} at dose 0 and at": set(quiz),
        f"{player.name} read no plain text at dose": {one.dose for one in text},
    }
    for lack, there in seen.items():
        if without := [f"{dose:g}" for dose in doses if dose not in there]:
            return Missing(f"{lack} {', '.join(without)}")
    found = [
        *(Damage("quiz", d, e.value, _over(e, -1.0, -QUIZ_LOSS)) for d, e in quiz.items()),
        *_of_play(means, doses),
        *text,
    ]
    worst = {d.name: d for d in sorted(found, key=lambda d: d.excess.value)}
    dose = min(quiz, key=lambda d: quiz[d].value)
    # Each measure's doses are held against the same bound, so they are bounded at once.
    bounds = [(d, *d.excess.bounds(len(doses))) for d in found]
    broken = {d.name for d, low, _ in bounds if low > 0}
    unsure = {d.name for d, _, high in bounds if high > 0} - broken
    accuracy = _accuracy_at_0(field, player)
    return WholenessEvidence(
        **quiz[dose].fields(len(doses)),
        control=accuracy,
        p_value=max(d.excess.p_below(0.0) for d in found),
        dose=dose,
        moved=_moved(field, settings, player),
        worst={name: d.value for name, d in worst.items()},
        worst_dose={name: d.dose for name, d in worst.items()},
        broken=sorted(broken),
        open=sorted(unsure),
        left_out="",
        surface="",
    )


def _over(found: MeanEstimate, sign: float, bound: float) -> MeanEstimate:
    """Return how far `sign` times an estimate is above `sign` times a bound."""
    ends = sorted(sign * (end - bound) for end in found.range)
    return found._replace(value=sign * (found.value - bound), range=(ends[0], ends[1]))


def _of_play(means: ArmMeans, doses: list[float]) -> Iterator[Damage]:
    zero = arm_name(0.0)
    # Where labels are scored no answer can be invalid, and where none is, none is held against it.
    any_invalid = any(means.of_arm("invalid", arm_name(dose)).value for dose in [0.0, *doses])
    for dose in doses:
        lost = means.contrast("label_mass", {zero: MASS_LEFT, arm_name(dose): -1.0})
        mass = means.of_arm("label_mass", arm_name(dose)).value
        yield Damage("label mass", dose, mass, lost)
        if any_invalid:
            more = means.contrast("invalid", {arm_name(dose): 1.0, zero: -1.0})
            yield Damage("invalid answers", dose, more.value, _over(more, 1.0, INVALID))


def _quiz_changes(
    field: SteeredField, settings: JudgeSettings, player: SteeredPlayer, doses: list[float]
) -> dict[float, MeanEstimate]:
    """Return by dose the change of quiz accuracy, question by question."""
    asked = field.quiz[field.quiz["player"] == player.name]
    asked = asked[asked["correct"].notna()].assign(
        right_answer=lambda t: t["correct"].astype(float)
    )
    # Twice-asked questions of the rules have no round.
    asked = asked.assign(asked_round=asked["asked_round"].astype("Int64").fillna(0))
    wide = asked.pivot_table(
        index=_QUESTION, columns="dose", values="right_answer", aggfunc="mean", observed=True
    ).dropna()
    if wide.empty or 0.0 not in wide:
        return {}
    frame = wide.index.to_frame(index=False)
    return {
        dose: mean_of(frame, wide[dose] - wide[0.0], "history_id", settings, (-1.0, 1.0))
        for dose in doses
        if dose in wide
    }


def _accuracy_at_0(field: SteeredField, player: SteeredPlayer) -> float:
    asked = field.quiz[(field.quiz["player"] == player.name) & (field.quiz["dose"] == 0.0)]
    return float(asked["correct"].astype("Float64").mean())


def _of_text(
    field: SteeredField, settings: JudgeSettings, player: SteeredPlayer
) -> Iterator[Damage]:
    for dose, kl, growth in field.damage_by_dose(player, settings):
        if dose != 0.0:
            yield Damage("KL divergence", dose, kl.value, _over(kl, 1.0, DIVERGENCE))
            over = _over(growth, 1.0, float(np.log(PERPLEXITY)))
            yield Damage("perplexity", dose, float(np.exp(growth.value)), over)


def _moved(field: SteeredField, settings: JudgeSettings, player: SteeredPlayer) -> Bounded:
    """Return the largest change of cooperation in size, between any dose and none."""
    arms = field.by_push(field.own_matches(player), player)
    none = Bounded(np.nan, np.nan, np.nan)
    if 0.0 not in arms or len(arms) < 2:
        return none
    means = ArmMeans(name_arms(arms), [COOPERATION], settings)
    if means.missing is not None:
        return none
    changes = [
        means.contrast(COOPERATION, {arm_name(push): sign, arm_name(0.0): -sign})
        for push in arms
        if push != 0.0
        for sign in (1.0, -1.0)
    ]
    largest = max(changes, key=lambda found: found.value)
    return Bounded(largest.value, *largest.bounds(len(changes) // 2))


def rule(evidence: WholenessEvidence) -> Outcome:
    """Ask that play moves, and that every measure of every dose is within its bound."""
    moved = above("lower bound of the largest change of cooperation", evidence.moved.low, 0.0)
    past = {*evidence.open, *evidence.broken}
    allowed = {
        "quiz": f"a loss of {QUIZ_LOSS:g}",
        "label mass": f"{MASS_LEFT:g} of that without a push",
        "invalid answers": f"{INVALID:g} more",
        "KL divergence": f"{DIVERGENCE:g} nats a token",
        "perplexity": f"{PERPLEXITY:g} times the unsteered one",
    }
    unsure = f"{', '.join(evidence.open)} may be beyond what is allowed"
    return decided(
        *(
            case(
                "contradicted",
                _measure(evidence, name, f"is beyond {allowed[name]}", name in evidence.broken),
                because=f"a dose breaks its {', '.join(evidence.broken)}",
            )
            for name in evidence.worst
        ),
        *supported_unless(
            [],
            (moved, "no dose clearly moves its cooperation, so nothing was there to break it"),
            *(
                (
                    _measure(evidence, name, f"stays within {allowed[name]}", name not in past),
                    unsure,
                )
                for name in evidence.worst
            ),
        ),
    )


def _measure(evidence: WholenessEvidence, name: str, how: str, holds: bool) -> Condition:
    at_worst = f"at worst {evidence.worst[name]:.2g} at dose {evidence.worst_dose[name]:g}"
    return told(f"{name}, {at_worst}, {how}, with its interval", holds)


def reason(evidence: WholenessEvidence, outcome: Outcome) -> str:
    """Return what decided and the numbers."""
    others = "; ".join(
        f"{name} {value:.2g} at {evidence.worst_dose[name]:g}"
        for name, value in sorted(evidence.worst.items())
        if name != "quiz"
    )
    numbers = (
        f"quiz accuracy {evidence.control:.2f} without a push changes by {with_bounds(evidence)} at"
        f" dose {evidence.dose:g}; at their worst {others}; cooperation moves by {evidence.moved}"
    )
    return play_reason(evidence, outcome, numbers)


CLAIM = PlayClaim(
    id="S2",
    statement="Steering moves play without breaking the player.",
    measure="quiz accuracy at the dose that loses most less that at dose 0, the same questions",
    unit="in the share of right answers",
    beyond=f"-{QUIZ_LOSS:g}",
    largest_effect=1.0,
    control="quiz accuracy at dose 0",
    paper="",
    tables=("steered_matches", "steered_quiz", "steered_text", "games", "models"),
    reads=SteeredField,
    supported="a dose moves cooperation with its interval, and at every dose the intervals keep"
    f" within: quiz accuracy lost {QUIZ_LOSS:g}, label mass {MASS_LEFT:g} of that without a push,"
    f" further invalid answers {INVALID:g}, KL divergence on plain text {DIVERGENCE:g} nats a"
    f" token, its perplexity {PERPLEXITY:g} times the unsteered one",
    contradicted="at some dose one of them is beyond its bound with the interval",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
