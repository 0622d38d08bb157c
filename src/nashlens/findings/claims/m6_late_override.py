"""M6: a late override turns the Nash action into the prosocial one.

Where the prosocial action is not the Nash action, the logit lens reads after each layer the logit
of the prosocial action over the Nash action, free of preferences for labels and places (the *action
part*). The estimate is this part at the late layer where it is largest, with bounds that hold for
all late layers at once; before the late layers the Nash action must lead. The control is the
preference for a word at the same layer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nashlens.contrasts import Array, p_floor
from nashlens.depth import is_late
from nashlens.factorial import BlockEstimate
from nashlens.findings.claim import (
    NOT_IN_DETAIL,
    Claim,
    Evidence,
    JudgeSettings,
    Missing,
    Tables,
    fields_at,
    joined,
    with_bounds,
)
from nashlens.findings.conditions import Outcome, above, at_least, at_most, below, case, decided
from nashlens.findings.shared.lens import lens_problem, spread_in_words
from nashlens.lens.readings import PREFERENCE, Readings, conflicting

LEAST_EARLY = 0.05
"""Action part, in logits, by which the early layers must favour the Nash action on average."""
LEAST_PROBABILITY = 0.5
"""P(prosocial action) that the late layers must exceed somewhere."""
NO_FLOOR = 10**9
"""So many resamples that a p-value's floor is that of the clusters."""
WORD_SHARE = 0.5
"""Share of the word part below which what the late layers prefer follows the word."""


@dataclass(frozen=True, kw_only=True)
class LateOverride(Evidence):
    """The action part late and early, and the word part."""

    peak_layer: int
    """Late layer with the largest action part."""
    peak_probability: float
    """Largest P(prosocial action) of a late layer."""
    peak_probability_layer: int
    flip_layer: float
    """Where the unbroken run of prosocial layers to the peak starts; NaN without one."""
    layers: int
    """Number of layers."""
    late_from: int
    """First late layer."""
    late_high: float
    """Largest upper bound of a late layer's action part."""
    early_action: float
    """Mean action part of the layers before the late ones."""
    early_low: float
    """Its lower bound."""
    early_high: float
    """Its upper bound."""
    late_word: float
    """Word part of the late layer where it is largest in size."""
    late_word_low: float
    """Its lower bound."""
    late_word_high: float
    """Its upper bound."""
    late_place: float
    """Place part of the late layer where it is largest in size."""
    follows_action: float
    """Size of the action part over the sizes of action and word part, at the peak."""
    spread_label_sets: float
    """Standard deviation of the peak's action part over label sets; NaN with one."""
    spread_templates: float
    """The same over templates."""
    peak_label_mass: float
    """Median label mass at the peak."""
    min_label_mass: float = field(metadata=NOT_IN_DETAIL)
    """Label mass below which a layer is unreliable."""


def estimate(tables: Tables, settings: JudgeSettings) -> LateOverride | Missing:
    """Estimate the parts of each late layer, and the mean action part of those before."""
    return from_readings(read(tables), settings)


def read(tables: Tables) -> Readings:
    """Return the lens on the prompts whose prosocial action is not their Nash action."""
    return Readings(tables["lens"], conflicting(tables["prompts"]))


def from_readings(readings: Readings, settings: JudgeSettings) -> LateOverride | Missing:
    """Estimate the same from readings, of the model as it is or with something put into it."""
    problem = lens_problem(readings, "a prosocial action other than its Nash action")
    if problem is not None:
        return problem
    late = is_late(readings.layers, settings.late_fraction)
    if late.all():
        return Missing("no layer lies before the late ones: the model is too shallow for the claim")
    parts = readings.parts("prosocial_action")
    place = parts["place"][:, late]
    return _evidence(
        readings,
        late,
        readings.estimate(parts["action"][:, late]),
        readings.estimate(parts["word"][:, late]),
        readings.estimate(parts["action"][:, ~late].mean(axis=1, keepdims=True)),
        np.split(readings.estimate(parts["action"], place).estimate, [len(late)]),
        settings,
    )


