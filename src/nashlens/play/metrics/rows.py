"""A row of the metrics table, before the columns of its cell."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ONE_BLOCK = "one block of matches: no interval"
"""The reason of an estimate from a single block."""


def measure_row(
    measure: str,
    definition: str,
    *,
    n: int,
    n_matches: int,
    term: str | None = None,
    estimate: float = np.nan,
    bounds: tuple[float, float] = (np.nan, np.nan),
    control: float = np.nan,
    control_measure: str = "",
    reason: str = "",
) -> dict[str, Any]:
    """Return a measure's columns (`docs/reference/results.md`)."""
    return {
        "measure": measure,
        "term": term,
        "definition": definition,
        "estimate": estimate,
        "ci_low": bounds[0],
        "ci_high": bounds[1],
        "n": n,
        "n_matches": n_matches,
        "control": control,
        "control_measure": control_measure,
        "reason": reason,
    }
