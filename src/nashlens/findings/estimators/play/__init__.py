"""Estimators of the claims about play.

Each is a pure function of three tables (`Field`) that may hold some matches only, such as those of
one template or label set: it yields each subject (a model, a pair or family of them, or all models)
with its measurement, or with why there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nashlens.findings.estimators.play.cooperation import cooperative_lock
from nashlens.findings.estimators.play.distance import (
    architecture,
    chain_of_thought,
    convergence,
    scale,
    scratchpad,
)
from nashlens.findings.estimators.play.field import Field
from nashlens.findings.estimators.play.meeting import reinforcement, unravelling
from nashlens.findings.estimators.play.order import first_mover
from nashlens.findings.measurement import Measurement, Missing, Settings

PlayEstimator = Callable[[Field, Settings], Iterator[tuple[str, Measurement | Missing]]]

PLAY_ESTIMATORS: dict[str, PlayEstimator] = {
    "B1": cooperative_lock,
    "B2": chain_of_thought,
    "B3": scale,
    "B4": architecture,
    "B5": scratchpad,
    "B6": convergence,
    "X1": unravelling,
    "X2": reinforcement,
    "X3": first_mover,
}
"""Claim id to its estimator."""
