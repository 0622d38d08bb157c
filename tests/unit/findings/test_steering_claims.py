import numpy as np
import pandas as pd
import pytest

from nashlens.findings import CLAIMS, judge
from nashlens.steering.readings import rank_correlations
from tests.unit.findings.tables import SETTINGS, steering

CLAIMED = [claim for claim in CLAIMS if claim.id in ("M7", "M8")]


def verdicts(table, **changes):
    return judge({"steering": table}, claims=CLAIMED, **{**SETTINGS, **changes}).set_index("claim")


def test_a_steerable_direction_is_supported_at_its_layer():
    found = verdicts(steering(slope=2.0, clamp=0.4))
    assert (found["verdict"] == "supported").all()
    assert (found["p_value"] < 0.02).all()
    assert found["detail"].str.contains('"layer": 8').all()
    assert found.loc["M7", "ci_low"] < found.loc["M7", "estimate"] < found.loc["M7", "ci_high"]
    assert found.loc["M8", "estimate"] > 0.95


def test_no_effect_is_contradicted():
    found = verdicts(steering(slope=0.0, random_slope=0.01, clamp=0.0))
    assert (found["verdict"] == "contradicted").all()


def test_an_effect_no_larger_than_random_ones_is_not_supported():
    found = verdicts(steering(slope=0.4, random_slope=1.0, clamp=0.3))
    assert found.loc["M7", "verdict"] == "contradicted"


def test_one_way_only_is_inconclusive():
    # Saturated: nothing is left to gain upwards.
    found = verdicts(steering(slope=3.0, random_slope=0.05, base=9.0, noise=0.0))
    assert found.loc["M7", "verdict"] != "supported"
    table = steering(slope=2.0, random_slope=0.05)
    up = (table["kind"] == "add") & (table["direction"] == "nash") & (table["value"] > 0)
    unsteered = table[(table["value"] == 0) & (table["kind"] == "add") & (table["layer"] == 8)]
    unsteered = unsteered[unsteered["direction"] == "nash"].set_index("prompt_id")["p_action_1"]
    table.loc[up, "p_action_1"] = table.loc[up, "prompt_id"].map(unsteered)
    found = verdicts(table)
    assert found.loc["M7", "verdict"] == "inconclusive"
    assert "both ways" in found.loc["M7", "reason"]


def test_the_wrong_way_round_is_contradicted():
    found = verdicts(steering(slope=-2.0, clamp=-0.4))
    assert (found["verdict"] == "contradicted").all()


def test_a_null_direction_is_seldom_supported():
    rng = np.random.default_rng(0)
    supported = 0
    for seed in range(8):
        slope = 0.5 * rng.normal()
        table = steering(slope=slope, random_slope=0.5, clamp=0.0, seed=seed, noise=0.3)
        supported += (verdicts(table, bootstrap=200)["verdict"] == "supported").sum()
    assert supported <= 1


def test_without_random_directions_m7_is_inconclusive_and_m8_has_no_control():
    found = verdicts(steering(slope=2.0, clamp=0.4, directions=0))
    assert found.loc["M7", "verdict"] == "inconclusive"
    assert "no random direction" in found.loc["M7", "reason"]
    assert np.isnan(found.loc["M8", "control"])


def test_added_random_directions_are_the_control_of_clamping():
    assert verdicts(steering(slope=2.0, clamp=0.4)).loc["M8", "control"] > 0


def test_incomplete_sweeps_are_no_errors():
    table = steering(slope=2.0, clamp=0.4)
    added = table[table["kind"] == "add"]
    assert verdicts(added).loc["M8", "verdict"] == "not_applicable"
    assert verdicts(added[added["value"] > 0]).loc["M7", "verdict"] == "not_applicable"
    assert verdicts(table[table["value"] == 0])["verdict"].eq("not_applicable").all()
    alone = table[table["match_id"] == "m0"]
    assert verdicts(alone)["verdict"].eq("inconclusive").all()
    assert verdicts(table.iloc[:0])["verdict"].eq("not_applicable").all()
    torn = table[~((table["layer"] == 4) & (table["prompt_id"] == "p3"))]
    assert verdicts(torn).loc["M7", "n"] == 31


def test_rank_correlation_equals_pandas_and_is_0_where_nothing_moves():
    rng = np.random.default_rng(0)
    values = np.array([-2.0, 0.0, 1.0, 5.0])
    p = rng.random((6, 4)).round(1)
    found = rank_correlations(p, values)
    for row, value in zip(p, found, strict=True):
        expected = pd.Series(row).corr(pd.Series(values), method="spearman")
        assert value == pytest.approx(expected)
    assert rank_correlations(np.full((1, 4), 0.3), values)[0] == 0.0
