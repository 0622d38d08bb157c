"""The claims about Nash distance: B2 to B6.

All of them compare direct matches or matches in a mode of a model with itself, at once, so that no
partner and no move order stands between. The distance is the total variation of a match's joint
action frequencies from the nearest equilibrium (`nash_tv`); the same contrast of the two other
definitions stands in `detail`. A contrast can say that play went *nearer* only if one side of it is
nearer than uniformly random play; otherwise it compares two ways of playing no equilibrium.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nashlens.findings.estimators.play.arms import comparable
from nashlens.findings.estimators.play.field import (
    ALL,
    LARGEST,
    MATCHED,
    SMALL,
    STEP,
    Field,
    Model,
)
from nashlens.findings.estimators.play.means import Estimate, Means
from nashlens.findings.measurement import Measurement, Missing, Settings

Found = Iterator[tuple[str, Measurement | Missing]]
Sides = Mapping[str, Mapping[str, float]]
Test = Callable[[Estimate, Sides, Means, Settings], float]
LEAST_DISTANCE = 0.05
"""Difference of Nash distances that counts: more than a hidden liking for a label can make."""
NOT_CONVERGED = 0.05
"""Distance beyond that of exact equilibrium play from which on a game has not converged."""
NEAR = 0.1
"""Distance beyond exact equilibrium play up to which play counts as equilibrium play."""
_COLUMNS = ("nash_tv", "nash_l2", "nash_regret", "excess", "beyond", "lead")
_UNCUT = (-np.inf, np.inf)
_RANGES = dict.fromkeys(("excess", "beyond", "lead"), _UNCUT)


@dataclass(frozen=True)
class Question:
    """A contrast of Nash distances, as a claim asks for it."""

    claim: str
    subject: str
    arms: Mapping[str, tuple[Model, str]]
    """By name: who plays itself, in which mode."""
    test: Test
    weights: tuple[float, ...] = (1.0, -1.0)
    """Of the arms, in their order."""
    expected: str = ""
    """What the claim says of this subject, where it does not say the same of all."""

    @property
    def players(self) -> list[tuple[str, str]]:
        """Models by name, each with a mode."""
        return [(model.name, mode) for model, mode in self.arms.values()]

    @property
    def sizes(self) -> str:
        """Each model once, with its size."""
        return ", ".join(dict.fromkeys(model.size for model, _ in self.arms.values()))


def chain_of_thought(field: Field, settings: Settings) -> Found:
    """B2: distance after reasoning less that of direct play; by model, and over a family's sizes.

    A family's estimate is the difference in its largest model less that in its smallest.
    """
    models = field.with_mode("direct", "cot")
    if not models:
        yield ALL, Missing(_modes_lacking(field, "direct", "cot"))
        return
    for model in models:
        expected, test = "", _nothing_said
        if model.parameters < SMALL:
            expected, test = "farther", _farther
        elif model.parameters >= LARGEST:
            expected, test = "nearer", _nearer
        arms = {mode: (model, mode) for mode in ("cot", "direct")}
        question = Question("B2", model.name, arms, test, expected=expected)
        yield model.name, _contrast(field, settings, question)
    families = list(field.families(models))
    for family, small, large in families:
        arms = {
            f"{size}, {mode}": (model, mode)
            for size, model in (("smallest", small), ("largest", large))
            for mode in ("cot", "direct")
        }
        weights = (-1.0, 1.0, 1.0, -1.0)
        question = Question("B2", f"{family} family", arms, _crossing, weights, "family")
        yield question.subject, _contrast(field, settings, question)
    if not families:
        yield ALL, Missing(_sizes_lacking(models, "direct and cot"))


def scale(field: Field, settings: Settings) -> Found:
    """B3: distance of a family's largest model less that of its smallest, in direct play."""
    models = field.with_mode("direct")
    families = list(field.families(models))
    for family, small, large in families:
        arms = {"largest": (large, "direct"), "smallest": (small, "direct")}
        question = Question("B3", f"{family} family", arms, _nearer)
        yield question.subject, _contrast(field, settings, question)
    if not families:
        yield ALL, Missing(_sizes_lacking(models, "direct"))


def architecture(field: Field, settings: Settings) -> Found:
    """B4: distance of one model less that of another family's of about its size, in direct play."""
    models = field.with_mode("direct")
    pairs = list(field.matched(models))
    for pair in pairs:
        arms = {model.name: (model, "direct") for model in pair}
        question = Question("B4", "--".join(arms), arms, _apart)
        yield question.subject, _contrast(field, settings, question)
    if not pairs:
        lacking = (
            f"no two models of different families and of one size (at most {MATCHED:g} times"
            f" apart) play themselves in mode direct; there are {_listed(models)}"
        )
        yield ALL, Missing(lacking)


