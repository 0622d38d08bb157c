"""Means and contrasts with intervals over matches."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nashlens.estimates import COLUMNS, Bootstrap, collect, mean_estimates

HOW = Bootstrap(confidence=0.95, resamples=500, seed=0)
NUMBERS = ["estimate", "ci_low", "ci_high"]


def test_intervals_widen_when_rows_repeat_within_matches():
    rng = np.random.default_rng(1)
    base = rng.normal(0, 1, 20)
    once = mean_estimates(base[:, None], np.arange(20), HOW, "x")
    again = mean_estimates(np.repeat(base, 9)[:, None], np.repeat(np.arange(20), 9), HOW, "x")
    np.testing.assert_allclose(once[NUMBERS], again[NUMBERS])


def test_few_rows_give_missing_values_and_no_error():
    empty = mean_estimates(np.empty((0, 2)), [], HOW, "x")
    assert len(empty) == 2
    assert empty[NUMBERS].isna().all(axis=None)
    one = mean_estimates(np.array([[1.0], [3.0]]), ["m", "m"], HOW, "x")
    assert one["estimate"][0] == 2
    assert one[["ci_low", "ci_high"]].isna().all(axis=None)


def test_the_seed_and_the_name_make_the_interval_and_the_confidence_its_width():
    values, matches = np.arange(40.0)[:, None] % 7, np.arange(40) // 2
    base = mean_estimates(values, matches, HOW, "x")
    pd.testing.assert_frame_equal(base, mean_estimates(values, matches, HOW, "x"))
    for how, name in ((HOW, "y"), (Bootstrap(0.95, 500, 1), "x")):
        other = mean_estimates(values, matches, how, name)
        assert other["estimate"][0] == base["estimate"][0]
        assert other["ci_low"][0] != base["ci_low"][0]
    narrow = mean_estimates(values, matches, Bootstrap(0.5, 500, 0), "x")
    assert narrow["ci_low"][0] > base["ci_low"][0]


def test_a_table_has_its_keys_and_types_even_when_empty():
    empty = collect([], {"model": "str", "layer": "int64"})
    assert list(empty) == ["model", "layer", *COLUMNS]
    assert empty["estimate"].dtype == "float64"


def test_a_column_that_the_table_does_not_have_is_refused_and_not_lost():
    rows = mean_estimates(np.array([[1.0], [3.0]]), ["m", "n"], HOW, "x")
    with pytest.raises(ValueError, match="no column index"):
        collect([rows.assign(model="m", index="L1.H0")], {"model": "str", "component": "str"})
