"""A rule walked through: each condition with its numbers, then the cases that they are put to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from nashlens.findings.conditions import deciding
from nashlens.page.words import MINUS, Verdict, known, number, verdict

SIGNS = {">": ">", ">=": "≥", "<": "<", "<=": "≤"}
MOST_DIGITS = 12


class ConditionLine(NamedTuple):
    """One condition."""

    words: str
    compared: str
    """`0.30 ≥ 0.10`; empty where no number was compared."""
    holds: bool

    @property
    def answer(self) -> str:
        """Whether it holds, in a word."""
        return "yes" if self.holds else "no"


class Step(NamedTuple):
    """One case of the rule."""

    verdict: Verdict
    asks: str
    """What it asks of which lines: `1 to 3 are yes and 4 is no`; empty where it asks nothing."""
    lacks: str
    """The lines that are otherwise; empty where the case is met."""
    because: str
    decides: bool


class Walk(NamedTuple):
    """A rule with its numbers."""

    lines: list[ConditionLine]
    steps: list[Step]
    """In order; the first that is met decides."""

    @property
    def end(self) -> Step:
        """The step that decides."""
        return next(step for step in self.steps if step.decides)


def walk(conditions: str) -> Walk | None:
    """Return what the column `conditions` says; None where a finding states no conditions."""
    if not conditions:
        return None
    told = json.loads(conditions)
    lines = [_line(one) for one in told["conditions"]]
    decides = deciding(told)
    steps = [_step(one, lines, place == decides) for place, one in enumerate(told["cases"])]
    return Walk(lines, steps)


def _line(one: Mapping[str, Any]) -> ConditionLine:
    value, sign, bound = one["value"], one["sign"], one["bound"]
    holds = bool(one["holds"])
    if not sign:
        compared = ""
    elif sign == "is":
        compared = f"is {bound} (found: {value})"
    else:
        compared = " ".join(_apart(value, SIGNS[sign], bound, holds))
    return ConditionLine(one["words"], compared, holds)


def _apart(value: float | None, sign: str, bound: float | None, holds: bool) -> tuple[str, ...]:
    """Return two numbers around their sign, in so many digits that the answer can be seen."""
    if not (known(value) and known(bound)):
        shown = [number(one) if known(one) else "not measured" for one in (value, bound)]
        return shown[0], sign, shown[1]
    pair = number(value), number(bound)
    digits = 4
    # Numbers that read alike and are not would make the answer look wrong.
    while pair[0] == pair[1] and holds != (sign in "≥≤") and digits <= MOST_DIGITS:
        pair = _in_digits(value, digits), _in_digits(bound, digits)
        digits += 1
    return pair[0], sign, pair[1]


def _in_digits(value: float | None, digits: int) -> str:
    return f"{value:.{digits}g}".replace("-", MINUS)


def _step(one: Mapping[str, Any], lines: Sequence[ConditionLine], decides: bool) -> Step:
    asked = [
        f"{_places(one[key])} {'is' if len(set(one[key])) == 1 else 'are'} {key}"
        for key in ("yes", "no")
        if one[key]
    ]
    lacking = [k for k in one["yes"] if not lines[k].holds] + [
        k for k in one["no"] if lines[k].holds
    ]
    return Step(
        verdict=verdict(one["verdict"]),
        asks=" and ".join(asked),
        lacks=_places(lacking),
        because=one["because"],
        decides=decides,
    )


def _places(places: Sequence[int]) -> str:
    """Return lines by their numbers, from 1 on: `1, 2, 4 to 6`."""
    ordered = sorted(set(places))
    starts = [k for before, k in pairwise([-9, *ordered]) if k != before + 1]
    ends = [k for k, after in pairwise([*ordered, -9]) if after != k + 1]
    return ", ".join(_run(*one) for one in zip(starts, ends, strict=True))


def _run(first: int, last: int) -> str:
    if last - first < 2:
        return ", ".join(str(k + 1) for k in range(first, last + 1))
    return f"{first + 1} to {last + 1}"
