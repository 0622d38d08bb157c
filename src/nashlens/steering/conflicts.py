"""Prompts whose Nash and prosocial action differ, and what can be written into them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nashlens.engine.writing import Writing
from nashlens.errors import DataError
from nashlens.interventions import choose_prompts
from nashlens.kept import kept
from nashlens.lens.logit import lens_table
from nashlens.lens.readings import conflicting

if TYPE_CHECKING:
    from nashlens.models.weights import Readout

LoadLayer = Callable[[int, Sequence[str]], np.ndarray]
"""From a layer and prompt ids to the model's own residuals at the decision, `(n, width)`."""


class Conflicts:
    """Prompts with a conflict, their own residuals, and what the lens reads of them.

    Parameters
    ----------
    readout : Readout
    load : callable
        The model's own residuals.
    n_layers : int
    prompts : DataFrame
        The prompts table.
    games : sequence of str
    per_game : int
        The largest number of prompts of a game.
    seed : int

    Raises
    ------
    DataError
        If a game has no whole block with a conflict, or labels start with the same token.
    """

    def __init__(
        self,
        readout: Readout,
        load: LoadLayer,
        n_layers: int,
        prompts: pd.DataFrame,
        games: Sequence[str],
        per_game: int,
        seed: int,
    ):
        rows = choose_prompts(
            conflicting(kept(prompts)),
            games,
            per_game,
            seed,
            "spiked prompts",
            key="spikes.games",
        )
        labels = [[int(tokens[0]) for tokens in rows[f"label_tokens_{a}"]] for a in (0, 1)]
        tokens = np.stack(labels, axis=1)  # (n, 2)
        if (tokens[:, 0] == tokens[:, 1]).any():
            raise DataError(
                "spikes: two labels start with the same token; choose labels that differ in it"
            )
        # The lens compares first tokens only, so later tokens of labels are not read.
        self.prompts = rows.assign(
            label_tokens_0=list(tokens[:, :1]), label_tokens_1=list(tokens[:, 1:])
        ).drop(columns=["prior_id", "prior_token_ids"], errors="ignore")
        self.ids = rows["prompt_id"].tolist()
        self._row = {name: i for i, name in enumerate(self.ids)}
        prosocial = rows["prosocial_action"].to_numpy(int)
        n = np.arange(len(rows))
        self._difference = (
            readout.unembedding[tokens[n, prosocial]]
            - readout.unembedding[tokens[n, 1 - prosocial]]
        ).astype(np.float64)
        self.along = self._difference * np.asarray(readout.norm.weight, dtype=np.float64)
        # The pair's first label means action 1 where the map is swapped.
        first = (rows["label_map"] == "swapped").to_numpy(int)
        self.word = np.where(prosocial == first, 1.0, -1.0)
        self.readout, self.n_layers, self._load = readout, n_layers, load

    def base(self, layer: int) -> np.ndarray:
        """Return the model's own residuals after a layer, `(n, width)`."""
        return np.asarray(self._load(layer, self.ids), dtype=np.float32)

    def reads(self, layer: int) -> np.ndarray:
        """Return the unspiked logit of prosocial over Nash, less the norm's bias, `(n,)`."""
        normed = self.readout.norm(self.base(layer)).astype(np.float64)
        if self.readout.norm.bias is not None:
            normed = normed - self.readout.norm.bias
        return (normed * self._difference).sum(axis=1)

    def override(self, layer: int, strengths: np.ndarray) -> tuple[Writing, ...]:
        """Return the writings of an override with a strength for each prompt."""
        below = [
            Writing(k, self.along, self.reads(k) - strengths, reads=True) for k in range(1, layer)
        ]
        return (*below, Writing(layer, self.along, self.reads(layer) + strengths, reads=True))

    def lens(self, residuals: np.ndarray | None, model: str) -> pd.DataFrame:
        """Return the lens table of spiked residuals `(n, layers + 1, width)`, NaN where own."""

        def load(layer: int, ids: Sequence[str]) -> np.ndarray:
            own = self.base(layer)
            if residuals is not None:
                spiked = residuals[:, layer]
                own = np.where(np.isnan(spiked), own, spiked)
            return own[[self._row[name] for name in ids]]

        return lens_table(
            load,
            range(1, self.n_layers + 1),
            self.prompts,
            readout=self.readout,
            model=model,
            last=self.n_layers,
        )

    def code(self, layer: int, strength: float, rng: np.random.Generator) -> Writing:
        """Return the writing of a Nash code that no label's logit reads."""
        own, signs = self.base(layer), signs_of(self.prompts["nash_label"])
        direction = inert_direction(self.along, rng)
        size = strength * deviation(own, direction)
        return Writing(layer, np.tile(direction, (len(own), 1)), size * signs)


def inert_direction(along: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random unit vector `(width,)` orthogonal to all of `along`, `(n, width)`.

    Also to the vector of ones, so that a centred norm removes nothing of it.
    """
    vector = rng.normal(size=along.shape[1])
    taken = np.concatenate((np.unique(along, axis=0), np.ones((1, along.shape[1]))))
    # The right singular vectors with a singular value span what is taken.
    _, values, right = np.linalg.svd(taken, full_matrices=False)
    span = right[values > 1e-9 * values[0]]
    vector = vector - span.T @ (span @ vector)
    return np.asarray(vector / np.linalg.norm(vector))


def signs_of(labels: pd.Series) -> np.ndarray:
    """Return +1 where a target is 1, -1 where it is 0, and 0 where it is missing."""
    values = labels.astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    return np.asarray(np.nan_to_num(2.0 * values - 1.0))


def deviation(residuals: np.ndarray, direction: np.ndarray) -> float:
    """Return the standard deviation of residuals' components along a direction."""
    return float((residuals.astype(np.float64) @ direction).std())
