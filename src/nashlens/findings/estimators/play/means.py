"""Means of matches in cells of the design, and contrasts of them with intervals.

Each game weighs the same. Matches are resampled within each cell (an arm of the contrast and a
game), so that no resample lacks one; the bootstrap's variances of the cells add up to that of the
contrast. Few matches resample to less than they vary, by (n - 1) / n, which is made good, and the
interval is Student's t with Satterthwaite's degrees of freedom (Biometrics 2, 1946, 110-114):

    error^2 = sum_c w_c^2 v_c,    freedom = error^4 / sum_c ((w_c^2 v_c)^2 / (n_c - 1))

Where all matches of a cell are alike, their spread is not known to be none: that five agree does
not mean that the sixth would. Where cells are averaged, all such cells of an arm together are taken
to have an error of half a match (of the column's whole range), as a share of 0 or 1 would; one cell
by itself has an error of half of one of its own matches, however many games there are besides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t as student

from nashlens.contrasts import resample_counts
from nashlens.findings.measurement import Array, Missing, Settings, p_floor


class Estimate(NamedTuple):
    """A mean or a contrast."""

    value: float
    error: float
    freedom: float
    n: int
    """Rounds of the matches that enter."""
    n_matches: int
    range: tuple[float, float]
    """Least and largest value that it can have."""

    def bounds(self, confidence: float, at_once: int = 1) -> tuple[float, float]:
        """Return the interval, for so many estimates at once (Bonferroni)."""
        half = float(student.isf((1 - confidence) / 2 / at_once, self.freedom)) * self.error
        low, high = self.value - half, self.value + half
        return max(low, self.range[0]), min(high, self.range[1])

    def p_above(self, bound: float, resamples: int) -> float:
        """P of an estimate above a bound, given that the truth is not: small speaks for it."""
        tail = float(student.sf((self.value - bound) / max(self.error, 1e-12), self.freedom))
        return float(np.clip(tail, p_floor(self.n_matches, resamples), 1.0))

    def p_below(self, bound: float, resamples: int) -> float:
        """P of an estimate below a bound, given that the truth is not."""
        return self._replace(value=-self.value).p_above(-bound, resamples)

    def p_apart(self, resamples: int, least: float = 0.0) -> float:
        """P of an estimate as far from 0 as this, given that the truth is within `least` of it."""
        return min(1.0, 2 * min(self.p_above(least, resamples), self.p_below(-least, resamples)))


class Means:
    """Means of some columns in each arm and cell.

    Parameters
    ----------
    arms : mapping of str to DataFrame
        One row a match, or several that are averaged first; each arm has the same cells.
    columns : sequence of str
        Rows without a number in any of them are left out.
    settings : Settings
    name : str
        Of the random stream.
    cell : str
    ranges : mapping of str to (float, float), optional
        What a column can be, infinite for what need not be cut; 0 to 1 where nothing is said.
    """

    def __init__(
        self,
        arms: Mapping[str, pd.DataFrame],
        columns: Sequence[str],
        settings: Settings,
        name: str,
        *,
        cell: str = "game",
        ranges: Mapping[str, tuple[float, float]] | None = None,
    ):
        self.arms, self.columns = list(arms), list(columns)
        ranges = ranges or {}
        self._ranges = np.array([ranges.get(column, (0.0, 1.0)) for column in columns])
        width = np.ptp(self._ranges, axis=1)
        width = np.where(np.isfinite(width), width, 1.0)
        rng = settings.rng(name)
        means, variances, sizes, rounds = [], [], [], []
        self.few = ""
        """The cell with fewer than two matches, where there is one."""
        names = sorted({str(value) for rows in arms.values() for value in rows[cell]})
        for arm, rows in arms.items():
            rows = rows.dropna(subset=self.columns)
            keys = [rows[cell].astype(str), rows["match_id"]]
            by_match = rows[[*columns, "n_rounds"]].astype(float).groupby(keys).mean()
            present = set(by_match.index.get_level_values(0))
            for one in names:
                part = by_match.loc[one] if one in present else by_match.iloc[:0]
                values = part[self.columns].to_numpy(float)
                if len(values) < 2 and not self.few:
                    self.few = f"{arm}, {one}: {len(values)}"
                means.append(values.mean(axis=0) if len(values) else np.full(len(columns), np.nan))
                variances.append(_variance(values, settings.resamples, rng))
                sizes.append(len(values))
                rounds.append(float(part["n_rounds"].sum()))
        shape = (len(self.arms), len(names), len(columns))
        self.cells = names
        self.mean: Array = np.array(means).reshape(shape)
        """(arms, cells, columns)."""
        self._sizes: Array = np.array(sizes, dtype=float).reshape(shape[:2])
        found = np.array(variances).reshape(shape)
        self._variance, self._alone = _never_none(found, self._sizes, width)
        self._rounds: Array = np.array(rounds).reshape(shape[:2])

    @property
    def problem(self) -> Missing | None:
        """Why there is no interval, or None."""
        if not self.few:
            return None
        return Missing(f"fewer than two matches, so no interval ({self.few})", "inconclusive")

    def of(
        self, column: str | Mapping[str, str], weights: Mapping[str, float], cell: str | None = None
    ) -> Estimate:
        """Return a weighted sum of arms, averaged over cells.

        Parameters
        ----------
        column : str or mapping of str to str
            One column, or each arm's own.
        weights : mapping of str to float
            By arm; arms without a weight do not enter.
        cell : str, optional
            One cell alone.
        """
        chosen = list(range(len(self.cells))) if cell is None else [self.cells.index(cell)]
        value = squared = below = least = largest = 0.0
        used = np.zeros_like(self._sizes, dtype=bool)
        for arm, weight in weights.items():
            a = self.arms.index(arm)
            k = self.columns.index(column if isinstance(column, str) else column[arm])
            share = weight / len(chosen)
            v = share**2 * (self._variance if cell is None else self._alone)[a, chosen, k]
            value += share * float(self.mean[a, chosen, k].sum())
            squared += float(v.sum())
            with np.errstate(divide="ignore", invalid="ignore"):
                below += float((v**2 / (self._sizes[a, chosen] - 1)).sum())
            ends = sorted(weight * self._ranges[k])
            least, largest = least + ends[0], largest + ends[1]
            used[a, chosen] = True
        return Estimate(
            value=round(value, 12) + 0.0,  # so that 0 is 0, and not -0
            error=float(np.sqrt(squared)),
            freedom=squared**2 / below if below > 0 else np.nan,
            n=int(self._rounds[used].sum()),
            n_matches=int(self._sizes[used].sum()),
            range=(float(least), float(largest)),
        )


def _variance(values: Array, resamples: int, rng: np.random.Generator) -> Array:
    """Return the variance of column means, (k,), by bootstrap over rows; 0 where all are alike."""
    n = len(values)
    if n < 2:
        return np.full(values.shape[1], np.nan)
    draws = resample_counts(n, resamples, rng) @ values / n
    alike = np.ptp(values, axis=0) < 1e-12
    return np.where(alike, 0.0, draws.var(axis=0) * n / (n - 1))


def _never_none(variance: Array, sizes: Array, width: Array) -> tuple[Array, Array]:
    """Give the cells without spread, of (arms, cells, k), half a match of error.

    Once together, for averages over cells, and once each its own.
    """
    alike = variance == 0
    count = alike.sum(axis=1, keepdims=True)
    matches = (alike * sizes[..., None]).sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Their average then has an error of 0.5 / matches, as each weighs the same.
        shared = count * (0.5 * width / matches) ** 2
        alone = (0.5 * width / sizes[..., None]) ** 2
    return np.where(alike, shared, variance), np.where(alike, alone, variance)
