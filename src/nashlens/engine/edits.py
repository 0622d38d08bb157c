"""What an intervention does to a residual at the decision position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from nashlens.errors import DataError

Kind = Literal["none", "add", "clamp"]


@dataclass(frozen=True, eq=False)
class Edit:
    """One intervention on the residual after a block.

    With `u` the unit vector along `vector` and `h` the residual:

    - `none` leaves `h` as it is;
    - `add` gives `h + value * u`;
    - `clamp` gives `h + (value - h.u) u`, so that the projection on `u` is `value`;
      `value = 0` ablates the direction.

    Attributes
    ----------
    layer : int
        Block after which the residual is changed, 1 to the number of blocks; 0 changes the
        embedding.
    kind : {"none", "add", "clamp"}
    vector : numpy.ndarray
        Shape `(width,)`; its length does not matter, only its direction.
    value : float
        In the residual's own units.
    """

    layer: int
    kind: Kind
    vector: np.ndarray
    value: float

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


class EditBatch:
    """Edits as tensors, applied to many residuals at once.

    Parameters
    ----------
    edits : list of Edit
    width : int
        Width of the residual stream.
    """

    def __init__(self, edits: list[Edit], width: int):
        units = np.zeros((len(edits), width), dtype=np.float32)
        for i, edit in enumerate(edits):
            if edit.kind != "none":
                units[i] = edit.unit()
        self.units = torch.from_numpy(units)
        self.values = torch.tensor([e.value for e in edits], dtype=torch.float32)
        self.clamped = torch.tensor([e.kind == "clamp" for e in edits])
        self.left = torch.tensor([e.kind == "none" for e in edits])

    def apply(self, residual: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        """Return edited residuals.

        Parameters
        ----------
        residual : torch.Tensor
            `(n, width)`, one row for each edit asked for.
        which : torch.Tensor
            `(n,)` int64 indices of the edits.

        Returns
        -------
        torch.Tensor
            `(n, width)`, in the residual's dtype; the arithmetic is float32.
        """
        device = residual.device
        units = self.units[which].to(device)
        values = self.values[which].to(device)
        clamped = self.clamped[which].to(device)
        h = residual.float()
        step = torch.where(clamped, values - (h * units).sum(-1), values)
        step = torch.where(self.left[which].to(device), torch.zeros_like(step), step)
        # A zero step leaves every bit of h, which the alpha = 0 self-test relies on.
        return (h + step[:, None] * units).to(residual.dtype)
