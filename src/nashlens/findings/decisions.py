"""What verdict rules have in common: a verdict with its reason, and how numbers are told."""

from __future__ import annotations

from typing import NamedTuple

from nashlens.findings.measurement import Measurement


class Verdict(NamedTuple):
    """What follows, and why."""

    verdict: str
    reason: str


def span(m: Measurement) -> str:
    """Return an estimate with its interval."""
    return f"{m.estimate:.2f} [{m.low:.2f}, {m.high:.2f}]"


def choose(supported: bool, contradicted: bool) -> str:
    """Return the verdict of two conditions, the first of which wins."""
    if supported:
        return "supported"
    return "contradicted" if contradicted else "inconclusive"
