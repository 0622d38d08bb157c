"""C2: within a family, the late override appears from a size on.

M6 is judged in each model of a family, from the smallest to the largest, and the *threshold* is the
size from which on it is supported. The estimate is the late change (how far late layers turn the
decision from the Nash to the prosocial action) at the threshold less that at the next smaller size,
on scenarios asked of both; bounds hold for all pairs of late layers at once. The control is the
same difference of the preference for a word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nashlens.findings.claim import (
    ALL_MODELS,
    JudgeSettings,
    Missing,
    joined,
    with_bounds,
)
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
from nashlens.findings.shared.lineage import (
    LateDifference,
    Lineage,
    LineageClaim,
    Override,
    SubjectEvidence,
)
from nashlens.findings.shared.sizes import (
    STEP,
    SizedModel,
    families,
    list_sizes_and_families,
)
from nashlens.lens.readings import PREFERENCE


@dataclass(frozen=True, kw_only=True)
class FromASizeOn(LateDifference):
    """The step to the threshold (of the largest from the smallest where there is none)."""

    n_sizes: int
    """Number of models."""
    threshold: str
    """The smallest model from which on M6 is supported; empty where the largest is not."""
    below: str
    """The next smaller one, empty where the threshold is the smallest of all."""
    sizes: Mapping[str, float]
    """Each model's parameters, from small to large."""
    overrides: Mapping[str, Override]
    """What M6 says of each, in the same order."""


def estimate(lineage: Lineage, settings: JudgeSettings) -> SubjectEvidence:
    """Yield, of each family, the difference of late changes at the step to its threshold."""
    models = lineage.trained()
    found = list(families(models))
    for members in found:
        subject = f"{members[0].family} family"
        yield subject, _of_family(lineage, members, settings.about(subject))
    if not found:
        lacking = (
            f"no family has two models whose sizes lie {STEP:g} times apart or more, bases left"
            f" out; there are {list_sizes_and_families(models)}"
        )
        yield ALL_MODELS, Missing(lacking)


def _of_family(
    lineage: Lineage, members: Sequence[SizedModel], settings: JudgeSettings
) -> FromASizeOn | Missing:
    overrides: dict[str, Override] = {}
    for model in members:
        one = lineage.override(model.name, settings)
        if isinstance(one, Missing):
            return one
        overrides[model.name] = one
    start = _threshold([one.verdict for one in overrides.values()])
    names = list(overrides)
    step = (names[start], names[start - 1]) if 0 < start < len(names) else (names[-1], names[0])
    found = lineage.difference(*step, settings, "C2")
    if isinstance(found, Missing):
        return found
    known: dict[str, Any] = dict(vars(found))
    # As many steps as could be the threshold's; and the claim asserts M6 from there on.
    asserted = [overrides[name].p_value for name in names[start:]]
    known["p_value"] = max([min(found.p_value * (len(names) - 1), 1.0), *asserted])
    return FromASizeOn(
        **known,
        n_sizes=len(names),
        threshold=names[start] if start < len(names) else "",
        below=names[start - 1] if 0 < start < len(names) else "",
        sizes={model.name: model.parameters for model in members},
        overrides=overrides,
    )


def _threshold(verdicts: Sequence[str]) -> int:
    """Return from which place on all verdicts are supported; their number where the last is not."""
    start = len(verdicts)
    while start and verdicts[start - 1] == "supported":
        start -= 1
    return start


def rule(e: FromASizeOn) -> Outcome:
    """Ask for M6 from the threshold on and at no smaller size, and for a step between the two."""
    verdicts = [one.verdict for one in e.overrides.values()]
    start, number = _threshold(verdicts), len(verdicts)
    lost = "contradicted" in verdicts and "supported" in verdicts[: _last(verdicts, "contradicted")]
    none_below = told(
        "M6 is contradicted at every size below the threshold",
        set(verdicts[:start]) == {"contradicted"},
    )
    smaller = "number of sizes below that from which on M6 is supported"
    none_above = at_least(f"{smaller}, of {number}", start, number)
    needs = (
        above(
            "parameters at the threshold, against the next smaller size",
            e.sizes.get(e.threshold, float("nan")),
            e.sizes.get(e.below, float("nan")),
        ),
        above("lower bound of the step (logits)", e.low, 0.0),
        at_least("step to the threshold (logits)", e.estimate, PREFERENCE),
    )
    whys = ("two models of one size differ", *["the step to the threshold is open"] * 2)
    some_open = "whether some sizes have the override is open"
    return decided(
        case(
            "contradicted",
            told("M6 is contradicted at a size above one at which it is supported", lost),
            because="a larger model has no override, and a smaller one has",
        ),
        case(
            "contradicted",
            at_least(
                "number of sizes at which M6 is contradicted, of all",
                verdicts.count("contradicted"),
                number,
            ),
            because="no size has the override",
        ),
        case(
            "inconclusive",
            below(smaller, start, 1),
            because="the smallest model has the override already",
        ),
        case("inconclusive", none_above, because=some_open),
        *supported_unless(
            [],
            (none_below, some_open),
            *zip(needs, whys, strict=True),
            because=f"the override is there from {e.threshold} on",
        ),
    )


def _last(verdicts: Sequence[str], wanted: str) -> int:
    return max(i for i, verdict in enumerate(verdicts) if verdict == wanted)


def reason(e: FromASizeOn, outcome: Outcome) -> str:
    """Say what decided (first, as figures cut long reasons), M6 of each size, and the step."""
    listed = ", ".join(
        f"{SizedModel(name, '', e.sizes[name]).size} {one.late:.2f} logits, {one.verdict}"
        for name, one in e.overrides.items()
    )
    step = f"step from {e.below} to {e.threshold}" if e.below else "largest model less the smallest"
    numbers = f"M6 at {e.n_sizes} sizes: {listed}; {step}: {with_bounds(e)} logits"
    return joined(outcome.because, numbers)


CLAIM = LineageClaim(
    id="C2",
    statement="Within a family, the late override appears from a size on.",
    measure="late change (action part of prosocial over Nash at the late peak, less the mean of the"
    " layers before) at the threshold less at the next smaller size, on the same scenarios; the"
    " largest less the smallest where there is no threshold",
    paper="an override only in models above a capacity threshold",
    supported="M6 is contradicted at every size below some size and supported from it on, and the"
    " late change is larger there than at the next smaller size by at least"
    f" {PREFERENCE:g} logits, with the interval (for all pairs of late layers at once) above 0",
    contradicted="M6 is contradicted at every size, or at one above a size at which it is"
    " supported",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
