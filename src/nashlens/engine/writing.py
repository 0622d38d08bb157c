"""What is written into residuals of decision positions, and what all layers above then hold.

Each prompt has values of its own, so that a spike can depend on the prompt's labels or history. It
costs forks of one token, not forward passes of prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from nashlens.engine.copies import SteeredFork
from nashlens.engine.edits import InterventionBatch
from nashlens.engine.labels import LabelledPrompt
from nashlens.engine.sweeps import map_forks
from nashlens.errors import DataError
from nashlens.models.weights import FinalNorm

if TYPE_CHECKING:
    from nashlens.engine.core import Engine
    from nashlens.engine.forks import Fork

_MOST = 0.98  # of the largest logit that a normed residual can have along a direction


@dataclass(frozen=True, eq=False)
class Writing:
    """What is written after one layer, for each of n prompts.

    Attributes
    ----------
    layer : int
        0 is the embedding.
    along : numpy.ndarray
        `(n, width)`.
    value : numpy.ndarray
        `(n,)`. What `along` is multiplied by and added; or, where it `reads`, what `along` times
        the residual, normed without weight, is afterwards, by the shortest change along `along`.
        It is capped at 98% of what a residual can reach.
    reads : bool
    """

    layer: int
    along: np.ndarray
    value: np.ndarray
    reads: bool = False


def written(
    x: torch.Tensor, along: torch.Tensor, value: torch.Tensor, norm: FinalNorm | None
) -> torch.Tensor:
    """Return residuals `(n, width)` float32 after a writing; with a norm, after one that reads.

    With `c` the residual (less its mean, where the norm is centred), `a` its component along the
    unit vector, `P` the square of the rest, `k` the value over the vector's length and `W` the
    width, the normed residual's component is `a / sqrt((P + a^2) / W + eps)`; solved for `k`.
    """
    if norm is None:
        return x + value[:, None] * along
    centred, width = x, x.shape[-1]
    if norm.centred:
        centred = x - x.mean(-1, keepdim=True)
        along = along - along.mean(-1, keepdim=True)
    length = along.norm(dim=-1)
    unit = along / length[:, None]
    now = (centred * unit).sum(-1)
    rest = (centred.square().sum(-1) - now.square()).clamp(min=0.0)
    most = _MOST * width**0.5
    k = (value / length).clamp(-most, most)
    wanted = k * ((rest / width + norm.eps) / (1.0 - k.square() / width)).sqrt()
    return x + (wanted - now)[:, None] * unit


class _Writings(InterventionBatch):
    """Writings of some interventions; `on` gives those of a fork's prompts."""

    def __init__(
        self,
        interventions: Sequence[Sequence[Writing]],
        norm: FinalNorm,
        prompts: np.ndarray | None = None,
    ):
        self.first_layers = np.array([min(w.layer for w in some) for some in interventions])
        self.edited_layers = {w.layer for some in interventions for w in some}
        self._interventions, self._norm, self._prompts = interventions, norm, prompts

    def on(self, fork: Fork) -> _Writings:
        """Return the writings into a fork's prompts."""
        scored = fork.scored_under(np.zeros(1, dtype=int))
        prompts = np.zeros(len(fork), dtype=int)
        prompts[scored.rows] = scored.where[0]
        return _Writings(self._interventions, self._norm, prompts)

    def apply(self, layer: int, residual: torch.Tensor, which: np.ndarray) -> torch.Tensor:
        changed = residual.clone()
        for copy, number in enumerate(which.tolist()):
            for one in self._interventions[number]:
                if one.layer == layer:
                    along, value = (
                        torch.from_numpy(np.asarray(x, dtype=np.float32)[self._prompts])
                        for x in (one.along, one.value)
                    )
                    changed[copy] = written(
                        changed[copy].float(),
                        along.to(residual.device),
                        value.to(residual.device),
                        self._norm if one.reads else None,
                    ).to(residual.dtype)
        return changed


@torch.inference_mode()
def residuals_under(
    engine: Engine,
    sequences: Sequence[Sequence[int]],
    interventions: Sequence[Sequence[Writing]],
    norm: FinalNorm,
) -> np.ndarray:
    """Return the residuals of the last tokens under each intervention at that token.

    Parameters
    ----------
    engine : Engine
    sequences : sequence of sequences of int
        Token ids of n prompts, no two of them equal.
    interventions : sequence of sequences of Writing
        The writings of each are applied together, in order.
    norm : FinalNorm
        The norm before the unembedding.

    Returns
    -------
    numpy.ndarray
        `(n, interventions, layers + 1, width)` float32; NaN below the lowest layer that an
        intervention changes, where the residual is the model's own.

    Raises
    ------
    DataError
        If two prompts are equal, or an intervention is empty or names a layer that there is not.
    """
    if len({tuple(ids) for ids in sequences}) < len(sequences):
        raise DataError("two of the prompts to write into have the same tokens; give each once")
    layers = [one.layer for some in interventions for one in some]
    if not all(interventions) or not all(0 <= layer <= engine.n_layers for layer in layers):
        raise DataError(
            f"a writing is empty or names none of the layers 0 to {engine.n_layers}: {layers}"
        )
    # One run a prompt: labels of a single token are predicted, never run.
    prompts = [LabelledPrompt(ids, ((0,), (1,))) for ids in sequences]
    batch = _Writings(interventions, norm)
    width = len(np.asarray(interventions[0][0].along)[0])
    result = np.full(
        (len(prompts), len(interventions), engine.n_layers + 1, width), np.nan, np.float32
    )

    def work(fork: Fork, steered: SteeredFork) -> None:
        where = batch.on(fork)._prompts
        assert where is not None
        for which in steered.chunks():

            def watch(layer: int, seen: torch.Tensor, which: np.ndarray = which) -> None:
                here = seen.float().cpu().numpy()
                # (copies, f, width) -> the prompts' rows.
                result[where[:, None], which[: len(here)], layer] = here.swapaxes(0, 1)

            steered.run(which, watch)

    map_forks(engine, prompts, batch, "last", work)
    return result
