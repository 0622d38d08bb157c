"""What labels, option order and templates do to the choice, as separate terms.

A match's mean recorded P(action 0), weighted by its decisions, is regressed by least squares on
contrast-coded main effects, all at once, within cells of game, opponent, move order, turn and
length (each cell has its own mean):

- label_map: identity (the set's first label means action 0) less swapped;
- option_order: forward (action 0 listed first) less reversed;
- each label set, and each template, less the mean of all (sum-to-zero coding).

In a game that differs between the seats, the seat is a term too. It is not reported, only fitted,
since surface forms may correlate with seats. A term that the design confounds with others has no
estimate.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.contrasts import percentile_interval, resample_counts
from nashlens.play.metrics.rows import Array

PAIRS = {
    "label_map": ("identity", "swapped"),
    "option_order": ("forward", "reversed"),
}
LEVELS = ("label_set", "template")
DEFINITION = (
    "least squares of P(action 0) within game x partner cells, all surface terms together: {}"
)
_CELL = ["game", "opponent", "pairing", "move_order", "turn", "match_rounds"]


@dataclass(frozen=True)
class SurfaceEffect:
    """One term and its interval."""

    factor: str
    term: str
    definition: str
    estimate: float
    low: float
    high: float
    reason: str


@dataclass(frozen=True)
class _Term:
    factor: str
    term: str
    words: str
    contrast: Array | None
    """Weights of the design's columns; None where the factor has one level."""


def surface_effects(
    matches: pd.DataFrame,
    asymmetric: Collection[str],
    *,
    confidence: float,
    resamples: int,
    rng: np.random.Generator,
) -> list[SurfaceEffect]:
    """Estimate the surface effects of one agent.

    Parameters
    ----------
    matches : pandas.DataFrame
        Rows of the matches table in which the agent has recorded probabilities.
    asymmetric : collection of str
        Games that differ between the seats.
    confidence : float
        Coverage of the intervals.
    resamples : int
        Number of bootstrap resamples of blocks.
    rng : numpy.random.Generator
    """
    design, terms = _design(matches, asymmetric)
    known = [term for term in terms if term.contrast is not None]
    estimate = np.full((1, len(terms)), np.nan)
    draws = np.full((resamples, len(terms)), np.nan)
    if known:
        _, block = np.unique(matches["block_id"].to_numpy(str), return_inverse=True)
        counts = resample_counts(int(block.max()) + 1, resamples, rng)
        contrasts = np.stack([term.contrast for term in known if term.contrast is not None])
        cells = matches.groupby(_CELL, dropna=False, sort=True).ngroup().to_numpy()
        weight = matches["n_p_action_0"].to_numpy(float)
        mean = matches["sum_p_action_0"].to_numpy(float) / weight
        columns = np.column_stack([np.ones(len(mean)), design, mean])
        place = [k for k, term in enumerate(terms) if term.contrast is not None]
        # The estimate counts every block once, a resample as often as it was drawn.
        once = np.ones((1, counts.shape[1]))
        for target, drawn in ((estimate, once), (draws, counts)):
            target[:, place] = _fit(columns, weight, cells, drawn[:, block], contrasts)
        if counts.shape[1] < 2:
            draws[:] = np.nan
    low, high = percentile_interval(draws, confidence)
    return [
        SurfaceEffect(
            factor=term.factor,
            term=term.term,
            definition=DEFINITION.format(term.words),
            estimate=float(estimate[0, k]),
            low=float(low[k]) if np.isfinite(estimate[0, k]) else np.nan,
            high=float(high[k]) if np.isfinite(estimate[0, k]) else np.nan,
            reason=_reason(term, float(estimate[0, k])),
        )
        for k, term in enumerate(terms)
    ]


def _reason(term: _Term, estimate: float) -> str:
    if term.contrast is None:
        return f"one {term.factor} only"
    return "" if np.isfinite(estimate) else "the design confounds it with other terms"