def _evidence(
    readings: Readings,
    late: np.ndarray,
    action: BlockEstimate,
    word: BlockEstimate,
    early: BlockEstimate,
    others: list[Array],
    settings: JudgeSettings,
) -> LateOverride:
    confidence, resamples, rng = settings.confidence, settings.resamples, settings.rng("M6")
    low, high, critical = action.simultaneous(confidence, resamples, rng)
    word_low, word_high, _ = word.simultaneous(confidence, resamples, rng)
    early_low, early_high = early.interval(confidence)
    by_layer, place = others
    at, strongest = int(action.estimate.argmax()), int(np.abs(word.estimate).argmax())
    peak = int(np.flatnonzero(late)[at])
    # Bonferroni: choosing the peak is paid.
    p_late = late.sum() * action.p_above(0.0, NO_FLOOR)[at]
    p_early = 1.0 - early.p_above(0.0, NO_FLOOR)[0]
    # Late prosocial *and* early Nash: as doubtful as the more doubtful of the two.
    p_value = max(p_late, p_early, p_floor(action.n_clusters, resamples))
    # The flip starts the unbroken run of prosocial layers that the peak belongs to.
    start = peak
    while start > 0 and by_layer[start - 1] > 0:
        start -= 1
    p_prosocial = readings.estimate(readings.probability("prosocial_action")).estimate[late]
    sizes = abs(action.estimate[at]), abs(word.estimate[at])
    return LateOverride(
        **fields_at(action, at, low, high, critical),
        control=float(word.estimate[at]),
        p_value=float(min(p_value, 1.0)),
        peak_layer=int(readings.layers[peak]),
        peak_probability=float(p_prosocial.max()),
        peak_probability_layer=int(readings.layers[late][p_prosocial.argmax()]),
        flip_layer=int(readings.layers[start]) if by_layer[peak] > 0 else np.nan,
        layers=len(readings.layers),
        late_from=int(readings.layers[late].min()),
        late_high=float(high.max()),
        early_action=float(early.estimate[0]),
        early_low=float(early_low[0]),
        early_high=float(early_high[0]),
        late_word=float(word.estimate[strongest]),
        late_word_low=float(word_low[strongest]),
        late_word_high=float(word_high[strongest]),
        late_place=float(place[np.abs(place).argmax()]),
        follows_action=float(sizes[0] / max(sum(sizes), 1e-12)),
        spread_label_sets=float(action.over("label_set")[2][at]),
        spread_templates=float(action.over("template")[2][at]),
        peak_label_mass=float(np.median(readings.mass[:, peak])),
        min_label_mass=settings.min_label_mass,
    )


def rule(e: LateOverride) -> Outcome:
    """Ask for the prosocial action late, the Nash action early, and for both by the action."""
    prosocial = (
        above("lower bound of the action part at the late peak (logits)", e.low, 0.0),
        at_least("action part at the late peak (logits)", e.estimate, PREFERENCE),
        above("largest P(prosocial action) of a late layer", e.peak_probability, LEAST_PROBABILITY),
    )
    early = (
        below("upper bound of the early action part (logits)", e.early_high, 0.0),
        at_most("early action part (logits)", e.early_action, -LEAST_EARLY),
    )
    no_mass = below("median label mass at the late peak", e.peak_label_mass, e.min_label_mass)
    # The word part that is beyond doubt.
    word = min(abs(e.late_word_low), abs(e.late_word_high))
    word = word if e.late_word_low * e.late_word_high > 0 else 0.0
    late_high = "largest upper bound of a late action part (logits)"
    return decided(
        case(
            "inconclusive",
            *prosocial,
            *early,
            no_mass,
            because="the labels have almost no mass at the peak",
        ),
        case(
            "supported",
            *prosocial,
            *early,
            without=[no_mass],
            because=f"P(prosocial) is {e.peak_probability:.2f}, and the flip is at layer"
            f" {e.flip_layer}",
        ),
        case(
            "contradicted",
            *prosocial,
            above("lower bound of the early action part (logits)", e.early_low, -LEAST_EARLY),
            because="the layers before do not favour the Nash action",
        ),
        case("inconclusive", *prosocial, because="the layers before show no clear preference"),
        case(
            "contradicted",
            below(
                f"{late_high}, against {WORD_SHARE:.0%} of the word part beyond doubt",
                e.late_high,
                WORD_SHARE * word,
            ),
            because="what the late layers prefer follows the word",
        ),
        case(
            "contradicted",
            below(late_high, e.late_high, PREFERENCE),
            because="no late layer prefers the prosocial action",
        ),
        case("inconclusive", because="the late part is open"),
    )


def reason(e: LateOverride, outcome: Outcome) -> str:
    """Say the action part at the peak and before, the word part, and how far the first carries."""
    spread = spread_in_words(e.spread_label_sets, e.spread_templates)
    numbers = (
        f"at layer {e.peak_layer} of {e.layers} the action part is {with_bounds(e)} logits{spread}"
        f" and the word part {e.control:.2f}; before the late layers the action part is"
        f" {e.early_action:.2f} [{e.early_low:.2f}, {e.early_high:.2f}]"
    )
    return joined(numbers, outcome.because, ": " if outcome.verdict == "contradicted" else "; ")


CLAIM = Claim(
    id="M6",
    statement="A late override turns the Nash action into the prosocial one.",
    measure="action part of the lens's logit of prosocial over Nash at its peak late layer",
    unit="logits",
    control="word part: logit of the pair's first label over its second, there",
    paper="84% probability of cooperation at layer 30 of 32 (Llama-3-8B); an override only in"
    " models above a capacity threshold",
    tables=("lens", "prompts"),
    interval="student",
    supported=f"at a late layer the *action part* is at least {PREFERENCE:g} logits, lies above 0"
    f" (for all late layers at once) with P(prosocial) over {LEAST_PROBABILITY:g} and has labels"
    " with mass, and before the late layers it lies below 0 with its interval and is"
    f" {-LEAST_EARLY:g} logits or less",
    contradicted=f"no late action part can reach {PREFERENCE:g} logits, or {WORD_SHARE:.0%} of"
    f" the word part; or before the late layers it lies above {-LEAST_EARLY:g} logits",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
