"""Estimators by claim: pure functions of the tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from nashlens.findings.estimators.circuits import nash_heads
from nashlens.findings.estimators.lens import late_override, nash_favoured
from nashlens.findings.estimators.probes import (
    history_at_layer_1,
    history_consumed,
    nash_weakly_encoded,
)
from nashlens.findings.estimators.steering import clamping_monotone, steering_both_ways
from nashlens.findings.measurement import Measurement, Missing, Settings

Estimator = Callable[[Mapping[str, pd.DataFrame], Settings], Measurement | Missing]

ESTIMATORS: dict[str, Estimator] = {
    "M1": history_at_layer_1,
    "M2": history_consumed,
    "M3": nash_weakly_encoded,
    "M4": nash_heads,
    "M5": nash_favoured,
    "M6": late_override,
    "M7": steering_both_ways,
    "M8": clamping_monotone,
}
"""Claim id to its estimator."""
