"""First-mover advantage: what moving first adds to a seat's share of the payoffs.

Payoffs are scaled to each seat's least and largest, so that neither their unit nor their zero
counts. A seat's share is its sum over the sum of both seats', over all rounds; the advantage is
the share as first mover less that of the same agent in the same seat when both move at once
against the same opponent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.contrasts import bootstrap_draws, percentile_interval
from nashlens.play.metrics.cells import KEYS

Array = NDArray[Any]
_SHARE = "own scaled payoff over both seats', moving first"
_SAME = ["agent", "opponent", "pairing", "game", "match_rounds", "seat"]
_PAYOFFS = ["scaled_payoff", "opponent_scaled_payoff"]


def payoff_share(sums: Array, count: Array) -> Array:
    """Return own over both, (..., 1), from sums of own and of the other's payoffs, (..., 2)."""
    del count
    with np.errstate(divide="ignore", invalid="ignore"):
        share: Array = sums[..., :1] / sums.sum(axis=-1, keepdims=True)
    return share


def advantages(
    matches: pd.DataFrame,
    confidence: float,
    resamples: int,
    rng: Callable[..., np.random.Generator],
) -> Iterator[tuple[dict[str, Any], NDArray[Any]]]:
    """Yield the rows of the metrics table, each with the matches that it is about.

    Parameters
    ----------
    matches : pandas.DataFrame
        Of `matches_table`.
    confidence, resamples
        Of the bootstrap, which resamples matches in turn and matches at once by themselves.
    rng : callable
        Gives the random stream of a name.
    """
    together = matches[matches["move_order"] == "simultaneous"].groupby(_SAME, dropna=False)
    at_once = {key: matches.index.get_indexer(index) for key, index in together.groups.items()}
    first = matches[matches["turn"] == "first"].reset_index().rename(columns={"index": "line"})
    for values, part in first.groupby([*KEYS, "seat"], dropna=False, sort=True):
        keys = dict(zip([*KEYS, "seat"], values, strict=True))
        lines = part["line"].to_numpy()
        other = at_once.get(tuple(keys[name] for name in _SAME), np.array([], dtype=int))
        name = [str(keys[k]) for k in ("agent", "opponent", "game", "move_order", "match_rounds")]
        draws = rng("first mover", *name)
        one, two = (
            bootstrap_draws(
                matches[_PAYOFFS].to_numpy(float)[which],
                matches["match_id"].to_numpy(str)[which],
                payoff_share,
                resamples=resamples,
                rng=draws,
            )
            for which in (lines, other)
        )
        seat = keys.pop("seat")
        sizes = [matches["match_id"].iloc[which].nunique() for which in (lines, other)]
        pair = _pair(one, two, sizes, confidence, str(seat))
        for row, used in zip(pair, (lines, np.concatenate([lines, other])), strict=True):
            count = {"n": int(matches["n_rounds"].iloc[used].sum())}
            yield {**keys, **row, **count}, used


def _pair(
    one: tuple[Array, Array],
    two: tuple[Array, Array],
    sizes: list[int],
    confidence: float,
    seat: str,
) -> list[dict[str, Any]]:
    share, plain = float(one[0][0]), float(two[0][0])
    empty = "neither seat earned more than its least payoff"
    problem = empty if np.isnan(share) else ""
    contrast = problem
    if not sizes[1]:
        contrast = "no matches in which the same agents move at once"
    elif not contrast and np.isnan(plain):
        contrast = f"{empty} when both move at once"
    rows = [
        {
            "measure": "first_mover_share", "definition": _SHARE, "estimate": share,
            "n_matches": sizes[0], "control": plain,
            "control_measure": f"the same of the {seat} seat when both move at once",
            "reason": problem or ("one match: no interval" if sizes[0] < 2 else ""),
        },
        {
            "measure": "first_mover_advantage",
            "definition": f"{_SHARE}, less the same of the {seat} seat when both move at once",
            "estimate": np.nan if contrast else share - plain, "n_matches": sum(sizes),
            "control": np.nan if contrast else 0.0,
            "control_measure": "an order that does not matter",
            "reason": contrast
            or ("one match of a kind: no interval" if min(sizes) < 2 else ""),
        },
    ]  # fmt: skip
    for row, draws in zip(rows, (one[1], one[1] - two[1]), strict=True):
        low, high = percentile_interval(draws, confidence)
        known = not row["reason"]
        row |= {"ci_low": float(low[0]) if known else np.nan, "term": None}
        row |= {"ci_high": float(high[0]) if known else np.nan}
    return rows
