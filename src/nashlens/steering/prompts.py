"""Which prompts a model is steered on, and its heads are ablated on."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from nashlens.errors import DataError
from nashlens.seeds import stream

CARRIED = (
    "prompt_id",
    "match_id",
    "game",
    "nash_action",
    "template",
    "label_set",
    "label_map",
    "option_order",
)
"""Columns of the prompts that stand in the tables of interventions."""
_SURFACE = ["template", "label_set", "label_map", "option_order"]


def choose_prompts(
    prompts: pd.DataFrame,
    games: Sequence[str],
    per_game: int,
    seed: int,
    *,
    key: str = "steering.test_games",
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
        At most so many prompts of each game.
    seed : int
    key : str
        Of the config, for messages.

    Returns
    -------
    pandas.DataFrame
        Rows of `prompts`.

    Raises
    ------
    DataError
        If a game has no prompt.
    """
    chosen = []
    for game in games:
        rows = prompts[(prompts["game"] == game) & (prompts["dropped"] == "")]
        rows = rows.drop_duplicates("prompt_id")
        if rows.empty:
            raise DataError(f"{key}: {game} has no prompt; look at the prompts table")
        rng = stream(seed, "steering prompts", game)
        # A form's two label maps get one common random key, so they stand side by side.
        stem = rows[["template", "label_set", "option_order"]].agg("/".join, axis=1)
        keys = {name: rng.random() for name in sorted(stem.unique())}
        rows = rows.assign(
            _turn=rows.groupby(_SURFACE).cumcount(), _key=stem.map(keys), _stem=stem
        ).sort_values(["_turn", "_key", "label_map", "match_id", "round"])
        chosen.append(rows.head(per_game).drop(columns=["_turn", "_key", "_stem"]))
    return pd.concat(chosen, ignore_index=True)
