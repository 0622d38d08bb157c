"""M6: a late override turns the Nash action into the prosocial one.

On prompts whose prosocial action is not the Nash action, the lens's logit of prosocial over Nash is
averaged with equal weight over label maps and option orders: that is its *action part*, in which
preferences for a token or a place cancel. The *token part* is the average logit of the pair's first
label over its second. The estimate is the action part at its peak, the late layer where it is
largest; bounds hold for all late layers at once, so that choosing the peak costs nothing.

An override needs both: the prosocial action late, and the Nash action before. It must be carried by
the action part, for a lens may as well come to prefer a word.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nashlens.contrasts import (
    Array,
    p_floor,
    percentile_interval,
    rank_p,
    simultaneous_interval,
)
from nashlens.findings.claim import (
    NOT_IN_DETAIL,
    Claim,
    Evidence,
    JudgeSettings,
    Missing,
    Outcome,
    Tables,
    joined,
    with_bounds,
)
from nashlens.findings.shared.lens_problems import lens_problem
from nashlens.lens.readings import Readings, conflicting

LEAST_LOGIT = 0.2
"""Action part, in logits, that counts as a preference (P from 0.5 to 0.55)."""
LEAST_PROBABILITY = 0.5
"""P(prosocial action) that the late layers must exceed somewhere."""
TOKEN_SHARE = 0.5
"""Share of the token part below which the action part follows the token."""


@dataclass(frozen=True, kw_only=True)
class LateOverride(Evidence):
    """The action part late and early, and the token part."""

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
    late_token: float
    """Token part of the late layer where it is largest in size."""
    late_token_low: float
    """Its lower bound."""
    late_token_high: float
    """Its upper bound."""
    follows_action: float
    """Size of the action part over the sizes of both parts, at the peak."""
    peak_label_mass: float
    """Median label mass at the peak."""
    min_label_mass: float = field(metadata=NOT_IN_DETAIL)
    """Label mass below which a layer is unreliable."""


def estimate(tables: Tables, settings: JudgeSettings) -> LateOverride | Missing:
    """Average action and token part over cells, layer by layer."""
    readings = Readings(tables["lens"], conflicting(tables["prompts"]))
    problem = lens_problem(readings, "a prosocial action other than its Nash action")
    if problem is not None:
        return problem
    late = readings.layers > readings.layers.max() * (1.0 - settings.late_fraction)
    if late.all():
        return Missing("no layer lies before the late ones: the model is too shallow for the claim")
    towards = readings.towards("prosocial_action")
    values = np.hstack(
        [
            towards * readings.odds,
            readings.first_is_1 * readings.odds,
            readings.probability(towards),
        ]
    )
    mean, draws = readings.cell_means(values, resamples=settings.resamples, rng=settings.rng("M6"))
    return _evidence(readings, mean, draws, late, settings)


def _evidence(
    readings: Readings, mean: Array, draws: Array, late: np.ndarray, settings: JudgeSettings
) -> LateOverride:
    action, token, p_prosocial = np.split(mean, 3)
    action_draws, token_draws, _ = np.split(draws, 3, axis=1)
    low, high = simultaneous_interval(action[late], action_draws[:, late], settings.confidence)
    token_low, token_high = simultaneous_interval(
        token[late], token_draws[:, late], settings.confidence
    )
    at = int(action[late].argmax())
    peak = int(np.flatnonzero(late)[at])
    # The largest deviation of any late layer in a resample, in errors: choosing the peak is paid.
    error = np.maximum(action_draws[:, late].std(axis=0), 1e-12)
    largest = ((action_draws[:, late] - action[late]) / error).max(axis=1)
    p_late = rank_p(action[peak] / error[at], largest)
    early_draws = action_draws[:, ~late].mean(axis=1)
    early_low, early_high = percentile_interval(early_draws[:, None], settings.confidence)
    p_early = rank_p(0.0, early_draws)
    # The flip starts the unbroken run of prosocial layers that the peak belongs to.
    start = peak
    while start > 0 and action[start - 1] > 0:
        start -= 1
    strongest = int(np.abs(token[late]).argmax())
    matches = len(set(readings.matches))
    return LateOverride(
        estimate=float(action[peak]),
        low=float(low[at]),
        high=float(high[at]),
        n=len(readings),
        n_matches=matches,
        control=float(token[peak]),
        # Late prosocial *and* early Nash: as doubtful as the more doubtful of the two.
        p_value=max(p_late, p_early, p_floor(matches, settings.resamples)),
        peak_layer=int(readings.layers[peak]),
        peak_probability=float(p_prosocial[late].max()),
        peak_probability_layer=int(readings.layers[late][p_prosocial[late].argmax()]),
        flip_layer=int(readings.layers[start]) if action[peak] > 0 else np.nan,
        layers=len(readings.layers),
        late_from=int(readings.layers[late].min()),
        late_high=float(high.max()),
        early_action=float(action[~late].mean()),
        early_low=float(early_low[0]),
        early_high=float(early_high[0]),
        late_token=float(token[late][strongest]),
        late_token_low=float(token_low[strongest]),
        late_token_high=float(token_high[strongest]),
        follows_action=float(abs(action[peak]) / max(abs(action[peak]) + abs(token[peak]), 1e-12)),
        peak_label_mass=float(np.median(readings.mass[:, peak])),
        min_label_mass=settings.min_label_mass,
    )


def rule(e: LateOverride) -> Outcome:
    """Ask for the prosocial action late, the Nash action early, and for both by the action."""
    prosocial = e.low > 0 and e.peak_probability > LEAST_PROBABILITY
    if prosocial and e.early_high < 0:
        if e.peak_label_mass < e.min_label_mass:
            return Outcome("inconclusive", "the labels have almost no mass at the peak")
        found = f"P(prosocial) {e.peak_probability:.2f}, flip at layer {e.flip_layer}"
        return Outcome("supported", found)
    if prosocial and e.early_low > 0:
        return Outcome("contradicted", "the prosocial action is favoured early on, too")
    # The token part that is beyond doubt.
    token = min(abs(e.late_token_low), abs(e.late_token_high))
    token = token if e.late_token_low * e.late_token_high > 0 else 0.0
    if e.late_high < TOKEN_SHARE * token:
        return Outcome("contradicted", "what the late layers prefer follows the token")
    if e.late_high < LEAST_LOGIT:
        return Outcome("contradicted", "no late layer prefers the prosocial action")
    open_part = (
        "the early layers show no clear preference" if prosocial else "the late part is open"
    )
    return Outcome("inconclusive", open_part)


def reason(e: LateOverride, outcome: Outcome) -> str:
    """Say the action part at the peak and before, and the token part."""
    numbers = (
        f"action part {with_bounds(e)} logits at layer {e.peak_layer} of {e.layers}, token part"
        f" {e.control:.2f}; before the late layers {e.early_action:.2f}"
        f" [{e.early_low:.2f}, {e.early_high:.2f}]"
    )
    return joined(numbers, outcome.because, ": " if outcome.verdict == "contradicted" else "; ")


CLAIM = Claim(
    id="M6",
    statement="A late override turns the Nash action into the prosocial one.",
    measure="action part of the lens's logit of prosocial over Nash at its peak late layer",
    unit="logits",
    control="token part: logit of the pair's first label over its second, there",
    paper="84% probability of cooperation at layer 30 of 32 (Llama-3-8B); an override only in"
    " models above a capacity threshold",
    tables=("lens", "prompts"),
    supported="at a late layer the *action part* lies above 0 (for all late layers at once) with"
    f" P(prosocial) over {LEAST_PROBABILITY:g} and labels that have mass, and before the late"
    " layers it lies below 0",
    contradicted=f"no late action part can reach {LEAST_LOGIT:g} logits, or {TOKEN_SHARE:.0%} of"
    " the token part; or the prosocial action is favoured before the late layers too",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
