"""What every study of interventions does alike: it chooses prompts, and lays out its table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from nashlens.errors import DataError
from nashlens.kept import kept, neutral
from nashlens.seeds import stream
from nashlens.vocabulary.prompts import SURFACE_COLUMNS

PROMPT_COLUMNS = (
    *("prompt_id", "match_id", "scenario_id", "block_id", "game", "nash_action"),
    *SURFACE_COLUMNS,
)
"""Columns of the prompts table that tables of interventions repeat."""
WORDING = ("template", "label_set")
"""What the prompts of a block share of their surface form."""
TOGETHER = 2
"""Histories that are taken from a template and label set at a time."""


def choose_prompts(
    prompts: pd.DataFrame,
    games: Sequence[str],
    per_game: int,
    seed: int,
    stream_name: str,
    *,
    key: str,
) -> pd.DataFrame:
    """Choose the prompts to intervene on: as many whole blocks of each game.

    A history's block is taken with that of its mirror image, so that a habit of repeating labels
    cancels within the history. Blocks are taken from one template and label set after another, two
    histories from each, as an interval needs two or more of them; first those with the templates
    and label sets used least so far. A history gives a second round after all others have given
    one.

    Parameters
    ----------
    prompts : pandas.DataFrame
        The prompts table; only neutral labels are used. Blocks with a dropped prompt or a repeated
        prompt id are left out.
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
        Rows of `prompts`, those of a block together.

    Raises
    ------
    DataError
        If a game has no whole block, or `per_game` is less than one.
    """
    used = neutral(kept(prompts))
    size = int(used.groupby("block_id").size().max()) if len(used) else 0
    chosen = []
    for game in games:
        rows = used[used["game"] == game].drop_duplicates("prompt_id")
        rows = rows[rows.groupby("block_id")["prompt_id"].transform("size") == size]
        if rows.empty:
            raise DataError(f"{key}: {game} has no prompt; look at the prompts table")
        blocks = rows.drop_duplicates("block_id")
        order: list[str] = []
        for together in _in_turn(blocks, stream(seed, stream_name, game)):
            if (len(order) + len(together)) * size > per_game:
                break
            order += together
        if not order:
            raise DataError(
                f"{key}: {per_game} prompts of {game}: a history and its mirror image have"
                f" {len(together) * size}; give that or more"
            )
        rows = rows[rows["block_id"].isin(order)]
        place = rows["block_id"].map({name: k for k, name in enumerate(order)})
        rows = rows.assign(_place=place).sort_values(["_place", "label_map", "option_order"])
        chosen.append(rows.drop(columns="_place"))
    return pd.concat(chosen, ignore_index=True)


def _in_turn(blocks: pd.DataFrame, rng: np.random.Generator) -> list[list[str]]:
    """Return the ids of one game's blocks, those of mirror images together, in turn."""
    keys = ["match_id", "round", *WORDING]
    together = blocks.sort_values("block_id").groupby(keys, sort=False)["block_id"].agg(list)
    blocks = together.reset_index()
    blocks = blocks.iloc[rng.permutation(len(blocks))]
    turns = blocks.groupby("match_id").cumcount()
    taken: list[list[str]] = []
    used: Counter[object] = Counter()
    for _, of_turn in blocks.groupby(turns):
        waiting = {
            wording: group["block_id"].to_list()
            for wording, group in of_turn.groupby(list(WORDING), sort=False)
        }
        while waiting:
            # The wording used least, then the one whose template and label set were.
            wording = min(
                waiting, key=lambda one: (used[one], sum(used[part] for part in enumerate(one)))
            )
            queue = waiting.pop(wording)
            taken += queue[:TOGETHER]
            used.update([wording, *enumerate(wording)])
            if queue[TOGETHER:]:
                waiting[wording] = queue[TOGETHER:]
    return taken


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
