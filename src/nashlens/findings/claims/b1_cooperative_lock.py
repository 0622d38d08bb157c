"""B1: in direct mode, every Prisoner's Dilemma match of a model with itself locks on cooperation.

A match of a model with itself locks on cooperation where both seats cooperate without a break up to
the end, for at least half of the rounds. The estimate is the share of such matches among all in the
Prisoner's Dilemma, with Student's interval over matches; of all models it is the least share, with
bounds for all of them at once. The control is the chance of such a lock if both seats played
uniformly at random.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nashlens.findings.claim import ALL_MODELS, NOT_IN_DETAIL, JudgeSettings, Missing, with_bounds
from nashlens.findings.conditions import Outcome, above, at_least, below, case, decided, told
from nashlens.findings.shared.cooperation import (
    MAJORITY,
    NO_DILEMMA,
    UNIVERSAL,
    comparable_dilemmas,
    full_cooperation_note,
    with_locks,
)
from nashlens.findings.shared.field import PlayField
from nashlens.findings.shared.means import ArmMeans, MeanEstimate
from nashlens.findings.shared.play import (
    SURFACE,
    EvidenceBySubject,
    PlayClaim,
    PlayEvidence,
    play_reason,
)
from nashlens.findings.shared.sizes import SizedModel


@dataclass(frozen=True, kw_only=True)
class LockEvidence(PlayEvidence):
    """Share of matches that lock on cooperation; the control is the chance of it."""

    cooperation: float
    """Share of decisions that cooperate."""
    nash_tv: float

    @property
    def bounds(self) -> tuple[float, float]:
        """Bounds of every share that the claim is about."""
        return self.low, self.high

    @property
    def whose(self) -> str:
        """Whose shares they are, where they are of several models."""
        return ""


@dataclass(frozen=True, kw_only=True)
class ModelLockEvidence(LockEvidence):
    """The share of one model."""

    locked: float
    """Share of matches that lock on anything."""
    share: MeanEstimate = field(metadata=NOT_IN_DETAIL)
    """The estimate, from which bounds for all models at once are computed."""


@dataclass(frozen=True, kw_only=True)
class AllModelsLockEvidence(LockEvidence):
    """The least share of any model, with that model's `cooperation` and `nash_tv`."""

    shares: Mapping[str, float]
    """By model."""
    least: str
    """The model that has the least share."""
    least_low: float
    """The least lower bound of any model."""
    least_high: float
    """The least upper bound of any model."""

    @property
    def bounds(self) -> tuple[float, float]:
        """The least bounds of any model."""
        return self.least_low, self.least_high

    @property
    def whose(self) -> str:
        """The model that has the least share, and all shares."""
        shares = ", ".join(f"{name} {share:.2f}" for name, share in self.shares.items())
        return f" in {self.least}, of {shares}"


def estimate(play: PlayField, settings: JudgeSettings) -> EvidenceBySubject:
    """Yield each model's share of dilemma matches with itself that lock on cooperation."""
    models = play.with_mode("direct")
    if not play.dilemmas or not models:
        lacking = "no model plays itself in mode direct" if play.dilemmas else NO_DILEMMA
        yield ALL_MODELS, Missing(lacking)
        return
    found: dict[str, ModelLockEvidence | Missing] = {}
    for model in models:
        found[model.name] = _of_model(play, settings.about(model.name), model)
        yield model.name, found[model.name]
    yield ALL_MODELS, _of_all_models(found)


