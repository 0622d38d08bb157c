"""M9: the override is caused by late components, which are necessary and sufficient for it.

Late heads and MLPs that write against the Nash action on some histories are ablated together on
others. The estimate is how much the logit of the Nash action gains over the other action, free of
preferences for labels and places (the *action part*), beyond random groups of components of the
same layers, which are the control; its interval is Student's over histories. What these components
write in a prompt with a conflict is also put into the same prompt without one, and must make the
prosocial action lead there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from nashlens.circuits.concentration import LEAST_EFFECT
from nashlens.circuits.readings import Ablations
from nashlens.findings.claim import (
    Claim,
    Evidence,
    JudgeSettings,
    Missing,
    Tables,
    fields_at,
    joined,
    with_bounds,
)
from nashlens.findings.conditions import Case, Condition, Outcome, above, below, case, decided, told
from nashlens.findings.shared.override import override_problem, writers_problem

WITHOUT = "values from prompts without a conflict"
WITH = "values from prompts with a conflict"


@dataclass(frozen=True)
class Exchange:
    """What the components move when they get another prompt's values, beyond random groups."""

    effect: float
    """In logits: of `destroy` towards the Nash action, of `restore` towards the prosocial one."""
    low: float
    high: float
    largest: float
    """Largest effect of a random group, beyond their mean."""
    lead_before: float
    """Lead, without the other prompt's values, of what is the Nash action with a conflict."""
    lead_after: float
    """The same with them: below 0 the prosocial action leads."""
    lead_after_high: float
    """Its upper bound."""

    @property
    def suffices(self) -> bool:
        """Whether it is sure to count, more than any random group's, and prosocial play leads."""
        return all(one.holds for one in (*_counts(self, ""), _turns(self)))


@dataclass(frozen=True, kw_only=True)
class LateCause(Evidence):
    """How much of the Nash action's lead returns, and what exchanges move."""

    heads: str
    """The components, `layer.head` or `layer.mlp` each, the one that writes the most first."""
    components: int
    """Their number."""
    random_groups: int
    """Number of random groups."""
    returned: float
    """Logits that the Nash action gains when the components are ablated."""
    random_mean: float
    """The same of random groups on average."""
    random_largest: float
    """The largest of them."""
    lead_before: float
    """Lead of the Nash action over the other with nothing ablated: its action part."""
    lead_after: float
    """The same with the components ablated."""
    lead_after_low: float
    """Its lower bound."""
    word_part: float
    """What the pair's first label gains when the components are ablated."""
    destroy: Exchange | None
    """Values of prompts without a conflict put into those with one; None without pairs."""
    restore: Exchange | None
    """The other way round."""
    pairs: int
    """Number of pairs that were exchanged."""
    sufficient: str
    """Whether it was found that they suffice: `shown`, `refuted`, `open`, `not asked` (no pair),
    or `cannot be asked` (they write the same without a conflict)."""


def estimate(tables: Tables, settings: JudgeSettings) -> LateCause | Missing:
    """Contrast the components with random groups, if there is an override."""
    problem = override_problem(tables, settings)
    return from_override(tables["override"], settings) if problem is None else problem


