"""Estimates of ablated heads: the numbers of the figure, and of claim M4."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from nashlens.circuits.readings import Ablations, cell_mean
from nashlens.circuits.summary import heads_estimates
from nashlens.estimates import Bootstrap
from nashlens.findings import CLAIMS, judge
from tests.unit.findings.tables import SETTINGS, heads

HOW = Bootstrap(SETTINGS["confidence"], SETTINGS["bootstrap"], SETTINGS["seed"])


def test_the_group_has_the_numbers_of_the_findings():
    table = heads(candidate=0.8, token=0.3)
    claims = [claim for claim in CLAIMS if claim.id == "M4"]
    row = judge({"heads": table}, claims=claims, **SETTINGS).iloc[0]
    detail = json.loads(row["detail"])
    found = heads_estimates(table, model="m", how=HOW)
    group = found[found["kind"] == "candidate"].set_index("quantity")
    assert group.loc["action_part", "estimate"] == pytest.approx(detail["drop"], rel=1e-5)
    assert group.loc["token_part", "estimate"] == pytest.approx(detail["token_part"], rel=1e-4)
    random = found[(found["kind"] == "random") & (found["quantity"] == "action_part")]
    assert len(random) == detail["random_groups"]
    assert random["estimate"].max() == pytest.approx(detail["random_largest"], rel=1e-5)
    assert (group["n"] == row["n"]).all()
    # The estimate of the claim is the drop less the random groups' mean, from the same resamples.
    width = group.loc["action_part", "ci_high"] - group.loc["action_part", "ci_low"]
    assert width == pytest.approx(row["ci_high"] - row["ci_low"], rel=0.5)


def test_bounds_of_single_heads_hold_for_all_of_them_at_once():
    table = heads(candidate=0.8)
    one = table[table["kind"] == "random"].assign(kind="head", layer=1)
    one["head"] = one["ablation"].str[-3:].astype(int)
    found = heads_estimates(pd.concat([table, one]), model="m", how=HOW)
    single = found[found["kind"] == "head"]
    alone = heads_estimates(one[one["head"] == 0], model="m", how=HOW)
    assert set(single["interval"]) == {"student, all at once"}
    together = (single["ci_high"] - single["ci_low"]).iloc[0]
    assert together > 1.3 * (alone["ci_high"] - alone["ci_low"]).iloc[0]
    ablations = Ablations(one, "head")
    expected = cell_mean(ablations.values, ablations.cells)
    assert single["estimate"].to_numpy() == pytest.approx(expected)


def test_a_cell_with_one_match_has_no_interval():
    table = heads()
    few = table[table["match_id"].isin([f"m{i}" for i in range(4)])]
    found = heads_estimates(few, model="m", how=HOW)
    assert found["estimate"].notna().all()
    assert found["ci_low"].isna().all()
