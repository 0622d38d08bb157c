"""Beliefs as numbers: what a model expects over a block, and what best responds to that."""

from __future__ import annotations

import numpy as np
import pandas as pd

COLUMNS = {
    **dict.fromkeys(["model", "match_id", "block_id", "game"], "str"),
    "variant": "int64",
    **dict.fromkeys(["seat", "opponent", "template", "label_set", "label_kind"], "str"),
    **dict.fromkeys(["label_map", "option_order", "belief_prompt_id", "prompt_id"], "str"),
    "n_tokens": "int64",
    "dropped": "str",
    **dict.fromkeys(["gain_0", "gain_1", "p_expected_1", "belief_mass"], "float64"),
    **dict.fromkeys(["p_action_1", "label_mass", "belief", "loss"], "float64"),
    "best_response": "Int64",
}
"""Columns of the beliefs table, with their types."""


def hold_against_beliefs(rows: pd.DataFrame) -> pd.DataFrame:
    """Add each block's belief, the best response to it, and what each decision loses.

    Parameters
    ----------
    rows : DataFrame
        With `block_id`, `p_expected_1`, `p_action_1`, `gain_0` and `gain_1`.

    Returns
    -------
    DataFrame
        With `belief` (P(the other takes action 1) of the block; missing unless all its rows were
        asked), `best_response` (missing on a tie) and `loss` (expected payoff of the best response
        less that of the decision's probabilities, as a share of the seat's range of payoffs).
    """
    tiny = np.finfo(np.float64).tiny
    one = rows["p_expected_1"].to_numpy(dtype=np.float64)
    odds = np.log(np.maximum(one, tiny)) - np.log(np.maximum(1.0 - one, tiny))
    odds[np.isnan(one)] = np.nan
    mean = pd.Series(odds).groupby(rows["block_id"].to_numpy()).transform(_mean_of_all)
    belief = 1.0 / (1.0 + np.exp(-mean.to_numpy(dtype=np.float64)))
    gain = expected_gain(rows, belief)
    best = pd.array(gain > 0, dtype="boolean")
    best[np.isnan(gain) | (gain == 0)] = pd.NA
    acted = rows["p_action_1"].to_numpy(dtype=np.float64)
    missed = np.where(gain > 0, 1.0 - acted, acted)
    found = rows.assign(belief=belief, best_response=best, loss=np.abs(gain) * missed)
    return found.astype(COLUMNS | {"best_response": "Int64"})


def expected_gain(rows: pd.DataFrame, belief: np.ndarray) -> np.ndarray:
    """Return what action 1 is expected to earn more than action 0, in ranges of payoffs."""
    against = rows[["gain_0", "gain_1"]].to_numpy(dtype=np.float64)
    return np.asarray((1.0 - belief) * against[:, 0] + belief * against[:, 1], dtype=np.float64)


def by_block(beliefs: pd.DataFrame) -> pd.DataFrame:
    """Return each block's belief beside what the model then does, over all its surface forms.

    Parameters
    ----------
    beliefs : DataFrame
        As `hold_against_beliefs` returns it.

    Returns
    -------
    DataFrame
        `model`, `game`, `block_id`, `belief`, `best_response`, `p_action_1` (mean over the block)
        and `n` (its prompts), of blocks with a best response that were asked whole.
    """
    known = beliefs[beliefs["best_response"].notna()]
    found = known.groupby(["model", "game", "block_id"], sort=False, as_index=False).agg(
        belief=("belief", "first"),
        best_response=("best_response", "first"),
        p_action_1=("p_action_1", _mean_of_all),
        n=("p_action_1", "size"),
    )
    return found[found["p_action_1"].notna()].reset_index(drop=True)


def _mean_of_all(values: pd.Series) -> float:
    return float(values.mean(skipna=False))
