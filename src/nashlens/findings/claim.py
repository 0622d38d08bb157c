"""What a claim is: a statement, an estimate with its evidence, and a rule that decides.

Each claim is one module of `nashlens.findings.claims`, which reads from top to bottom: how it is
measured in three sentences, thresholds, the evidence that its rule reads, `estimate`, `rule`,
`reason`, and `CLAIM` last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypedDict, TypeVar

import numpy as np
import pandas as pd
from scipy.special import ndtri

from nashlens.contrasts import Array
from nashlens.factorial import BlockEstimate
from nashlens.findings.conditions import Case, Outcome, case, told
from nashlens.seeds import stream

Tables = Mapping[str, pd.DataFrame]
Interval = Literal["percentile", "student"]
About = Literal["model", "play", "lineage"]

ALL_MODELS = "all models"
"""The subject of a row about the whole experiment."""
NOT_IN_DETAIL = {"detail": False}
"""`field(metadata=NOT_IN_DETAIL)`: a rule reads the field, and the table does not show it."""


@dataclass(frozen=True)
class JudgeSettings:
    """How estimates are made; the same for every claim."""

    subject: str
    """The model, pair or family that an estimate is about; names its random stream."""
    confidence: float
    """Coverage of the intervals."""
    resamples: int
    """Bootstrap resamples of matches."""
    seed: int
    """The experiment's seed."""
    late_fraction: float = float("nan")
    """Share of the layers, from the top, that counts as late; only for claims about layers."""
    min_label_mass: float = float("nan")
    """Median label mass below which a layer of the lens is unreliable; likewise."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any], subject: str = ALL_MODELS) -> JudgeSettings:
        """Take the settings of an experiment; those about layers where it has them."""
        how, lens = config["findings"], config.get("lens", {})
        optional = {"late_fraction": how, "min_label_mass": lens}
        return cls(
            subject,
            how["confidence"],
            how["bootstrap"],
            config["experiment"]["seed"],
            **{name: section[name] for name, section in optional.items() if name in section},
        )

    def about(self, subject: str) -> JudgeSettings:
        """Return the same settings for another subject."""
        return replace(self, subject=subject)

    def rng(self, claim: str) -> np.random.Generator:
        """Return the random stream of a claim about this subject."""
        return stream(self.seed, "findings", self.subject, claim)

    @property
    def z(self) -> float:
        """Half the width of a normal interval, in standard errors."""
        return float(ndtri(0.5 + self.confidence / 2.0))


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """An estimate with all that its claim's rule reads.

    Each claim has a subclass, whose own fields are the `detail` of the findings table.
    """

    estimate: float
    low: float
    """Lower bound of the estimate; NaN where there is no interval."""
    high: float
    """Upper bound."""
    n: int
    """Number of observations (prompts, or rounds of play)."""
    n_matches: int
    """Number of matches that they come from."""
    control: float
    """The same quantity where nothing is there to be found."""
    p_value: float
    """One-sided p-value of the claim: small speaks for it."""
    error: float = float("nan")
    """Standard error of the estimate (of what decides, where the claim has an `effect_unit`); NaN
    where only the interval is known."""
    freedom: float = float("nan")
    """Degrees of freedom of the error; NaN where it is taken as known."""
    critical: float = float("nan")
    """Half-width of the interval in errors, where it holds for several estimates at once."""

    needs_p: ClassVar[bool] = True
    """Whether the claim stays undecided without a p-value, as it does without an interval."""

    def detail(self) -> dict[str, Any]:
        """Return the subclass's own fields by name, in their order."""
        common = {f.name for f in fields(Evidence)}
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name not in common and f.metadata.get("detail", True)
        }


class EstimateFields(TypedDict):
    """The fields of an `Evidence` that an estimate fills."""

    estimate: float
    low: float
    high: float
    error: float
    freedom: float
    critical: float
    n: int
    n_matches: int


