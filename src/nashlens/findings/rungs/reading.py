"""What a rung reads, and what it finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.contrasts import Array
from nashlens.findings.claim import Claim, JudgeSettings, Missing, Tables, with_bounds

LoadRows = Callable[[int, pd.DataFrame], NDArray[np.floating]]
"""From a layer and rows of the prompts table to their residuals, (n, width)."""


@dataclass(frozen=True)
class LadderData:
    """What one model's study has stored: no rung runs the model."""

    tables: Tables
    """`prompts` (without dropped ones), `lens`, `probes`, `steering`."""
    residuals: LoadRows | None = None
    """The stored activations; None where a rung that fits probes is to be left out."""


@dataclass(frozen=True, kw_only=True)
class RungReading:
    """An estimate under one protocol, and what the protocol's own rule makes of it."""

    estimate: float
    low: float
    high: float
    unit: str
    n: int
    """Number of prompts."""
    n_matches: int
    """Number of histories that they come from."""
    concludes: str
    """supported, contradicted or inconclusive: of the claim."""
    short: str
    """The estimate in a few words, for a sentence."""
    reason: str
    """The numbers, and what decided."""
    because: str = ""
    """What decided, where the numbers do not say it."""
    control: str = ""
    """What the estimate is to be compared with, and its number; empty where there is nothing."""


def by_claim(
    claim: Claim[Any], tables: Tables, settings: JudgeSettings, unit: str, what: str, control: str
) -> RungReading | Missing:
    """Judge a claim by its own estimator and rule.

    Parameters
    ----------
    claim : Claim
        About one model.
    tables : mapping of str to DataFrame
        Its tables, with the rows that the rung takes.
    settings : JudgeSettings
    unit : str
        The estimate's unit.
    what : str
        The estimate's name, for `short`.
    control : str
        The control's name.
    """
    lacking = [name for name in claim.tables if name not in tables or tables[name].empty]
    if lacking:
        return Missing(f"the study has no table of {' and '.join(lacking)}")
    found = claim.estimate(claim.reads(tables), settings)
    if isinstance(found, Missing):
        return found
    if not np.isfinite([found.estimate, found.low, found.high]).all():
        return Missing(f"{found.n_matches} histories: too few for an interval", "inconclusive")
    outcome = claim.rule(found)
    return RungReading(
        estimate=found.estimate,
        low=found.low,
        high=found.high,
        unit=unit,
        n=found.n,
        n_matches=found.n_matches,
        concludes=outcome.verdict,
        short=f"{what} {with_bounds(found)}",
        reason=claim.reason(found, outcome),
        because=outcome.because,
        control=f"{control} {found.control:.2f}" if np.isfinite(found.control) else "",
    )


def any_words(prompts: pd.DataFrame) -> pd.DataFrame:
    """Return prompts without the kind of their labels, so that controlled estimators take them."""
    return prompts.drop(columns="label_kind", errors="ignore")


def naive_interval(values: Array, settings: JudgeSettings) -> tuple[Array, Array, Array]:
    """Return means over rows, with bounds that take every row as independent of the others.

    Parameters
    ----------
    values : ndarray, shape (n, k) or (n,)
        One row a prompt.
    settings : JudgeSettings

    Returns
    -------
    mean, low, high : ndarray, shape (k,) or ()
    """
    mean = values.mean(axis=0)
    half = settings.z * values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return mean, mean - half, mean + half
