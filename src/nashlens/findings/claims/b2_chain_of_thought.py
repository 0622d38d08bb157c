"""B2: chain of thought takes small models away from Nash play and brings the largest to it.

A model plays itself with chain of thought and in direct mode, in the same games and for as many
rounds. The estimate is its Nash distance after reasoning less that of direct play, and of a family
this difference in its largest model less that in its smallest, with Student's interval over
matches. The control is the same contrast with uniformly random play in place of play after
reasoning.
"""

from __future__ import annotations

from dataclasses import replace

from nashlens.findings.claim import JudgeSettings
from nashlens.findings.conditions import (
    Case,
    Outcome,
    above,
    at_least,
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
    NEAR,
    DistanceClaim,
    DistanceComparison,
    DistanceContrast,
    DistanceEvidence,
    contrast_each,
    distance_numbers,
    random_doubt,
)
from nashlens.findings.shared.field import PlayField, modes_lacking, sizes_lacking
from nashlens.findings.shared.play import (
    EvidenceBySubject,
    play_reason,
    surface_case,
)
from nashlens.findings.shared.sizes import SMALL, SizedModel, families

LARGEST = 70e9
"""Number of parameters from which on chain of thought is said to help: "above 70B", Llama-3-70B
among them."""


def estimate(play: PlayField, settings: JudgeSettings) -> EvidenceBySubject:
    """Yield each model's change of distance by reasoning, and each family's over its sizes."""
    models = play.with_mode("direct", "cot")
    each = [_of_model(model) for model in models]
    yield from contrast_each(play, settings, each, modes_lacking(play, "direct", "cot"))
    if not models:
        return
    each = [_of_family(members[0], members[-1]) for members in families(models)]
    yield from contrast_each(play, settings, each, sizes_lacking(models, "direct and cot"))


def _of_model(model: SizedModel) -> DistanceComparison:
    arms = {mode: (model, mode) for mode in ("cot", "direct")}
    comparison = DistanceComparison(model.name, arms, lambda contrast: float("nan"))
    if model.parameters < SMALL:
        return replace(comparison, p_value=_p_of_farther, expected="farther")
    if model.parameters >= LARGEST:
        return replace(comparison, p_value=_p_of_nearer, expected="nearer")
    return comparison


def _of_family(small: SizedModel, large: SizedModel) -> DistanceComparison:
    return DistanceComparison(
        f"{large.family} family",
        {
            f"{size}, {mode}": (model, mode)
            for size, model in (("smallest", small), ("largest", large))
            for mode in ("cot", "direct")
        },
        _p_of_crossing,
        weights=(-1.0, 1.0, 1.0, -1.0),
        expected="family",
        effects={
            "smallest": ("smallest, cot", "smallest, direct"),
            "largest": ("largest, cot", "largest, direct"),
        },
    )


def _p_of_farther(contrast: DistanceContrast) -> float:
    return max(contrast.difference.p_above(0.0), contrast.arms["direct"].nearer_p)


def _p_of_nearer(contrast: DistanceContrast) -> float:
    return max(contrast.difference.p_below(0.0), contrast.arms["cot"].nearer_p)


def _p_of_crossing(contrast: DistanceContrast) -> float:
    return max(
        contrast.difference.p_below(0.0),
        contrast.effects["smallest"].p_above(0.0),
        contrast.effects["largest"].p_below(0.0),
        contrast.arms["smallest, direct"].nearer_p,
        contrast.arms["largest, cot"].nearer_p,
    )


def rule(evidence: DistanceEvidence) -> Outcome:
    """Decide by what the claim says of the subject."""
    cases: tuple[Case, ...]
    if evidence.expected == "farther":
        cases = _cases_of_farther(evidence)
    elif evidence.expected == "nearer":
        cases = _cases_of_nearer(evidence)
    elif evidence.expected == "family":
        cases = _cases_of_crossing(evidence)
    else:
        because = "the claim says nothing about a model of this size"
        cases = (case("inconclusive", because=because),)
    return decided(surface_case(evidence), *cases)


