"""C1: training put the late override there: the trained model has it, and its base has not.

A trained model is compared with its base (`models.NAME.base`) on the scenarios that both were
asked, in the same words. The estimate is the late change of the trained one less that of its base,
where the *late change* is how far late layers turn the decision from the Nash to the prosocial
action (M6); bounds hold for all pairs of late layers at once. The control is the same difference of
the preference for a word.
"""

from __future__ import annotations

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
    same,
    supported_unless,
)
from nashlens.findings.shared.lineage import (
    LateDifference,
    Lineage,
    LineageClaim,
    Override,
    SubjectEvidence,
)
from nashlens.lens.readings import PREFERENCE

OTHER_WORDS = (
    "the two were asked in other words, as one has a chat template: give the trained one"
    " (or a second entry of its source) chat_template: none"
)


@dataclass(frozen=True, kw_only=True)
class TrainedIn(LateDifference):
    """The difference, and what M6 says of both."""

    trained: Override
    base: Override


def estimate(lineage: Lineage, settings: JudgeSettings) -> SubjectEvidence:
    """Yield, of each trained model and its base, the difference of their late changes."""
    for trained, base in lineage.pairs:
        subject = f"{base}--{trained}"
        yield subject, _compare(lineage, trained, base, settings.about(subject))
    if not lineage.pairs:
        yield ALL_MODELS, Missing("no model of the config has a base (models.NAME.base)")


def _compare(
    lineage: Lineage, trained: str, base: str, settings: JudgeSettings
) -> TrainedIn | Missing:
    found = lineage.difference(trained, base, settings, "C1")
    if isinstance(found, Missing):
        return found
    blocks = lineage.shared_blocks(trained, base)
    both = [lineage.override(model, settings, blocks) for model in (trained, base)]
    for one in both:
        if isinstance(one, Missing):
            return one
    first, second = (one for one in both if isinstance(one, Override))
    known: dict[str, Any] = dict(vars(found))
    # The claim asserts both, so it is as doubtful as the more doubtful of the two.
    known["p_value"] = max(found.p_value, first.p_value)
    return TrainedIn(**known, trained=first, base=second)


def rule(e: TrainedIn) -> Outcome:
    """Ask for the override in the trained model, for none in its base, and for a difference."""
    has = same("M6 of the trained model", e.trained.verdict, "supported")
    has_not = same("M6 of its base", e.base.verdict, "contradicted")
    larger = (
        above("lower bound of the difference of late changes (logits)", e.low, 0.0),
        at_least("difference of late changes (logits)", e.estimate, PREFERENCE),
    )
    alike = at_least("share of the prompts in the same words", e.same_prompts, 1.0)
    return decided(
        case(
            "contradicted",
            same("M6 of its base", e.base.verdict, "supported"),
            because="the base has the override too",
        ),
        case(
            "contradicted",
            same("M6 of the trained model", e.trained.verdict, "contradicted"),
            because="the trained model has no override",
        ),
        case(
            "contradicted",
            below("upper bound of the difference of late changes (logits)", e.high, PREFERENCE),
            because="training added no late change that counts",
        ),
        *supported_unless(
            [],
            (has, "whether the trained model has an override is open"),
            (has_not, "whether the base has the override too is open"),
            *((one, "the difference is open") for one in larger),
            (alike, OTHER_WORDS),
            because="the trained model has the override, and its base has none",
        ),
    )


def reason(e: TrainedIn, outcome: Outcome) -> str:
    """Say what decided (first, as figures cut long reasons), both late changes, and M6 of each."""
    numbers = (
        f"late change of the trained model {e.change:.2f}, of its base {e.other_change:.2f}:"
        f" {with_bounds(e)} logits more; M6 of the trained model {e.trained.verdict}, of its base"
        f" {e.base.verdict}; {e.same_prompts:.0%} of the prompts in the same words"
    )
    return joined(outcome.because, numbers)


CLAIM = LineageClaim(
    id="C1",
    statement="Training put the late override there: the base has none.",
    measure="late change (action part of prosocial over Nash at the late peak, less the mean of the"
    " layers before): the trained model's less its base's, on the same scenarios",
    paper="",
    supported="on the scenarios that both were asked, in the same words, M6 is supported in the"
    " trained model and contradicted in its base, and the trained one's late change is larger by"
    f" at least {PREFERENCE:g} logits, with the interval (for all pairs of late layers at once)"
    " above 0",
    contradicted="M6 is supported in the base, or contradicted in the trained model, or the"
    f" difference cannot reach {PREFERENCE:g} logits",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
