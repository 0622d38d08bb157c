"""Means of matches in cells of the design, and contrasts of them with intervals.

Each game weighs the same. Matches are resampled within each cell (an arm of the contrast and a
game), so that no resample lacks one; the bootstrap's variances of the cells add up to that of the
contrast. A bootstrap of n matches underestimates the variance by (n - 1) / n, which is corrected,
and the interval is Student's t with Satterthwaite's degrees of freedom (Biometrics 2, 1946,
110-114):

    error^2 = sum_c w_c^2 v_c,    freedom = error^4 / sum_c ((w_c^2 v_c)^2 / (n_c - 1))

Where all matches of a cell are alike, their spread is not known to be zero: that five agree does
not mean that the sixth would. Where cells are averaged, all such cells of an arm together get an
error of half a match (of the column's whole range), as a share of 0 or 1 would have; a cell that is
looked at by itself gets an error of half of one of its own matches, however many games there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypedDict

import numpy as np
import pandas as pd

from nashlens.contrasts import Array, p_floor, resample_counts, student_interval, student_p
from nashlens.findings.claim import JudgeSettings, Missing
from nashlens.findings.shared.play import Bounded


class EstimateFields(TypedDict):
    """The fields of an `Evidence` that an estimate fills."""

    estimate: float
    low: float
    high: float
    n: int
    n_matches: int


class MeanEstimate(NamedTuple):
    """A mean or a contrast of means."""

    value: float
    error: float
    freedom: float
    """Degrees of freedom of the error."""
    n: int
    """Number of rounds of the matches that enter."""
    n_matches: int
    range: tuple[float, float]
    """Least and largest value that it can have."""
    confidence: float
    resamples: int

    def bounds(self, at_once: int = 1) -> tuple[float, float]:
        """Return the interval, cut to the range; for several estimates at once by Bonferroni."""
        low, high = student_interval(self.value, self.error, self.freedom, self.confidence, at_once)
        return max(low, self.range[0]), min(high, self.range[1])

    def bounded(self) -> Bounded:
        """Return the value with its interval."""
        return Bounded(self.value, *self.bounds())

    def fields(self) -> EstimateFields:
        """Return it as fields of an `Evidence`."""
        low, high = self.bounds()
        return EstimateFields(
            estimate=self.value, low=low, high=high, n=self.n, n_matches=self.n_matches
        )

    def p_above(self, bound: float) -> float:
        """Return the p-value of the truth being above a bound."""
        floor = p_floor(self.n_matches, self.resamples)
        return student_p(self.value - bound, self.error, self.freedom, floor)

    def p_below(self, bound: float) -> float:
        """Return the p-value of the truth being below a bound."""
        return self._replace(value=-self.value).p_above(-bound)

    def p_apart(self, least: float = 0.0) -> float:
        """Return the p-value of the truth being farther than `least` from 0, on either side."""
        return min(1.0, 2 * min(self.p_above(least), self.p_below(-least)))


class ArmMeans:
    """Means of some columns in each arm and cell.

    Parameters
    ----------
    arms : mapping of str to DataFrame
        One row a match, or several that are averaged first; each arm has the same cells.
    columns : sequence of str
        Rows without a number in any of them are left out.
    settings : JudgeSettings
    name : str
        Name of the random stream.
    cell : str
        The column whose values weigh the same.
    ranges : mapping of str to (float, float), optional
        Least and largest value of a column, infinite where intervals need not be cut; 0 to 1 for
        columns that are not in it.
    """

    def __init__(
        self,
        arms: Mapping[str, pd.DataFrame],
        columns: Sequence[str],
        settings: JudgeSettings,
        name: str,
        *,
        cell: str = "game",
        ranges: Mapping[str, tuple[float, float]] | None = None,
    ):
        self.arms, self.columns = list(arms), list(columns)
        ranges = ranges or {}
        self._settings = settings
        self._ranges = np.array([ranges.get(column, (0.0, 1.0)) for column in columns])
        width = np.ptp(self._ranges, axis=1)
        width = np.where(np.isfinite(width), width, 1.0)
        rng = settings.rng(name)
        means, variances, sizes, rounds = [], [], [], []
        self.few = ""
        """The first cell with fewer than two matches; empty where there is none."""
        self.cells = sorted({str(value) for rows in arms.values() for value in rows[cell]})
        for arm, rows in arms.items():
            rows = rows.dropna(subset=self.columns)
            keys = [rows[cell].astype(str), rows["match_id"]]
            by_match = rows[[*columns, "n_rounds"]].astype(float).groupby(keys).mean()
            present = set(by_match.index.get_level_values(0))
            for one in self.cells:
                part = by_match.loc[one] if one in present else by_match.iloc[:0]
                values = part[self.columns].to_numpy(float)
                if len(values) < 2 and not self.few:
                    self.few = f"{arm}, {one}: {len(values)}"
                means.append(values.mean(axis=0) if len(values) else np.full(len(columns), np.nan))
                variances.append(_variance(values, settings.resamples, rng))
                sizes.append(len(values))
                rounds.append(float(part["n_rounds"].sum()))
        shape = (len(self.arms), len(self.cells), len(columns))
        self.mean: Array = np.array(means).reshape(shape)
        """(arms, cells, columns)."""
        self._sizes: Array = np.array(sizes, dtype=float).reshape(shape[:2])
        self._rounds: Array = np.array(rounds).reshape(shape[:2])
        self._variance, self._single_variance = _never_zero(
            np.array(variances).reshape(shape), self._sizes, width
        )

    @property
    def missing(self) -> Missing | None:
        """Why there is no interval, or None where there is one."""
        if not self.few:
            return None
        return Missing(f"fewer than two matches, so no interval ({self.few})", "inconclusive")

    def contrast(
        self, column: str | Mapping[str, str], weights: Mapping[str, float], cell: str | None = None
    ) -> MeanEstimate:
        """Return a weighted sum of arms, averaged over cells.

        Parameters
        ----------
        column : str or mapping of str to str
            One column for all arms, or each arm's own.
        weights : mapping of str to float
            By arm; arms without a weight do not enter.
        cell : str, optional
            Only this cell.
        """
        chosen = list(range(len(self.cells))) if cell is None else [self.cells.index(cell)]
        variance = self._variance if cell is None else self._single_variance
        value = squared = below = least = largest = 0.0
        used = np.zeros_like(self._sizes, dtype=bool)
        for arm, weight in weights.items():
            a = self.arms.index(arm)
            k = self.columns.index(column if isinstance(column, str) else column[arm])
            share = weight / len(chosen)
            # The arm's summands of the module's two sums over cells.
            v = share**2 * variance[a, chosen, k]
            value += share * float(self.mean[a, chosen, k].sum())
            squared += float(v.sum())
            with np.errstate(divide="ignore", invalid="ignore"):
                below += float((v**2 / (self._sizes[a, chosen] - 1)).sum())
            ends = sorted(weight * self._ranges[k])
            least, largest = least + ends[0], largest + ends[1]
            used[a, chosen] = True
        return MeanEstimate(
            value=round(value, 12) + 0.0,  # so that 0 is 0, and not -0
            error=float(np.sqrt(squared)),
            freedom=squared**2 / below if below > 0 else np.nan,
            n=int(self._rounds[used].sum()),
            n_matches=int(self._sizes[used].sum()),
            range=(float(least), float(largest)),
            confidence=self._settings.confidence,
            resamples=self._settings.resamples,
        )

    def of_arm(self, column: str, arm: str) -> MeanEstimate:
        """Return one arm's mean, averaged over cells."""
        return self.contrast(column, {arm: 1.0})


def _variance(values: Array, resamples: int, rng: np.random.Generator) -> Array:
    """Return the variance of column means, (k,), by bootstrap over rows; 0 where all are alike."""
    n = len(values)
    if n < 2:
        return np.full(values.shape[1], np.nan)
    draws = resample_counts(n, resamples, rng) @ values / n
    alike = np.ptp(values, axis=0) < 1e-12
    return np.where(alike, 0.0, draws.var(axis=0) * n / (n - 1))


def _never_zero(variance: Array, sizes: Array, width: Array) -> tuple[Array, Array]:
    """Give cells without spread, of (arms, cells, k), an error of half a match.

    Once for averages over cells, where they share it, and once for each cell by itself.
    """
    alike = variance == 0
    count = alike.sum(axis=1, keepdims=True)
    matches = (alike * sizes[..., None]).sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        # The average of `count` cells of weight 1 / count then has an error of 0.5 / matches.
        shared = count * (0.5 * width / matches) ** 2
        single = (0.5 * width / sizes[..., None]) ** 2
    return np.where(alike, shared, variance), np.where(alike, single, variance)
