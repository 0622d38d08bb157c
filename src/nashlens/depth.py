"""Which of a model's layers count as late."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def is_late(layers: ArrayLike, late_fraction: float) -> NDArray[np.bool_]:
    """Tell which layers are late: those above all but a share of the deepest one.

    Parameters
    ----------
    layers : array-like of int, shape (k,)
        The last layer of the model among them.
    late_fraction : float
        Share of the layers, from the top, that counts as late.

    Returns
    -------
    ndarray of bool, shape (k,)
    """
    found = np.asarray(layers)
    late: NDArray[np.bool_] = found > found.max() * (1.0 - late_fraction)
    return late
