"""The measures of a cell as data: what is divided by what, in words, and with which control.

Each is a ratio of two sums over the rows of the matches table, or the difference of two such
ratios, so that one product of bootstrap weights and per-match sums gives the draws of all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

MATCHES = "matches"
"""The denominator of a mean over matches: each match with a value counts as one."""


class Control(NamedTuple):
    """What a measure is compared with."""

    value: str | float
    """A number, or a column that is averaged with the measure's denominator as weights."""
    words: str


@dataclass(frozen=True)
class Measure:
    """One number of a cell."""

    name: str
    definition: str
    numerator: str
    """Column of the matches table whose sum is divided."""
    denominator: str = MATCHES
    """Column by whose sum it is divided."""
    term: str | None = None
    """Which of several numbers under one name it is."""
    subtracted: tuple[str, str] | None = None
    """Numerator and denominator of a second ratio, which is subtracted."""
    once_in_self_play: bool = True
    """Whether a match of simultaneous self-play counts once, not from both of its seats."""
    control: Control | None = None
    reason: str = ""
    """Why there is no estimate, where there is none."""


_SHORT = "fewer than two rounds"
_NO_ROUND = "no whole round was played"
_NO_PROSOCIAL = "the game has no prosocial action"
_SEPARATE = "the seats move in turn, so the probabilities do not give the joint distribution"
_REGRET = (
    "largest gain of either seat by a unilateral deviation from the mixes of the match,"
    " in its payoff range"
)
_TV = (
    "total variation 1/2 sum |J - e| between the match's joint action {} J and the product"
    " distribution of the nearest equilibrium e of the stage game"
)
_L2 = (
    "sqrt(((p - p_e)^2 + (q - q_e)^2) / 2), p and q the seats' {} of action 0 in the match, e the"
    " nearest equilibrium of the stage game"
)
_NORM = (
    "sqrt((p - p_e)^2 + (q - q_e)^2), p and q the seats' {} of action 0 in the match, e the nearest"
    " equilibrium of the stage game; the distance that the paper's figures point to"
)


def _random_play(value: str | float) -> Control:
    return Control(value, "uniformly random play")


def _equilibrium_play(value: str | float) -> Control:
    return Control(value, "the same of exact equilibrium play over as many rounds")


def _choices() -> list[Measure]:
    """Return what a seat chooses, and what both do together."""
    cooperation = Measure(
        "cooperation",
        "share of the seat's decisions that are the prosocial action",
        "n_cooperation",
        "n_rounds",
        once_in_self_play=False,
        control=_random_play(0.5),
        reason=_NO_PROSOCIAL,
    )
    action_0 = replace(
        cooperation,
        name="action_0",
        definition="share of the seat's decisions that are action 0",
        numerator="n_0",
        reason=_NO_ROUND,
    )
    p_action_0 = replace(
        cooperation,
        name="p_action_0",
        definition="mean recorded P(action 0), before temperature",
        numerator="sum_p_action_0",
        denominator="n_p_action_0",
        reason="no probability was recorded",
    )
    joint = [
        Measure(
            "joint_action",
            "share of rounds with these actions: own, other's",
            f"n_{own}{other}",
            "n_rounds",
            term=f"{own},{other}",
            control=_random_play(0.25),
            reason=_NO_ROUND,
        )
        for own in (0, 1)
        for other in (0, 1)
    ]
    return [cooperation, action_0, p_action_0, *joint]


def _distances() -> list[Measure]:
    """Return distances to the equilibria, of the actions and of the recorded probabilities."""
    return [
        *_distance("nash_tv", _TV.format("frequencies"), slope=True),
        *_policy_distance("nash_tv_policy", _TV.format("distribution"), slope=True),
        *_distance("nash_l2", _L2.format("shares")),
        *_policy_distance("nash_l2_policy", _L2.format("mean P")),
        *_distance("nash_norm", _NORM.format("shares")),
        *_policy_distance("nash_norm_policy", _NORM.format("mean P")),
        *_distance("nash_regret", _REGRET),
        *_policy_distance("nash_regret_policy", _REGRET),
    ]


def _distance(column: str, words: str, *, slope: bool = False) -> list[Measure]:
    """Return a distance of the actions; its controls are columns of the matches table."""
    control = _equilibrium_play(f"{column}_control")
    definition = f"mean over matches: {words}"
    whole = Measure(column, definition, column, control=control, reason=_NO_ROUND)
    controls = f"{column}_first_control", f"{column}_last_control"
    return [whole, *_in_time(replace(whole, reason=_SHORT), controls, slope=slope)]


def _policy_distance(column: str, words: str, *, slope: bool = False) -> list[Measure]:
    """Return a distance of the recorded probabilities, which is 0 in equilibrium play."""
    definition = f"mean over matches: {words}; from recorded probabilities, before temperature"
    whole = Measure(column, definition, column, control=_equilibrium_play(0.0), reason=_SEPARATE)
    return [whole, *_in_time(whole, (0.0, 0.0), slope=slope)]


def _in_time(
    whole: Measure, controls: tuple[str | float, str | float], *, slope: bool
) -> list[Measure]:
    """Return a distance in the first and the last third of a match, their change, and a slope."""
    first, last = (
        replace(
            whole,
            name=f"{whole.name}_rounds",
            term=f"{third} third",
            numerator=f"{whole.numerator}_{third}",
            control=_equilibrium_play(control),
            definition=f"{whole.definition}; {third} third of its rounds",
        )
        for third, control in zip(("first", "last"), controls, strict=True)
    )
    change = replace(
        last,
        term="change",
        subtracted=(first.numerator, first.denominator),
        control=Control(0.0, "play that does not change"),
        definition=f"{last.definition} less the first",
    )
    found = [first, last, change]
    if slope:
        words = (
            "mean over matches: least-squares slope, per round, of the total variation between a"
            " single round's joint distribution and the nearest equilibrium"
        )
        column = f"{whole.numerator}_slope"
        found.append(
            replace(change, term="slope", numerator=column, subtracted=None, definition=words)
        )
    return found


