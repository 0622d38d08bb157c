"""What an intervention does to residuals."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from nashlens.errors import DataError
from nashlens.vocabulary.edits import EditKind

if TYPE_CHECKING:
    from nashlens.engine.blocks import Change


@dataclass(frozen=True, eq=False)
class Edit:
    """One change of the residual after a block.

    With `u` the unit vector along `vector` and `h` the residual:

    - `none` leaves `h` as it is;
    - `add` gives `h + value * u`;
    - `clamp` gives `h + (value - h.u) u`, so that the projection on `u` is `value`;
    - `ablate` gives `h - (h.u) u`: the direction is removed, as by a clamp at 0.

    Attributes
    ----------
    layer : int
        Block after which the residual is changed, 1 to the number of blocks; 0 changes the
        embedding.
    kind : {"none", "add", "clamp", "ablate"}
    vector : numpy.ndarray
        Shape `(width,)`; its length does not matter, only its direction.
    value : float, default 0
        In the residual's own units; without meaning for `none` and `ablate`.
    """

    layer: int
    kind: EditKind
    vector: np.ndarray
    value: float = 0.0

    def unit(self) -> np.ndarray:
        """Return the unit vector, `(width,)` float32.

        Raises
        ------
        DataError
            If the vector is zero or not finite.
        """
        vector = np.asarray(self.vector, dtype=np.float64)
        length = float(np.linalg.norm(vector))
        if not np.isfinite(length) or length == 0.0:
            raise DataError(
                f"the direction of an edit at layer {self.layer} has length {length}; "
                "a direction must be finite and not zero"
            )
        return (vector / length).astype(np.float32)


Intervention = Edit | tuple[Edit, ...]
"""One edit, or several that are applied together: by layer, then in the order given."""


def edits_of(intervention: Intervention) -> tuple[Edit, ...]:
    """Return an intervention's edits.

    Raises
    ------
    DataError
        If there is none.
    """
    edits = (intervention,) if isinstance(intervention, Edit) else tuple(intervention)
    if not edits:
        raise DataError("an intervention holds no edit; for no change, give an edit of kind 'none'")
    return edits


class Batch:
    """Interventions as tensors; what this one does is nothing.

    Attributes
    ----------
    first : numpy.ndarray
        `(interventions,)` the layer up to which nothing changes, for each.
    layers : collection of int
        Layers after which residuals change.
    inside : collection of int
        Blocks, counted from 0, within which outputs of heads change.
    """

    first: np.ndarray
    layers: Collection[int] = ()
    inside: Collection[int] = ()

    def apply(self, layer: int, residual: torch.Tensor, which: np.ndarray) -> torch.Tensor:
        """Return residuals `(n, t, width)` after what interventions `(n,)` do at a layer."""
        return residual

    def change(self, block: int, which: np.ndarray, tokens: np.ndarray, size: int) -> Change | None:
        """Return what interventions do within a block, if anything.

        Parameters
        ----------
        block : int
            One of `inside`.
        which : numpy.ndarray
            `(n,)` indices of interventions; each has a copy of a fork's tokens, one after another.
        tokens : numpy.ndarray
            Which of a fork's tokens are edited.
        size : int
            How many it has.
        """
        return None


class EditBatch(Batch):
    """Interventions as tensors, applied to many residuals at once.

    Parameters
    ----------
    interventions : sequence of Intervention
        At least one.
    width : int
        Width of the residual stream.

    Attributes
    ----------
    first : numpy.ndarray
        `(interventions,)` the lowest layer that each touches.
    layers : set of int
        Layers that any touches.
    """

    def __init__(self, interventions: Sequence[Intervention], width: int):
        sets = [edits_of(intervention) for intervention in interventions]
        edits = [edit for some in sets for edit in some]
        units = np.zeros((len(edits), width), dtype=np.float32)
        for i, edit in enumerate(edits):
            if edit.kind != "none":
                units[i] = edit.unit()
        self.first = np.array([min(edit.layer for edit in some) for some in sets])
        self.layers = {edit.layer for edit in edits}
        self._turns = self._by_layer(sets)
        self._units = torch.from_numpy(units)
        # h + (shift + pull * h.u) u
        removes = [edit.kind in ("clamp", "ablate") for edit in edits]
        shifts = [edit.value if edit.kind in ("add", "clamp") else 0.0 for edit in edits]
        self._pulls = torch.tensor(removes, dtype=torch.float32).neg()
        self._shifts = torch.tensor(shifts, dtype=torch.float32)

    def _by_layer(self, sets: Sequence[tuple[Edit, ...]]) -> dict[int, np.ndarray]:
        """Return for each layer `(turns, interventions)` indices of edits, -1 where there is none.

        More than one turn is for interventions that edit one layer repeatedly.
        """
        turns: dict[int, list[np.ndarray]] = {layer: [] for layer in self.layers}
        number = 0
        for i, some in enumerate(sets):
            seen = dict.fromkeys(self.layers, 0)
            for edit in some:
                here, turn = turns[edit.layer], seen[edit.layer]
                if turn == len(here):
                    here.append(np.full(len(sets), -1))
                here[turn][i] = number
                seen[edit.layer] += 1
                number += 1
        return {layer: np.stack(some) for layer, some in turns.items()}

    def apply(self, layer: int, residual: torch.Tensor, which: np.ndarray) -> torch.Tensor:
        """Return residuals after what interventions do at one layer.

        Parameters
        ----------
        layer : int
            One of `layers`.
        residual : torch.Tensor
            `(n, t, width)`: for each intervention asked for, `t` residuals.
        which : numpy.ndarray
            `(n,)` indices of the interventions.

        Returns
        -------
        torch.Tensor
            `(n, t, width)`, in the residual's dtype; the arithmetic is float32.
        """
        for turn in self._turns[layer]:
            edits = turn[which]
            mine = np.flatnonzero(edits >= 0)
            if len(mine) == len(which):
                residual = self._edited(residual, edits)
            elif len(mine):
                rows = torch.from_numpy(mine).to(residual.device)
                residual = residual.index_copy(0, rows, self._edited(residual[rows], edits[mine]))
        return residual

    def _edited(self, residual: torch.Tensor, edits: np.ndarray) -> torch.Tensor:
        index, device = torch.from_numpy(edits), residual.device
        units = self._units[index].to(device)[:, None]
        pulls, shifts = (x[index].to(device)[:, None, None] for x in (self._pulls, self._shifts))
        h = residual.float()
        step = shifts + pulls * (h * units).sum(-1, keepdim=True)
        # A zero step leaves every bit of h, which the alpha = 0 self-test relies on.
        return (h + step * units).to(residual.dtype)
