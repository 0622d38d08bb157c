"""Which cells speak for an agent, and the differences between modes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nashlens.play.metrics.pooled import differences


def test_the_interval_of_a_difference_adds_the_arms_in_quadrature():
    base = {"model": "m", "game": "pd", "pairing": "self_play", "measure": "nash_tv"}
    base |= {"n_matches": 4, "agent": "a", "reason": ""}
    rows = pd.DataFrame(
        [
            {**base, "mode": "direct", "estimate": 0.5, "ci_low": 0.1, "ci_high": 0.8},
            {**base, "mode": "cot", "estimate": 0.7, "ci_low": 0.3, "ci_high": 0.9},
        ]
    )
    (row,) = differences(rows).to_dict("records")
    assert row["estimate"] == pytest.approx(0.2)
    assert row["ci_low"] == pytest.approx(0.2 - np.hypot(0.4, 0.3))
    assert row["ci_high"] == pytest.approx(0.2 + np.hypot(0.2, 0.4))
    assert row["n_matches"] == 8
    assert differences(rows[rows["mode"] == "cot"]).empty
