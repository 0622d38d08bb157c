"""Prompts whose Nash and prosocial action differ, and what can be written into them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from nashlens.engine.labels import token_logprobs
from nashlens.engine.writing import Writing
from nashlens.errors import DataError
from nashlens.interventions import choose_prompts
from nashlens.kept import kept, neutral
from nashlens.lens.readings import conflicting

if TYPE_CHECKING:
    from nashlens.engine.stack import BlockStack
    from nashlens.models.weights import Readout

_LEAST = 1e-12  # of the probability that other tokens have
LoadLayer = Callable[[int, Sequence[str]], np.ndarray]
"""From a layer and prompt ids to the model's own residuals at the decision, `(n, width)`."""


class Conflicts:
    """Prompts with a conflict that are run, and what the lens reads of them.

    Parameters
    ----------
    readout : Readout
    load : callable
        The model's own residuals.
    n_layers : int
    prompts : DataFrame
        The prompts table.
    per_game : int
        The largest number of prompts of a game, in whole blocks.
    seed : int

    Raises
    ------
    DataError
        If no prompt has a conflict (`can_conflict`), or `per_game` is less than a whole block with
        its mirror image.
    """

    def __init__(
        self,
        readout: Readout,
        load: LoadLayer,
        n_layers: int,
        prompts: pd.DataFrame,
        per_game: int,
        seed: int,
    ):
        known = can_conflict(prompts)
        if known.empty:
            raise DataError("spikes: no prompt's Nash action differs from its prosocial one")
        self.prompts = choose_prompts(
            known,
            sorted(known["game"].unique()),
            per_game,
            seed,
            "spiked prompts",
            key="spikes.prompts",
        )
        self.ids = self.prompts["prompt_id"].tolist()
        self.readout, self.n_layers, self._load = readout, n_layers, load
        tokens, rows = first_tokens(self.prompts), np.arange(len(self.ids))
        prosocial = self.prompts["prosocial_action"].to_numpy(int)
        self._difference = (
            readout.unembedding[tokens[rows, prosocial]]
            - readout.unembedding[tokens[rows, 1 - prosocial]]
        ).astype(np.float64)
        self.along = self._difference * np.asarray(readout.norm.weight, dtype=np.float64)
        # The pair's first label means action 1 where the map is swapped.
        first = (self.prompts["label_map"] == "swapped").to_numpy(int)
        self.word = np.where(prosocial == first, 1.0, -1.0)
        self.reads = cache(self._reads)

    def base(self, layer: int) -> np.ndarray:
        """Return the model's own residuals after a layer, `(n, width)`."""
        return np.asarray(self._load(layer, self.ids), dtype=np.float32)

    def _reads(self, layer: int) -> np.ndarray:
        """Return the unspiked logit of prosocial over Nash, less the norm's bias, `(n,)`."""
        return self._logit(self.base(layer)[:, None])[:, 0]

    def _logit(self, residuals: np.ndarray) -> np.ndarray:
        """Return the same of any residuals of the prompts, `(n, k, width)` to `(n, k)`."""
        norm = self.readout.norm
        normed = norm(residuals.reshape(-1, residuals.shape[-1])).astype(np.float64)
        if norm.bias is not None:
            normed = normed - norm.bias
        return np.einsum("nkw,nw->nk", normed.reshape(residuals.shape), self._difference)

    def override(self, layer: int, strengths: np.ndarray) -> tuple[Writing, ...]:
        """Return the writings of an override with a strength for each prompt."""
        below = [
            Writing(k, self.along, self.reads(k) - strengths, reads=True) for k in range(1, layer)
        ]
        return (*below, Writing(layer, self.along, self.reads(layer) + strengths, reads=True))

    def code(self, layer: int, strength: float, direction: np.ndarray) -> Writing:
        """Return the writing of which label the Nash action has, along a direction."""
        own, signs = self.base(layer), signs_of(self.prompts["nash_label"])
        size = strength * deviation(own, direction)
        return Writing(layer, np.tile(direction, (len(own), 1)), size * signs)

    def effects(self, residuals: np.ndarray) -> np.ndarray:
        """Return by how much the lens's logit of Nash over prosocial changes.

        Parameters
        ----------
        residuals : numpy.ndarray
            `(n, spikes, layers + 1, width)`, NaN where they are the model's own.

        Returns
        -------
        numpy.ndarray
            `(n, spikes, layers + 1)`, 0 where the residuals are the model's own.
        """
        found = np.zeros(residuals.shape[:-1])
        for layer, spiked in _changed(residuals):
            logit = self._logit(residuals[:, spiked, layer])
            found[:, spiked, layer] = self.reads(layer)[:, None] - logit
        return found

    @torch.inference_mode()
    def mass_effects(self, residuals: np.ndarray, blocks: BlockStack) -> np.ndarray:
        """Return by how much the log-odds of the label mass grow.

        Parameters
        ----------
        residuals : numpy.ndarray
            As for `effects`.
        blocks : BlockStack
            The model's, with its final norm and unembedding.

        Returns
        -------
        numpy.ndarray
            As of `effects`.
        """
        found = np.zeros(residuals.shape[:-1])
        for layer, spiked in _changed(residuals):
            both = np.concatenate((self.base(layer)[:, None], residuals[:, spiked, layer]), axis=1)
            odds = self._mass_odds(both, blocks)
            found[:, spiked, layer] = odds[:, 1:] - odds[:, :1]
        return found

    def _mass_odds(self, residuals: np.ndarray, blocks: BlockStack) -> np.ndarray:
        """Return the log-odds of the label mass of residuals, `(n, k, width)` to `(n, k)`."""
        n, k, width = residuals.shape
        rows = np.repeat(np.arange(n * k), 2)
        tokens = np.repeat(first_tokens(self.prompts), k, axis=0).ravel()
        given = torch.from_numpy(residuals.reshape(-1, width)).to(blocks.dtype)
        logprobs = token_logprobs(given, rows, tokens, blocks.logits).reshape(n, k, 2)
        log_mass = np.minimum(np.logaddexp(logprobs[..., 0], logprobs[..., 1]), -_LEAST)
        return np.asarray(log_mass - np.log(-np.expm1(log_mass)))


def _changed(residuals: np.ndarray) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Yield each layer that a spike changes, and which spikes do."""
    for layer in range(residuals.shape[2]):
        spiked = ~np.isnan(residuals[0, :, layer, 0])
        if spiked.any():
            yield layer, spiked


def can_conflict(prompts: pd.DataFrame) -> pd.DataFrame:
    """Return the prompts in neutral labels that have a conflict the lens can be given.

    The lens reads the decision there, so labels must differ in their first token.
    """
    rows = conflicting(neutral(kept(prompts)))
    tokens = first_tokens(rows)
    return rows[tokens[:, 0] != tokens[:, 1]]


def first_tokens(prompts: pd.DataFrame) -> np.ndarray:
    """Return the first token of each action's label, `(n, 2)`."""
    columns = [[int(tokens[0]) for tokens in prompts[f"label_tokens_{a}"]] for a in (0, 1)]
    return np.array(columns, dtype=np.int64).T.reshape(-1, 2)


def label_directions(readout: Readout, prompts: pd.DataFrame) -> np.ndarray:
    """Return the distinct directions that the lens reads labels along, `(k, width)`."""
    pairs = np.unique(np.sort(first_tokens(prompts), axis=1), axis=0)
    difference = readout.unembedding[pairs[:, 0]] - readout.unembedding[pairs[:, 1]]
    return difference.astype(np.float64) * np.asarray(readout.norm.weight, dtype=np.float64)


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
