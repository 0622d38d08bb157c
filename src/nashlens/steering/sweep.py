"""Steering: directions are added, clamped and removed on held-out prompts, and decisions scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

import pandas as pd

from nashlens.engine.labels import label_probabilities, labelled_prompts
from nashlens.engine.sweeps import Positions, sweep
from nashlens.errors import DataError
from nashlens.interventions import PROMPT_COLUMNS, choose_prompts, prompts_by_interventions
from nashlens.kept import kept, neutral
from nashlens.seeds import stream
from nashlens.steering.directions import Directions, random_unit_vectors
from nashlens.steering.doses import Doses, Place, SteeringEdit, place_name, steering_edits
from nashlens.steering.training import Training
from nashlens.vocabulary.positions import position_column

if TYPE_CHECKING:
    from nashlens.engine.core import Engine

WORDS_SHARE = 2
"""Of so many prompts with neutral words, one is asked again with the games' own words."""
_COLUMNS = dict.fromkeys(
    (*PROMPT_COLUMNS, "block_id", "label_kind", "seen_label_set", "seen_template")
)


def sweep_table(
    engine: Engine,
    prompts: pd.DataFrame,
    directions: Directions,
    training: Training,
    doses: Doses,
    *,
    test_games: Sequence[str],
    places: Sequence[Place],
    positions: str,
    random_directions: int,
    prompts_per_game: int,
    seed: int,
    model: str,
) -> pd.DataFrame:
    """Steer prompts of games that no direction was fitted on.

    Neutral words are steered along all directions, half of the prompts with words that no direction
    was fitted on, if there are such; the games' own words along `published` only, as a naive study
    would.

    Parameters
    ----------
    engine : Engine
    prompts : DataFrame
        The prompts table.
    directions : Directions
    training : Training
        What they were fitted on.
    doses : Doses
    test_games : sequence of str
    places : sequence of tuple of int
        Layers after which the residual is changed, in one pass.
    positions : str
        `last`: at the decision position only; `all`: at every token of prompt and label; else a
        position that the prompts table has a column of: at every token from there on.
    random_directions : int
        Number of control directions.
    prompts_per_game : int
        The largest number of prompts of a game with neutral words.
    seed : int
    model : str

    Returns
    -------
    DataFrame
        The steering table: one row per prompt, place, direction and dose.
    """
    width = directions.mean.shape[1]
    random = random_unit_vectors(width, random_directions, stream(seed, "random directions"))
    published = {k: v for k, v in directions.units.items() if k == "published"}
    tables = []
    for chosen, common in swept_prompts(
        prompts,
        training,
        test_games,
        prompts_per_game,
        seed,
        words=bool(published),
    ):
        units, controls = (directions.units, random) if common else (published, random[:0])
        edits = steering_edits(
            units, directions.mean, directions.table, controls, places=places, doses=doses
        )
        where = _starts(chosen, positions)
        tables.append(_steered(engine, training.describe(chosen), edits, where))
    steered = pd.concat(tables, ignore_index=True)
    return steered.assign(model=model, positions=positions, units=doses.units)


def swept_prompts(
    prompts: pd.DataFrame,
    training: Training,
    test_games: Sequence[str],
    per_game: int,
    seed: int,
    *,
    words: bool,
) -> Iterator[tuple[pd.DataFrame, bool]]:
    """Yield the prompts that are steered, and whether their words are neutral.

    Parameters
    ----------
    prompts : DataFrame
        The prompts table.
    training : Training
        What directions are fitted on.
    test_games : sequence of str
    per_game : int
        The largest number of prompts of a game with neutral words.
    seed : int
    words : bool
        Whether the games' own words are steered too, if all of these games are asked in them.
    """
    used = kept(prompts)
    common = neutral(used)
    own = used[~used.index.isin(common.index)]
    studies = [(_test_words(common, training), per_game, True)]
    if words and set(test_games) <= set(own["game"]):
        # A history and its mirror image at least.
        least = 2 * int(own.groupby("block_id").size().max())
        studies.append((own, max(least, per_game // WORDS_SHARE), False))
    for rows, most, is_neutral in studies:
        # Whole blocks of either kind of labels: only neutral ones would be chosen.
        label_kind = rows["label_kind"].iloc[0]
        chosen = choose_prompts(
            rows.assign(label_kind="neutral"),
            test_games,
            most,
            seed,
            "steering prompts",
            key="steering.test_games",
        )
        yield chosen.assign(label_kind=label_kind), is_neutral


def _starts(prompts: pd.DataFrame, position: str) -> Positions:
    """Return where to edit: of a position of the prompts table, its token in each prompt."""
    if position == "last" or position == "all":
        return cast(Positions, position)
    column = position_column(position)
    if column not in prompts or prompts[column].isna().any():
        raise DataError(
            f"steering.positions: not every prompt has the position {position};"
            " choose last, all, or a position of activations.positions that all prompts have"
        )
    return prompts[column].astype(int).tolist()


def _test_words(prompts: pd.DataFrame, training: Training) -> pd.DataFrame:
    """Return the prompts with unseen words, and as many label sets that were seen.

    So that half of those that are chosen have unseen words.
    """
    names = sorted(prompts["label_set"].astype(str).unique())
    unseen = [name for name in names if name not in training.label_sets]
    seen = [name for name in names if name in training.label_sets]
    return prompts[prompts["label_set"].isin([*unseen, *seen[: len(unseen) or None]])]


def _steered(
    engine: Engine, prompts: pd.DataFrame, edits: Sequence[SteeringEdit], positions: Positions
) -> pd.DataFrame:
    """Return the rows of some prompts under some edits; equal interventions are run once."""
    different = list(dict.fromkeys(one.edits for one in edits))
    number = {one: k for k, one in enumerate(different)}
    asked = labelled_prompts(prompts)
    logprobs = sweep(engine, asked, different, positions, what="steering")
    p, mass = label_probabilities(logprobs[:, [number[one.edits] for one in edits]])
    described = pd.DataFrame(
        {
            "layer": [one.place[0] for one in edits],
            "layers": [place_name(one.place) for one in edits],
            "kind": [one.kind for one in edits],
            "direction": [one.direction for one in edits],
            "value": [one.value for one in edits],
        }
    )
    return prompts_by_interventions(
        prompts[[name for name in _COLUMNS if name in prompts]],
        described,
        {"p_action_0": p[..., 0], "p_action_1": p[..., 1], "label_mass": mass},
    )