def scratchpad(field: Field, settings: Settings) -> Found:
    """B5: distance with a scratchpad less that after reasoning, by model."""
    models = field.with_mode("scratchpad", "cot")
    for model in models:
        arms = {mode: (model, mode) for mode in ("scratchpad", "cot")}
        question = Question("B5", model.name, arms, _apart)
        yield model.name, _contrast(field, settings, question)
    if not models:
        yield ALL, Missing(_modes_lacking(field, "scratchpad", "cot"))


def convergence(field: Field, settings: Settings) -> Found:
    """B6: the least distance of any game in the last third of rounds, beyond equilibrium play.

    Exact play of a mixed equilibrium over as many rounds has a distance too. It is taken off where
    that is the only equilibrium (`beyond`). Where there are pure ones as well, play at a distance
    may be the mixed one's, and need not be: a game counts as not converged only beyond the bias of
    any of its equilibria (`excess`). Bounds hold for all games at once.
    """
    models = field.with_mode("direct")
    for model in models:
        yield model.name, _convergence(field, settings.about(model.name), model)
    if not models:
        yield ALL, Missing("no model plays itself in mode direct")


def _convergence(field: Field, settings: Settings, model: Model) -> Measurement | Missing:
    arms = comparable({"self-play": field.self_play(model.name, "direct")})
    if isinstance(arms, Missing):
        return arms
    rows = arms.rows["self-play"].dropna(subset=["nash_tv_last"])
    if rows.empty:
        return Missing("matches have fewer than two rounds, so no last third")
    rows = _with_references(rows, "nash_tv_last")
    columns = ["beyond", "excess", "lead", "nash_tv_last", "nash_tv_last_control"]
    means = Means({"all": rows}, columns, settings, "B6", ranges=_RANGES)
    if means.problem is not None:
        return means.problem
    games, every, confidence = means.cells, {"all": 1.0}, settings.confidence

    def by_game(column: str) -> dict[str, Estimate]:
        return {game: means.of(column, every, game) for game in games}

    beyond, excess, lead = (by_game(column) for column in ("beyond", "excess", "lead"))
    bounds = {game: beyond[game].bounds(confidence, len(games)) for game in games}
    nearest = min(games, key=lambda game: beyond[game].value)
    # None of the games has converged, and not by playing at random: both must be so.
    p = max(e.p_above(NOT_CONVERGED, settings.resamples) for e in excess.values())
    by_chance = min(e.p_apart(settings.resamples, LEAST_DISTANCE) for e in lead.values())
    apart = [e.bounds(confidence, len(games)) for e in lead.values()]
    whole = means.of("beyond", every)
    return Measurement(
        estimate=beyond[nearest].value,
        low=bounds[nearest][0],
        high=bounds[nearest][1],
        n=whole.n,
        n_matches=whole.n_matches,
        control=means.of("nash_tv_last_control", every, nearest).value,
        p_value=min(1.0, max(p, by_chance * len(games))),
        detail={
            "game": nearest,
            "distances": {game: e.value for game, e in by_game("nash_tv_last").items()},
            "least_low": min(e.bounds(confidence, len(games))[0] for e in excess.values()),
            "converged": [game for game in games if bounds[game][1] <= NEAR],
            "like_random": all(
                low <= LEAST_DISTANCE and high >= -LEAST_DISTANCE for low, high in apart
            ),
            "left_out": arms.left_out,
            "surface": field.surface_problem([(model.name, "direct")], arms.games, confidence),
        },
    )


def _contrast(field: Field, settings: Settings, question: Question) -> Measurement | Missing:
    """Contrast the distances of arms.

    The control is the contrast that would result if the arms that count positively played uniformly
    at random.
    """
    settings = settings.about(question.subject)
    arms = {
        name: field.self_play(model.name, mode) for name, (model, mode) in question.arms.items()
    }
    cut = comparable(arms)
    if isinstance(cut, Missing):
        return cut
    means = Means(
        {name: _with_references(rows) for name, rows in cut.rows.items()},
        _COLUMNS,
        settings,
        question.claim,
        ranges=_RANGES,
    )
    if means.problem is not None:
        return means.problem
    weights = dict(zip(arms, question.weights, strict=True))
    found = means.of("nash_tv", weights)
    low, high = found.bounds(settings.confidence)
    positive = {name: weight for name, weight in weights.items() if weight > 0}
    random = found.value + means.of("lead", positive).value
    sides = {name: _side(means, name, settings) for name in cut.rows}
    return Measurement(
        estimate=found.value,
        low=low,
        high=high,
        n=found.n,
        n_matches=found.n_matches,
        control=random,
        p_value=question.test(found, sides, means, settings),
        detail={
            "size": question.sizes,
            "expected": question.expected,
            "arms": sides,
            "effects": _effects(means, weights, settings),
            "l2": means.of("nash_l2", weights).value,
            "regret": means.of("nash_regret", weights).value,
            "games": means.cells,
            "match_rounds": int(next(iter(cut.rows.values()))["match_rounds"].iloc[0]),
            "left_out": cut.left_out,
            "surface": field.surface_problem(question.players, cut.games, settings.confidence),
        },
    )


