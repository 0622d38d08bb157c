"""Contrasts of Nash distances, which B2 to B5 are about; B6 reads the same references.

All of them compare direct matches or matches in a mode of a model with itself, simultaneous, so
that neither a partner nor a move order plays a part. The distance is the total variation of a
match's joint action frequencies from the nearest equilibrium (`nash_tv`); `detail` has the same
contrast of the two other definitions. A contrast can say that play went *nearer* only if one side
of it is nearer than uniformly random play; otherwise it compares two ways of playing no
equilibrium.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nashlens.findings.claim import ALL_MODELS, JudgeSettings, Missing, with_bounds
from nashlens.findings.conditions import (
    Condition,
    Outcome,
    above,
    at_least,
    below,
    case,
    decided,
    supported_unless,
)
from nashlens.findings.shared.arms import comparable_arms
from nashlens.findings.shared.field import ModelInMode, PlayField
from nashlens.findings.shared.means import ArmMeans, MeanEstimate
from nashlens.findings.shared.play import (
    Bounded,
    EvidenceBySubject,
    PlayClaim,
    PlayEvidence,
    play_reason,
    surface_case,
)

LEAST_DISTANCE = 0.05
"""Difference of Nash distances that counts: more than a hidden liking for a label can make."""
NEAR = 0.1
"""Distance beyond exact equilibrium play up to which play counts as equilibrium play."""
NASH_TV = (
    "Nash distance nash_tv (total variation of a match's joint action frequencies from the nearest"
    " stage equilibrium)"
)
"""The distance in words, for a claim's `measure`."""
CONTROL_AT_RANDOM = "the same contrast if {} played uniformly at random"
"""The control in words, of the arms that count positively."""
UNCUT_RANGES = dict.fromkeys(("excess", "beyond", "lead"), (-np.inf, np.inf))
"""Ranges of the columns of `with_references`."""
_COLUMNS = ("nash_tv", "nash_l2", "nash_regret", "excess", "beyond", "lead")


@dataclass(frozen=True)
class ArmDistance:
    """How far from equilibrium play one arm is."""

    distance: float
    """Mean nash_tv."""
    excess_low: float
    """Lower bound of the distance beyond that of exact play of any of the game's equilibria."""
    beyond_high: float
    """Upper bound of the distance beyond exact play, where no equilibrium is pure."""
    nearer_low: float
    """Lower bound of how much farther uniformly random play would be."""
    nearer_p: float
    """P-value of random play being farther."""


@dataclass(frozen=True, kw_only=True)
class DistanceEvidence(PlayEvidence):
    """A contrast of Nash distances.

    The control is the contrast that would result if the arms that count positively played uniformly
    at random.
    """

    size: str
    """The models with their sizes."""
    expected: str
    """What the claim says of this subject, where it does not say the same of all."""
    arms: Mapping[str, ArmDistance]
    effects: Mapping[str, Bounded]
    """Differences that the contrast is made of, where it has more than two arms."""
    l2: float
    """The same contrast of nash_l2."""
    regret: float
    """The same contrast of nash_regret."""
    games: list[str]
    match_rounds: int

    def detail(self) -> dict[str, Any]:
        """Return the fields by name; each effect's value is called `effect`."""
        effects = {
            name: {"effect": found.value, "low": found.low, "high": found.high}
            for name, found in self.effects.items()
        }
        return super().detail() | {"effects": effects}


class DistanceContrast(NamedTuple):
    """The estimates that a p-value is computed from."""

    difference: MeanEstimate
    arms: Mapping[str, ArmDistance]
    effects: Mapping[str, MeanEstimate]


@dataclass(frozen=True)
class DistanceComparison:
    """The arms that a claim compares."""

    subject: str
    arms: Mapping[str, ModelInMode]
    """By name: who plays itself, in which mode."""
    p_value: Callable[[DistanceContrast], float]
    """The largest p-value of all that the claim asserts (an intersection-union test)."""
    weights: tuple[float, ...] = (1.0, -1.0)
    """Weights of the arms, in their order."""
    expected: str = ""
    """As in `DistanceEvidence`."""
    effects: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By name: two arms, the first less the second."""


def contrast_each(
    play: PlayField,
    settings: JudgeSettings,
    comparisons: Sequence[DistanceComparison],
    lacking: str,
) -> EvidenceBySubject:
    """Yield each comparison's evidence; or, without any, what is lacking."""
    for comparison in comparisons:
        about_it = settings.about(comparison.subject)
        yield comparison.subject, _contrast_distances(play, about_it, comparison)
    if not comparisons:
        yield ALL_MODELS, Missing(lacking)


