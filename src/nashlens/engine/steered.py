"""Engines whose residuals are edited while they score labels and write: steered players.

A steered token is marked: `MARK` is added to its id. To a prefix forest the marked token is another
token than the same one unmarked, so sequences share what is edited alike and nothing else, and keys
and values that a session keeps of it are its own. The engine takes the mark away before it embeds
the token, and edits the residual there after each of the edits' layers.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nashlens.engine.edits import KINDS, Intervention, edits_of
from nashlens.engine.transfer import copy_to
from nashlens.errors import DataError
from nashlens.vocabulary.edits import STEERED_TOKENS, EditKind, SteeredTokens

if TYPE_CHECKING:
    from nashlens.engine.core import Engine

MARK = 1 << 30
"""Above every token id, and below what a forest's sort keys hold."""


class Steering:
    """Edits of the residual stream, and the tokens at which they are made.

    Parameters
    ----------
    intervention : Edit or tuple of Edit
    positions : {"last", "prompt", "generated", "all"}
        `last` is the last token before the model writes, and the decision position; `prompt` all
        tokens of the prompt; `generated` what the model wrote, with the anchor of its answer, and
        the answer's label; `all` all of these.

    Raises
    ------
    DataError
        If there is no edit, a direction is zero or not finite, or positions are unknown.
    """

    def __init__(self, intervention: Intervention, positions: SteeredTokens):
        if positions not in STEERED_TOKENS:
            allowed = ", ".join(STEERED_TOKENS)
            raise DataError(f"positions are {positions!r}; allowed: {allowed}")
        self.positions = positions
        self._units: dict[int, torch.Tensor] = {}
        self._by_layer: dict[int, list[tuple[int, EditKind, float]]] = {}
        for number, edit in enumerate(edits_of(intervention)):
            if KINDS[edit.kind].apply is not None:
                self._units[number] = torch.from_numpy(edit.units())[None]
                self._by_layer.setdefault(edit.layer, []).append((number, edit.kind, edit.value))
        self._here: dict[tuple[int, torch.device], tuple[torch.Tensor, torch.Tensor]] = {}

    @property
    def layers(self) -> set[int]:
        """Layers after which the residual is edited."""
        return set(self._by_layer)

    @property
    def writing(self) -> bool:
        """Whether the tokens that the model writes are edited."""
        return self.positions in ("generated", "all")

    def marked(
        self, sequence: Sequence[int] | np.ndarray, *, prompt: int, decision: int
    ) -> np.ndarray:
        """Return a sequence with its steered tokens marked.

        Its first `prompt` tokens are the prompt's; after its first `decision` tokens, at least as
        many, the answer follows.
        """
        ids = np.array(sequence, dtype=np.int64)
        where: Any = {
            "last": [prompt - 1, decision - 1],
            "prompt": slice(0, prompt),
            "generated": slice(prompt, None),
            "all": slice(None),
        }[self.positions]
        ids[where] |= MARK
        return ids

    def apply(self, layer: int, h: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Return residuals `(n, width)` after the edits of a layer, at some rows or at all."""
        chosen = h if rows is None else h[rows]
        for number, kind, value in self._by_layer[layer]:
            units, values = self._on(number, value, h.device)
            apply = KINDS[kind].apply
            assert apply is not None
            chosen = apply(chosen[None].float(), units, values)[0].to(h.dtype)
        return chosen if rows is None else h.index_copy(0, rows, chosen)

    def _on(
        self, number: int, value: float, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        # Copied once: a CUDA graph of a decode step cannot hold a copy from the host.
        if (number, device) not in self._here:
            self._here[number, device] = (
                copy_to(self._units[number], device),
                torch.full((1, 1, 1), value, dtype=torch.float32, device=device),
            )
        return self._here[number, device]


def steered(engine: Engine, intervention: Intervention, positions: SteeredTokens) -> Engine:
    """Return an engine that shares a model's weights, and is steered where it scores and writes.

    Label scores, of sessions too, and generation are edited; residuals and sweeps are not.
    Parameters and errors are those of `Steering`; a layer that the model lacks is a DataError too.
    """
    steering = Steering(intervention, positions)
    for layer in steering.layers:
        if not 0 <= layer <= engine.n_layers:
            raise DataError(f"an edit is at layer {layer}; the model has {engine.n_layers}")
    result = copy.copy(engine)
    result.steering = steering
    return result


class MarkedRows:
    """Which of a row's new tokens are steered, and the edits there.

    Parameters
    ----------
    steering : Steering or None
    tokens : numpy.ndarray
        `(n,)` token ids, marked where they are steered.
    """

    def __init__(self, steering: Steering | None, tokens: np.ndarray):
        marks = tokens >= MARK
        self.tokens = tokens & (MARK - 1) if marks.any() else tokens
        self._steering = steering if marks.any() else None
        self._marks = marks
        self._rows: dict[torch.device, torch.Tensor] = {}

    def changes(self, layer: int) -> bool:
        """Return whether residuals after a layer are edited."""
        return self._steering is not None and layer in self._steering.layers

    def apply(self, layer: int, h: torch.Tensor, only: np.ndarray | None = None) -> torch.Tensor:
        """Return residuals after a layer's edits: of all new tokens, or `only` of some, `(m,)`."""
        assert self._steering is not None
        if only is not None:
            rows = copy_to(torch.from_numpy(np.flatnonzero(self._marks[only])), h.device)
            return self._steering.apply(layer, h, rows)
        if h.device not in self._rows:
            rows = torch.from_numpy(np.flatnonzero(self._marks))
            self._rows[h.device] = copy_to(rows, h.device)
        return self._steering.apply(layer, h, self._rows[h.device])
