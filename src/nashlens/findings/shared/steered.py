"""Steered players, which the claims S are about: who was steered how, and how they played.

A *player* is an agent with several doses; its agents of all doses play the same blocks of matches
with the same random draws, so arms of two doses differ in the push alone. They are compared by the
chances that decisions were drawn with. All directions but `label` push towards action 1, which in
some dilemmas is the defection and in others would be the cooperation: so doses are counted as
*pushes* towards defection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nashlens.factorial import BlockEstimate
from nashlens.findings.claim import ALL_MODELS, JudgeSettings, Missing, Tables
from nashlens.findings.shared.arms import rows_of_games
from nashlens.findings.shared.cooperation import seats_prosocial_actions
from nashlens.findings.shared.field import PlayField
from nashlens.findings.shared.means import MeanEstimate
from nashlens.findings.shared.play import E
from nashlens.kept import neutral

RANDOM = "random"
COOPERATION, DISTANCE = "expected_cooperation", "expected_nash_tv"
"""Columns of the matches that doses are compared by (`nashlens.play.metrics.steered`)."""
KEY = "agents.{}.intervention"


class SteeredPlayer(NamedTuple):
    """An agent that plays with several doses."""

    name: str
    model: str
    mode: str
    direction: str
    edit: str
    """add, clamp or ablate."""
    layers: str
    """After which it is edited, such as `1+2+3`."""
    doses: tuple[float, ...]
    """In ascending order."""

    @property
    def key(self) -> str:
        """The section of the config that steers it."""
        return KEY.format(self.name)


class SteeredField:
    """Matches with a steered seat, and what else is known of steered players.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        `steered_matches`, `games`, `models`; where a claim reads them `steered_quiz`,
        `steered_text`.
    """

    def __init__(self, tables: Tables):
        self.field = PlayField({**tables, "matches": tables["steered_matches"]})
        self.matches = neutral(tables["steered_matches"])
        self.quiz = tables.get("steered_quiz", pd.DataFrame())
        self.text = tables.get("steered_text", pd.DataFrame())
        seats = self.matches[self.matches["player"].notna()].rename(columns={"player": "name"})
        keys = list(SteeredPlayer._fields[:-1])
        self.everyone: list[SteeredPlayer] = []
        for key, rows in seats.groupby(keys, sort=False):
            doses = tuple(sorted(float(dose) for dose in rows["dose"].unique()))
            known = dict(zip(keys, map(str, key), strict=True))
            self.everyone.append(SteeredPlayer(**known, doses=doses))

    @property
    def players(self) -> list[SteeredPlayer]:
        """Those along a fitted direction."""
        return [player for player in self.everyone if player.direction != RANDOM]

    def controls(self, player: SteeredPlayer) -> list[SteeredPlayer]:
        """Return players alike along random directions, with its least and its largest dose."""
        ends = {player.doses[0], player.doses[-1]}

        def alike(other: SteeredPlayer) -> bool:
            same = player._replace(name=other.name, direction=RANDOM, doses=other.doses)
            return other == same and ends <= set(other.doses)

        return [other for other in self.everyone if alike(other)]

    def self_play(self, player: SteeredPlayer) -> pd.DataFrame:
        """Return a player's simultaneous matches with itself, from the row seat, all doses."""
        m = self.matches
        chosen = (m["player"] == player.name) & (m["pairing"] == "self_play")
        return m[chosen & (m["seat"] == "row") & (m["move_order"] == "simultaneous")]

    def against_others(self, player: SteeredPlayer) -> pd.DataFrame:
        """Return its simultaneous matches with unsteered models, from its own seat, all doses."""
        m = self.matches
        chosen = (m["player"] == player.name) & (m["pairing"] == "cross_play")
        return m[chosen & (m["move_order"] == "simultaneous")]

    def own_matches(self, player: SteeredPlayer) -> pd.DataFrame:
        """Return its matches with itself, or if it has none, those with others."""
        rows = self.self_play(player)
        return rows if len(rows) else self.against_others(player)

    def answers_by_dose(self, player: SteeredPlayer) -> dict[float, pd.DataFrame]:
        """Return its `own_matches` by dose, ascending, with the share of `invalid` answers."""
        rows = self.own_matches(player)
        answers = (rows["n_rounds"] + rows["n_invalid"]).astype(float)
        rows = rows.assign(invalid=rows["n_invalid"].astype(float) / answers.where(answers > 0))
        return {float(str(dose)): part for dose, part in rows.groupby("dose", sort=True)}

    def damage_by_dose(
        self, player: SteeredPlayer, settings: JudgeSettings
    ) -> Iterator[tuple[float, MeanEstimate, MeanEstimate]]:
        """Yield what each dose does to plain text, ascending.

        The dose, the KL divergence from the unsteered model, and by how much the negative
        log-likelihood grows, both in nats a token.
        """
        read = self.text[self.text["player"] == player.name]
        for dose, rows in read.groupby("dose", sort=True):
            kl = mean_of(rows, rows["kl"], "passage", settings, (0.0, np.inf))
            more = rows["nll"] - rows["nll_unsteered"]
            growth = mean_of(rows, more, "passage", settings, (-np.inf, np.inf))
            yield float(str(dose)), kl, growth

    def partners(self, player: SteeredPlayer) -> dict[str, pd.DataFrame]:
        """Return its simultaneous matches with each unsteered model, from that seat, all doses."""
        m = self.matches
        chosen = (m["opponent_player"] == player.name) & (m["pairing"] == "cross_play")
        rows = m[chosen & (m["move_order"] == "simultaneous")]
        return {str(name): part for name, part in rows.groupby("agent", sort=True)}

    def by_push(
        self, rows: pd.DataFrame, player: SteeredPlayer, *, partner: bool = False
    ) -> dict[float, pd.DataFrame]:
        """Return the matches of dilemmas by the push towards defection, in ascending order.

        `partner`: rows are from the seat of the unsteered partner.
        """
        rows = rows_of_games(rows, self.field.dilemmas)
        own, other = seats_prosocial_actions(self.field, rows)
        towards = 1.0 - 2.0 * (other if partner else own).to_numpy(float)
        push = towards * rows["opponent_dose" if partner else "dose"].to_numpy(float) + 0.0
        return {float(value): rows[push == value] for value in np.unique(push)}