def _cases_of_farther(evidence: DistanceEvidence) -> tuple[Case, ...]:
    return (
        case(
            "contradicted",
            below(f"upper {_CHANGE}", evidence.high, LEAST_DISTANCE),
            because="cot takes this small model no farther away",
        ),
        *supported_unless(
            [
                above(f"lower {_CHANGE}", evidence.low, 0.0),
                at_least("change with cot", evidence.estimate, LEAST_DISTANCE),
            ],
            random_doubt(evidence.arms["direct"], "direct"),
        ),
    )


def _cases_of_nearer(evidence: DistanceEvidence) -> tuple[Case, ...]:
    direct, cot = evidence.arms["direct"], evidence.arms["cot"]
    beyond = "bound of the distance beyond equilibrium play"
    fell = below(f"upper {_CHANGE}", evidence.high, 0.0)
    enough = (
        at_most("change with cot", evidence.estimate, -LEAST_DISTANCE),
        at_most(f"upper {beyond}, cot", cot.beyond_high, NEAR),
    )
    return (
        case(
            "contradicted",
            above(f"lower {beyond}, cot", cot.excess_low, NEAR),
            because="with cot it is not near equilibrium play",
        ),
        case(
            "inconclusive",
            at_most(f"upper {beyond}, direct", direct.beyond_high, NEAR),
            enough[1],
            because="direct play is near-perfect already",
        ),
        case(
            "contradicted",
            above(f"lower {_CHANGE}", evidence.low, -LEAST_DISTANCE),
            because="cot brings it no nearer",
        ),
        *(
            case(
                "inconclusive", fell, without=[one], because="nearer, and not clearly near-perfect"
            )
            for one in enough
        ),
        *supported_unless([fell, *enough], random_doubt(cot, "cot")),
    )


def _cases_of_crossing(evidence: DistanceEvidence) -> tuple[Case, ...]:
    small, large = evidence.effects["smallest"], evidence.effects["largest"]
    of_small, of_large = (
        f"bound of the change with cot in the {one} model" for one in ("smallest", "largest")
    )
    difference = "bound of the largest model's change less the smallest's"
    return (
        case("contradicted", above(f"lower {difference}", evidence.low, -LEAST_DISTANCE)),
        case("contradicted", below(f"upper {of_small}", small.high, 0.0)),
        case("contradicted", above(f"lower {of_large}", large.low, 0.0)),
        *supported_unless(
            [
                below(f"upper {difference}", evidence.high, 0.0),
                at_most(
                    "the largest model's change less the smallest's",
                    evidence.estimate,
                    -LEAST_DISTANCE,
                ),
                above(f"lower {of_small}", small.low, 0.0),
                below(f"upper {of_large}", large.high, 0.0),
            ],
            *(random_doubt(evidence.arms[name], name) for name in _MUST_BE_NEARER),
        ),
    )


_CHANGE = "bound of the change with cot"


_MUST_BE_NEARER = ("smallest, direct", "largest, cot")


def reason(evidence: DistanceEvidence, outcome: Outcome) -> str:
    """Return what decided and the numbers."""
    numbers = distance_numbers(evidence)
    if evidence.effects and not evidence.surface:
        small, large = evidence.effects["smallest"], evidence.effects["largest"]
        numbers = f"cot less direct: {small} in the smallest, {large} in the largest; {numbers}"
    return play_reason(evidence, outcome, numbers)


CLAIM = DistanceClaim(
    id="B2",
    statement="Chain of thought takes small models away from Nash play and brings the largest"
    " to it.",
    measure=f"{NASH_TV}: mode cot less mode direct, in self-play; of a family, that difference in"
    " its largest model less that in its smallest",
    control=CONTROL_AT_RANDOM.format("cot (of a family: the arms that count up)"),
    paper="worse in small models, near-perfect above 70B",
    supported=f"a small model's distance rises, or a largest one's ({LARGEST / 1e9:g}B or more)"
    f" falls, by at least {LEAST_DISTANCE:g} and with its interval, the latter to within {NEAR:g}"
    " of exact equilibrium play; in a family both, and the change falls with size; what is called"
    " nearer is nearer than uniformly random play",
    contradicted=f"a small model's interval stays below {LEAST_DISTANCE:g}, a largest one's above"
    f" -{LEAST_DISTANCE:g}, or with cot it stays beyond {NEAR:g}; a family's interval stays above"
    f" -{LEAST_DISTANCE:g}, or one of its effects has the other sign",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
