"""What M5 and M6 say alike: why a lens cannot be judged, and how far an action part carries."""

from __future__ import annotations

import numpy as np

from nashlens.findings.claim import Missing
from nashlens.lens.readings import Readings


def lens_problem(readings: Readings, what: str) -> Missing | None:
    """Return why readings cannot be judged, or None."""
    reason = readings.problem(what)
    if reason is None:
        return None
    # Something undefined in every game makes no claim; something the design lacks leaves doubt.
    lacking = len(readings.layers) > 0 and readings.asked > 0
    return Missing(reason, "inconclusive" if lacking else "not_applicable")


def spread_in_words(label_sets: float, templates: float) -> str:
    """Return, to follow an action part, how much it differs between words and templates."""
    between = (("label sets", label_sets), ("templates", templates))
    known = [f"{value:.2f} between {name}" for name, value in between if np.isfinite(value)]
    return f" (standard deviation {', '.join(known)})" if known else ""
