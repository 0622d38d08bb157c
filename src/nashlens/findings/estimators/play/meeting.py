"""The claims about two models that meet in the Prisoner's Dilemma: X1 and X2.

A dilemma is any game in which each seat's dominant action is not the prosocial one. All matches are
direct and at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from nashlens.findings.estimators.play.arms import Arms, comparable, keys_of, of_games
from nashlens.findings.estimators.play.cooperation import MAJORITY, NO_DILEMMA, with_locks
from nashlens.findings.estimators.play.field import ALL, LARGE, SMALL, STEP, Field, Model
from nashlens.findings.estimators.play.means import Estimate, Means
from nashlens.findings.measurement import Measurement, Missing, Settings

Found = Iterator[tuple[str, Measurement | Missing]]
SCRIPTS = {"ALLC": 0, "ALLD": 1}
"""The action that a script always plays. Which of the two cooperates is up to the game."""


def unravelling(field: Field, settings: Settings) -> Found:
    """X1: change of the larger partner's cooperation once the small model has defected.

    From the rounds that cannot answer the small model's first defection to those that can, averaged
    over matches; 0 in a match where there is none. A partner that does not respond has none, but
    one that stops cooperating whoever it meets has: so its cooperation there is also held against
    its matches with itself.
    """
    pairs = [
        (small, large)
        for small in field.models
        for large in field.models
        if small.parameters < SMALL
        and large.parameters >= STEP * small.parameters
        and len(field.cross_play(large.name, small.name))
    ]
    lacking = (
        f"no model below {SMALL / 1e9:g}B meets one of {STEP:g} times its size or more in mode"
        f" direct; there are {_listed(field)}"
    )
    if not field.dilemmas or not pairs:
        yield ALL, Missing(lacking if field.dilemmas else f"{NO_DILEMMA} in mode direct")
        return
    for small, large in pairs:
        subject = f"{small.name}--{large.name}"
        yield subject, _unravelling(field, settings.about(subject), small, large)


def _unravelling(
    field: Field, settings: Settings, small: Model, large: Model
) -> Measurement | Missing:
    arms = comparable(
        {
            f"{large.name} with {small.name}": of_games(
                field.cross_play(large.name, small.name), field.dilemmas
            ),
            f"{large.name} with itself": of_games(
                field.self_play(large.name, "direct"), field.dilemmas
            ),
        }
    )
    if isinstance(arms, Missing):
        return arms
    with_small, alone = arms.rows.values()
    if (with_small["match_rounds"] < 2).all():
        return Missing("matches have fewer than two rounds, so no defection can be answered")
    columns = ["change", "early", "first"]
    ranges = {"change": (-1.0, 1.0)}
    with_small = _with_answers(with_small)
    play = Means({"cross": with_small, "self": alone}, ["cooperation"], settings, "X1 cooperation")
    means = Means({"cross": with_small}, columns, settings, "X1", ranges=ranges)
    problem = means.problem or play.problem
    if problem is not None:
        return problem
    change, early = (means.of(name, {"cross": 1.0}) for name in ("change", "early"))
    fall = play.of("cooperation", {"cross": 1.0, "self": -1.0})
    low, high = change.bounds(settings.confidence)
    players = [(model.name, "direct") for model in (small, large)]
    return Measurement(
        estimate=change.value,
        low=low,
        high=high,
        n=change.n,
        n_matches=change.n_matches,
        control=0.0,
        p_value=max(
            change.p_below(0.0, settings.resamples),
            fall.p_below(0.0, settings.resamples),
            early.p_above(MAJORITY, settings.resamples),
        ),
        detail={
            "small": small.size,
            "large": large.size,
            "first": means.of("first", {"cross": 1.0}).value,
            "cooperation": play.of("cooperation", {"cross": 1.0}).value,
            **_told("early", early, settings),
            **_told("self_play", play.of("cooperation", {"self": 1.0}), settings),
            **_told("fall", fall, settings),
            "left_out": arms.left_out,
            "surface": field.surface_problem(players, arms.games, settings.confidence),
        },
    )


def _with_answers(rows: pd.DataFrame) -> pd.DataFrame:
    """Add what the partner's first defection changes, whether it is early, and the first at all."""
    own, partner = (
        rows[name].to_numpy(float, na_value=np.nan)
        for name in ("first_defection", "partner_first_defection")
    )
    third = np.maximum(1, rows["match_rounds"].to_numpy(float) // 3)
    answer = rows["cooperation_after"] - rows["cooperation_before"]
    # No defection, or one in the last round: nothing to answer, so no change.
    return rows.assign(
        change=answer.fillna(0.0),
        early=(partner <= third).astype(float),
        first=(partner <= np.where(np.isnan(own), np.inf, own)).astype(float),
    )


def _told(name: str, found: Estimate, settings: Settings) -> dict[str, float]:
    """Return an estimate with its bounds, by names for `detail`."""
    low, high = found.bounds(settings.confidence)
    return {name: found.value, f"{name}_low": low, f"{name}_high": high}


def reinforcement(field: Field, settings: Settings) -> Found:
    """X2: cooperation of two large models with each other, beside that with themselves.

    Two models that cooperate whatever the other does reinforce nothing: each must cooperate more
    with a partner that always does than with one that never does.
    """
    large = [model for model in field.models if model.parameters >= LARGE]
    pairs = [
        (one, two)
        for k, one in enumerate(large)
        for two in large[k + 1 :]
        if len(field.cross_play(one.name, two.name))
    ]
    lacking = (
        f"no two models of {LARGE / 1e9:g}B or more meet in mode direct; there are {_listed(field)}"
    )
    if not field.dilemmas or not pairs:
        yield ALL, Missing(lacking if field.dilemmas else f"{NO_DILEMMA} in mode direct")
        return
    for one, two in pairs:
        subject = f"{one.name}--{two.name}"
        yield subject, _reinforcement(field, settings.about(subject), one, two)


def _reinforcement(
    field: Field, settings: Settings, one: Model, two: Model
) -> Measurement | Missing:
    arms = comparable(
        {
            "cross-play": of_games(field.cross_play(one.name, two.name), field.dilemmas),
            **{
                f"{m.name} with itself": of_games(field.self_play(m.name, "direct"), field.dilemmas)
                for m in (one, two)
            },
        }
    )
    if isinstance(arms, Missing):
        return arms
    means = Means(
        dict(zip(("cross", "one", "two"), _seen(field, arms, one, two), strict=True)),
        ["cooperation", "locked_cooperation", "chance", "nash_tv"],
        settings,
        "X2",
    )
    if means.problem is not None:
        return means.problem
    together = {"cross": 1.0}
    rate, lock = (means.of(name, together) for name in ("cooperation", "locked_cooperation"))
    gain = means.of("cooperation", {"cross": 1.0, "one": -0.5, "two": -0.5})
    answers = {m.name: _answer(field, settings, m) for m in (one, two)}
    known = {name: answer for name, answer in answers.items() if isinstance(answer, Estimate)}
    low, high = rate.bounds(settings.confidence)
    p = [e.p_above(MAJORITY, settings.resamples) for e in (rate, lock)]
    p += [answer.p_above(0.0, settings.resamples) for answer in known.values()]
    players = [(model.name, "direct") for model in (one, two)]
    return Measurement(
        estimate=rate.value,
        low=low,
        high=high,
        n=rate.n,
        n_matches=rate.n_matches,
        control=means.of("cooperation", {"one": 0.5, "two": 0.5}).value,
        p_value=max(p),
        detail={
            "sizes": f"{one.size}, {two.size}",
            **_told("gain", gain, settings),
            **_told("locked", lock, settings),
            "locked_chance": means.of("chance", together).value,
            "nash_tv": means.of("nash_tv", together).value,
            "answers": {name: answer.value for name, answer in known.items()},
            "answers_low": {
                name: answer.bounds(settings.confidence)[0] for name, answer in known.items()
            },
            "unanswered": [a.reason for a in answers.values() if isinstance(a, Missing)],
            "left_out": arms.left_out,
            "surface": field.surface_problem(players, arms.games, settings.confidence),
        },
    )


def _seen(field: Field, arms: Arms, one: Model, two: Model) -> list[pd.DataFrame]:
    """Return the matches of each arm with both seats' cooperation and locks."""
    cross, *alone = (with_locks(field, rows) for rows in arms.rows.values())
    # Both seats of a match: what the partner did stands in the partner's own row.
    seats = of_games(field.cross_play(two.name, one.name), field.dilemmas)
    partner = cross["match_id"].map(seats.set_index("match_id")["cooperation"])
    cross = cross.assign(cooperation=(cross["cooperation"] + partner) / 2)
    return [cross.dropna(subset=["locked"]), *alone]


def _answer(field: Field, settings: Settings, model: Model) -> Estimate | Missing:
    """Return a model's cooperation with one that always cooperates less that with a defector."""
    rows = pd.concat(
        [
            of_games(field.scripted(model.name, name), field.dilemmas).assign(script=action)
            for name, action in SCRIPTS.items()
        ]
    )
    # A game of the config may turn the actions round: then it is ALLD that cooperates.
    kind = rows["script"] == _partners_prosocial(field, rows)
    arms = comparable(
        {
            f"{model.name} with a script that always cooperates (ALLC, or ALLD where that is"
            " action 1)": rows[kind],
            f"{model.name} with one that never does": rows[~kind],
        }
    )
    if isinstance(arms, Missing):
        return arms
    means = Means(
        dict(zip(("kind", "unkind"), arms.rows.values(), strict=True)),
        ["cooperation"],
        settings,
        f"X2 answers of {model.name}",
    )
    return means.problem or means.of("cooperation", {"kind": 1.0, "unkind": -1.0})


def _partners_prosocial(field: Field, rows: pd.DataFrame) -> pd.Series:
    """Return the prosocial action of each match's other seat."""
    both = [field.dilemmas[key] for key in keys_of(rows)]
    seats = zip(both, rows["seat"], strict=True)
    other = [pair[1] if seat == "row" else pair[0] for pair, seat in seats]
    return pd.Series(other, index=rows.index, dtype="float64")


def _listed(field: Field) -> str:
    return ", ".join(model.size for model in field.models)
