"""Steering: directions are added over layers and values, clamped, and ablated.

The `value` of an addition is in mean residual norms of the layer, so that it means the same at
every layer; the value of a clamp is in standard deviations of the training prompts' projections,
around their mean. As the control, random directions are added and ablated at the same layers.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd

from nashlens.engine.edits import Edit
from nashlens.engine.labels import label_probabilities, labelled_prompts
from nashlens.engine.sweeps import sweep
from nashlens.interventions import PROMPT_COLUMNS, choose_prompts, prompts_by_interventions
from nashlens.seeds import stream
from nashlens.steering.directions import random_unit_vectors
from nashlens.vocabulary.edits import EditKind

if TYPE_CHECKING:
    from nashlens.engine.core import Engine


class SteeringEdit(NamedTuple):
    """One edit of a sweep, and what its table says of it."""

    edit: Edit
    kind: EditKind
    """What was asked for; the edit itself is `none` where there is no direction."""
    direction: str
    value: float
    """In mean residual norms (add) or standard deviations (clamp); 0 for an ablation."""


def steering_edits(
    directions: np.ndarray,
    scales: pd.DataFrame,
    *,
    layers: Sequence[int],
    alphas: Sequence[float],
    clamps: Sequence[float],
    ablate: bool,
    n_random: int,
    seed: int,
) -> list[SteeringEdit]:
    """Return every edit of a sweep; parameters are those of `sweep_table`."""
    scale_of = {int(row["layer"]): row for row in scales.to_dict("records")}
    controls = random_unit_vectors(directions.shape[1], n_random, stream(seed, "random directions"))
    named = [(f"random_{i:03d}", control) for i, control in enumerate(controls)]
    edits = []
    for layer in layers:
        scale = scale_of[layer]
        norm = float(scale["residual_norm"])
        mean, std = float(scale["projection_mean"]), float(scale["projection_std"])
        here = [("nash", directions[layer]), *named]
        for (name, vector), value in itertools.product(here, alphas):
            edits.append(
                SteeringEdit(_edit(layer, "add", vector, value * norm), "add", name, value)
            )
        for value in clamps:
            edit = _edit(layer, "clamp", directions[layer], mean + value * std)
            edits.append(SteeringEdit(edit, "clamp", "nash", value))
        for name, vector in here if ablate else ():
            edits.append(SteeringEdit(_edit(layer, "ablate", vector), "ablate", name, 0.0))
    return edits


def _edit(layer: int, kind: EditKind, vector: np.ndarray, value: float = 0.0) -> Edit:
    """Return an edit; one that changes nothing where the vector is zero: there is no direction."""
    return Edit(layer, kind if vector.any() else "none", vector, value)


def sweep_table(
    engine: Engine,
    prompts: pd.DataFrame,
    directions: np.ndarray,
    scales: pd.DataFrame,
    *,
    test_games: Sequence[str],
    layers: Sequence[int],
    positions: Literal["last", "all"],
    alphas: Sequence[float],
    clamps: Sequence[float],
    ablate: bool,
    random_directions: int,
    prompts_per_game: int,
    seed: int,
    model: str,
) -> pd.DataFrame:
    """Steer held-out prompts and score their decisions.

    Parameters
    ----------
    engine : Engine
    prompts : pandas.DataFrame
        The prompts table.
    directions : numpy.ndarray
        `(layers + 1, width)` unit vectors, from `fit_directions`.
    scales : pandas.DataFrame
        The table of `fit_directions`: the units of values.
    test_games : sequence of str
        Games to steer; the directions were fitted on others.
    layers : sequence of int
        Blocks after which the residual is changed.
    positions : {"last", "all"}
        At the decision position only, or at every token of prompt and label.
    alphas : sequence of float
        Values that are added along a direction, in mean residual norms of the layer.
    clamps : sequence of float
        Values at which the projection is clamped, in standard deviations of the training
        projections, around their mean.
    ablate : bool
        Whether directions are also removed.
    random_directions : int
        Number of control directions, which are added and ablated like the Nash direction.
    prompts_per_game : int
        The largest number of prompts of a game.
    seed : int
    model : str

    Returns
    -------
    pandas.DataFrame
        The steering table: one row per prompt, layer, direction and value.
    """
    chosen = choose_prompts(
        prompts, test_games, prompts_per_game, seed, "steering prompts", key="steering.test_games"
    )
    edits = steering_edits(
        directions,
        scales,
        layers=layers,
        alphas=alphas,
        clamps=clamps,
        ablate=ablate,
        n_random=random_directions,
        seed=seed,
    )
    asked = labelled_prompts(chosen)
    logprobs = sweep(engine, asked, [one.edit for one in edits], positions, what="steering")
    p, mass = label_probabilities(logprobs)
    described = pd.DataFrame(
        {
            "model": model,
            "layer": [one.edit.layer for one in edits],
            "kind": [one.kind for one in edits],
            "positions": positions,
            "direction": [one.direction for one in edits],
            "value": [one.value for one in edits],
        }
    )
    return prompts_by_interventions(
        chosen[list(PROMPT_COLUMNS)],
        described,
        {"p_action_0": p[..., 0], "p_action_1": p[..., 1], "label_mass": mass},
    )