def fields_at(
    found: BlockEstimate, at: int, low: Array, high: Array, critical: Array | None = None
) -> EstimateFields:
    """Return one of several estimates, with its bounds, as fields of an `Evidence`."""
    return EstimateFields(
        estimate=float(found.estimate[at]),
        low=float(low[at]),
        high=float(high[at]),
        error=float(found.error[at]),
        freedom=float(found.freedom[at]),
        critical=float("nan") if critical is None else float(critical[at]),
        n=found.n,
        n_matches=found.n_clusters,
    )


E = TypeVar("E", bound=Evidence)


@dataclass(frozen=True)
class Missing:
    """Why there is no estimate."""

    reason: str
    verdict: Literal["not_applicable", "inconclusive"] = "not_applicable"


class Judgement(NamedTuple):
    """What was decided of a claim."""

    verdict: str
    reason: str
    cases: tuple[Case, ...]
    """What was asked, with the numbers; none where nothing was estimated."""


@dataclass(frozen=True, kw_only=True)
class Claim(Generic[E]):
    """One statement that can turn out false."""

    id: str
    statement: str
    measure: str
    """What the estimate is, in words."""
    control: str
    """What the control is, in words; empty where there is none."""
    paper: str
    """The paper's own figure, as text; empty where it gives none."""
    unit: str
    """The estimate's unit, in words that follow a number: `logits`, `in P(action 1)`."""
    beyond: str = ""
    """From what an effect counts, in words; empty where that is 0."""
    effect_unit: str = ""
    """The unit of the smallest effect that would be found; empty where it is the estimate's."""
    largest_effect: float = float("inf")
    """The largest effect that there can be."""
    tables: tuple[str, ...]
    """Keys of the tables that `estimate` reads; an empty one makes the claim not applicable."""
    interval: Interval = "percentile"
    """Kind of the bounds: quantiles of a bootstrap, too narrow where matches are few, or Student's
    t, which allows for that."""
    supported: str
    """When the claim is supported, in words."""
    contradicted: str
    """When it is contradicted, in words."""
    estimate: Callable[..., Any]
    """(tables, settings) -> E or Missing; about several models (what `reads` made, settings) ->
    iterator of (subject, E or Missing)."""
    rule: Callable[[E], Outcome]
    """Reads the evidence and its module's thresholds only."""
    reason: Callable[[E, Outcome], str]
    """The numbers, then what decided."""
    about: About = "model"
    reads: Callable[[Tables], Any] = dict
    """What makes, of the tables, what `estimate` reads; called once for all claims with it."""


def with_bounds(evidence: Evidence) -> str:
    """Return an estimate with its interval, as reasons show it."""
    # A zero has no sign, however it was rounded.
    return f"{evidence.estimate:z.2f} [{evidence.low:z.2f}, {evidence.high:z.2f}]"


def verdict_of(supported: bool, contradicted: bool = False) -> str:
    """Return the verdict of two conditions, the first of which wins."""
    if supported:
        return "supported"
    return "contradicted" if contradicted else "inconclusive"


def joined(numbers: str, because: str, by: str = "; ") -> str:
    """Return a reason: the numbers, then what decided where there is something to add."""
    return f"{numbers}{by}{because}" if because else numbers


def decide(claim: Claim[Any], found: Evidence | Missing) -> Judgement:
    """Return what is decided; without a full interval (and a p-value) a claim is open."""
    if isinstance(found, Missing):
        return Judgement(found.verdict, found.reason, ())
    needed = [found.estimate, found.low, found.high, *[found.p_value] * found.needs_p]
    if not np.isfinite(needed).all():
        reason = (
            f"estimate {found.estimate:.2f} from {found.n_matches} matches: too few for an interval"
        )
        whole = told(f"the estimate has an interval{' and a p-value' * found.needs_p}", False)
        return Judgement("inconclusive", reason, (case("inconclusive", without=[whole]),))
    outcome: Outcome = claim.rule(found)
    return Judgement(outcome.verdict, claim.reason(found, outcome), outcome.cases)
