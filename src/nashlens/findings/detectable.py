"""The smallest effect that a study would have found four times in five.

An effect is found where the interval's bound excludes what the claim's rule compares with. With the
standard error s, its degrees of freedom v and the interval's half-width c s, that happens in the
share `POWER` of studies for a true effect at the distance

    (c + t(POWER; v)) s

from it (Student's t in place of its noncentral form, of which it is a close approximation; Bloom,
Evaluation Review 19, 1995, 547-556).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nashlens.contrasts import POWER, student_quantile
from nashlens.findings.claim import Claim, Evidence

OPEN = ("inconclusive", "contradicted")
"""Verdicts whose reason says what the study would have found."""


def smallest_effect(found: Evidence, confidence: float) -> float:
    """Return the smallest effect that evidence like this finds in the share `POWER` of studies.

    Parameters
    ----------
    found : Evidence
        Where `error` is NaN, it is taken from the interval's half-width.
    confidence : float
        Coverage of the interval.

    Returns
    -------
    float
        A distance in the estimate's unit; NaN without an interval.
    """
    # Without degrees of freedom the error is taken as known: the normal distribution.
    freedom = found.freedom if found.freedom > 0 else np.inf
    critical = found.critical
    if not np.isfinite(critical):
        critical = student_quantile((1.0 - confidence) / 2.0, freedom)
    error = found.error
    if not np.isfinite(error):
        error = (found.high - found.low) / 2.0 / critical
    return float((critical + student_quantile(1.0 - POWER, freedom)) * error)


def said_with_power(reason: str, verdict: str, detectable: float, claim: Claim[Any] | None) -> str:
    """Return a reason that ends in what the study would have found, where it found nothing."""
    if verdict not in OPEN or claim is None or not detectable > 0:
        return reason
    return f"{reason}. {power_sentence(detectable, claim)}"


def power_sentence(detectable: float, claim: Claim[Any]) -> str:
    """Return in words the smallest effect that a study would have found."""
    what = f"{float(f'{detectable:.2g}'):g} {claim.effect_unit or claim.unit}"
    what = f"a difference of {what} from {claim.beyond}" if claim.beyond else f"an effect of {what}"
    if detectable > claim.largest_effect:
        return f"This study is too small: it would find only {what} four times in five."
    return f"This study would have found {what} four times in five."
