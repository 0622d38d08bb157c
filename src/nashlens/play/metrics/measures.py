"""The measures of a cell as data: what is divided by what, in words, and beside which control.

Each is a ratio of two sums over the rows of the matches table, or the difference of two such
ratios, so that one product of bootstrap weights and per-match sums gives the draws of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

MATCHES = "matches"
"""The denominator of a mean over matches: each match with a value counts as one."""


@dataclass(frozen=True)
class Measure:
    """One number of a cell."""

    name: str
    term: str | None
    definition: str
    top: str
    """Column whose sum is divided."""
    bottom: str = MATCHES
    """Column by whose sum it is divided."""
    minus: tuple[str, str] | None = None
    """Top and bottom of a second ratio, which is subtracted."""
    once: bool = True
    """Self-play at once: count a match once, not from both of its seats."""
    control: str | float | None = None
    """A number, or a column averaged with the denominator as weights."""
    control_measure: str = ""
    reason: str = ""
    """Why there is no estimate, where there is none."""


_RANDOM = "uniformly random play"
_NO_PROSOCIAL = "the game has no prosocial action"
_COMPARED = {
    "tv": "total variation 1/2 sum |J - e| between the match's joint action frequencies J and the"
    " product distribution of the nearest equilibrium e of the stage game",
    "l2": "sqrt(((p - p_e)^2 + (q - q_e)^2) / 2), p and q the seats' shares of action 0 in the"
    " match, e the nearest equilibrium of the stage game",
    "regret": "largest gain of either seat by a unilateral deviation from the mixes of the match,"
    " in its payoff range",
}
_BIAS = "the same of exact equilibrium play over as many rounds"
_SEPARATE = "the seats move in turn, so the probabilities do not give the joint distribution"


def _distances() -> list[Measure]:
    found = []
    for kind, words in _COMPARED.items():
        actions = Measure(
            f"nash_{kind}", None, f"mean over matches: {words}", f"nash_{kind}",
            control=f"nash_{kind}_control", control_measure=_BIAS,
            reason="no whole round was played",
        )  # fmt: skip
        told = words.replace("frequencies", "distribution").replace("shares of", "mean P of")
        policy = Measure(
            f"nash_{kind}_policy", None,
            f"mean over matches: {told}; from recorded probabilities, before temperature",
            f"nash_{kind}_policy", control=0.0, control_measure=_BIAS, reason=_SEPARATE,
        )  # fmt: skip
        for whole in (actions, policy):
            found += [whole, *_thirds(whole)]
    return found


def _thirds(whole: Measure) -> list[Measure]:
    short = "fewer than two rounds" if not whole.name.endswith("policy") else whole.reason
    first, last = f"{whole.top}_first", f"{whole.top}_last"
    base = replace(whole, name=f"{whole.name}_rounds", reason=short)
    if isinstance(whole.control, str):
        controls = [f"{top}_control" for top in (first, last)]
    else:
        controls = [whole.control] * 2  # type: ignore[list-item]
    parts = [
        replace(base, term=f"{name} third", top=top, control=control,
                definition=f"{whole.definition}; {name} third of its rounds")
        for name, top, control in zip(("first", "last"), (first, last), controls, strict=True)
    ]  # fmt: skip
    still: dict[str, Any] = {"control": 0.0, "control_measure": "play that does not change"}
    change = replace(
        base, term="change", top=last, minus=(first, MATCHES),
        definition=f"{whole.definition}; last third of its rounds less the first", **still,
    )  # fmt: skip
    found = [*parts, change]
    if whole.name.startswith("nash_tv"):
        found.append(
            replace(
                base,
                term="slope",
                top=f"{whole.top}_slope",
                definition="mean over matches: least-squares slope, per round, of the total"
                " variation between a single round's joint distribution and the nearest"
                " equilibrium",
                **still,
            )
        )
    return found


def _locks() -> list[Measure]:
    few = "fewer than two rounds"
    run = "the last constant run of the joint action holds at least half of the rounds and two"
    return [
        Measure("lock_rate", None, f"share of matches where {run}", "locked",
                control="locked_control", control_measure=_RANDOM, reason=few),
        Measure("full_lock_rate", None, "share of matches with one joint action from round 1 on",
                "full_lock", control="full_lock_control", control_measure=_RANDOM, reason=few),
        Measure("lock_onset", None, f"mean first round of the last run, in matches where {run}",
                "lock_onset", reason="no match is locked"),
    ]  # fmt: skip


def _defection() -> list[Measure]:
    none = "the partner never defects, or the game has no prosocial action"
    before, after = ("n_cooperation_before", "n_before"), ("n_cooperation_after", "n_after")
    rounds = {
        "before": "in rounds that cannot answer the partner's first defection",
        "after": "in rounds that can answer the partner's first defection",
    }
    return [
        Measure("defection_rate", None, "share of matches in which the seat ever leaves the"
                " prosocial action", "defects", once=False, reason=_NO_PROSOCIAL),
        Measure("first_defection", None, "mean round of the first own defection, in matches that"
                " have one", "first_defection", once=False,
                reason="never defects, or the game has no prosocial action"),
        Measure("unravelling", "before", f"cooperation rate {rounds['before']}", *before,
                once=False, reason=none),
        Measure("unravelling", "after", f"cooperation rate {rounds['after']}", *after,
                once=False, reason=none),
        Measure("unravelling", "change", f"cooperation rate {rounds['after']}, less that"
                f" {rounds['before']}", *after, minus=before, once=False, control=0.0,
                control_measure="a seat that does not respond", reason=none),
    ]  # fmt: skip


def _reciprocity() -> list[Measure]:
    ratios = [(f"n_0_after_other_{k}", f"n_after_other_{k}") for k in (0, 1)]
    words = [f"P(action 0 | the other's last action was {k})" for k in (0, 1)]
    reasons = [f"the other's last action was never {k}" for k in (0, 1)]
    parts = [
        Measure("reciprocity", f"after {k}", words[k], *ratios[k], once=False, reason=reasons[k])
        for k in (0, 1)
    ]
    return [
        Measure("reciprocity", None, " - ".join(words), *ratios[0], minus=ratios[1], once=False,
                control=0.0, control_measure="a seat that does not look",
                reason="the other never changed its action"),
        *parts,
    ]  # fmt: skip


def _selection() -> list[Measure]:
    few = "the game has fewer than two pure equilibria, or they pay the seat alike"
    share = "share of rounds in"
    one: dict[str, Any] = {"control": 0.25, "control_measure": _RANDOM, "reason": few}
    return [
        Measure("equilibrium_selection", "any", f"{share} a pure equilibrium of the stage game",
                "n_equilibrium", "n_rounds", **one | {"control": "equilibria_share"}),
        Measure("equilibrium_selection", "own preferred", f"{share} the pure equilibrium that the"
                " seat earns most in", "n_own_preferred", "n_rounds", **one),
        Measure("equilibrium_selection", "other preferred", f"{share} the pure equilibrium that"
                " the other seat earns most in", "n_other_preferred", "n_rounds", **one),
        Measure("equilibrium_selection", "not own preferred", f"{share} a pure equilibrium other"
                " than the one that the seat earns most in", "n_not_preferred", "n_rounds",
                **one),
    ]  # fmt: skip


def measures() -> list[Measure]:
    """Return every measure that is a ratio of sums, in the order of the table."""
    shares: dict[str, Any] = {"control": 0.5, "control_measure": _RANDOM}
    return [
        Measure("cooperation", None, "share of the seat's decisions that are the prosocial action",
                "n_cooperation", "n_rounds", once=False, reason=_NO_PROSOCIAL, **shares),
        Measure("action_0", None, "share of the seat's decisions that are action 0", "n_0",
                "n_rounds", once=False, reason="no whole round was played", **shares),
        Measure("p_action_0", None, "mean recorded P(action 0), before temperature",
                "sum_p_action_0", "n_p_action_0", once=False,
                reason="no probability was recorded", **shares),
        *(Measure("joint_action", f"{cell[0]},{cell[1]}", "share of rounds with these actions: own,"
                  " other's", f"n_{cell}", "n_rounds", control=0.25, control_measure=_RANDOM,
                  reason="no whole round was played") for cell in ("00", "01", "10", "11")),
        *_distances(),
        Measure("spe_tv", None, "mean over matches: total variation between the match's joint"
                " action frequencies and the nearest subgame-perfect outcome: by backward"
                " induction of the stage game where the seats move in turn, of the repeated game"
                " where its horizon is known and the stage equilibrium unique", "spe_tv",
                reason="not determined: seats that move at once with an unknown horizon or several"
                " stage equilibria, or a second mover that is indifferent"),
        *_locks(),
        Measure("efficiency", None, "(sum of both payoffs - least sum) / (largest sum - least"
                " sum), mean over rounds", "sum_efficiency", "n_rounds",
                control="efficiency_control", control_measure=_RANDOM,
                reason="all payoff sums are alike"),
        Measure("scaled_payoff", None, "(payoff - own least) / (own largest - own least), mean"
                " over rounds", "scaled_payoff", "n_rounds", once=False,
                reason="the seat's payoff never changes"),
        *_reciprocity(),
        *_defection(),
        *_selection(),
        Measure("mixed_frequency", None, "share of action 0, in games whose only equilibrium is"
                " mixed", "n_0_mixed", "n_rounds", once=False, control="mixed_share",
                control_measure="P(action 0) in the equilibrium",
                reason="the game has a pure equilibrium, or a continuum"),
    ]  # fmt: skip


def names(found: Sequence[Measure]) -> list[str]:
    """List the names of measures, each once."""
    return list(dict.fromkeys(measure.name for measure in found))
