"""Tables of estimates with their intervals, one row a number: what figures draw.

Decisions of one match are not independent, so whole matches are resampled (`nashlens.contrasts`).
Each use has a random stream of its own name under the experiment's seed, so that a further game or
model never moves another one's interval. The column `interval` says what the bounds are:
`percentile` (of the bootstrap, for one number), `simultaneous` (of the bootstrap, for several
numbers at once), `student`, or empty where a number has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from nashlens.contrasts import cluster_bootstrap
from nashlens.seeds import stream

COLUMNS = ("estimate", "ci_low", "ci_high", "interval", "n", "n_matches")
"""What every table of estimates has, after the columns that say which number a row is."""
_TYPES = {
    "estimate": "float64",
    "ci_low": "float64",
    "ci_high": "float64",
    "interval": "str",
    "n": "int64",
    "n_matches": "int64",
}


@dataclass(frozen=True)
class Bootstrap:
    """How the intervals of a table are made."""

    confidence: float
    """Coverage, between 0 and 1."""
    resamples: int
    """Number of resamples of matches."""
    seed: int
    """The experiment's seed."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Bootstrap:
        """Take the settings of an experiment: of its findings, and its seed."""
        findings = config["findings"]
        return cls(findings["confidence"], findings["bootstrap"], config["experiment"]["seed"])

    def rng(self, *names: str | int) -> np.random.Generator:
        """Return the random stream of a use."""
        return stream(self.seed, *names)

    def options(self, *names: str | int) -> dict[str, Any]:
        """Return the arguments of a bootstrap of `nashlens.contrasts`."""
        return {
            "confidence": self.confidence,
            "resamples": self.resamples,
            "rng": self.rng(*names),
        }


def mean_estimates(
    values: ArrayLike, matches: ArrayLike, how: Bootstrap, *names: str | int
) -> pd.DataFrame:
    """Return the mean of each column of a matrix, with its percentile interval.

    Parameters
    ----------
    values : array_like, shape (n, k)
        One row an observation; rows with a missing value are left out.
    matches : array_like, shape (n,)
        The match of each row.
    how : Bootstrap
    *names : str or int
        What the means are; names the random stream.

    Returns
    -------
    DataFrame
        `COLUMNS`, (k rows). Bounds are missing with fewer than two matches, all is without rows.
    """
    found = cluster_bootstrap(
        np.asarray(values, dtype=float),
        np.asarray(matches, dtype=object),
        **how.options(*names),
    )
    return frame(found.estimate, found.low, found.high, "percentile", found.n, found.n_clusters)


def frame(
    estimate: Any, low: Any, high: Any, interval: str, n: int, n_matches: int
) -> pd.DataFrame:
    """Return estimates and bounds, floats or (k,), as `COLUMNS`."""
    estimate, low, high = (np.atleast_1d(np.asarray(x, dtype=float)) for x in (estimate, low, high))
    values = [estimate, low, high, interval, n, n_matches]
    return pd.DataFrame(dict(zip(COLUMNS, values, strict=True)))


def collect(
    parts: Iterable[pd.DataFrame], keys: Mapping[str, str], further: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Join parts of a table of estimates.

    Parameters
    ----------
    parts : iterable of DataFrame
    keys : mapping of str to str
        Columns that say which number a row is -> their types.
    further : mapping of str to str, optional
        Columns after `COLUMNS`, likewise.

    Returns
    -------
    DataFrame
        One row per row of the parts. A column that a part does not have is missing in its rows.

    Raises
    ------
    ValueError
        If a part has a column that the table does not have: it would be lost.
    """
    types = {**keys, **_TYPES, **(further or {})}
    table = pd.concat([pd.DataFrame(columns=list(types)), *parts], ignore_index=True)
    lost = [str(name) for name in table if name not in types]
    if lost:
        raise ValueError(
            f"the table of estimates has no column {', '.join(lost)}: it would be lost"
        )
    return table[list(types)].astype(types)
