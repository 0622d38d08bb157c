"""Verdict rules: when a claim is supported, contradicted, or neither.

Each rule reads one `Measurement` and gives a verdict with its reason in one sentence. Rules
look at intervals and controls; a *supported* verdict must besides survive the false-discovery
correction over all judged claims (`judge.combine`).

=====  ==========================================  ==============================================
claim  supported                                   contradicted
=====  ==========================================  ==============================================
M1     interval above the permutations' upper      interval below 0.6
       quantile and above what embedding, bag of
       words and random weights reach, and the
       estimate at least 0.6
M2     loss above 0 with its interval and at       interval of the loss below 0, or below 0.05
       least 0.05, accuracy falling with depth     where the history was decodable at layer 1
M3     upper bound of the largest accuracy at      its lower bound above 0.65, and the target
       most 0.65                                   varies within a game
M4     the drop from ablating the chosen heads,    that drop above 0.2 logits with its
       beyond random groups, within 0.2 logits     interval, and beyond every random group
       with its interval, and below half of what
       the Nash action leads by
M5     interval of the share above one half, and   interval below one half
       the labels have mass in half the layers
M6     at a late layer the action part is above 0  no late action part reaches 0.2 logits, or
       (for all late layers at once) with          half the token part; or the prosocial action
       P(prosocial) over 0.5, and before them it   is favoured before the late layers too
       is below 0
M7     both halves above 0 and the change at       no layer's change can reach 0.05, or half of
       least 0.05, beyond every random direction   the random directions move as much
M8     correlation above 0 and the change at       no layer's correlation can reach 0.3, or its
       least 0.05, where random directions were    change 0.05
       clamped beyond those
=====  ==========================================  ==============================================

Everything else is inconclusive, and the reason says what is lacking.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nashlens.findings.decisions import Verdict, choose, span
from nashlens.findings.measurement import Measurement, Missing, Settings

DECODABLE = 0.6
"""Balanced accuracy from which on something counts as decodable."""
LEAST_LOSS = 0.05
"""Loss of balanced accuracy that counts as consumption."""
LEAST_CHANGE = 0.05
"""Change of P(action) that counts as moving behaviour."""
LEAST_LOGIT = 0.2
"""Action part, in logits, that counts as a preference (P from 0.5 to 0.55)."""
LEAST_CORRELATION = 0.3
"""Mean rank correlation that counts as monotone at all."""


_BASELINES = {
    "embedding": "the embedding alone",
    "bag_of_words": "the prompt's bag of words",
    "random_weights": "the same architecture with random weights",
}


def _history_at_layer_1(m: Measurement, settings: Settings) -> Verdict:
    known = {name: m.detail[name] for name in _BASELINES if np.isfinite(m.detail[name])}
    best = max(known, key=lambda name: known[name], default="")
    text = f"balanced accuracy {span(m)} at layer 1, {m.control:.2f} with permuted labels"
    beyond = m.low > max(m.control, 0.5)
    if beyond and best and not m.low > known[best]:
        return Verdict("inconclusive", f"{text}; {_BASELINES[best]} reaches {known[best]:.2f}")
    supported = beyond and m.estimate >= DECODABLE
    return Verdict(choose(supported, m.high < DECODABLE), text)


def _history_consumed(m: Measurement, settings: Settings) -> Verdict:
    d = m.detail
    text = (
        f"balanced accuracy {d['first']:.2f} at layer 1 and {d['last']:.2f} at layer"
        f" {d['last_layer']}: a loss of {span(m)}; peak {d['peak']:.2f} at layer"
        f" {d['peak_layer']}"
    )
    decodable = d["first_low"] > max(d["first_control"], 0.5)
    if not decodable and not m.high < 0:
        return Verdict("inconclusive", f"{text}; nothing was decodable at layer 1 to be consumed")
    supported = m.low > 0 and m.estimate >= LEAST_LOSS
    if supported and d["spearman_depth"] >= 0:
        return Verdict("inconclusive", f"{text}; the accuracy does not fall with depth")
    return Verdict(choose(supported, m.high < LEAST_LOSS), text)


def _nash_weakly_encoded(m: Measurement, settings: Settings) -> Verdict:
    d = m.detail
    text = (
        f"largest balanced accuracy {span(m)}, at layer {d['layer']} of {d['layers']} probed;"
        f" the limit is {d['limit']:.2f}"
    )
    if m.high <= d["limit"]:
        return Verdict("supported", text)
    if m.low > d["limit"] and d["game_fixes_target"]:
        return Verdict(
            "inconclusive",
            f"{text}; each game fixes its Nash action here, so decoding which game it is would"
            " do as well",
        )
    return Verdict(choose(False, m.low > d["limit"]), text)


def _no_nash_heads(m: Measurement, settings: Settings) -> Verdict:
    d = m.detail
    text = (
        f"ablating heads {d['heads']} costs the Nash action {d['drop']:.2f} logits,"
        f" {d['random_groups']} random groups {d['random_mean']:.2f} on average and"
        f" {d['random_largest']:.2f} at most: beyond them {span(m)}; unablated it leads by"
        f" {d['preference']:.2f} [{d['preference_low']:.2f}, {d['preference_high']:.2f}]"
    )
    if m.low > LEAST_LOGIT and d["drop"] > d["random_largest"]:
        return Verdict("contradicted", text)
    if d["preference_low"] <= 0:
        return Verdict(
            "inconclusive", f"{text}: no preference for the Nash action that heads could compute"
        )
    limit = min(LEAST_LOGIT, 0.5 * d["preference"])
    return Verdict(choose(m.low > -LEAST_LOGIT and m.high < limit, contradicted=False), text)


def _nash_favoured(m: Measurement, settings: Settings) -> Verdict:
    d = m.detail
    text = (
        f"{d['favoured_layers']} of {d['layers']} layers favour the Nash action (share"
        f" {span(m)}); the labels have mass in {d['reliable_layers']}"
    )
    supported = m.low > 0.5
    if supported and d["reliable_layers"] < 0.5 * d["layers"]:
        return Verdict("inconclusive", f"{text}, too few to speak for most layers")
    return Verdict(choose(supported, m.high < 0.5), text)


def _late_override(m: Measurement, settings: Settings) -> Verdict:
    d = m.detail
    text = (
        f"action part {span(m)} logits at layer {d['peak_layer']} of {d['layers']}, token part"
        f" {m.control:.2f}; before the late layers {d['early_action']:.2f}"
        f" [{d['early_low']:.2f}, {d['early_high']:.2f}]"
    )
    token = min(abs(d["late_token_low"]), abs(d["late_token_high"]))
    token = token if d["late_token_low"] * d["late_token_high"] > 0 else 0.0
    prosocial = m.low > 0 and d["peak_probability"] > 0.5
    if prosocial and d["early_high"] < 0:
        if d["peak_label_mass"] < settings.min_label_mass:
            return Verdict("inconclusive", f"{text}; the labels have almost no mass at the peak")
        peak = f"P(prosocial) {d['peak_probability']:.2f}, flip at layer {d['flip_layer']}"
        return Verdict("supported", f"{text}; {peak}")
    if prosocial and d["early_low"] > 0:
        return Verdict(
            "contradicted",
            f"{text}: the prosocial action is favoured early on, too",
        )
    if d["late_high"] < 0.5 * token:
        return Verdict("contradicted", f"{text}: what the late layers prefer follows the token")
    if d["late_high"] < LEAST_LOGIT:
        return Verdict("contradicted", f"{text}: no late layer prefers the prosocial action")
    lacking = "the early layers show no clear preference" if prosocial else "the late part is open"
    return Verdict("inconclusive", f"{text}; {lacking}")


def _steering_both_ways(m: Measurement, settings: Settings) -> Verdict:
    d = m.detail
    text = (
        f"at layer {d['layer']} P(action 1) is {d['baseline']:.2f} unsteered, moves by"
        f" {d['up']:+.2f} at alpha {d['alpha_high']:g} and by {-d['down']:+.2f} at"
        f" {d['alpha_low']:g}, in all {span(m)}"
    )
    if not d["random_directions"]:
        return Verdict("inconclusive", f"{text}; there is no random direction to compare with")
    text += f"; random directions up to {m.control:.2f} (rank p {d['random_rank_p']:.2f})"
    both = d["up_low"] > 0 and d["down_low"] > 0 and m.estimate >= LEAST_CHANGE
    beyond = d["random_rank_p"] <= 1.0 / (1.0 + d["random_directions"]) + 1e-9
    contradicted = d["largest_high"] < LEAST_CHANGE or d["random_rank_p"] > 0.5
    if not both and beyond and not contradicted:
        text += "; it does not clearly move both ways"
    return Verdict(choose(both and beyond, contradicted), text)


def _clamping_monotone(m: Measurement, settings: Settings) -> Verdict:
    d = m.detail
    text = (
        f"rank correlation {span(m)} at layer {d['layer']},"
        f" {100 * d['monotone_share']:.0f}% of prompts monotone; P(action 1) changes by"
        f" {d['change']:+.2f} from {d['clamp_low']:g} to {d['clamp_high']:g}"
    )
    rank = d["random_rank_p"]
    known = bool(np.isfinite(rank))
    beyond = not known or rank <= 1.0 / (1.0 + d["random_directions"]) + 1e-9
    supported = m.low > 0 and d["change_low"] > 0 and d["change"] >= LEAST_CHANGE
    contradicted = d["largest_high"] < LEAST_CORRELATION or d["largest_change_high"] < LEAST_CHANGE
    if supported and not beyond:
        return Verdict("inconclusive", f"{text}; random directions do as much")
    return Verdict(choose(supported, contradicted), text)


RULES: dict[str, Callable[[Measurement, Settings], Verdict]] = {
    "M1": _history_at_layer_1,
    "M2": _history_consumed,
    "M3": _nash_weakly_encoded,
    "M4": _no_nash_heads,
    "M5": _nash_favoured,
    "M6": _late_override,
    "M7": _steering_both_ways,
    "M8": _clamping_monotone,
}
"""Claim id to its rule."""


def decide(claim: str, m: Measurement | Missing, settings: Settings) -> Verdict:
    """Apply a claim's rule; without a full interval and a p-value nothing is decided."""
    if isinstance(m, Missing):
        return Verdict(m.verdict, m.reason)
    if not np.isfinite([m.estimate, m.low, m.high, m.p_value]).all():
        if claim == "M7" and not m.detail.get("random_directions"):
            return RULES[claim](m, settings)
        return Verdict(
            "inconclusive",
            f"estimate {m.estimate:.2f} from {m.n_matches} matches: too few for an interval",
        )
    return RULES[claim](m, settings)
