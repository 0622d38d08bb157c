"""Estimates of a steering sweep: the numbers of figures, and of claims M7 and M8."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from nashlens.contrasts import wilson_interval
from nashlens.estimates import Bootstrap
from nashlens.factorial import BlockEstimate
from nashlens.findings import CLAIMS, judge
from nashlens.steering.summary import scenario_changes, steering_estimates
from tests.unit.findings.tables import SETTINGS, steering

HOW = Bootstrap(SETTINGS.confidence, SETTINGS.resamples, SETTINGS.seed)


@pytest.fixture(scope="module")
def sweep():
    return steering(slope=2.0, clamp=0.4, word=1.0, carries=0.2)


@pytest.fixture(scope="module")
def table(sweep):
    return steering_estimates(sweep, model="m", how=HOW)


def test_changes_of_targets_are_those_of_the_findings(sweep, table):
    claims = [claim for claim in CLAIMS if claim.id in ("M7", "M8")]
    found = judge({"steering": sweep}, SETTINGS, claims).set_index("claim")
    change = table[(table["quantity"] == "change") & table["target"]]
    for kind, claim in (("add", "M7"), ("clamp", "M8")):
        row, detail = found.loc[claim], json.loads(found.loc[claim, "detail"])
        mine = change[(change["kind"] == kind) & (change["layers"] == detail["layers"])]
        (mine,) = mine[mine["direction"] == detail["direction"]].to_dict("records")
        assert mine["interval"] == "simultaneous"
        assert (mine["n"], mine["n_matches"]) == (row["n"], row["n_matches"])
        if claim == "M7":
            for ours, theirs in (("estimate",) * 2, ("ci_low",) * 2, ("ci_high",) * 2):
                assert mine[ours] == pytest.approx(row[theirs])
        else:
            # Secondary numbers keep six digits.
            assert mine["estimate"] == pytest.approx(detail["change"], rel=1e-5)
            assert mine["ci_low"] == pytest.approx(detail["change_low"], rel=1e-5)


def test_each_part_has_its_change_by_words_and_label_map(table):
    rows = table[(table["quantity"] == "change") & (table["kind"] == "add")]
    rows = rows[rows["layers"] == "8"].set_index(["direction", "part", "words"])["estimate"]
    assert rows["abstract", "action", "all"] > 0.6
    assert rows["label", "word", "seen"] > 3 * rows["label", "word", "unseen"] > 0
    for words in ("all", "seen", "unseen"):
        action, word = rows["label", "action", words], rows["label", "word", words]
        assert rows["label", "swapped", words] == pytest.approx(action + word)
        assert rows["label", "identity", words] == pytest.approx(action - word)
    assert not rows.index.duplicated().any()


def test_only_targets_are_judged(table):
    judged = table[table["target"]]
    words = judged.groupby("direction")["words"].unique()
    assert words["abstract"].tolist() == ["all"]
    assert words["label"].tolist() == ["unseen"]
    assert set(judged["part"]) == {"action", "word"}


def test_responses_are_probabilities_of_the_action_or_the_first_label(sweep, table):
    rows = sweep[(sweep["kind"] == "add") & (sweep["layers"] == "8")]
    mine = table[(table["kind"] == "add") & (table["layers"] == "8")]
    mine = mine[(mine["quantity"] == "response") & mine["game"].isna()]
    ours = rows[rows["direction"] == "abstract"]
    whole = mine[(mine["direction"] == "abstract") & (mine["words"] == "all")].set_index("value")
    np.testing.assert_allclose(whole["estimate"], ours.groupby("value")["p_action_1"].mean())
    assert (whole["ci_low"] < whole["estimate"]).all()
    of_label = rows[(rows["direction"] == "label") & rows["seen_label_set"]]
    first = np.where(
        of_label["label_map"] == "swapped", *of_label[["p_action_1", "p_action_0"]].T.values
    )
    mean = of_label.assign(first=first).groupby("value")["first"].mean()
    seen = mine[(mine["direction"] == "label") & (mine["words"] == "seen")].set_index("value")
    np.testing.assert_allclose(seen["estimate"], mean)
    games = table[table["game"] == "deadlock"]
    assert set(games["quantity"]) == {"response"}
    assert games["target"].all()


@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_the_band_of_random_directions_follows_the_confidence(sweep, confidence):
    found = steering_estimates(sweep, model="m", how=Bootstrap(confidence, 50, 0))
    band = found[(found["direction"] == "random") & (found["quantity"] == "response")]
    assert set(band["n_directions"]) == {20}
    assert set(band["interval"]) == {"directions"}
    # Random directions have the extreme doses, and no dose.
    assert sorted(band.loc[band["kind"] == "add", "value"].unique()) == [-1.0, 0.0, 1.0]
    band = band[(band["layers"] == "4") & (band["value"] == 1.0) & (band["words"] == "all")]
    (one,) = band[band["part"] == "action"].to_dict("records")
    rows = sweep[sweep["direction"].str.startswith("random") & (sweep["layers"] == "4")]
    rows = rows[(rows["kind"] == "add") & (rows["value"] == 1.0)]
    means = rows.groupby("direction")["p_action_1"].mean()
    assert one["ci_low"] == pytest.approx(means.quantile((1 - confidence) / 2))
    assert one["ci_high"] == pytest.approx(means.quantile((1 + confidence) / 2))


def test_one_match_has_no_interval_and_one_dose_no_change(sweep):
    one = steering_estimates(
        sweep[sweep["match_id"] == sweep["match_id"].iloc[0]], model="m", how=HOW
    )
    ours = one[one["direction"] == "abstract"]
    assert ours["estimate"].notna().all()
    assert ours[["ci_low", "ci_high"]].isna().all(axis=None)
    single = steering_estimates(sweep[sweep["value"] == 0], model="m", how=HOW)
    assert set(single["quantity"]) == {"response"}


def test_scenarios_that_move_the_wrong_way_are_counted():
    """A history in two surface forms is one scenario, and what stands still goes neither way."""
    rows = pd.DataFrame({"match_id": list("aabbcd"), "game": "g", "label_set": "l"})
    changes = np.array([0.3, -0.1, -0.2, -0.1, 0.0, 0.4])[:, None] * [1.0, -1.0]
    found = BlockEstimate.of(rows, changes, "match_id", ["game", "label_set"])
    got = scenario_changes(found, 0.95)
    assert got["wrong_way"].tolist() == [0.25, 0.5]
    assert got["wrong_low"][0] == pytest.approx(wilson_interval(1, 4, 0.95)[0])
    assert got["wrong_high"][1] == pytest.approx(wilson_interval(2, 4, 0.95)[1])
    assert got["spread_scenario"] == pytest.approx([np.std([0.1, -0.15, 0.0, 0.4], ddof=1)] * 2)


def test_a_sweep_that_pushes_all_scenarios_alike_and_one_that_does_not(sweep, table):
    def wrong(table):
        rows = table[(table["quantity"] == "change") & (table["direction"] == "abstract")]
        rows = rows[(rows["kind"] == "add") & rows["target"]].set_index("layers")
        return rows["wrong_way"]

    assert wrong(table)["8"] == 0
    # Two thirds of the scenarios are answered as if the push went the other way.
    names = sweep["match_id"].astype("category").cat.codes
    turned = sweep.assign(
        p_action_1=sweep["p_action_1"].where(names % 3 == 0, sweep["p_action_0"]),
        p_action_0=sweep["p_action_0"].where(names % 3 == 0, sweep["p_action_1"]),
    )
    assert wrong(steering_estimates(turned, model="m", how=HOW))["8"] > 0.5