def from_override(override: pd.DataFrame, settings: JudgeSettings) -> LateCause | Missing:
    """Contrast them, ablated and exchanged, whether or not the lens shows an override."""
    kinds = ("candidate", "random", "none")
    candidate, random, baseline = (Ablations(override, kind) for kind in kinds)
    problem = writers_problem(candidate, baseline)
    if problem is not None:
        return problem
    if not random.names:
        return Missing("no other late component is left as the control", "inconclusive")
    returned, others = -candidate.parts["action"], -random.parts["action"]
    before, after = (
        Ablations(override, kind, "logit_nash").parts["action"] for kind in ("none", "candidate")
    )
    beyond = returned - others.mean(axis=1, keepdims=True)
    word = -candidate.parts["word"]
    columns = [beyond, returned, before, after, word, others]
    found = candidate.blocks.estimate(np.hstack(columns))
    mean, (low, high) = found.estimate, found.interval(settings.confidence)
    destroyed, restored = (_exchange(override, name, settings) for name in ("destroy", "restore"))
    # As doubtful as the most doubtful of what must hold.
    p = [found.p_above(LEAST_EFFECT, settings.resamples)[0]]
    p.append(found.p_above(0.0, settings.resamples)[3])
    if restored is not None and restored[0].suffices:
        p.append(restored[1])
    return LateCause(
        **fields_at(found, 0, low, high),
        control=float(mean[5:].max() - mean[5:].mean()),
        p_value=float(max(p)),
        heads=str(candidate.places["heads"].iloc[0]),
        components=len(str(candidate.places["heads"].iloc[0]).split()),
        random_groups=len(random.names),
        returned=float(mean[1]),
        random_mean=float(mean[5:].mean()),
        random_largest=float(mean[5:].max()),
        lead_before=float(mean[2]),
        lead_after=float(mean[3]),
        lead_after_low=float(low[3]),
        word_part=float(mean[4]),
        destroy=None if destroyed is None else destroyed[0],
        restore=None if restored is None else restored[0],
        pairs=len(Ablations(override, "restore").blocks.frame) * 4,
        sufficient=_sufficient(*(one and one[0] for one in (destroyed, restored))),
    )


def _exchange(
    override: pd.DataFrame, kind: str, settings: JudgeSettings
) -> tuple[Exchange, float] | None:
    """Return what an exchange moves beyond random groups, and the p-value of its counting."""
    own, random = Ablations(override, kind), Ablations(override, f"{kind}_random")
    if not len(own.blocks) or not random.names:
        return None
    sign = -1.0 if kind == "destroy" else 1.0
    moved, others = sign * own.parts["action"], sign * random.parts["action"]
    after = Ablations(override, kind, "logit_nash").parts["action"]
    before = after + own.parts["action"]
    beyond = moved - others.mean(axis=1, keepdims=True)
    found = own.blocks.estimate(np.hstack([beyond, before, after, -after, others]))
    mean, (low, high) = found.estimate, found.interval(settings.confidence)
    largest = mean[4:].max() - mean[4:].mean()
    # As doubtful as the more doubtful of what must hold.
    p = max(
        found.p_above(LEAST_EFFECT, settings.resamples)[0],
        found.p_above(0.0, settings.resamples)[3],
    )
    numbers = (mean[0], low[0], high[0], largest, mean[1], mean[2], high[2])
    return Exchange(*map(float, numbers)), float(p)


def _sufficient(destroy: Exchange | None, restore: Exchange | None) -> str:
    """Say in a word whether exchanges show that the components suffice."""
    if destroy is None or restore is None:
        return "not asked"
    if _nothing(destroy, "").holds and _nothing(restore, "").holds:
        return "cannot be asked"
    if restore.suffices:
        return "shown"
    counts = all(one.holds for one in _counts(destroy, ""))
    return "refuted" if counts and restore.high < LEAST_EFFECT else "open"


def rule(e: LateCause) -> Outcome:
    """Ask whether Nash play returns without the components, and whether they suffice."""
    beyond = "bound of what Nash play gains beyond random groups (logits)"
    by_them = (
        above(f"lower {beyond}", e.low, LEAST_EFFECT),
        above("what it gains, against any random group (logits)", e.returned, e.random_largest),
    )
    leads = above(
        "lower bound of the Nash action's lead without them (logits)", e.lead_after_low, 0.0
    )
    asked = told(
        "pairs of prompts ask whether they suffice", e.destroy is not None and e.restore is not None
    )
    needed = (*by_them, leads, asked)
    return decided(
        case(
            "contradicted",
            below(f"upper {beyond}", e.high, LEAST_EFFECT),
            because="without them no more Nash play returns than by chance",
        ),
        *(
            case("inconclusive", without=[one], because="whether they are needed is open")
            for one in by_them
        ),
        case(
            "inconclusive",
            without=[leads],
            because="they are a part of the cause: Nash play does not return",
        ),
        case(
            "inconclusive",
            without=[asked],
            because="they are needed; no pair asks whether they suffice (attribution.pairs)",
        ),
        *_suffice(e.destroy, e.restore, needed),
        case("inconclusive", because="they are needed; whether they suffice is open"),
    )


