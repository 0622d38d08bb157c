"""The few quantities that figures work out themselves."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nashlens.figures import intervals
from nashlens.figures.rounds import opponent_kinds

OPTIONS = {"confidence": 0.95, "resamples": 500}


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


def test_contrast_is_the_difference_of_means_with_a_fair_interval():
    rng = np.random.default_rng(0)
    strata = np.array(["a", "b", "b", "b"] * 100)
    values = rng.normal(0, 1, 400) + 10 + (strata == "a") * 2.0
    estimate, low, high = intervals.contrast(
        values[:, None], strata, {"a": 1.0, "b": -1.0}, np.arange(400), "test", **OPTIONS
    )
    expected = values[strata == "a"].mean() - values[strata == "b"].mean()
    np.testing.assert_allclose(estimate, expected)
    # sqrt(1/100 + 1/300) = 0.115: the common level of 10 must not widen the interval.
    assert 0.35 < (high - low)[0] < 0.55


def test_intervals_widen_when_rows_repeat_within_matches():
    rng = np.random.default_rng(1)
    base = rng.normal(0, 1, 20)
    once = intervals.column_means(base[:, None], np.arange(20), "x", **OPTIONS)
    again = intervals.column_means(
        np.repeat(base, 9)[:, None], np.repeat(np.arange(20), 9), "x", **OPTIONS
    )
    np.testing.assert_allclose(once, again)


def test_few_rows_give_missing_values_and_no_error():
    empty = intervals.column_means(np.empty((0, 2)), [], "x", **OPTIONS)
    assert all(np.isnan(part).all() for part in empty)
    estimate, low, high = intervals.column_means(
        np.array([[1.0], [3.0]]), ["m", "m"], "x", **OPTIONS
    )
    assert estimate[0] == 2
    assert np.isnan([low[0], high[0]]).all()
    absent = intervals.contrast(
        np.ones((2, 1)), ["a", "a"], {"a": 1.0, "b": -1.0}, [0, 1], "x", **OPTIONS
    )
    assert np.isnan(absent[0]).all()


def test_a_further_group_leaves_other_intervals_alone():
    frame = pd.DataFrame({"g": ["a"] * 6, "m": list("uuvvww"), "v": [0, 1, 1, 0, 1, 1]})
    more = pd.concat([frame.assign(g="b"), frame], ignore_index=True)
    one = intervals.group_means(frame, "v", ["g"], cluster="m", **OPTIONS)
    two = intervals.group_means(more, "v", ["g"], cluster="m", **OPTIONS)
    pd.testing.assert_frame_equal(one, two[two["g"] == "a"].reset_index(drop=True))
