"""Estimates of a steering sweep: the numbers of figures, and of claims M7 and M8."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nashlens.estimates import Bootstrap
from nashlens.findings import CLAIMS, judge
from nashlens.steering.summary import steering_estimates
from tests.unit.findings.tables import SETTINGS, steering

HOW = Bootstrap(SETTINGS["confidence"], SETTINGS["bootstrap"], SETTINGS["seed"])


@pytest.fixture(scope="module")
def sweep():
    return steering(slope=2.0, clamp=0.4).assign(game="deadlock")


@pytest.fixture(scope="module")
def table(sweep):
    return steering_estimates(sweep, model="m", how=HOW)


def test_changes_are_those_of_the_findings(sweep, table):
    claims = [claim for claim in CLAIMS if claim.id in ("M7", "M8")]
    found = judge({"steering": sweep}, claims=claims, **SETTINGS).set_index("claim")
    change = table[(table["quantity"] == "change") & (table["direction"] == "nash")]
    for kind, claim in (("add", "M7"), ("clamp", "M8")):
        row, detail = found.loc[claim], json.loads(found.loc[claim, "detail"])
        (mine,) = change[(change["kind"] == kind) & (change["layer"] == detail["layer"])].to_dict(
            "records"
        )
        assert mine["interval"] == "simultaneous"
        assert (mine["n"], mine["n_matches"]) == (row["n"], row["n_matches"])
        if claim == "M7":
            assert mine["estimate"] == pytest.approx(row["estimate"])
            assert mine["ci_low"] == pytest.approx(row["ci_low"])
            assert mine["ci_high"] == pytest.approx(row["ci_high"])
        else:
            # Secondary numbers keep six digits.
            assert mine["estimate"] == pytest.approx(detail["change"], rel=1e-5)
            assert mine["ci_low"] == pytest.approx(detail["change_low"], rel=1e-5)


def test_responses_are_means_over_prompts(sweep, table):
    rows = sweep[(sweep["kind"] == "add") & (sweep["direction"] == "nash") & (sweep["layer"] == 8)]
    mine = table[
        (table["kind"] == "add") & (table["layer"] == 8) & (table["quantity"] == "p_action_1")
    ]
    whole = mine[(mine["direction"] == "nash") & mine["game"].isna()].set_index("value")
    mean = rows.groupby("value")["p_action_1"].mean()
    np.testing.assert_allclose(whole["estimate"], mean)
    assert ((whole["ci_low"] <= mean) & (mean <= whole["ci_high"])).all()
    game = mine[mine["game"] == "deadlock"]
    np.testing.assert_allclose(game["estimate"], mean)
    assert game["ci_low"].isna().all()


@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_the_band_of_random_directions_follows_the_confidence(sweep, confidence):
    found = steering_estimates(sweep, model="m", how=Bootstrap(confidence, 50, 0))
    band = found[(found["direction"] == "random") & (found["quantity"] == "p_action_1")]
    assert set(band["n_directions"]) == {20}
    assert set(band["interval"]) == {"directions"}
    (one,) = band[(band["layer"] == 4) & (band["value"] == 1.0)].to_dict("records")
    rows = sweep[(sweep["direction"] != "nash") & (sweep["layer"] == 4) & (sweep["value"] == 1.0)]
    means = rows.groupby("direction")["p_action_1"].mean()
    assert one["ci_low"] == pytest.approx(means.quantile((1 - confidence) / 2))
    assert one["ci_high"] == pytest.approx(means.quantile((1 + confidence) / 2))


def test_one_match_has_no_interval_and_one_dose_no_change(sweep):
    one = steering_estimates(sweep[sweep["match_id"] == "m0"], model="m", how=HOW)
    nash = one[one["direction"] == "nash"]
    assert nash["estimate"].notna().all()
    assert nash[["ci_low", "ci_high"]].isna().all(axis=None)
    single = steering_estimates(sweep[sweep["value"] == 0], model="m", how=HOW)
    assert set(single["quantity"]) == {"p_action_1"}
