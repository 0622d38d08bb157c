"""P(action 0) by round and kind of opponent."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from nashlens.estimates import Bootstrap
from nashlens.play.metrics.by_round import opponent_kinds, round_estimates

HOW = Bootstrap(confidence=0.95, resamples=200, seed=3)


def make_play(games):
    rng = np.random.default_rng(0)
    rows = [
        {
            "match_id": f"{game}{match}", "block_id": f"{game}{match}", "game": game, "round": turn,
            "agent": "a", "model": "m", "opponent": "a", "pairing": "self_play",
            "strategy": None, "p_action_0": rng.random(),
        }
        for game, match, turn in product(games, range(4), (1, 2))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_opponent_kinds_come_from_the_script_and_not_the_name():
    play = pd.DataFrame(
        {
            "agent": ["a", "nice", "a", "a"],
            "opponent": ["nice", "a", "a", "b"],
            "strategy": [None, "ALLC", None, None],
            "pairing": ["scripted", "scripted", "self_play", "cross_play"],
        }
    )
    kinds = opponent_kinds(play)
    assert list(kinds[[0, 2, 3]]) == ["always action 0 (ALLC)", "self-play", "another model"]


def test_a_further_group_leaves_other_intervals_alone():
    play = make_play(["pd", "stag"])
    first = play[play["game"] == "pd"]
    both, one = round_estimates(play, HOW), round_estimates(first, HOW)
    both = both[both["game"] == "pd"].reset_index(drop=True)
    pd.testing.assert_frame_equal(both, one)


def test_a_round_is_the_mean_of_its_known_decisions():
    play = make_play(["pd"])
    play.loc[0, "p_action_0"] = np.nan
    table = round_estimates(play, HOW)
    table = table.sort_values("round", na_position="first")
    whole, first, second = table.to_dict("records")
    assert (whole["n"], whole["n_matches"]) == (8, 4)
    assert (first["round"], first["n"], first["n_matches"]) == (1, 3, 3)
    mean = play.loc[play["round"] == 2, "p_action_0"].mean()
    assert second["estimate"] == pytest.approx(mean)
    assert second["ci_low"] < mean < second["ci_high"]
    assert first["interval"] == "percentile"
