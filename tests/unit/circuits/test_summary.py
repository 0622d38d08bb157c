"""Estimates of ablated heads: the numbers of the figure, and of claim M4."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from nashlens.circuits.readings import Ablations
from nashlens.circuits.summary import DESCRIPTIONS, heads_estimates
from nashlens.estimates import Bootstrap
from nashlens.findings import CLAIMS, judge
from tests.unit.findings.tables import SETTINGS, heads

HOW = Bootstrap(SETTINGS.confidence, SETTINGS.resamples, SETTINGS.seed)


def test_the_group_has_the_numbers_of_the_findings():
    table = heads(candidate=0.8, token=0.3)
    claims = [claim for claim in CLAIMS if claim.id == "M4"]
    row = judge({"heads": table}, SETTINGS, claims).iloc[0]
    detail = json.loads(row["detail"])["decides"]
    found = heads_estimates(table, model="m", how=HOW)
    group = found[found["kind"] == "candidate"].set_index("quantity")
    assert group.loc["action_part", "estimate"] == pytest.approx(detail["drop"], rel=1e-5)
    for part in ("word_part", "place_part"):
        assert group.loc[part, "estimate"] == pytest.approx(detail[part], rel=1e-4)
    random = found[(found["kind"] == "random") & (found["quantity"] == "action_part")]
    assert len(random) == detail["random_groups"]
    assert random["estimate"].max() == pytest.approx(detail["random_largest"], rel=1e-5)
    assert (group["n"] == row["n"]).all()
    # The estimate of the claim is the drop less the random groups' mean, in the same blocks.
    width = group.loc["action_part", "ci_high"] - group.loc["action_part", "ci_low"]
    assert width == pytest.approx(row["ci_high"] - row["ci_low"], rel=0.5)


def test_bounds_of_single_heads_hold_for_all_of_them_at_once():
    table = heads(candidate=0.8)
    one = table[table["kind"] == "random"].assign(kind="head", layer=1, phase="choose")
    one["head"] = one["ablation"].str[-3:].astype(int)
    found = heads_estimates(pd.concat([table, one]), model="m", how=HOW)
    single = found[found["kind"] == "head"]
    alone = heads_estimates(one[one["head"] == 0], model="m", how=HOW)
    assert set(single["interval"]) == {"student, all at once"}
    together = (single["ci_high"] - single["ci_low"]).iloc[0]
    assert together > 1.3 * (alone["ci_high"] - alone["ci_low"]).iloc[0]
    ablations = Ablations(one, "head")
    action = single[single["quantity"] == "action_part"]
    assert action["estimate"].to_numpy() == pytest.approx(ablations.action_part())
    assert action["ablation"].tolist() == ablations.names
    assert action["head"].tolist() == ablations.places["head"].tolist()
    assert set(single["quantity"]) == set(DESCRIPTIONS)


def test_spread_over_words_is_a_column_of_its_own():
    table = heads(candidate=0.8, noise=0.02)
    only = (table["kind"] == "candidate") * np.where(table["label_set"] == "jf", 0.4, -0.4)
    group = heads_estimates(table.assign(drop=table["drop"] + only), model="m", how=HOW)
    row = group[(group["kind"] == "candidate") & (group["quantity"] == "action_part")].iloc[0]
    assert row["spread_label_sets"] == pytest.approx(0.8 / np.sqrt(2), abs=0.03)
    assert np.isnan(row["spread_templates"])
    assert row["ci_high"] - row["ci_low"] < 0.1


def test_one_history_of_a_game_has_no_interval():
    table = heads()
    few = table[table["match_id"].isin(["m0", "m1"])]
    found = heads_estimates(few, model="m", how=HOW)
    assert found["estimate"].notna().all()
    assert found["ci_low"].isna().all()
    assert set(found["interval"]) == {""}


def test_nothing_ablated_is_an_empty_table():
    assert heads_estimates(heads().iloc[:0], model="m", how=HOW).empty
