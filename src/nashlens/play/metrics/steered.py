"""Matches with a steered seat: every measure of a match, with what was done to which seat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.games.game import Game
from nashlens.play.join import DOSE_COLUMNS
from nashlens.play.metrics.matches import matches_table
from nashlens.play.metrics.rounds import rounds_of

_SEAT = ["match_id", "seat"]


def steered_matches(play: pd.DataFrame, games: Sequence[Game]) -> pd.DataFrame:
    """Return what each match with a steered seat shows, from each seat's view.

    Parameters
    ----------
    play : pandas.DataFrame
        `steered_play.parquet`.
    games : sequence of Game
        All games of it, with their variants.

    Returns
    -------
    pandas.DataFrame
        As `matches_table`, with `join.DOSE_COLUMNS` of the seat and of its opponent,
        `opponent_cooperation`, and cooperation in the first round (which answers nothing) and in
        later ones, `first_cooperation` and `later_cooperation`. No rows where nothing was played.
    """
    if play.empty:
        return pd.DataFrame()
    rounds = rounds_of(play, games)
    table = matches_table(rounds)
    cooperates = rounds.own == table["prosocial_action"].to_numpy(float, na_value=np.nan)[:, None]
    known = ~np.isnan(rounds.own) & table["prosocial_action"].notna().to_numpy()[:, None]
    table["first_cooperation"] = _share(cooperates[:, :1], known[:, :1])
    table["later_cooperation"] = _share(cooperates[:, 1:], known[:, 1:])
    columns = [f"{side}{name}" for side in ("", "opponent_") for name in DOSE_COLUMNS]
    doses = play.drop_duplicates(_SEAT)[[*_SEAT, *columns]]
    other = table[[*_SEAT, "cooperation"]].rename(columns={"cooperation": "opponent_cooperation"})
    other["seat"] = other["seat"].map({"row": "column", "column": "row"})
    for more in (doses, other):
        table = table.merge(more, on=_SEAT, how="left", validate="one_to_one")
    return table


def _share(true: NDArray[np.bool_], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the share of known entries that are true in each line; NaN where none is known."""
    count = known.sum(axis=1)
    share = (true & known).sum(axis=1) / np.maximum(count, 1)
    return np.where(count > 0, share, np.nan)