def _of_model(
    play: PlayField, settings: JudgeSettings, model: SizedModel
) -> ModelLockEvidence | Missing:
    name = "self-play in a Prisoner's Dilemma"
    arms = comparable_dilemmas(play, {name: play.self_play(model.name, "direct")})
    if isinstance(arms, Missing):
        return arms
    rows = with_locks(play, arms.rows[name])
    if rows["locked"].isna().all():
        return Missing("matches have fewer than two rounds, so nothing can lock")
    columns = ["locked_cooperation", "locked", "chance", "cooperation", "nash_tv"]
    means = ArmMeans({"all": rows}, columns, settings)
    if means.missing is not None:
        return means.missing
    share, chance = means.of_arm("locked_cooperation", "all"), means.of_arm("chance", "all").value
    return ModelLockEvidence(
        **share.fields(),
        control=chance,
        p_value=share.p_above(max(MAJORITY, chance)),
        cooperation=means.of_arm("cooperation", "all").value,
        locked=means.of_arm("locked", "all").value,
        nash_tv=means.of_arm("nash_tv", "all").value,
        share=share,
        left_out=arms.left_out,
        surface=play.first_surface_problem([(model, "direct")], arms.games, settings.confidence),
    )


def _of_all_models(
    found: Mapping[str, ModelLockEvidence | Missing],
) -> AllModelsLockEvidence | Missing:
    if len(found) < 2:
        return Missing("one model plays itself in mode direct: nothing about all models follows")
    models: dict[str, ModelLockEvidence] = {}
    for name, one in found.items():
        if isinstance(one, Missing):
            return Missing(f"{name}: {one.reason}", "inconclusive")
        models[name] = one
    bounds = {name: one.share.bounds(at_once=len(models)) for name, one in models.items()}
    least = min(models, key=lambda name: models[name].estimate)
    every = models.values()
    of_least = models[least].share.fields(at_once=len(models))
    of_least["n"] = sum(one.n for one in every)
    of_least["n_matches"] = sum(one.n_matches for one in every)
    return AllModelsLockEvidence(
        **of_least,
        control=max(one.control for one in every),
        p_value=max(one.p_value for one in every),
        shares={name: one.estimate for name, one in models.items()},
        least=least,
        least_low=min(low for low, _ in bounds.values()),
        least_high=min(high for _, high in bounds.values()),
        cooperation=models[least].cooperation,
        nash_tv=models[least].nash_tv,
        left_out="; ".join(dict.fromkeys(one.left_out for one in every if one.left_out)),
        surface=next((one.surface for one in every if one.surface), ""),
    )


def rule(evidence: LockEvidence) -> Outcome:
    """Decide from the share and its bounds."""
    low, high = evidence.bounds
    needs = (
        at_least("share of matches that lock on cooperation", evidence.estimate, UNIVERSAL),
        above(
            "lower bound of the share, against half and chance",
            low,
            max(MAJORITY, evidence.control),
        ),
    )
    surface = told(SURFACE, bool(evidence.surface))
    return decided(
        case("inconclusive", *needs, surface, because=evidence.surface),
        case("supported", *needs, without=[surface]),
        case("contradicted", below("upper bound of the share", high, UNIVERSAL)),
        case("inconclusive"),
    )


def reason(evidence: LockEvidence, outcome: Outcome) -> str:
    """Return what decided and the numbers."""
    numbers = (
        f"cooperation {evidence.cooperation:.2f} at nash_tv {evidence.nash_tv:.2f}"
        f"{full_cooperation_note(evidence.cooperation)}; share of matches locked on it"
        f" {with_bounds(evidence)}{evidence.whose}, by chance {evidence.control:.2g}"
    )
    return play_reason(evidence, outcome, numbers)


CLAIM = PlayClaim(
    id="B1",
    statement="In direct mode, every Prisoner's Dilemma match of a model with itself locks on"
    " cooperation.",
    measure="share of such matches whose last constant run, of cooperation by both, holds at"
    " least half of the rounds; of all models, the least such share",
    unit="in the share of matches",
    beyond=f"{UNIVERSAL:.0%}",
    largest_effect=UNIVERSAL,
    control="chance of it under uniformly random play",
    paper="100% cooperation, every model",
    supported=f"at least {UNIVERSAL:.0%} of matches do, with the interval above {MAJORITY:g} and"
    " above chance; of all models, the least share, with bounds for all at once",
    contradicted=f"the interval of that share lies below {UNIVERSAL:.0%}",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