def _design(matches: pd.DataFrame, asymmetric: Collection[str]) -> tuple[Array, list[_Term]]:
    """Return the contrast-coded columns, (n, k), and the reported terms."""
    columns: list[Array] = []
    # Factor, term, words, and the weight of each column in the term's contrast.
    planned: list[tuple[str, str, str, dict[int, float] | None]] = []
    for factor, (one, two) in PAIRS.items():
        values = matches[factor].to_numpy(str)
        both = {one, two} <= set(values)
        weights = {len(columns): 1.0} if both else None
        planned.append((factor, f"{one} - {two}", f"{one} less {two}", weights))
        if both:
            columns.append((values == one) - 0.5)
    for factor in LEVELS:
        values = matches[factor].to_numpy(str)
        levels = sorted(set(values))
        first = len(columns)
        # Sum-to-zero coding: the last level has no column and is -1 in those of all others.
        columns += [
            (values == level).astype(float) - (values == levels[-1]) for level in levels[:-1]
        ]
        for k, level in enumerate(levels):
            weights = {first + k: 1.0}
            if k == len(levels) - 1:
                weights = dict.fromkeys(range(first, first + k), -1.0)
            words = f"{level} less the mean of all"
            planned.append((factor, level, words, weights if len(levels) > 1 else None))
    for game in sorted(set(matches["game"]) & set(asymmetric)):
        in_game = (matches["game"] == game).to_numpy()
        columns.append(np.where(in_game, (matches["seat"] == "row").to_numpy() - 0.5, 0.0))
    design = np.stack(columns, axis=1) if columns else np.zeros((len(matches), 0))
    terms = []
    for factor, term, words, chosen in planned:
        contrast = None
        if chosen is not None:
            contrast = np.zeros(design.shape[1])
            contrast[list(chosen)] = list(chosen.values())
        terms.append(_Term(factor, term, words, contrast))
    return design, terms


def _fit(
    columns: Array, weight: Array, cells: NDArray[Any], drawn: Array, contrasts: Array
) -> Array:
    """Return the contrasts of each weighted fit, (b, terms); NaN where they are not estimable.

    `columns` are a one, the design and the outcome, (n, k + 2); `drawn` is how often each fit
    counts each row, (b, n). Cell means are swept out of the sums of products, which is least
    squares with a mean for each cell (Frisch, Waugh and Lovell).
    """
    size = columns.shape[1]
    # Weighted products of every two columns, a row's in one line: (n, size * size).
    products = (columns[:, :, None] * columns[:, None, :]).reshape(len(columns), -1)
    products *= weight[:, None]
    total = np.zeros((len(drawn), size - 1, size - 1))
    for cell in range(int(cells.max()) + 1):
        in_cell = cells == cell
        sums = (drawn[:, in_cell] @ products[in_cell]).reshape(-1, size, size)
        # The column of ones gives the cell's mass and sums: take its means out of the others.
        mass = np.maximum(sums[:, :1, :1], 1e-300)
        total += sums[:, 1:, 1:] - sums[:, 1:, :1] * sums[:, :1, 1:] / mass
    # Solve gram @ coefficients = with_outcome in the eigenvectors that the design determines.
    gram, with_outcome = total[:, :-1, :-1], total[:, :-1, -1]
    values, vectors = np.linalg.eigh(gram)
    determined = values > 1e-9 * np.maximum(values[:, -1:], 1e-12)
    inverse = np.where(determined, 1.0 / np.where(determined, values, 1.0), 0.0)
    along = np.einsum("bij,bi->bj", vectors, with_outcome)
    found: Array = np.einsum("bij,bj->bi", vectors, inverse * along) @ contrasts.T
    # A contrast with a share in the other eigenvectors has no estimate.
    lost = np.einsum("bij,ti->btj", vectors, contrasts) * ~determined[:, None, :]
    return np.where(np.abs(lost).max(axis=2) < 1e-6, found, np.nan)
