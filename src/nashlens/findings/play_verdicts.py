"""Verdict rules of the claims about play.

As in `verdicts`: each rule reads one `Measurement`; what it calls supported must survive the
false-discovery correction besides. A claim is never supported where a surface form decides what
the players do (`estimators.play.surface`), nor by uniformly random play: each rule has a part that
random players fail.

=====  ==========================================  ==============================================
claim  supported                                   contradicted
=====  ==========================================  ==============================================
B1     at least 95% of matches lock on             interval of that share below 95%
       cooperation, its interval above one half
B2     small model: cot farther, interval above 0  small: the interval stays below 0.05, or cot
       and at least 0.05; largest: cot nearer, by  is nearer. Largest: it stays above -0.05, or
       as much, and within 0.1 of exact            cot lies beyond 0.1. Family: the interval stays
       equilibrium play. Family: both, and the     above -0.05, or an effect has the other sign
       effect falls with size
B3     larger model nearer, interval below 0 and   the interval stays above -0.05
       at least 0.05
B4 B5  interval without 0 and at least 0.05 apart  the interval lies within 0.05 of 0
B6     every game's distance, beyond exact play    some game's upper bound at 0.1 or below,
       of any equilibrium, above 0.05 with bounds  beyond exact play only where no equilibrium
       for all at once, and in some game more      is pure
       than 0.05 from random play's
X1     fall with its interval and by at least      the small model seldom defects early; or the
       0.1, below the partner's own self-play,     interval stays above -0.1, and the partner
       and the small model defects first and in    cooperates with itself, beyond 0.1
       the first third of most matches
X2     cooperation in most decisions and locks on  less than with themselves, by 0.1 and with
       it in most matches, not 0.1 below           its interval; or less than half of decisions
       self-play, and both answer the scripts
X3     interval above 0 and at least 0.1, the      the interval stays below 0.1
       first mover gets its equilibrium more than
       at once, and most rounds are in one
=====  ==========================================  ==============================================

In B2 to B5 whatever is called nearer must be nearer than uniformly random play, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nashlens.findings.decisions import Verdict, choose, span
from nashlens.findings.estimators.play.cooperation import MAJORITY, UNIVERSAL
from nashlens.findings.estimators.play.distance import LEAST_DISTANCE, NEAR, NOT_CONVERGED
from nashlens.findings.estimators.play.order import COORDINATED
from nashlens.findings.measurement import Measurement, Missing

LEAST_COOPERATION = 0.1
"""Difference of cooperation rates that counts."""
LEAST_SELECTION = 0.1
"""Swing of the equilibrium with the move order that counts."""


def _because(verdict: str, why: str, text: str) -> Verdict:
    """Return a verdict with what decided it first, as figures cut long reasons."""
    return Verdict(verdict, f"{why}; {text}")


def _paradox(cooperation: float) -> str:
    """Say what full cooperation implies, as both it and distance 0 have been reported of models."""
    return " (full cooperation lies at distance 1, not at 0)" if cooperation > UNIVERSAL else ""


def _locked(m: Measurement) -> Verdict:
    d = m.detail
    whose = ", ".join(f"{name} {share:.2f}" for name, share in d.get("shares", {}).items())
    least = f" in {d['least']}, of {whose}" if whose else ""
    text = (
        f"cooperation {d['cooperation']:.2f} at nash_tv {d['nash_tv']:.2f}"
        f"{_paradox(d['cooperation'])}; share of matches locked on it {span(m)}"
        f"{least}, by chance {m.control:.2g}"
    )
    low, high = d.get("least_low", m.low), d.get("least_high", m.high)
    supported = m.estimate >= UNIVERSAL and low > max(MAJORITY, m.control)
    if supported and d["surface"]:
        return _because("inconclusive", d["surface"], text)
    return Verdict(choose(supported, high < UNIVERSAL), text)


def _distances(m: Measurement) -> str:
    d = m.detail
    arms = ", ".join(f"{name} {side['distance']:.2f}" for name, side in d["arms"].items())
    return (
        f"nash_tv: {arms}; difference {span(m)} (l2 {d['l2']:+.2f}, regret {d['regret']:+.2f};"
        f" {d['size']})"
    )


def _at_random(side: dict[str, Any]) -> bool:
    """Say whether an arm may be no nearer to equilibrium than uniformly random play."""
    return not side["nearer_low"] > 0


def _chain_of_thought(m: Measurement) -> Verdict:
    d, text = m.detail, _distances(m)
    if d["surface"]:
        return _because("inconclusive", d["surface"], text)
    if d["expected"] == "farther":
        if m.high < LEAST_DISTANCE:
            return _because("contradicted", "cot takes this small model no farther away", text)
        supported = m.low > 0 and m.estimate >= LEAST_DISTANCE
        return _unless_random(text, supported, d["arms"]["direct"], "direct")
    if d["expected"] == "nearer":
        return _nearer_by_thought(m, text)
    if d["expected"] == "family":
        return _crossing(m, text)
    return _because("inconclusive", "the claim says nothing about a model of this size", text)


def _nearer_by_thought(m: Measurement, text: str) -> Verdict:
    direct, cot = (m.detail["arms"][mode] for mode in ("direct", "cot"))
    if cot["excess_low"] > NEAR:
        return _because("contradicted", "with cot it is not near equilibrium play", text)
    if direct["beyond_high"] <= NEAR and cot["beyond_high"] <= NEAR:
        return _because("inconclusive", "direct play is near-perfect already", text)
    if m.low > -LEAST_DISTANCE:
        return _because("contradicted", "cot brings it no nearer", text)
    supported = m.high < 0 and m.estimate <= -LEAST_DISTANCE and cot["beyond_high"] <= NEAR
    if m.high < 0 and not supported:
        return _because("inconclusive", "nearer, and not clearly near-perfect", text)
    return _unless_random(text, supported, cot, "cot")


def _crossing(m: Measurement, text: str) -> Verdict:
    small, large = (m.detail["effects"][size] for size in ("smallest", "largest"))
    text = (
        f"cot less direct: {small['effect']:+.2f} [{small['low']:.2f}, {small['high']:.2f}] in the"
        f" smallest, {large['effect']:+.2f} [{large['low']:.2f}, {large['high']:.2f}] in the"
        f" largest; {text}"
    )
    if m.low > -LEAST_DISTANCE or small["high"] < 0 or large["low"] > 0:
        return Verdict("contradicted", text)
    supported = (
        m.high < 0 and m.estimate <= -LEAST_DISTANCE and small["low"] > 0 and large["high"] < 0
    )
    for name in ("smallest, direct", "largest, cot"):
        if supported and _at_random(m.detail["arms"][name]):
            return _unless_random(text, True, m.detail["arms"][name], name)
    return Verdict(choose(supported, contradicted=False), text)


def _unless_random(text: str, supported: bool, side: dict[str, Any], name: str) -> Verdict:
    if supported and _at_random(side):
        why = f"{name} is no nearer than uniformly random play would be"
        return _because("inconclusive", why, text)
    return Verdict(choose(supported, contradicted=False), text)


def _scale(m: Measurement) -> Verdict:
    text = _distances(m)
    if m.detail["surface"]:
        return _because("inconclusive", m.detail["surface"], text)
    if m.low > -LEAST_DISTANCE:
        return _because("contradicted", "the larger model is no nearer", text)
    supported = m.high < 0 and m.estimate <= -LEAST_DISTANCE
    return _unless_random(text, supported, m.detail["arms"]["largest"], "the largest")


def _apart(m: Measurement) -> Verdict:
    text = _distances(m)
    if m.detail["surface"]:
        return _because("inconclusive", m.detail["surface"], text)
    if m.low > -LEAST_DISTANCE and m.high < LEAST_DISTANCE:
        return _because("contradicted", "no difference that counts", text)
    supported = abs(m.estimate) >= LEAST_DISTANCE and (m.low > 0 or m.high < 0)
    arms = m.detail["arms"]
    nearest = min(arms, key=lambda name: float(arms[name]["distance"]))
    return _unless_random(text, supported, arms[nearest], nearest)


def _not_converged(m: Measurement) -> Verdict:
    d = m.detail
    games = ", ".join(f"{game} {value:.2f}" for game, value in d["distances"].items())
    text = (
        f"nearest is {d['game']}, {span(m)}, where exact equilibrium play has up to"
        f" {m.control:.2f}; nash_tv in the last third: {games}"
    )
    if d["surface"]:
        return _because("inconclusive", d["surface"], text)
    if d["converged"]:
        return _because("contradicted", f"{', '.join(d['converged'])} did converge", text)
    supported = d["least_low"] > NOT_CONVERGED
    if supported and d["like_random"]:
        return _because("inconclusive", "uniformly random play would be as far in each", text)
    return Verdict(choose(supported, contradicted=False), text)


def _unravelled(m: Measurement) -> Verdict:
    d = m.detail
    text = (
        f"{d['small']} defects early in {d['early']:.2f} of matches (first of the two in"
        f" {d['first']:.2f}); then the cooperation of {d['large']} changes by {span(m)}; in all it"
        f" is {d['cooperation']:.2f}, with itself {d['self_play']:.2f}: {d['fall']:+.2f}"
        f" [{d['fall_low']:.2f}, {d['fall_high']:.2f}]"
    )
    if d["surface"]:
        return _because("inconclusive", d["surface"], text)
    if d["early_high"] < MAJORITY:
        return _because("contradicted", "the small model seldom defects early", text)
    if not d["self_play_low"] > LEAST_COOPERATION:
        why = "the partner may hardly cooperate even with itself: nothing to unravel"
        return _because("inconclusive", why, text)
    if m.low > -LEAST_COOPERATION:
        return _because("contradicted", "the partner goes on as before", text)
    supported = m.high < 0 and m.estimate <= -LEAST_COOPERATION
    for lacking, why in (
        (not d["early_low"] > MAJORITY, "too few matches show an early defection"),
        (d["first"] < MAJORITY, "the partner often defects first"),
        (not d["fall_high"] < 0, "the partner cooperates no less than with itself"),
    ):
        if supported and lacking:
            return _because("inconclusive", why, text)
    return Verdict(choose(supported, contradicted=False), text)


def _reinforced(m: Measurement) -> Verdict:
    d = m.detail
    answers = ", ".join(f"{name} {value:+.2f}" for name, value in d["answers"].items())
    text = (
        f"locked on cooperation in {d['locked']:.2f} of matches, at nash_tv {d['nash_tv']:.2f}"
        f"{_paradox(m.estimate)}; cooperation {span(m)} with each other, {m.control:.2f} with"
        f" themselves ({d['gain']:+.2f} [{d['gain_low']:.2f}, {d['gain_high']:.2f}]); with a script"
        f" that always cooperates less with one that never does: {answers or 'unknown'}"
    )
    if d["surface"]:
        return _because("inconclusive", d["surface"], text)
    if m.high < MAJORITY:
        return _because("contradicted", "there is little cooperation to keep up", text)
    if d["gain"] <= -LEAST_COOPERATION and d["gain_high"] < 0:
        return _because("contradicted", "less than with themselves", text)
    supported = m.low > MAJORITY and d["locked_low"] > max(MAJORITY, d["locked_chance"])
    silent = [name for name, low in d["answers_low"].items() if not low > 0]
    for lacking, why in (
        (d["gain"] < -LEAST_COOPERATION, "it may be less than with themselves"),
        (bool(d["unanswered"]), f"whether they answer is unknown: {'; '.join(d['unanswered'])}"),
        (bool(silent), f"{' and '.join(silent)} may cooperate whatever the other does"),
    ):
        if supported and lacking:
            return _because("inconclusive", why, text)
    return Verdict(choose(supported, contradicted=False), text)


def _selected(m: Measurement) -> Verdict:
    d = m.detail
    text = (
        f"the first mover gets its own equilibrium in {d['mover']:.2f} of rounds, either seat at"
        f" once in {d['either']:.2f}; row's less column's is {d['row_first']:+.2f} when row moves"
        f" first, {d['column_first']:+.2f} when column does, {m.control:+.2f} at once, half the"
        f" difference {span(m)}; {d['coordinated']:.2f} of rounds are in an equilibrium"
    )
    if d["surface"]:
        return _because("inconclusive", d["surface"], text)
    if m.high < LEAST_SELECTION:
        why = "the second mover gets its own" if m.high < 0 else "the order changes little"
        return _because("contradicted", why, text)
    supported = m.low > 0 and m.estimate >= LEAST_SELECTION
    for lacking, why in (
        (not d["beyond_low"] > 0, "not clearly more than at once"),
        (not d["coordinated_low"] > COORDINATED, "a second mover that does not look would do"),
    ):
        if supported and lacking:
            return _because("inconclusive", why, text)
    return Verdict(choose(supported, contradicted=False), text)


PLAY_RULES: dict[str, Callable[[Measurement], Verdict]] = {
    "B1": _locked,
    "B2": _chain_of_thought,
    "B3": _scale,
    "B4": _apart,
    "B5": _apart,
    "B6": _not_converged,
    "X1": _unravelled,
    "X2": _reinforced,
    "X3": _selected,
}
"""Claim id to its rule."""


def decide(claim: str, m: Measurement | Missing) -> Verdict:
    """Apply a claim's rule; without a full interval nothing is decided."""
    if isinstance(m, Missing):
        return Verdict(m.verdict, m.reason)
    if not np.isfinite([m.estimate, m.low, m.high]).all():
        return Verdict(
            "inconclusive",
            f"estimate {m.estimate:.2f} from {m.n_matches} matches: too few for an interval",
        )
    found = PLAY_RULES[claim](m)
    left_out = m.detail.get("left_out")
    return found._replace(reason=f"{found.reason}; {left_out}") if left_out else found