def _subgame_perfection() -> Measure:
    return Measure(
        "spe_tv",
        "mean over matches: total variation between the match's joint action frequencies and the"
        " nearest subgame-perfect outcome: by backward induction of the stage game where the seats"
        " move in turn, of the repeated game where its horizon is known and the stage equilibrium"
        " unique",
        "spe_tv",
        reason="not determined: seats that move at once with an unknown horizon or several stage"
        " equilibria, or a second mover that is indifferent",
    )


def _locks() -> list[Measure]:
    run = "the last constant run of the joint action holds at least half of the rounds and two"
    rate = Measure(
        "lock_rate",
        f"share of matches where {run}",
        "locked",
        control=_random_play("locked_control"),
        reason=_SHORT,
    )
    full_rate = Measure(
        "full_lock_rate",
        "share of matches with one joint action from round 1 on",
        "full_lock",
        control=_random_play("full_lock_control"),
        reason=_SHORT,
    )
    onset = Measure(
        "lock_onset",
        f"mean first round of the last run, in matches where {run}",
        "lock_onset",
        reason="no match is locked",
    )
    return [rate, full_rate, onset]


def _payoffs() -> list[Measure]:
    efficiency = Measure(
        "efficiency",
        "(sum of both payoffs - least sum) / (largest sum - least sum), mean over rounds",
        "sum_efficiency",
        "n_rounds",
        control=_random_play("efficiency_control"),
        reason="all payoff sums are alike",
    )
    scaled = Measure(
        "scaled_payoff",
        "(payoff - own least) / (own largest - own least), mean over rounds",
        "scaled_payoff",
        "n_rounds",
        once_in_self_play=False,
        reason="the seat's payoff never changes",
    )
    return [efficiency, scaled]


def _reciprocity() -> list[Measure]:
    after_0, after_1 = (
        Measure(
            "reciprocity",
            f"P(action 0 | the other's last action was {action})",
            f"n_0_after_other_{action}",
            f"n_after_other_{action}",
            term=f"after {action}",
            once_in_self_play=False,
            reason=f"the other's last action was never {action}",
        )
        for action in (0, 1)
    )
    difference = replace(
        after_0,
        term=None,
        definition=f"{after_0.definition} - {after_1.definition}",
        subtracted=(after_1.numerator, after_1.denominator),
        control=Control(0.0, "a seat that does not look"),
        reason="the other never changed its action",
    )
    return [difference, after_0, after_1]


def _defection() -> list[Measure]:
    rate = Measure(
        "defection_rate",
        "share of matches in which the seat ever leaves the prosocial action",
        "defects",
        once_in_self_play=False,
        reason=_NO_PROSOCIAL,
    )
    first = Measure(
        "first_defection",
        "mean round of the first own defection, in matches that have one",
        "first_defection",
        once_in_self_play=False,
        reason="never defects, or the game has no prosocial action",
    )
    before, after = (
        Measure(
            "unravelling",
            f"cooperation rate in rounds that {can} answer the partner's first defection",
            f"n_cooperation_{term}",
            f"n_{term}",
            term=term,
            once_in_self_play=False,
            reason="the partner never defects, or the game has no prosocial action",
        )
        for term, can in (("before", "cannot"), ("after", "can"))
    )
    change = replace(
        after,
        term="change",
        definition=f"{after.definition}, less that"
        " in rounds that cannot answer the partner's first defection",
        subtracted=(before.numerator, before.denominator),
        control=Control(0.0, "a seat that does not respond"),
    )
    return [rate, first, before, after, change]


def _selection() -> list[Measure]:
    places = {
        "any": ("n_equilibrium", "a pure equilibrium of the stage game"),
        "own preferred": ("n_own_preferred", "the pure equilibrium that the seat earns most in"),
        "other preferred": (
            "n_other_preferred",
            "the pure equilibrium that the other seat earns most in",
        ),
        "not own preferred": (
            "n_not_preferred",
            "a pure equilibrium other than the one that the seat earns most in",
        ),
    }
    return [
        Measure(
            "equilibrium_selection",
            f"share of rounds in {words}",
            numerator,
            "n_rounds",
            term=term,
            control=_random_play("equilibria_share" if term == "any" else 0.25),
            reason="the game has fewer than two pure equilibria, or they pay the seat alike",
        )
        for term, (numerator, words) in places.items()
    ]


def _mixed_frequency() -> Measure:
    return Measure(
        "mixed_frequency",
        "share of action 0, in games whose only equilibrium is mixed",
        "n_0_mixed",
        "n_rounds",
        once_in_self_play=False,
        control=Control("mixed_share", "P(action 0) in the equilibrium"),
        reason="the game has a pure equilibrium, or a continuum",
    )


def measures() -> list[Measure]:
    """Return every measure that is a ratio of sums, in the order of the table."""
    return [
        *_choices(),
        *_distances(),
        _subgame_perfection(),
        *_locks(),
        *_payoffs(),
        *_reciprocity(),
        *_defection(),
        *_selection(),
        _mixed_frequency(),
    ]
