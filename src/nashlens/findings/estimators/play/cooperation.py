"""The claim about cooperation of a model with itself in the Prisoner's Dilemma: B1.

A dilemma is any game in which each seat's dominant action is not the prosocial one. All matches are
direct and at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from nashlens.findings.estimators.play.arms import comparable, of_games
from nashlens.findings.estimators.play.field import ALL, Field, Model
from nashlens.findings.estimators.play.means import Estimate, Means
from nashlens.findings.measurement import Measurement, Missing, Settings

Found = Iterator[tuple[str, Measurement | Missing]]
UNIVERSAL = 0.95
"""Share of matches from which on a lock counts as universal: sampling breaks single ones."""
MAJORITY = 0.5
NO_DILEMMA = "no game is a Prisoner's Dilemma"


def cooperative_lock(field: Field, settings: Settings) -> Found:
    """B1: share of a model's dilemma matches with itself that lock on cooperation, and of all.

    The row of all models has the least share of any, with bounds for all of them at once.
    """
    models = field.with_mode("direct")
    problem = NO_DILEMMA if not field.dilemmas else "" if models else "no model plays itself"
    if problem:
        yield ALL, Missing(f"{problem} in mode direct")
        return
    found: dict[str, _Lock] = {}
    missing: dict[str, Missing] = {}
    for model in models:
        lock = _lock(field, settings.about(model.name), model)
        if isinstance(lock, Missing):
            missing[model.name] = lock
            yield model.name, lock
            continue
        found[model.name] = lock
        yield model.name, _share(*lock, settings)
    yield ALL, _universal(found, missing, settings)


class _Lock(NamedTuple):
    share: Estimate
    chance: float
    detail: Mapping[str, object]


def _lock(field: Field, settings: Settings, model: Model) -> _Lock | Missing:
    rows = of_games(field.self_play(model.name, "direct"), field.dilemmas)
    arms = comparable({"self-play in a Prisoner's Dilemma": rows})
    if isinstance(arms, Missing):
        return arms
    rows = with_locks(field, next(iter(arms.rows.values())))
    if rows["locked"].isna().all():
        return Missing("matches have fewer than two rounds, so nothing can lock")
    columns = ["locked_cooperation", "locked", "chance", "cooperation", "nash_tv"]
    means = Means({"all": rows}, columns, settings, "B1")
    if means.problem is not None:
        return means.problem
    every = {"all": 1.0}
    detail = {
        "cooperation": means.of("cooperation", every).value,
        "locked": means.of("locked", every).value,
        "nash_tv": means.of("nash_tv", every).value,
        "left_out": arms.left_out,
        "surface": field.surface_problem([(model.name, "direct")], arms.games, settings.confidence),
    }
    share = means.of("locked_cooperation", every)
    return _Lock(share, means.of("chance", every).value, detail)


def with_locks(field: Field, rows: pd.DataFrame) -> pd.DataFrame:
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
    found: Mapping[str, _Lock],
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
    told = {
        name: [str(lock.detail[name]) for lock in found.values() if lock.detail[name]]
        for name in ("surface", "left_out")
    }
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
            "left_out": "; ".join(dict.fromkeys(told["left_out"])),
            "surface": next(iter(told["surface"]), ""),
        },
    )
