"""Ablation of attention heads at the decision position, computing only what it can change.

A head's output is its part of what attention hands to the output projection. At the prompt's last
token it is replaced by a constant: its mean over prompts, or zero. Earlier tokens are untouched, as
are the labels' further tokens, which see the change through the decision token's keys and values
in the blocks above. So each ablation is a fork of the decision token from the lowest block that it
touches, and many of them, of whatever layers, run in one batch (`sweeps`).

The mean is over prompts that the caller gives, each at its own last token. Over games, seats and
label maps in equal parts it holds nothing of any one game's answer, while what the head brings to
every decision stays (Wang et al. 2022, arXiv:2211.00593).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from nashlens.engine.block import BlockChange
from nashlens.engine.edits import InterventionBatch
from nashlens.engine.labels import LabelledPrompt
from nashlens.engine.sweeps import map_forks, score_under
from nashlens.errors import DataError

if TYPE_CHECKING:
    from nashlens.engine.core import Engine
    from nashlens.engine.forks import Fork
    from nashlens.engine.sweeps import SteeredFork

Head = tuple[int, int]
"""A head: its block, 1 to the number of blocks, and which it is there, from 0."""


@torch.inference_mode()
def head_outputs(engine: Engine, sequences: Sequence[Sequence[int]]) -> np.ndarray:
    """Return what each head hands to the output projection at the last token of each sequence.

    Returns
    -------
    numpy.ndarray
        `(n, n_layers, n_heads, head_dim)` float32. Where query heads share keys and values, each
        query head has its own output.
    """
    shape = (len(sequences), engine.n_layers, engine.n_heads, engine.head_dim)
    result = np.full(shape, np.nan, dtype=np.float32)
    prompts = [LabelledPrompt(ids, ((0,), (0,))) for ids in sequences]

    def work(fork: Fork, steered: SteeredFork) -> None:
        # A sequence's first scored token is the one after its last.
        tokens = np.array([scored.rows[0] for scored in fork.scored])
        recorded.prompts = np.array([scored.where[0][0] for scored in fork.scored])
        recorded.tokens = torch.from_numpy(tokens)
        steered.run(np.zeros(1, dtype=np.int64))

    recorded = _HeadRecorder(result)
    map_forks(engine, prompts, recorded, "last", work)
    return result


@torch.inference_mode()
def ablate_heads(
    engine: Engine,
    prompts: Sequence[LabelledPrompt],
    groups: Sequence[Sequence[Head]],
    replacement: np.ndarray,
    *,
    what: str | None = None,
) -> np.ndarray:
    """Score both labels with groups of heads ablated at the decision position.

    Parameters
    ----------
    engine : Engine
    prompts : sequence of LabelledPrompt
    groups : sequence of sequences of Head
        Heads that are ablated together; an empty group ablates nothing.
    replacement : numpy.ndarray
        `(n_layers, n_heads, head_dim)` what replaces each head's output: `head_outputs` averaged
        over prompts, or zeros.
    what : str, optional
        As for `sweeps.score_under`.

    Returns
    -------
    numpy.ndarray
        `(n, len(groups), 2)` float64 log P of the whole label sequences.

    Raises
    ------
    DataError
        If there is no group, the model lacks a head, or the replacement has another shape.
    """
    batch = _HeadAblations(engine, [list(group) for group in groups], replacement)
    return score_under(engine, prompts, batch, "last", what=what)


class _HeadRecorder(InterventionBatch):
    """No change; heads' outputs at some tokens are recorded."""

    def __init__(self, into: np.ndarray):
        self.first_layers = np.zeros(1, dtype=np.int64)
        self.changed_blocks = range(into.shape[1])
        self.prompts = np.empty(0, dtype=np.int64)
        self.tokens = torch.empty(0, dtype=torch.int64)
        self._into = into

    def block_change(
        self, block: int, which: np.ndarray, tokens: np.ndarray, size: int
    ) -> BlockChange | None:
        """Return what records outputs and hands them on."""

        def record(attended: torch.Tensor, first: int) -> torch.Tensor:
            here = attended[:, self.tokens.to(attended.device)].transpose(0, 1)
            heads = slice(first, first + len(attended))
            self._into[self.prompts, block, heads] = here.float().cpu().numpy()
            return attended

        return BlockChange(record)


class _HeadAblations(InterventionBatch):
    """Groups of heads and what replaces their outputs."""

    def __init__(self, engine: Engine, groups: list[list[Head]], replacement: np.ndarray):
        shape = (engine.n_layers, engine.n_heads, engine.head_dim)
        if not groups:
            raise DataError("an ablation needs at least one group of heads")
        if replacement.shape != shape:
            raise DataError(
                f"the heads' replacement has shape {replacement.shape}; this model needs {shape}"
            )
        # What ablates nothing runs from the beginning all the same: a baseline of the same steps.
        self.first_layers = np.array(
            [min((layer for layer, _ in g), default=1) - 1 for g in groups]
        )
        ablated = np.zeros((engine.n_layers, len(groups), engine.n_heads), dtype=bool)
        for i, group in enumerate(groups):
            for layer, head in group:
                if not (1 <= layer <= engine.n_layers and 0 <= head < engine.n_heads):
                    raise DataError(
                        f"a group names head {head} of layer {layer}; this model has layers 1 to"
                        f" {engine.n_layers} with heads 0 to {engine.n_heads - 1}"
                    )
                ablated[layer - 1, i, head] = True
        self.changed_blocks = set(np.flatnonzero(ablated.any(axis=(1, 2))).tolist())
        self._ablated = ablated
        self._values = torch.from_numpy(np.asarray(replacement, dtype=np.float32))

    def block_change(
        self, block: int, which: np.ndarray, tokens: np.ndarray, size: int
    ) -> BlockChange | None:
        """Return what replaces heads' outputs at some tokens of each copy."""
        ablated = self._ablated[block, which]
        if not ablated.any():
            return None
        edited = np.zeros(size, dtype=bool)
        edited[tokens] = True
        # (heads, copies, tokens of one)
        mask = torch.from_numpy(ablated.T[:, :, None] & edited).flatten(1)[..., None]

        def replace(attended: torch.Tensor, first: int) -> torch.Tensor:
            heads = slice(first, first + len(attended))
            values = self._values[block, heads, None].to(attended)
            return torch.where(mask[heads].to(attended.device), values, attended)

        return BlockChange(replace)
