"""What an intervention does to residuals.

A kind of edit is one function of many residuals at once, and its entry in `KINDS`; its name is one
of `nashlens.vocabulary.edits`. `Edit` says what each kind does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from nashlens.engine.transfer import copy_to
from nashlens.errors import DataError
from nashlens.vocabulary.edits import EditKind

if TYPE_CHECKING:
    from nashlens.engine.block import BlockChange
    from nashlens.engine.forks import Fork


def _add(h: torch.Tensor, units: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    # A value of zero leaves every bit of h, which the self-test with an alpha of 0 relies on.
    return h + value * units[:, :1]


def _clamp(h: torch.Tensor, units: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    u = units[:, :1]
    return h + (value - (h * u).sum(-1, keepdim=True)) * u


def _ablate(h: torch.Tensor, units: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return _clamp(h, units, torch.zeros_like(value))


class KindOfEdit(NamedTuple):
    """How one kind of edit is computed.

    `apply` goes from float32 residuals `(n, t, width)`, unit vectors `(n, directions, width)` and
    values `(n, 1, 1)`, of `n` edits of the kind, to changed residuals; None changes nothing.
    """

    apply: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor] | None
    directions: int = 1


KINDS: dict[EditKind, KindOfEdit] = {
    "none": KindOfEdit(None, directions=0),
    "add": KindOfEdit(_add),
    "clamp": KindOfEdit(_clamp),
    "ablate": KindOfEdit(_ablate),
}


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
        `(width,)`, or `(directions, width)` for a kind of several directions. Only directions
        matter, not lengths; of no meaning for `none`.
    value : float, default 0
        What is added, or clamped to, in the residual's own units; without meaning for `none` and
        `ablate`.
    """

    layer: int
    kind: EditKind
    vector: np.ndarray
    value: float = 0.0

    def units(self) -> np.ndarray:
        """Return the unit vectors, `(directions, width)` float32.

        Raises
        ------
        DataError
            If a vector is zero or not finite, or there are not as many as the kind needs.
        """
        needed = KINDS[self.kind].directions
        vectors = np.atleast_2d(np.asarray(self.vector, dtype=np.float64))
        if len(vectors) != needed:
            raise DataError(
                f"an edit at layer {self.layer} has {len(vectors)} directions;"
                f" {self.kind} needs {needed}"
            )
        lengths = [float(np.linalg.norm(vector)) for vector in vectors]
        for length in lengths:
            if not np.isfinite(length) or length == 0.0:
                raise DataError(
                    f"the direction of an edit at layer {self.layer} has length {length}; "
                    "a direction must be finite and not zero"
                )
        return (vectors / np.array(lengths)[:, None]).astype(np.float32)


Intervention = Edit | tuple[Edit, ...]
"""One edit, or several that are applied together: by layer, then in the order given."""


def edits_of(intervention: Intervention) -> tuple[Edit, ...]:
    """Return an intervention's edits; DataError if there is none."""
    edits = (intervention,) if isinstance(intervention, Edit) else tuple(intervention)
    if not edits:
        raise DataError("an intervention holds no edit; for no change, give an edit of kind 'none'")
    return edits


class InterventionBatch:
    """Interventions as tensors, applied to many residuals at once; these change nothing.

    Attributes
    ----------
    first_layers : numpy.ndarray
        `(interventions,)` the layer up to which nothing changes, for each.
    edited_layers : collection of int
        Layers after which residuals change.
    changed_blocks : collection of int
        Blocks, counted from 0, within which something changes.
    """

    first_layers: np.ndarray
    edited_layers: Collection[int] = ()
    changed_blocks: Collection[int] = ()

    def on(self, fork: Fork) -> InterventionBatch:
        """Return the interventions on one fork; others where they depend on its tokens."""
        return self

    def apply(self, layer: int, residual: torch.Tensor, which: np.ndarray) -> torch.Tensor:
        """Return residuals `(n, t, width)` after what interventions `(n,)` do at one layer.

        `layer` is one of `edited_layers`. The arithmetic is float32, the result in the residual's
        dtype.
        """
        return residual

    def block_change(
        self, block: int, which: np.ndarray, tokens: np.ndarray, size: int
    ) -> BlockChange | None:
        """Return what interventions do within a block, if anything.

        Parameters
        ----------
        block : int
            One of `changed_blocks`.
        which : numpy.ndarray
            `(n,)` indices of interventions; each has a copy of a fork's tokens, one after another.
        tokens : numpy.ndarray
            Which of a fork's tokens are edited.
        size : int
            How many tokens it has.
        """
        return None


class EditBatch(InterventionBatch):
    """Interventions, at least one, that are edits."""

    def __init__(self, interventions: Sequence[Intervention]):
        sets = [edits_of(intervention) for intervention in interventions]
        edits = [edit for some in sets for edit in some]
        self.first_layers = np.array([min(edit.layer for edit in some) for some in sets])
        self.edited_layers = {edit.layer for edit in edits}
        self._turns = self._by_layer(sets)
        self._kinds = np.array([edit.kind for edit in edits])
        self._values = torch.tensor([edit.value for edit in edits], dtype=torch.float32)
        # Unit vectors by kind, and where each edit's are among those of its kind.
        self._units: dict[EditKind, torch.Tensor] = {}
        self._rows = np.zeros(len(edits), dtype=np.int64)
        for kind, how in KINDS.items():
            if how.apply is not None and kind in self._kinds:
                mine = np.flatnonzero(self._kinds == kind)
                self._rows[mine] = np.arange(len(mine))
                units = np.stack([edits[i].units() for i in mine.tolist()])
                self._units[kind] = torch.from_numpy(units)

    def _by_layer(self, sets: Sequence[tuple[Edit, ...]]) -> dict[int, np.ndarray]:
        """Return for each layer `(turns, interventions)` indices of edits, -1 where there is none.

        More than one turn is for interventions that edit one layer repeatedly.
        """
        turns: dict[int, list[np.ndarray]] = {layer: [] for layer in self.edited_layers}
        number = 0
        for i, some in enumerate(sets):
            seen = dict.fromkeys(self.edited_layers, 0)
            for edit in some:
                here, turn = turns[edit.layer], seen[edit.layer]
                if turn == len(here):
                    here.append(np.full(len(sets), -1))
                here[turn][i] = number
                seen[edit.layer] += 1
                number += 1
        return {layer: np.stack(some) for layer, some in turns.items()}

    def apply(self, layer: int, residual: torch.Tensor, which: np.ndarray) -> torch.Tensor:
        """Return residuals after what interventions do at one layer."""
        for turn in self._turns[layer]:
            edits, result = turn[which], None
            for kind in self._units:
                mine = np.flatnonzero((edits >= 0) & (self._kinds[edits] == kind))
                if len(mine) == len(which):
                    residual = self._edited(kind, residual, edits)
                elif len(mine):
                    rows = copy_to(torch.from_numpy(mine), residual.device)
                    changed = self._edited(kind, residual[rows], edits[mine])
                    # Copied once, and not for each kind.
                    result = residual.clone() if result is None else result
                    result.index_copy_(0, rows, changed)
            residual = residual if result is None else result
        return residual

    def _edited(self, kind: EditKind, residual: torch.Tensor, edits: np.ndarray) -> torch.Tensor:
        """Return residuals `(n, t, width)` after `n` edits of one kind."""
        apply, device = KINDS[kind].apply, residual.device
        assert apply is not None
        units = copy_to(self._units[kind][torch.from_numpy(self._rows[edits])], device)
        values = copy_to(self._values[torch.from_numpy(edits)], device)[:, None, None]
        return apply(residual.float(), units, values).to(residual.dtype)
