"""B6: no game converges to Nash distance zero within the horizon.

A model's matches with itself are compared, in their last third of rounds, with exact equilibrium
play of as many rounds. The estimate is the Nash distance of the game where it is least, with bounds
that hold for all games at once. The control is the distance that exact equilibrium play has in that
game, which is subtracted where no equilibrium is pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nashlens.findings.claim import ALL_MODELS, JudgeSettings, Missing, with_bounds
from nashlens.findings.conditions import Outcome, above, case, decided, supported_unless, told
from nashlens.findings.shared.arms import comparable_arms
from nashlens.findings.shared.distance import (
    LEAST_DISTANCE,
    NASH_TV,
    NEAR,
    UNCUT_RANGES,
    with_references,
)
from nashlens.findings.shared.field import PlayField
from nashlens.findings.shared.means import ArmMeans, MeanEstimate
from nashlens.findings.shared.play import (
    EvidenceBySubject,
    PlayClaim,
    PlayEvidence,
    play_reason,
    surface_case,
)
from nashlens.findings.shared.sizes import SizedModel

NOT_CONVERGED = 0.05
"""Distance beyond that of exact equilibrium play above which a game has not converged."""


@dataclass(frozen=True, kw_only=True)
class ConvergenceEvidence(PlayEvidence):
    """Distance of the nearest game; the control is that of exact equilibrium play in it."""

    game: str
    """The nearest game."""
    distances: Mapping[str, float]
    """Mean nash_tv in the last third of rounds, by game."""
    least_low: float
    """The least lower bound of `excess` of any game."""
    converged: list[str]
    """The games that are within `NEAR` of equilibrium play."""
    like_random: bool
    """Whether uniformly random play may be as far in each game."""


def estimate(play: PlayField, settings: JudgeSettings) -> EvidenceBySubject:
    """Yield each model's distance in the game in which it is nearest."""
    models = play.with_mode("direct")
    for model in models:
        yield model.name, _of_model(play, settings.about(model.name), model)
    if not models:
        yield ALL_MODELS, Missing("no model plays itself in mode direct")


def _of_model(
    play: PlayField, settings: JudgeSettings, model: SizedModel
) -> ConvergenceEvidence | Missing:
    arms = comparable_arms({"self-play": play.self_play(model.name, "direct")})
    if isinstance(arms, Missing):
        return arms
    rows = arms.rows["self-play"].dropna(subset=["nash_tv_last"])
    if rows.empty:
        return Missing("matches have fewer than two rounds, so no last third")
    rows = with_references(rows, "nash_tv_last")
    columns = ["beyond", "excess", "lead", "nash_tv_last", "nash_tv_last_control"]
    means = ArmMeans({"all": rows}, columns, settings, ranges=UNCUT_RANGES)
    if means.missing is not None:
        return means.missing
    games, every = means.cells, {"all": 1.0}

    def by_game(column: str) -> dict[str, MeanEstimate]:
        return {game: means.contrast(column, every, game) for game in games}

    def bounds(estimates: Mapping[str, MeanEstimate]) -> dict[str, tuple[float, float]]:
        return {game: found.bounds(at_once=len(games)) for game, found in estimates.items()}

    beyond, excess, lead = (by_game(column) for column in ("beyond", "excess", "lead"))
    beyond_bounds = bounds(beyond)
    nearest = min(games, key=lambda game: beyond[game].value)
    # Two things must hold: no game has converged, and not because play is random in each of them.
    p_converged = max(found.p_above(NOT_CONVERGED) for found in excess.values())
    p_random = min(found.p_apart(LEAST_DISTANCE) for found in lead.values()) * len(games)
    whole = means.contrast("beyond", every)
    of_nearest = beyond[nearest].fields(at_once=len(games))
    of_nearest["n"], of_nearest["n_matches"] = whole.n, whole.n_matches
    return ConvergenceEvidence(
        **of_nearest,
        control=means.contrast("nash_tv_last_control", every, nearest).value,
        p_value=min(1.0, max(p_converged, p_random)),
        game=nearest,
        distances={game: found.value for game, found in by_game("nash_tv_last").items()},
        least_low=min(low for low, _ in bounds(excess).values()),
        converged=[game for game, (_, high) in beyond_bounds.items() if high <= NEAR],
        like_random=all(
            low <= LEAST_DISTANCE and high >= -LEAST_DISTANCE for low, high in bounds(lead).values()
        ),
        left_out=arms.left_out,
        surface=play.first_surface_problem([(model, "direct")], arms.games, settings.confidence),
    )


def rule(evidence: ConvergenceEvidence) -> Outcome:
    """Decide from the games' bounds."""
    converged = above(
        f"number of games whose upper bound is at most {NEAR:g}", len(evidence.converged), 0
    )
    apart = told(
        f"in some game play is more than {LEAST_DISTANCE:g} from uniformly random play, with its"
        " interval",
        not evidence.like_random,
    )
    return decided(
        surface_case(evidence),
        case(
            "contradicted",
            converged,
            because=f"{', '.join(evidence.converged)} did converge",
        ),
        *supported_unless(
            [
                above(
                    "least lower bound of a game's distance beyond exact play",
                    evidence.least_low,
                    NOT_CONVERGED,
                )
            ],
            (apart, "uniformly random play would be as far in each"),
        ),
    )


def reason(evidence: ConvergenceEvidence, outcome: Outcome) -> str:
    """Return what decided and the numbers."""
    games = ", ".join(f"{game} {value:.2f}" for game, value in evidence.distances.items())
    numbers = (
        f"nearest is {evidence.game}, {with_bounds(evidence)}, where exact equilibrium play has up"
        f" to {evidence.control:.2f}; nash_tv in the last third: {games}"
    )
    return play_reason(evidence, outcome, numbers)


CLAIM = PlayClaim(
    id="B6",
    statement="No game converges to Nash distance zero within the horizon.",
    measure=f"{NASH_TV} in the last third of rounds, where no equilibrium is pure less the control:"
    " the least of any game, direct self-play",
    unit="in Nash distance",
    largest_effect=1.0,
    control="nash_tv of exact equilibrium play over as many rounds, in that game",
    paper="no model converges within 50 rounds of self-play",
    supported=f"in the last third of rounds every game's distance is more than {NOT_CONVERGED:g}"
    " beyond exact play of any of its equilibria, with bounds for all games at once, and in some"
    f" game more than {LEAST_DISTANCE:g} from that of uniformly random play, with its interval",
    contradicted=f"some game's upper bound is at most {NEAR:g}, beyond exact play only where no"
    " equilibrium is pure",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
