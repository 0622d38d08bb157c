"""Which cells of the metrics table speak for an agent in a game, and contrasts between them.

The table has a cell for each opponent and one over all of a pairing. Summaries show one cell for
each agent, pairing, game, move order and turn.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

DIFFERENCE_MEASURES = ("nash_tv", "cooperation")
"""Measures that modes are compared in."""
DIFFERENCE_PAIRINGS = ("self_play", "scripted")
"""Pairings in which agents of every mode meet the like: themselves, and the same scripts."""
_PLACE = ["agent", "pairing", "game", "move_order", "turn"]
_COMPARED = ["model", "game", "pairing", "measure"]


def of_measure(metrics: pd.DataFrame, measure: str, term: str | None = None) -> pd.DataFrame:
    """Return the rows of a measure and term."""
    rows = metrics[metrics["measure"] == measure]
    return rows[rows["term"].isna() if term is None else rows["term"] == term]


def at_once(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of play in which both seats move at once."""
    return metrics[metrics["move_order"] == "simultaneous"]


def longest(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return, of an agent's cells that differ only in the matches' length, the longest.

    Agents may bound their own matches, so a cell over several opponents has one row a length.
    """
    keys = ["measure", "term", *_PLACE, "opponent"]
    most = metrics.groupby(keys, dropna=False)["match_rounds"].transform("max")
    return metrics[metrics["match_rounds"] == most]


def by_pairing(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return one cell for each agent, pairing, game, move order and turn.

    It is the one over all opponents of the pairing, or over the only opponent where there is one.
    """
    keys = ["measure", "term", *_PLACE, "match_rounds"]
    pooled = metrics.groupby(keys, dropna=False)["opponent"].transform(lambda x: x.isna().any())
    one = metrics[metrics["opponent"].isna() | ~pooled.astype(bool)]
    return longest(one.assign(opponent=None))


def mixtures(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the strategy weights and errors of one mixture for each agent, game and pairing.

    Cells differ in which strategies they can tell apart, so whole cells are chosen, and not the
    rows of each term as in `by_pairing`.
    """
    rows = at_once(metrics[metrics["measure"].isin(["strategy_weight", "strategy_error"])])
    opponent = rows.groupby([*_PLACE, "match_rounds"], dropna=False)["opponent"]
    pooled = opponent.transform(lambda x: x.isna().any()).astype(bool)
    only = opponent.transform("nunique").le(1)
    chosen = rows[rows["opponent"].isna() | (~pooled & only)]
    most = chosen.groupby(_PLACE, dropna=False)["match_rounds"].transform("max")
    return chosen[chosen["match_rounds"] == most]


def with_strategy(weights: pd.DataFrame, strategy: str) -> pd.DataFrame:
    """Return the weights that hold a strategy: its own, or that of the class it belongs to.

    Strategies that moved alike throughout have one weight, of the term `ALLC+TFT`, say;
    `together` marks such rows.
    """
    rows = weights[(weights["measure"] == "strategy_weight") & weights["estimate"].notna()]
    terms = rows["term"].astype(str)
    inside = np.array([strategy in term.split("+") for term in terms], dtype=bool)
    return rows[inside].assign(together=terms[inside].str.contains("+", regex=False))


def one_agent_each(metrics: pd.DataFrame) -> pd.DataFrame:
    """Keep one agent for each model and mode: a second one with other bounds is another study."""
    order = metrics.sort_values(["match_rounds", "agent"], ascending=[False, True])
    return order.drop_duplicates([*_COMPARED, "mode"])


def compared_modes(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the cells in which modes are compared, one for each model, mode, game and pairing."""
    rows = at_once(metrics[metrics["measure"].isin(DIFFERENCE_MEASURES)])
    rows = rows[rows["pairing"].isin(DIFFERENCE_PAIRINGS) & rows["model"].notna()]
    return one_agent_each(by_pairing(rows))


def mode_differences(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return each mode's estimate less the direct one of the same model, game and pairing.

    The two modes' matches are different ones, so the interval of the difference follows from the
    two intervals (Zou and Donner, Statistics in Medicine 27, 2008, 1693-1702):

        low = d - sqrt((x - x_low)^2 + (y_high - y)^2),  d = x - y,

    and `high` likewise. Surface forms are the same in both, which this leaves unused: the interval
    is rather too wide than too narrow.

    Parameters
    ----------
    metrics : DataFrame
        Of `measure_play`.

    Returns
    -------
    DataFrame
        `model`, `mode`, `agent`, `game`, `pairing`, `measure`, `estimate`, `ci_low`, `ci_high`,
        `interval` (`arms in quadrature`), `n_matches` (of both modes) and `reason` (why there is
        no estimate).
    """
    return differences(compared_modes(metrics))


def differences(rows: pd.DataFrame) -> pd.DataFrame:
    """Return `mode_differences` of the cells that `compared_modes` chose."""
    direct, other = rows[rows["mode"] == "direct"], rows[rows["mode"] != "direct"]
    both = other.merge(direct, on=_COMPARED, suffixes=("", "_direct"))
    x, y = both["estimate"], both["estimate_direct"]
    # The arms of the two intervals, towards each end of the difference, add in quadrature.
    low = np.hypot(x - both["ci_low"], both["ci_high_direct"] - y)
    high = np.hypot(both["ci_high"] - x, y - both["ci_low_direct"])
    found = both.assign(
        estimate=x - y,
        ci_low=x - y - low,
        ci_high=x - y + high,
        interval="arms in quadrature",
        n_matches=both["n_matches"] + both["n_matches_direct"],
    )
    return found[
        ["model", "mode", "agent", "game", "pairing", "measure", "estimate", "ci_low", "ci_high",
         "interval", "n_matches", "reason"]
    ].reset_index(drop=True)  # fmt: skip


def first_mover_shares(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the shares of rounds in each equilibrium and in none, from the first mover's view.

    Play off every pure equilibrium is what the share of play in any of them leaves of 1: its
    interval is that one's, mirrored.

    Parameters
    ----------
    metrics : DataFrame
        Rows of the metrics table, of any games.

    Returns
    -------
    DataFrame
        Rows of the metrics table in games that have such a choice, `term` one of `own preferred`,
        `not own preferred` and `off`; of seats that move in turn only the first movers'.
    """
    rows = metrics[metrics["measure"].eq("equilibrium_selection") & metrics["turn"].ne("second")]
    inside = rows[rows["term"] == "any"]
    off = inside.assign(
        term="off",
        estimate=1 - inside["estimate"],
        ci_low=1 - inside["ci_high"],
        ci_high=1 - inside["ci_low"],
        control=1 - inside["control"],
    )
    found = pd.concat([rows[rows["term"].isin(["own preferred", "not own preferred"])], off])
    own = found[(found["term"] == "own preferred") & found["estimate"].notna()]
    return found[found["game"].isin(own["game"])]
