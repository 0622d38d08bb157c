"""Steering: directions added over layers and alphas, clamped, and ablated.

The unit of alpha is the layer's mean residual norm, so that a dose means the same at every layer;
the unit of a clamp is the standard deviation of the training prompts' projections, around their
mean. Random directions are added and ablated at the same layers, as the control.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from nashlens.engine.edits import Edit
from nashlens.engine.labels import label_probabilities, labelled_prompts
from nashlens.engine.sweeps import sweep
from nashlens.interventions import PROMPT_COLUMNS, choose_prompts, prompts_by_interventions
from nashlens.seeds import stream
from nashlens.steering.directions import random_directions
from nashlens.vocabulary.edits import EditKind

if TYPE_CHECKING:
    from nashlens.engine.core import Engine


@dataclass(frozen=True)
class Dose:
    """One edit of a sweep and the names it has in the table."""

    edit: Edit
    kind: str
    direction: str
    value: float


def doses(
    directions: np.ndarray,
    table: pd.DataFrame,
    *,
    layers: Sequence[int],
    alphas: Sequence[float],
    clamps: Sequence[float],
    ablate: bool,
    count: int,
    seed: int,
) -> list[Dose]:
    """Return every edit of a sweep.

    Parameters
    ----------
    directions : numpy.ndarray
        `(layers + 1, width)` unit directions.
    table : pandas.DataFrame
        The directions table: the scales of alphas and clamps.
    layers, alphas, clamps : sequences
    ablate : bool
    count : int
        Random directions.
    seed : int
    """
    scales = {int(row["layer"]): row for row in table.to_dict("records")}
    controls = random_directions(directions.shape[1], count, stream(seed, "random directions"))
    named = [(f"random_{i:03d}", control) for i, control in enumerate(controls)]
    result = []
    for layer in layers:
        scale = scales[layer]
        norm = float(scale["residual_norm"])
        mean, std = float(scale["projection_mean"]), float(scale["projection_std"])
        here = [("nash", directions[layer]), *named]
        for (name, vector), alpha in itertools.product(here, alphas):
            result.append(Dose(_edit(layer, "add", vector, alpha * norm), "add", name, alpha))
        for value in clamps:
            edit = _edit(layer, "clamp", directions[layer], mean + value * std)
            result.append(Dose(edit, "clamp", "nash", value))
        for name, vector in here if ablate else ():
            result.append(Dose(_edit(layer, "ablate", vector), "ablate", name, 0.0))
    return result


def _edit(layer: int, kind: EditKind, vector: np.ndarray, value: float = 0.0) -> Edit:
    """Return an edit; none at all where the classes did not differ, and there is no direction."""
    return Edit(layer, kind if vector.any() else "none", vector, value)


def sweep_table(
    engine: Engine,
    prompts: pd.DataFrame,
    directions: np.ndarray,
    table: pd.DataFrame,
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
        `(layers + 1, width)` unit directions, of `fit_directions`.
    table : pandas.DataFrame
        Its table.
    test_games : sequence of str
        Games to steer; the directions were fitted on others.
    layers : sequence of int
        Blocks after which the residual is changed.
    positions : {"last", "all"}
        Where: at the decision position, or at every token of prompt and label.
    alphas : sequence of float
        In mean residual norms of the layer.
    clamps : sequence of float
        In standard deviations of the training projections, around their mean.
    ablate : bool
        Whether directions are also removed.
    random_directions : int
        Controls, each swept over the same layers and alphas, and ablated where the Nash direction
        is.
    prompts_per_game : int
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
    every = doses(
        directions,
        table,
        layers=layers,
        alphas=alphas,
        clamps=clamps,
        ablate=ablate,
        count=random_directions,
        seed=seed,
    )
    edits = [dose.edit for dose in every]
    logprobs = sweep(engine, labelled_prompts(chosen), edits, positions, what="steering")
    p, mass = label_probabilities(logprobs)
    described = pd.DataFrame(
        {
            "model": model,
            "layer": [dose.edit.layer for dose in every],
            "kind": [dose.kind for dose in every],
            "positions": positions,
            "direction": [dose.direction for dose in every],
            "value": [dose.value for dose in every],
        }
    )
    return prompts_by_interventions(
        chosen[list(PROMPT_COLUMNS)],
        described,
        {"p_action_0": p[..., 0], "p_action_1": p[..., 1], "label_mass": mass},
    )
