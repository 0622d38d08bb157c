"""The conditions that a rule tests, as data: its verdict follows from them, and pages show them.

A rule compares numbers, each comparison a `Condition`, and lists its cases in order. The first case
that is met decides. So what a page shows of a rule is what the rule did.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

Value = float | str | None

COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "is": operator.eq,
}
"""Sign -> what it compares by. A sign that is empty stands for what was told without a number."""


class Condition(NamedTuple):
    """One comparison, with its result."""

    words: str
    """What is compared."""
    value: Value
    """Its value; None where there is no number."""
    sign: str
    """One of `COMPARISONS`, or empty."""
    bound: Value
    """What it is compared with."""
    holds: bool


class Case(NamedTuple):
    """A verdict, and when it is given."""

    verdict: str
    because: str
    """What decided, in words, where the numbers do not say it."""
    needs: tuple[Condition, ...]
    """Conditions that must hold."""
    without: tuple[Condition, ...]
    """Conditions that must not."""

    @property
    def met(self) -> bool:
        """Whether the case is given."""
        return all(c.holds for c in self.needs) and not any(c.holds for c in self.without)


class Outcome(NamedTuple):
    """What a rule decides."""

    verdict: str
    """supported, contradicted or inconclusive."""
    because: str = ""
    """What decided, in words, where the numbers do not say it."""
    cases: tuple[Case, ...] = ()
    """The rule's cases in order, the first of which that is met decided; none where a rule states
    no conditions."""


def above(words: str, value: float, bound: float) -> Condition:
    """Return whether a value is larger than a bound; NaN never is, here as below."""
    return Condition(words, value, ">", bound, value > bound)


def at_least(words: str, value: float, bound: float) -> Condition:
    """Return whether a value is as large as a bound."""
    return Condition(words, value, ">=", bound, value >= bound)


def below(words: str, value: float, bound: float) -> Condition:
    """Return whether a value is smaller than a bound."""
    return Condition(words, value, "<", bound, value < bound)


def at_most(words: str, value: float, bound: float) -> Condition:
    """Return whether a value is no larger than a bound."""
    return Condition(words, value, "<=", bound, value <= bound)


def same(words: str, value: str, bound: str) -> Condition:
    """Return whether a word is another."""
    return Condition(words, value, "is", bound, value == bound)


def told(words: str, holds: bool) -> Condition:
    """Return a condition that was told without a number."""
    return Condition(words, None, "", None, holds)


def case(
    verdict: str, *needs: Condition, without: Sequence[Condition] = (), because: str = ""
) -> Case:
    """Return a case; without any condition it is always met."""
    return Case(verdict, because, needs, tuple(without))


def supported_unless(
    needs: Sequence[Condition], *doubts: tuple[Condition, str], because: str = ""
) -> tuple[Case, ...]:
    """Return the last cases of a rule, which found no contradiction.

    Parameters
    ----------
    needs : sequence of Condition
        Without these the claim is inconclusive.
    *doubts : (Condition, str)
        What must hold as well, and what is said where it does not; the first that does not is
        given.
    because : str
        What is said where all hold.
    """
    return (
        *(case("inconclusive", *needs, without=[one], because=why) for one, why in doubts),
        case("supported", *needs, *(one for one, _ in doubts), because=because),
        case("inconclusive"),
    )


def decided(*cases: Case) -> Outcome:
    """Return the outcome of the first case that is met.

    Raises
    ------
    ValueError
        If none is: a rule's last case has no condition.
    """
    for one in cases:
        if one.met:
            return Outcome(one.verdict, one.because, cases)
    raise ValueError("no case of the rule is met: end it with a case without conditions")


def as_text(cases: Sequence[Case]) -> str:
    """Return cases as JSON for the column `conditions`; empty text without any.

    `conditions` lists each condition once. A case names by their places those that it needs
    (`yes`) and those that must not hold (`no`).
    """
    if not cases:
        return ""
    places: dict[Condition, int] = {}
    listed = [
        {
            "verdict": one.verdict,
            "because": one.because,
            "yes": [places.setdefault(c, len(places)) for c in one.needs],
            "no": [places.setdefault(c, len(places)) for c in one.without],
        }
        for one in cases
    ]
    conditions = [
        {
            "words": c.words,
            "value": _plain(c.value),
            "sign": c.sign,
            "bound": _plain(c.bound),
            "holds": bool(c.holds),
        }
        for c in places
    ]
    return json.dumps({"conditions": conditions, "cases": listed}, allow_nan=False)


def deciding(told_cases: Mapping[str, Any]) -> int:
    """Return the place of the case that decides, in what `as_text` wrote."""
    holds = [bool(c["holds"]) for c in told_cases["conditions"]]
    return next(
        place
        for place, one in enumerate(told_cases["cases"])
        if all(holds[k] for k in one["yes"]) and not any(holds[k] for k in one["no"])
    )


def with_condition(text: str, last: Condition, because: str) -> str:
    """Make the case that decides need one more condition, without which nothing is decided.

    Parameters
    ----------
    text : str
        What `as_text` wrote; empty text stays so.
    last : Condition
    because : str
        What is said where it does not hold.
    """
    if not text:
        return text
    found = json.loads(text)
    place, new = deciding(found), len(found["conditions"])
    found["conditions"].append({**last._asdict(), "value": _plain(last.value)})
    one = found["cases"][place]
    doubt = {**one, "verdict": "inconclusive", "because": because, "no": [*one["no"], new]}
    found["cases"][place : place + 1] = [doubt, {**one, "yes": [*one["yes"], new]}]
    return json.dumps(found, allow_nan=False)


def _plain(value: Value) -> Value:
    """Return a plain number or word; None where it is not finite."""
    if value is None or isinstance(value, str):
        return value
    return float(value) if isfinite(value) else None