def _suffice(
    destroy: Exchange | None, restore: Exchange | None, needed: tuple[Condition, ...]
) -> tuple[Case, ...]:
    """Return the cases of components that are needed and were exchanged."""
    if destroy is None or restore is None:
        return ()
    return (
        case(
            "supported",
            *needed,
            _nothing(destroy, WITHOUT),
            _nothing(restore, WITH),
            because="they write the same without a conflict, so that whether they suffice cannot be"
            " asked: judged by necessity alone",
        ),
        case(
            "supported",
            *needed,
            *_counts(restore, WITH),
            _turns(restore),
            because="they are needed, and they suffice",
        ),
        case(
            "inconclusive",
            *needed,
            *_counts(restore, WITH),
            without=[_turns(restore)],
            because="they are needed; by themselves they move it and do not turn it",
        ),
        case(
            "contradicted",
            *needed,
            *_counts(destroy, WITHOUT),
            below(f"upper bound of what {WITH} move (logits)", restore.high, LEAST_EFFECT),
            because="they are needed, and do not suffice",
        ),
    )


def _nothing(one: Exchange, values: str) -> Condition:
    """Say whether an exchange is sure to be too small to count."""
    words = f"largest size that what {values} move may have (logits)"
    return below(words, max(-one.low, one.high), LEAST_EFFECT)


def _counts(one: Exchange, values: str) -> tuple[Condition, ...]:
    """Say whether an exchange is sure to count, and larger than that of any random group."""
    return (
        above(f"lower bound of what {values} move (logits)", one.low, LEAST_EFFECT),
        above(f"what {values} move, against any random group (logits)", one.effect, one.largest),
    )


def _turns(restore: Exchange) -> Condition:
    """Say whether the prosocial action is sure to lead, given values from prompts with one."""
    words = f"upper bound of the other action's lead with {WITH} (logits)"
    return below(words, restore.lead_after_high, 0.0)


def reason(e: LateCause, outcome: Outcome) -> str:
    """Say what returns, in comparison with random groups, and what exchanges move."""
    numbers = (
        f"ablating {e.components} late components ({e.heads}) brings the Nash action"
        f" {e.returned:.2f} logits, {e.random_groups} random groups {e.random_mean:.2f} on average"
        f" and {e.random_largest:.2f} at most: beyond them {with_bounds(e)}; its lead goes from"
        f" {e.lead_before:.2f} to {e.lead_after:.2f}; the pair's first label gains"
        f" {e.word_part:.2f}"
    )
    if e.destroy is not None and e.restore is not None:
        numbers += (
            f"; in {e.pairs} pairs, values from prompts without a conflict bring back"
            f" {_said(e.destroy)} beyond random groups, and values from prompts with one move the"
            f" others by {_said(e.restore)} towards the prosocial action: the other one's lead goes"
            f" from {e.restore.lead_before:.2f} to {e.restore.lead_after:.2f}, its upper bound"
            f" {e.restore.lead_after_high:.2f}"
        )
    numbers += f"; that they suffice: {e.sufficient}"
    return joined(numbers, outcome.because)


def _said(one: Exchange) -> str:
    return f"{one.effect:.2f} [{one.low:.2f}, {one.high:.2f}]"


CLAIM = Claim(
    id="M9",
    statement="The override is caused by late components.",
    measure="action part of what the Nash action gains when the late heads and MLPs that write"
    " against it are ablated together, beyond the mean of random groups",
    unit="logits",
    control="largest of the random groups, beyond their mean",
    beyond=f"{LEAST_EFFECT:g}",
    paper="",
    tables=("override", "lens", "prompts"),
    interval="student",
    supported="M6 is supported; ablating the components brings back more Nash play than random"
    f" groups do, by more than {LEAST_EFFECT:g} logits with the interval and more than any of them,"
    " and the Nash action then leads with its interval; and what they write with a conflict, put"
    f" into prompts without one, moves these by more than {LEAST_EFFECT:g} logits towards the"
    " prosocial action, likewise, and that action then leads with its interval (where they write"
    " the same in both, that cannot be asked)",
    contradicted=f"M6 is supported, and less than {LEAST_EFFECT:g} logits return beyond random"
    " groups, with the interval; or the components are needed and do not suffice, likewise",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
