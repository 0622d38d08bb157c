"""Why readings of the lens cannot be judged, as the claims about the lens say it (M5, M6)."""

from __future__ import annotations

from nashlens.findings.claim import Missing
from nashlens.lens.readings import Readings


def lens_problem(readings: Readings, what: str) -> Missing | None:
    """Return why readings cannot be judged, or None."""
    reason = readings.problem(what)
    if reason is None:
        return None
    # Something undefined in every game makes no claim; something the design lacks leaves doubt.
    lacking = bool(len(readings.layers)) and bool(len(readings))
    return Missing(reason, "inconclusive" if lacking else "not_applicable")
