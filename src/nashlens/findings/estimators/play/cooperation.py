"""The claims about cooperation in the Prisoner's Dilemma: B1, X1 and X2.

A dilemma is any game in which each seat's dominant action is not the prosocial one. All matches are
direct and at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from nashlens.findings.estimators.play.field import (
    ALL,
    LARGE,
    SMALL,
    STEP,
    Field,
    Model,
    comparable,
    of_games,
)
from nashlens.findings.estimators.play.means import Estimate, Means
from nashlens.findings.measurement import Measurement, Missing, Settings

Found = Iterator[tuple[str, Measurement | Missing]]
UNIVERSAL = 0.95
"""Share of matches from which on a lock counts as universal: sampling breaks single ones."""
MAJORITY = 0.5
_NO_DILEMMA = "no game is a Prisoner's Dilemma"


def cooperative_lock(field: Field, settings: Settings) -> Found:
    """B1: share of a model's dilemma matches with itself that lock on cooperation, and of all.

    The row of all models has the least share of any, with bounds for all of them at once.
    """
    models = field.with_mode("direct")
    problem = _NO_DILEMMA if not field.dilemmas else "" if models else "no model plays itself"
    if problem:
        yield ALL, Missing(f"{problem} in mode direct")
        return
    found: dict[str, tuple[Estimate, float, Mapping[str, object]]] = {}
    missing: dict[str, Missing] = {}
    for model in models:
        means = _locks(field, settings.about(model.name), model)
        if isinstance(means, Missing):
            missing[model.name] = means
            yield model.name, means
            continue
        share, every = means.of("locked_cooperation", {"all": 1.0}), {"all": 1.0}
        chance = means.of("chance", every).value
        detail = {
            "cooperation": means.of("cooperation", every).value,
            "locked": means.of("locked", every).value,
            "nash_tv": means.of("nash_tv", every).value,
            "surface": field.surface_problem([(model.name, "direct")]),
        }
        found[model.name] = share, chance, detail
        yield model.name, _share(share, chance, detail, settings)
    yield ALL, _universal(found, missing, settings)


def _locks(field: Field, settings: Settings, model: Model) -> Means | Missing:
    rows = of_games(field.self_play(model.name, "direct"), field.dilemmas)
    arms = comparable({"self-play in a Prisoner's Dilemma": rows})
    if isinstance(arms, Missing):
        return arms
    rows = _cooperative(field, next(iter(arms.values())))
    if rows["locked"].isna().all():
        return Missing("matches have fewer than two rounds, so nothing can lock")
    columns = ["locked_cooperation", "locked", "chance", "cooperation", "nash_tv"]
    means = Means({"all": rows}, columns, settings, "B1")
    return means.problem or means


def _cooperative(field: Field, rows: pd.DataFrame) -> pd.DataFrame:
    """Add whether a match locked on both seats' prosocial actions, and the chance of it.

    A uniformly random joint action is each of the four alike.
    """
    pairs = np.array(
        [field.dilemmas[str(g), int(v)] for g, v in zip(rows["game"], rows["variant"], strict=True)]
    ).reshape(len(rows), 2)
    row_seat = (rows["seat"] == "row").to_numpy()
    own = np.where(row_seat, pairs[:, 0], pairs[:, 1])
    other = np.where(row_seat, pairs[:, 1], pairs[:, 0])
    on = (rows["lock_own"].to_numpy(float, na_value=np.nan) == own) & (
        rows["lock_other"].to_numpy(float, na_value=np.nan) == other
    )
    locked = rows["locked"].to_numpy(float, na_value=np.nan)
    return rows.assign(
        locked_cooperation=np.where(np.isnan(locked), np.nan, on & (locked == 1)),
        chance=rows["locked_control"] / 4,
    )


def _share(
    share: Estimate, chance: float, detail: Mapping[str, object], settings: Settings
) -> Measurement:
    low, high = share.bounds(settings.confidence)
    return Measurement(
        estimate=share.value,
        low=low,
        high=high,
        n=share.n,
        n_matches=share.n_matches,
        control=chance,
        p_value=share.p_above(max(MAJORITY, chance), settings.resamples),
        detail=dict(detail),
    )


def _universal(
    found: Mapping[str, tuple[Estimate, float, Mapping[str, object]]],
    missing: Mapping[str, Missing],
    settings: Settings,
) -> Measurement | Missing:
    if len(found) + len(missing) < 2:
        return Missing("one model plays itself in mode direct: nothing about all models follows")
    if missing:
        name = next(iter(missing))
        return Missing(f"{name}: {missing[name].reason}", "inconclusive")
    bounds = {
        name: share.bounds(settings.confidence, len(found)) for name, (share, *_) in found.items()
    }
    least = min(found, key=lambda name: found[name][0].value)
    surfaces = [str(detail["surface"]) for *_, detail in found.values() if detail["surface"]]
    return Measurement(
        estimate=found[least][0].value,
        low=bounds[least][0],
        high=bounds[least][1],
        n=sum(share.n for share, *_ in found.values()),
        n_matches=sum(share.n_matches for share, *_ in found.values()),
        control=max(chance for _, chance, _ in found.values()),
        p_value=max(
            share.p_above(max(MAJORITY, chance), settings.resamples)
            for share, chance, _ in found.values()
        ),
        detail={
            "shares": {name: share.value for name, (share, *_) in found.items()},
            "least": least,
            "least_low": min(low for low, _ in bounds.values()),
            "least_high": min(high for _, high in bounds.values()),
            "cooperation": found[least][2]["cooperation"],
            "nash_tv": found[least][2]["nash_tv"],
            "surface": next(iter(surfaces), ""),
        },
    )


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
        yield ALL, Missing(lacking if field.dilemmas else f"{_NO_DILEMMA} in mode direct")
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
    with_small, alone = arms.values()
    own, partner = (
        with_small[name].to_numpy(float, na_value=np.nan)
        for name in ("first_defection", "partner_first_defection")
    )
    third = np.maximum(1, with_small["match_rounds"].to_numpy(float) // 3)
    answer = with_small["cooperation_after"] - with_small["cooperation_before"]
    with_small = with_small.assign(
        change=answer.fillna(0.0),
        early=(partner <= third).astype(float),
        first=(partner <= np.where(np.isnan(own), np.inf, own)).astype(float),
    )
    cross = {"cross": 1.0}
    play = Means({"cross": with_small, "self": alone}, ["cooperation"], settings, "X1 cooperation")
    means = Means(
        {"cross": with_small},
        ["change", "early", "first"],
        settings,
        "X1",
        ranges={"change": (-1.0, 1.0)},
    )
    problem = means.problem or play.problem
    if problem is not None:
        return problem
    change, early = means.of("change", cross), means.of("early", cross)
    fall = play.of("cooperation", {"cross": 1.0, "self": -1.0})
    low, high = change.bounds(settings.confidence)
    detail = {
        "small": small.size,
        "large": large.size,
        "early": early.value,
        "early_low": early.bounds(settings.confidence)[0],
        "early_high": early.bounds(settings.confidence)[1],
        "first": means.of("first", cross).value,
        "surface": field.surface_problem([(m.name, "direct") for m in (small, large)]),
        "cooperation": play.of("cooperation", cross).value,
        "self_play": play.of("cooperation", {"self": 1.0}).value,
        "fall": fall.value,
        "fall_low": fall.bounds(settings.confidence)[0],
        "fall_high": fall.bounds(settings.confidence)[1],
    }
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
        detail=detail,
    )


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
        yield ALL, Missing(lacking if field.dilemmas else f"{_NO_DILEMMA} in mode direct")
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
    cross, *alone = (_cooperative(field, rows) for rows in arms.values())
    # Both seats of a match: what the partner did stands in the partner's own row.
    seats = of_games(field.cross_play(two.name, one.name), field.dilemmas)
    partner = seats.set_index("match_id")["cooperation"]
    cross = cross.assign(
        cooperation=(cross["cooperation"] + cross["match_id"].map(partner)) / 2
    ).dropna(subset=["locked"])
    columns = ["cooperation", "locked_cooperation", "chance", "nash_tv"]
    names = ["cross", "one", "two"]
    means = Means(dict(zip(names, [cross, *alone], strict=True)), columns, settings, "X2")
    if means.problem is not None:
        return means.problem
    together, versus = {"cross": 1.0}, {"cross": 1.0, "one": -0.5, "two": -0.5}
    rate, gain = means.of("cooperation", together), means.of("cooperation", versus)
    lock = means.of("locked_cooperation", together)
    answers = {m.name: _answer(field, settings, m) for m in (one, two)}
    known = {name: answer for name, answer in answers.items() if isinstance(answer, Estimate)}
    low, high = rate.bounds(settings.confidence)
    p = [e.p_above(MAJORITY, settings.resamples) for e in (rate, lock)]
    p += [answer.p_above(0.0, settings.resamples) for answer in known.values()]
    gain_low, gain_high = gain.bounds(settings.confidence)
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
            "gain": gain.value,
            "gain_low": gain_low,
            "gain_high": gain_high,
            "locked": lock.value,
            "locked_low": lock.bounds(settings.confidence)[0],
            "locked_chance": means.of("chance", together).value,
            "nash_tv": means.of("nash_tv", together).value,
            "answers": {name: answer.value for name, answer in known.items()},
            "answers_low": {
                name: answer.bounds(settings.confidence)[0] for name, answer in known.items()
            },
            "unanswered": [a.reason for a in answers.values() if isinstance(a, Missing)],
            "surface": field.surface_problem([(m.name, "direct") for m in (one, two)]),
        },
    )


def _answer(field: Field, settings: Settings, model: Model) -> Estimate | Missing:
    """Return a model's cooperation with one that always cooperates less that with a defector."""
    arms = comparable(
        {
            f"{model.name} with {name}": of_games(field.scripted(model.name, name), field.dilemmas)
            for name in ("ALLC", "ALLD")
        }
    )
    if isinstance(arms, Missing):
        return arms
    means = Means(
        dict(zip(("kind", "unkind"), arms.values(), strict=True)),
        ["cooperation"],
        settings,
        f"X2 answers of {model.name}",
    )
    return means.problem or means.of("cooperation", {"kind": 1.0, "unkind": -1.0})


def _listed(field: Field) -> str:
    return ", ".join(model.size for model in field.models)
