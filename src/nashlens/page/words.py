"""Numbers and verdicts as the page writes them."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup, escape

MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"
LARGEST_PLAIN = 1e5
"""Numbers from here on are written with an exponent."""


class Verdict(NamedTuple):
    """How a verdict is shown: by a sign, a word and a colour, so that it needs no colour."""

    name: str
    sign: str
    word: str


VERDICTS = {
    verdict.name: verdict
    for verdict in (
        Verdict("supported", "✓", "supported"),
        Verdict("contradicted", "✗", "contradicted"),
        Verdict("inconclusive", "?", "inconclusive"),
        Verdict("not_applicable", DASH, "not judged"),
    )
}
SIGNS = {
    "agrees": "=",
    "weaker": "~",
    "decides": "+",
    "differs": "≠",
    "reverses": "✗",
    "not_judged": DASH,
}
"""Agreement of a part of the data with all of them -> its sign."""
_MARKS = re.compile(r"\*([^*\n]+)\*|`([^`\n]+)`")


def verdict(name: Any) -> Verdict:
    """Return how a verdict is shown; one that is not known is shown by its name."""
    return VERDICTS.get(str(name)) or Verdict("unknown", "·", str(name))


def known(value: Any) -> bool:
    """Say whether a cell of a table holds something."""
    missing = value is None or (pd.api.types.is_scalar(value) and pd.isna(value))
    return not missing and bool(value != "")


def number(value: Any, digits: int = 3) -> str:
    """Return a number in a few significant digits; a dash where there is none."""
    if not known(value):
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    value = float(value)
    if value in (float("inf"), float("-inf")):
        return "∞" if value > 0 else f"{MINUS}∞"
    if value == int(value) and abs(value) < LARGEST_PLAIN:
        text = str(int(value))
    elif 0.001 <= abs(value) < LARGEST_PLAIN:
        # Two decimals at least: 0.50, not 0.5.
        text = f"{value:.{digits}g}" if abs(value) < 0.1 or abs(value) >= 10 else f"{value:.2f}"
    else:
        text = f"{value:.2g}"
    return text.replace("-", MINUS)


def interval(low: Any, high: Any) -> str:
    """Return an interval in brackets; nothing where a bound is missing."""
    return f"[{number(low)}, {number(high)}]" if known(low) and known(high) else ""


def text(value: Any) -> str:
    """Return a cell of a table as text; nothing where it is missing."""
    return str(value) if known(value) else ""


def rich(value: str) -> Markup:
    """Return a text of this package with `*emphasis*` and `` `code` `` marked up; else escaped."""
    parts, end = [], 0
    for found in _MARKS.finditer(value):
        tag, inner = ("em", found[1]) if found[1] else ("code", found[2])
        parts += [escape(value[end : found.start()]), Markup(f"<{tag}>{escape(inner)}</{tag}>")]
        end = found.end()
    return Markup("").join([*parts, escape(value[end:])])


def slug(*names: str) -> str:
    """Return names as one id of an element."""
    return "-".join(re.sub(r"[^A-Za-z0-9_]+", "_", name) for name in names)