def _with_references(rows: pd.DataFrame, name: str = "nash_tv") -> pd.DataFrame:
    """Add how much farther than equilibrium play a distance is, and how much nearer than random.

    `excess` is beyond the bias of the game's equilibrium that has the largest, `beyond` is so only
    where the game has no pure equilibrium, which has none.
    """
    distance, bias = rows[name], rows[f"{name}_control"]
    return rows.assign(
        excess=distance - bias,
        beyond=distance - bias.where(rows["n_pure_equilibria"] == 0, 0.0),
        lead=rows[f"{name}_random"] - distance,
    )


def _side(means: Means, name: str, settings: Settings) -> dict[str, float]:
    """Return an arm's distance, beyond equilibrium play, and by how much random play is farther."""
    one = {name: 1.0}
    lead, excess, beyond = (means.of(column, one) for column in ("lead", "excess", "beyond"))
    return {
        "distance": means.of("nash_tv", one).value,
        "excess_low": excess.bounds(settings.confidence)[0],
        "beyond_high": beyond.bounds(settings.confidence)[1],
        "nearer_low": lead.bounds(settings.confidence)[0],
        "nearer_p": lead.p_above(0.0, settings.resamples),
    }


def _effects(
    means: Means, weights: Mapping[str, float], settings: Settings
) -> dict[str, dict[str, float]]:
    """Return the differences that a family's contrast is made of: cot less direct, by size."""
    if len(weights) != 4:
        return {}
    found = {}
    for size in ("smallest", "largest"):
        effect = _effect(means, size)
        low, high = effect.bounds(settings.confidence)
        found[size] = {"effect": effect.value, "low": low, "high": high}
    return found


def _effect(means: Means, size: str) -> Estimate:
    return means.of("nash_tv", {f"{size}, cot": 1.0, f"{size}, direct": -1.0})


# Each test gives the largest p-value of all that its claim asserts (an intersection-union test).
def _apart(found: Estimate, sides: Sides, means: Means, settings: Settings) -> float:
    nearest = min(sides, key=lambda name: sides[name]["distance"])
    return max(found.p_apart(settings.resamples), sides[nearest]["nearer_p"])


def _nearer(found: Estimate, sides: Sides, means: Means, settings: Settings) -> float:
    first = next(iter(sides))
    return max(found.p_below(0.0, settings.resamples), sides[first]["nearer_p"])


def _farther(found: Estimate, sides: Sides, means: Means, settings: Settings) -> float:
    _, second = sides
    return max(found.p_above(0.0, settings.resamples), sides[second]["nearer_p"])


def _crossing(found: Estimate, sides: Sides, means: Means, settings: Settings) -> float:
    return max(
        found.p_below(0.0, settings.resamples),
        _effect(means, "smallest").p_above(0.0, settings.resamples),
        _effect(means, "largest").p_below(0.0, settings.resamples),
        sides["smallest, direct"]["nearer_p"],
        sides["largest, cot"]["nearer_p"],
    )


def _nothing_said(found: Estimate, sides: Sides, means: Means, settings: Settings) -> float:
    return float("nan")


def _listed(models: list[Model]) -> str:
    return ", ".join(f"{m.size}, family {m.family}" for m in models) or "none"


def _modes_lacking(field: Field, *modes: str) -> str:
    have = {mode: [m.name for m in field.with_mode(mode)] for mode in modes}
    told = "; ".join(f"{mode}: {', '.join(names) or 'none'}" for mode, names in have.items())
    return f"no model plays itself in both of the modes {' and '.join(modes)} ({told})"


def _sizes_lacking(models: list[Model], modes: str) -> str:
    return (
        f"no family has two models that play themselves ({modes}) and whose sizes lie {STEP:g}"
        f" times apart or more; there are {_listed(models)}"
    )
