"""Matches with a steered seat: every measure of a match, with what was done to which seat.

A dose moves the *chance* with which an action is drawn; the draw itself adds noise and nothing
else. So what doses are compared by is expected, decision by decision, given all that was seen
before it: its mean over matches is that of the actions drawn, and its spread is smaller.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.games.game import Game
from nashlens.play.join import DOSE_COLUMNS
from nashlens.play.metrics.distances import equilibria_of, product, total_variation
from nashlens.play.metrics.matches import matches_table
from nashlens.play.metrics.rounds import Rounds, partners, rounds_of
from nashlens.play.sampling import at_temperature

_SEAT = ["match_id", "seat"]
_Array = NDArray[np.float64]


def steered_matches(
    play: pd.DataFrame, games: Sequence[Game], *, temperature: float, parsed: bool
) -> pd.DataFrame:
    """Return what each match with a steered seat shows, from each seat's view.

    Parameters
    ----------
    play : pandas.DataFrame
        `steered_play.parquet`.
    games : sequence of Game
        All games of it, with their variants.
    temperature : float
        At which actions were drawn.
    parsed : bool
        Whether answers that mode cot wrote decided by themselves.

    Returns
    -------
    pandas.DataFrame
        As `matches_table`, with `join.DOSE_COLUMNS` of the seat and of its opponent;
        `expected_cooperation`, `opponent_expected_cooperation`, and the first of them in round 1
        (which answers nothing) and in later ones, `first_expected_cooperation` and
        `later_expected_cooperation`; and `expected_nash_tv`. No rows where nothing was played.
    """
    if play.empty:
        return pd.DataFrame()
    rounds = rounds_of(play, games)
    table = matches_table(rounds)
    chance = _chances(rounds, temperature, parsed)
    prosocial = table["prosocial_action"].to_numpy(float, na_value=np.nan)[:, None]
    cooperates = np.where(np.isnan(prosocial), np.nan, np.abs(prosocial - chance))
    table["expected_cooperation"] = _mean(cooperates)
    table["first_expected_cooperation"] = _mean(cooperates[:, :1])
    table["later_expected_cooperation"] = _mean(cooperates[:, 1:])
    table["expected_nash_tv"] = _expected_distance(rounds, chance)
    columns = [f"{side}{name}" for side in ("", "opponent_") for name in DOSE_COLUMNS]
    doses = play.drop_duplicates(_SEAT)[[*_SEAT, *columns]]
    other = table[[*_SEAT, "expected_cooperation"]]
    other = other.rename(columns={"expected_cooperation": "opponent_expected_cooperation"})
    other["seat"] = other["seat"].map({"row": "column", "column": "row"})
    for more in (doses, other):
        table = table.merge(more, on=_SEAT, how="left", validate="one_to_one")
    return table


def _chances(rounds: Rounds, temperature: float, parsed: bool) -> _Array:
    """Return P(action 0) that each decision was drawn with, (n, t).

    What a written answer decides is not drawn: it is 1 or 0.
    """
    keys, recorded = rounds.keys, rounds.own_p
    known = ~np.isnan(recorded)
    drawn = recorded.copy()
    drawn[known] = [at_temperature(float(p), temperature) for p in recorded[known]]
    chance = np.where(keys["strategy"].notna().to_numpy()[:, None], recorded, drawn)
    written = (keys["mode"] == "cot").to_numpy()[:, None] & parsed
    return np.where(written, 1.0 - rounds.own, chance)


def _expected_distance(rounds: Rounds, chance: _Array) -> _Array:
    """Return the total variation of each match's expected play, where both seats move at once.

    Where the only equilibrium is pure, it is the mean of the distance of what is played.
    """
    other = chance[partners(rounds.keys)]
    played = _mean(np.moveaxis(product(chance, other), 1, 2))
    found = np.full(len(played), np.nan)
    for number, game in enumerate(rounds.games):
        if rounds.keys["move_order"].iloc[number] == "simultaneous":
            found[number] = total_variation(played[number : number + 1], equilibria_of(game))[0]
    return found


def _mean(values: _Array) -> _Array:
    """Return the mean over rounds, the last axis, that were played; NaN where none was."""
    known = ~np.isnan(values)
    count = known.sum(axis=-1)
    total = np.where(known, values, 0.0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