def _contrast_distances(
    play: PlayField, settings: JudgeSettings, comparison: DistanceComparison
) -> DistanceEvidence | Missing:
    cut = comparable_arms(
        {name: play.self_play(model.name, mode) for name, (model, mode) in comparison.arms.items()}
    )
    if isinstance(cut, Missing):
        return cut
    rows = {name: with_references(rows) for name, rows in cut.rows.items()}
    means = ArmMeans(rows, _COLUMNS, settings, ranges=UNCUT_RANGES)
    if means.missing is not None:
        return means.missing
    weights = dict(zip(comparison.arms, comparison.weights, strict=True))
    positive = {name: weight for name, weight in weights.items() if weight > 0}
    found = DistanceContrast(
        means.contrast("nash_tv", weights),
        {name: _arm_distance(means, name) for name in rows},
        {
            name: means.contrast("nash_tv", {one: 1.0, two: -1.0})
            for name, (one, two) in comparison.effects.items()
        },
    )
    players = comparison.arms.values()
    return DistanceEvidence(
        **found.difference.fields(),
        control=found.difference.value + means.contrast("lead", positive).value,
        p_value=comparison.p_value(found),
        size=", ".join(dict.fromkeys(model.size for model, _ in players)),
        expected=comparison.expected,
        arms=found.arms,
        effects={name: effect.bounded() for name, effect in found.effects.items()},
        l2=means.contrast("nash_l2", weights).value,
        regret=means.contrast("nash_regret", weights).value,
        games=means.cells,
        match_rounds=int(next(iter(rows.values()))["match_rounds"].iloc[0]),
        left_out=cut.left_out,
        surface=play.first_surface_problem(players, cut.games, settings.confidence),
    )


def with_references(rows: pd.DataFrame, name: str = "nash_tv") -> pd.DataFrame:
    """Add how much farther than equilibrium play a distance is, and how much nearer than random.

    Exact equilibrium play has a distance, too, where it is mixed: few rounds scatter. `excess` is
    the distance beyond that of the game's equilibrium for which it is largest. `beyond` is the same
    only where the game has no pure equilibrium, as exact play of a pure one has distance 0.
    """
    distance, bias = rows[name], rows[f"{name}_control"]
    return rows.assign(
        excess=distance - bias,
        beyond=distance - bias.where(rows["n_pure_equilibria"] == 0, 0.0),
        lead=rows[f"{name}_random"] - distance,
    )


def _arm_distance(means: ArmMeans, name: str) -> ArmDistance:
    lead = means.of_arm("lead", name)
    return ArmDistance(
        distance=means.of_arm("nash_tv", name).value,
        excess_low=means.of_arm("excess", name).bounds()[0],
        beyond_high=means.of_arm("beyond", name).bounds()[1],
        nearer_low=lead.bounds()[0],
        nearer_p=lead.p_above(0.0),
    )


def distance_numbers(evidence: DistanceEvidence) -> str:
    """Return the arms' distances and their contrast, for a reason."""
    arms = ", ".join(f"{name} {arm.distance:.2f}" for name, arm in evidence.arms.items())
    return (
        f"nash_tv: {arms}; difference {with_bounds(evidence)} (l2 {evidence.l2:+.2f}, regret"
        f" {evidence.regret:+.2f}; {evidence.size})"
    )


def distance_reason(evidence: DistanceEvidence, outcome: Outcome) -> str:
    """Return what decided and the numbers."""
    return play_reason(evidence, outcome, distance_numbers(evidence))


@dataclass(frozen=True, kw_only=True)
class DistanceClaim(PlayClaim[DistanceEvidence]):
    """A claim about a contrast of Nash distances."""

    unit: str = "in Nash distance"
    largest_effect: float = 1.0
    reason: Callable[[DistanceEvidence, Outcome], str] = distance_reason


def random_doubt(arm: ArmDistance, name: str) -> tuple[Condition, str]:
    """Return that an arm is nearer than uniformly random play, and how to say where it is not."""
    words = f"lower bound of how much nearer {name} is than uniformly random play"
    why = f"{name} is no nearer than uniformly random play would be"
    return above(words, arm.nearer_low, 0.0), why


def p_of_arms_apart(contrast: DistanceContrast) -> float:
    """Return the p-value of two arms that differ, the nearest of which is nearer than random."""
    nearest = contrast.arms[_nearest(contrast.arms)]
    return max(contrast.difference.p_apart(), nearest.nearer_p)


def rule_of_arms_apart(evidence: DistanceEvidence) -> Outcome:
    """Decide a claim that two arms differ in their distance."""
    nearest = _nearest(evidence.arms)
    return decided(
        surface_case(evidence),
        case(
            "contradicted",
            above("lower bound of the difference", evidence.low, -LEAST_DISTANCE),
            below("upper bound of the difference", evidence.high, LEAST_DISTANCE),
            because="no difference that counts",
        ),
        *supported_unless(
            [
                at_least("size of the difference", abs(evidence.estimate), LEAST_DISTANCE),
                above("distance of the interval from 0", max(evidence.low, -evidence.high), 0.0),
            ],
            random_doubt(evidence.arms[nearest], nearest),
        ),
    )


APART_SUPPORTED = (
    f"the two are at least {LEAST_DISTANCE:g} apart with an interval that excludes 0, and the"
    " nearer one is nearer than uniformly random play"
)
APART_CONTRADICTED = f"the interval lies within {LEAST_DISTANCE:g} of 0"


def _nearest(arms: Mapping[str, ArmDistance]) -> str:
    return min(arms, key=lambda name: arms[name].distance)
