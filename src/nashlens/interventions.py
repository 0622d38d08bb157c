"""What every study of interventions does alike: it chooses prompts, and lays out its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from nashlens.errors import DataError
from nashlens.kept import kept
from nashlens.seeds import stream
from nashlens.vocabulary.prompts import SURFACE_COLUMNS

PROMPT_COLUMNS = ("prompt_id", "match_id", "game", "nash_action", *SURFACE_COLUMNS)
"""Columns of the prompts table that tables of interventions repeat."""


def choose_prompts(
    prompts: pd.DataFrame,
    games: Sequence[str],
    per_game: int,
    seed: int,
    stream_name: str,
    *,
    key: str,
) -> pd.DataFrame:
    """Choose the prompts to intervene on: the same number of each game, spread over surface forms.

    Within a game, surface forms are taken in turn, in pairs of a form and the one with its labels
    swapped, so that any even number cancels label preferences.

    Parameters
    ----------
    prompts : pandas.DataFrame
        The prompts table; dropped rows and repeated prompt ids are left out.
    games : sequence of str
    per_game : int
        The largest number of prompts of a game.
    seed : int
        The experiment's seed.
    stream_name : str
        The study's own random stream.
    key : str
        The key of the config that names the games, for messages.

    Returns
    -------
    pandas.DataFrame
        Rows of `prompts`.

    Raises
    ------
    DataError
        If a game has no prompt.
    """
    used = kept(prompts)
    chosen = []
    for game in games:
        rows = used[used["game"] == game].drop_duplicates("prompt_id")
        if rows.empty:
            raise DataError(f"{key}: {game} has no prompt; look at the prompts table")
        rng = stream(seed, stream_name, game)
        # A form's two label maps get one common random key, so sorting keeps them together.
        stem = rows[["template", "label_set", "option_order"]].agg("/".join, axis=1)
        keys = {name: rng.random() for name in sorted(stem.unique())}
        # The first prompt of every form comes before the second of any.
        turn = rows.groupby(list(SURFACE_COLUMNS)).cumcount()
        rows = rows.assign(_turn=turn, _key=stem.map(keys))
        rows = rows.sort_values(["_turn", "_key", "label_map", "match_id", "round"])
        chosen.append(rows.head(per_game).drop(columns=["_turn", "_key"]))
    return pd.concat(chosen, ignore_index=True)


def prompts_by_interventions(
    prompts: pd.DataFrame, interventions: pd.DataFrame, scores: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """Return a table with one row for each prompt and intervention, a prompt's rows together.

    Parameters
    ----------
    prompts, interventions : pandas.DataFrame
        The columns that describe the n prompts and the m interventions.
    scores : mapping of str to numpy.ndarray
        Further columns, each `(n, m)`.
    """
    n, m = len(prompts), len(interventions)
    parts = [
        interventions.iloc[np.tile(np.arange(m), n)].reset_index(drop=True),
        prompts.iloc[np.repeat(np.arange(n), m)].reset_index(drop=True),
        pd.DataFrame({name: values.ravel() for name, values in scores.items()}),
    ]
    return pd.concat(parts, axis=1)