def of_each_player(
    field: SteeredField,
    settings: JudgeSettings,
    estimate_player: Callable[[SteeredField, JudgeSettings, SteeredPlayer], E | Missing],
) -> Iterator[tuple[str, E | Missing]]:
    """Yield the evidence of each player with doses."""
    if not field.players:
        yield ALL_MODELS, Missing("every steered agent has a random direction: give one another")
    for player in field.players:
        why = lacking(player)
        found = why or estimate_player(field, settings.about(player.name), player)
        yield player.name, found


def lacking(player: SteeredPlayer) -> Missing | None:
    """Say which doses a player lacks; None where it has no push and another one."""
    if player.edit == "ablate" or len(player.doses) < 2 or 0.0 not in player.doses:
        return Missing(f"{player.key}.values needs 0, as the control, and another dose")
    return None


def mean_of(
    frame: pd.DataFrame,
    values: Any,
    cluster: str,
    settings: JudgeSettings,
    range: tuple[float, float],
) -> MeanEstimate:
    """Return the mean of a value of each row, by clusters of which any might be another.

    Where all are alike their spread is not known to be zero: the error is then half a row's share
    of the range.
    """
    array = np.asarray(values, dtype=np.float64)
    found = BlockEstimate.of(frame.assign(all=""), array[:, None], cluster, ["all"])
    width = float(range[1] - range[0]) if np.isfinite(range).all() else 0.0
    error = float(found.error[0])
    return MeanEstimate(
        value=round(float(found.estimate[0]), 12) + 0.0,
        error=0.5 * width / len(frame) if error < 1e-12 else error,
        freedom=float(found.freedom[0]),
        n=len(frame),
        n_matches=found.n_clusters,
        n_blocks=found.n_clusters,
        range=range,
        confidence=settings.confidence,
        resamples=settings.resamples,
    )


def arm_name(push: float) -> str:
    """Return the name of an arm."""
    return f"push {push:g}"


def name_arms(arms: Mapping[float, pd.DataFrame], prefix: str = "") -> dict[str, pd.DataFrame]:
    """Return arms by name."""
    return {f"{prefix}{arm_name(push)}": rows for push, rows in arms.items()}
