"""Dose and response of steered players in play, in the quiz and on plain text: what a figure shows.

Numbers and intervals are those of the claims S (`nashlens.findings.shared.steered`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from nashlens.estimates import Bootstrap, collect, frame
from nashlens.findings.claim import ALL_MODELS, JudgeSettings, Tables
from nashlens.findings.shared.means import ArmMeans, MeanEstimate
from nashlens.findings.shared.steered import (
    COOPERATION,
    DISTANCE,
    SteeredField,
    SteeredPlayer,
    arm_name,
    mean_of,
    name_arms,
)

QUANTITIES = {
    "cooperation": "chance of cooperating, mean over rounds, Prisoner's Dilemma, with itself",
    "cooperation_change": "the same under the largest dose less under the smallest, block by block",
    "nash_tv": "expected Nash distance (total variation) of the same matches",
    "partner_cooperation": "an unsteered partner's chance of cooperating from round 2 on",
    "quiz_accuracy": "share of right answers in the quiz on rules and history",
    "kl": "KL divergence from the unsteered model on plain text, nats a token",
    "perplexity": "perplexity of plain text over that of the unsteered model",
    "label_mass": "probability that the two labels have together, in play",
    "invalid": "share of invalid answers in play",
}
_SHARED = ("model", "direction", "edit", "layers")
_KEYS = dict.fromkeys(("player", *_SHARED, "partner", "quantity"), "str") | {"dose": "float64"}


def steered_estimates(tables: Tables, how: Bootstrap) -> pd.DataFrame:
    """Return what each dose of each player shows.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        `steered_matches`, `games`, `models`, `steered_quiz`, `steered_text`.
    how : Bootstrap

    Returns
    -------
    DataFrame
        `player`, `model`, `direction`, `edit`, `layers`, `partner` (of `partner_cooperation`),
        `quantity` (`QUANTITIES`), `dose` (for what is about cooperation and Nash distance counted
        towards defection) and `estimates.COLUMNS`.
    """
    parts: list[pd.DataFrame] = []
    if len(tables["steered_matches"]):
        field = SteeredField(tables)
        settings = JudgeSettings(ALL_MODELS, how.confidence, how.resamples, how.seed)
        for player in field.everyone:
            shared = {name: getattr(player, name) for name in _SHARED}
            parts += [
                part.assign(player=player.name, **shared)
                for part in _of_player(field, settings, player)
            ]
    return collect(parts, _KEYS)


def _of_player(
    field: SteeredField, settings: JudgeSettings, player: SteeredPlayer
) -> Iterator[pd.DataFrame]:
    itself = field.self_play(player)
    yield from _of_arms(
        field.by_push(itself, player),
        settings,
        {COOPERATION: "cooperation", DISTANCE: "nash_tv"},
        changes={COOPERATION: "cooperation_change"},
    )
    for partner, rows in field.partners(player).items():
        arms = field.by_push(rows, player, partner=True)
        for part in _of_arms(arms, settings, {f"later_{COOPERATION}": "partner_cooperation"}):
            yield part.assign(partner=partner)
    yield from _of_arms(
        field.answers_by_dose(player), settings, {"label_mass": "label_mass", "invalid": "invalid"}
    )
    quiz = field.quiz[(field.quiz["player"] == player.name) & field.quiz["correct"].notna()]
    for dose, rows in quiz.groupby("dose", sort=True):
        right = rows["correct"].astype(float)
        yield _row("quiz_accuracy", dose, mean_of(rows, right, "history_id", settings, (0.0, 1.0)))
    for dose, kl, growth in field.damage_by_dose(player, settings):
        yield _row("kl", dose, kl)
        found = _row("perplexity", dose, growth)
        yield found.assign(
            **{name: np.exp(found[name]) for name in ("estimate", "ci_low", "ci_high")}
        )


def _of_arms(
    arms: Mapping[float, pd.DataFrame],
    settings: JudgeSettings,
    columns: Mapping[str, str],
    changes: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[pd.DataFrame]:
    """Yield the means of columns at each dose, over the blocks that all doses have.

    `columns` says what each mean is called, and `changes` what its paired difference between the
    largest dose and the smallest.
    """
    arms = {dose: rows.dropna(subset=list(columns)) for dose, rows in arms.items()}
    if not arms or any(rows.empty for rows in arms.values()):
        return
    means = ArmMeans(name_arms(arms), list(columns), settings)
    for column, quantity in columns.items():
        for dose in arms:
            found = means.of_arm(column, arm_name(dose))
            if means.missing is not None:
                # Too few blocks for an interval: the mean alone.
                found = found._replace(error=np.nan)
            yield _row(quantity, dose, found)
        smallest, largest = min(arms), max(arms)
        if column in changes and smallest != largest and means.missing is None:
            ways = {arm_name(largest): 1.0, arm_name(smallest): -1.0}
            yield _row(changes[column], largest, means.contrast(column, ways))


def _row(quantity: str, dose: Any, found: MeanEstimate) -> pd.DataFrame:
    low, high = found.bounds() if np.isfinite(found.error) else (np.nan, np.nan)
    row = frame(found.value, low, high, "student", found.n, found.n_matches)
    return row.assign(quantity=quantity, dose=float(dose), partner=None)
