"""First-mover advantage: what moving first adds to a seat's share of the payoffs.

Payoffs are scaled to each seat's least and largest, so that neither their unit nor their zero
matters. A seat's share is its sum over the sum of both seats, over all rounds. The advantage is the
share as first mover less that of the same agent in the same seat when both move at once against
the same opponent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.contrasts import bootstrap_draws, percentile_interval
from nashlens.estimates import Bootstrap
from nashlens.play.metrics.cells import KEYS
from nashlens.play.metrics.rows import ONE_BLOCK, Array, measure_row

_SHARE = "own scaled payoff over both seats', moving first"
_EMPTY = "neither seat earned more than its least payoff"
_NONE = (np.nan, np.nan)
_SAME = ["agent", "opponent", "pairing", "game", "match_rounds", "seat"]
_PAYOFFS = ["scaled_payoff", "opponent_scaled_payoff"]


def payoff_share(sums: Array) -> Array:
    """Return own over both, (..., 1), from sums of own and of the other's payoffs, (..., 2)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share: Array = sums[..., :1] / sums.sum(axis=-1, keepdims=True)
    return share


def advantages(
    matches: pd.DataFrame, how: Bootstrap
) -> Iterator[tuple[dict[str, Any], NDArray[Any]]]:
    """Yield rows of the metrics table, each with the positions of the matches that it rests on.

    Parameters
    ----------
    matches : pandas.DataFrame
        From `matches_table`.
    how : Bootstrap
        Resamples of matches in turn and at once are independent.
    """
    together = matches[matches["move_order"] == "simultaneous"].groupby(_SAME, dropna=False)
    at_once = {key: matches.index.get_indexer(index) for key, index in together.groups.items()}
    payoffs = matches[_PAYOFFS].to_numpy(float)
    ids, blocks = (matches[name].to_numpy(str) for name in ("match_id", "block_id"))
    n_rounds = matches["n_rounds"].to_numpy(int)
    first = matches[matches["turn"] == "first"].reset_index().rename(columns={"index": "line"})
    for values, moving_first in first.groupby([*KEYS, "seat"], dropna=False, sort=True):
        keys = dict(zip([*KEYS, "seat"], values, strict=True))
        seat = str(keys["seat"])
        lines = moving_first["line"].to_numpy()
        others = at_once.get(tuple(keys[name] for name in _SAME), np.array([], dtype=int))
        name = [str(keys[k]) for k in ("agent", "opponent", "game", "move_order", "match_rounds")]
        stream = how.rng("metrics", "first mover", *name)
        in_turn, simultaneous = (
            _Share(
                *bootstrap_draws(
                    payoffs[which],
                    blocks[which],
                    lambda sums, count: payoff_share(sums),
                    resamples=how.resamples,
                    rng=stream,
                ),
                n_matches=len(set(ids[which])),
                n_blocks=len(set(blocks[which])),
                n=int(n_rounds[which].sum()),
            )
            for which in (lines, others)
        )
        del keys["seat"]
        yield keys | _share_row(in_turn, simultaneous, seat, how.confidence), lines
        used = np.concatenate([lines, others])
        yield keys | _advantage_row(in_turn, simultaneous, seat, how.confidence), used


class _Share(NamedTuple):
    """A seat's share of the payoffs in some matches."""

    values: Array
    """(1,); NaN where neither seat earned more than its least payoff."""
    draws: Array
    """(resamples, 1)."""
    n_matches: int
    n_blocks: int
    n: int

    @property
    def estimate(self) -> float:
        return float(self.values[0])


def _share_row(
    in_turn: _Share, simultaneous: _Share, seat: str, confidence: float
) -> dict[str, Any]:
    reason = _EMPTY if np.isnan(in_turn.estimate) else ""
    if not reason and in_turn.n_blocks < 2:
        reason = ONE_BLOCK
    return measure_row(
        "first_mover_share",
        _SHARE,
        n=in_turn.n,
        n_matches=in_turn.n_matches,
        estimate=in_turn.estimate,
        bounds=_NONE if reason else _bounds(in_turn.draws, confidence),
        control=simultaneous.estimate,
        control_measure=f"the same of the {seat} seat when both move at once",
        reason=reason,
    )


def _advantage_row(
    in_turn: _Share, simultaneous: _Share, seat: str, confidence: float
) -> dict[str, Any]:
    undefined = _EMPTY if np.isnan(in_turn.estimate) else ""
    if not simultaneous.n_matches:
        undefined = "no matches in which the same agents move at once"
    elif not undefined and np.isnan(simultaneous.estimate):
        undefined = f"{_EMPTY} when both move at once"
    reason = undefined
    if not reason and min(in_turn.n_blocks, simultaneous.n_blocks) < 2:
        reason = "one block of a kind: no interval"
    return measure_row(
        "first_mover_advantage",
        f"{_SHARE}, less the same of the {seat} seat when both move at once",
        n=in_turn.n + simultaneous.n,
        n_matches=in_turn.n_matches + simultaneous.n_matches,
        estimate=np.nan if undefined else in_turn.estimate - simultaneous.estimate,
        bounds=_NONE if reason else _bounds(in_turn.draws - simultaneous.draws, confidence),
        control=np.nan if undefined else 0.0,
        control_measure="an order that does not matter",
        reason=reason,
    )


def _bounds(draws: Array, confidence: float) -> tuple[float, float]:
    low, high = percentile_interval(draws, confidence)
    return float(low[0]), float(high[0])
