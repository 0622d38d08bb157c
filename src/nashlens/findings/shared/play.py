"""What all claims about play have in common: their evidence, its doubts, reasons."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from nashlens.findings.claim import About, Claim, Evidence, Interval, Missing, Tables
from nashlens.findings.conditions import Case, Outcome, case, told
from nashlens.findings.shared.field import PlayField


@dataclass(frozen=True)
class Bounded:
    """A number with its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True, kw_only=True)
class PlayEvidence(Evidence):
    """Evidence from matches of models."""

    left_out: str
    """How many matches ended early and do not count; empty where none did."""
    surface: str
    """Which surface form decides what the players do; empty where none does."""

    needs_p: ClassVar[bool] = False

    def detail(self) -> dict[str, Any]:
        """Return the subclass's fields by name; a `Bounded` gives NAME, NAME_low and NAME_high."""
        found: dict[str, Any] = {}
        for name, value in super().detail().items():
            if isinstance(value, Bounded):
                found |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
            else:
                found[name] = value
        return found


E = TypeVar("E", bound=PlayEvidence)


@dataclass(frozen=True, kw_only=True)
class PlayClaim(Claim[E]):
    """A claim about play."""

    tables: tuple[str, ...] = ("matches", "games", "models")
    interval: Interval = "student"
    about: About = "play"
    reads: Callable[[Tables], Any] = PlayField


EvidenceBySubject = Iterator[tuple[str, PlayEvidence | Missing]]
"""What a claim about play yields: each subject (a model, a pair or family of them, or all models)
with its evidence, or with why there is none."""


SURFACE = "a surface form (a label, a place) decides what a player does"


def surface_case(evidence: PlayEvidence) -> Case:
    """Return the case in which a surface form decides what is played, the first of most rules."""
    return case("inconclusive", told(SURFACE, bool(evidence.surface)), because=evidence.surface)


def play_reason(evidence: PlayEvidence, outcome: Outcome, numbers: str) -> str:
    """Return a reason: what decided (first, as figures cut long reasons), numbers, matches lost."""
    return "; ".join(text for text in (outcome.because, numbers, evidence.left_out) if text)
