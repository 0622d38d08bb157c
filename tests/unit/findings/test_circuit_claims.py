"""M4 on tables of known effects, for real effects, none, and what cannot be told."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nashlens.findings import CLAIMS, judge
from nashlens.findings.claims import m4_no_nash_components
from tests.unit.findings.tables import SETTINGS, heads

CLAIMED = [claim for claim in CLAIMS if claim.id == "M4"]


def verdict(table, **changes):
    return judge({"heads": table}, replace(SETTINGS, **changes), CLAIMED).iloc[0]


def test_a_group_that_does_no_more_than_random_ones_supports_the_claim():
    found = verdict(heads(candidate=0.02, token=0.05))
    assert found["verdict"] == "supported"
    assert found["p_value"] < 0.01
    assert found["ci_low"] < found["estimate"] < found["ci_high"]
    assert (found["n"], found["n_matches"]) == (64, 16)


def test_what_any_ablation_costs_is_not_counted():
    found = verdict(heads(candidate=0.6, random=0.6, token=0.0))
    assert found["verdict"] == "supported"
    assert abs(found["estimate"]) < 0.1


def test_a_group_beyond_every_random_one_contradicts_it():
    found = verdict(heads(candidate=1.0, token=0.1))
    assert found["verdict"] == "contradicted"
    assert found["p_value"] > 0.9
    assert json.loads(found["detail"])["decides"]["heads"] == "5.0 6.1"


def test_a_drop_that_follows_the_token_is_none():
    found = verdict(heads(candidate=0.0, token=0.05, noise=0.02))
    assert found["verdict"] == "supported"
    detail = json.loads(found["detail"])["decides"]
    assert detail["word_part"] == pytest.approx(0.05, abs=0.02)
    # However much it is: in a block it cancels, and widens nothing.
    swamped = verdict(heads(candidate=0.0, token=30.0))
    assert swamped["verdict"] == "supported"
    assert swamped["ci_high"] - swamped["ci_low"] < 0.1
    assert json.loads(swamped["detail"])["decides"]["word_part"] == pytest.approx(30.0, abs=0.1)


def test_a_drop_that_follows_the_place_is_none():
    table = heads(candidate=0.0, token=0.0, noise=0.02)
    first = (table["option_order"] == "reversed") == (table["nash_action"] == 1)
    moved = (table["kind"] == "candidate") * np.where(first, 2.0, -2.0)
    found = verdict(table.assign(drop=table["drop"] + moved))
    assert found["verdict"] == "supported"
    assert json.loads(found["detail"])["decides"]["place_part"] == pytest.approx(2.0, abs=0.05)


def test_how_far_it_carries_to_other_words_is_no_part_of_the_interval():
    """Heads that matter with one label set only: a wide spread about a narrow mean."""
    table = heads(candidate=0.6, token=0.0, noise=0.02)
    only = (table["kind"] == "candidate") * np.where(table["label_set"] == "jf", 0.5, -0.5)
    found = verdict(table.assign(drop=table["drop"] + only))
    assert found["estimate"] == pytest.approx(0.6, abs=0.05)
    assert found["ci_high"] - found["ci_low"] < 0.1
    detail = json.loads(found["detail"])["decides"]
    assert detail["spread_label_sets"] == pytest.approx(np.sqrt(0.5), abs=0.03)
    assert detail["spread_templates"] is None


def test_a_drop_below_some_random_group_is_not_a_contradiction():
    found = verdict(heads(candidate=0.5, random=0.1, spread=0.4, token=0.0))
    assert found["verdict"] == "inconclusive"


def test_without_a_preference_there_is_nothing_to_compute():
    found = verdict(heads(preference=0.0, token=0.0))
    assert found["verdict"] == "inconclusive"
    assert "no preference for the Nash action" in found["reason"]
    # What is overridden later may be computed all the same.
    assert verdict(heads(candidate=1.0, preference=-1.0, token=0.0))["verdict"] == "contradicted"


def test_half_of_a_small_preference_is_a_change():
    assert verdict(heads(candidate=0.1, preference=0.15, token=0.0))["verdict"] == "inconclusive"
    assert verdict(heads(candidate=0.1, preference=2.0, token=0.0))["verdict"] == "supported"


def test_chance_seldom_contradicts():
    found = [
        verdict(heads(candidate=0.1 * k, spread=0.2, noise=0.3, seed=seed), resamples=200)
        for seed in range(5)
        for k in (-1, 0, 1)
    ]
    assert sum(row["verdict"] == "contradicted" for row in found) == 0


def test_what_is_missing_is_said():
    table = heads()
    assert "no prompt" in verdict(table[table["kind"] == "none"])["reason"]
    alone = verdict(table[~table["kind"].eq("random")])
    assert (alone["verdict"], alone["reason"][:31]) == (
        "inconclusive",
        "there is no random group of com",
    )
    one_map = verdict(table[table["label_map"] == "identity"])
    assert one_map["verdict"] == "not_applicable"
    assert "label_maps" in one_map["reason"]
    few = verdict(table[table["match_id"].isin(["m0", "m1"])])
    assert few["verdict"] == "inconclusive"
    assert "one history" in few["reason"]
    assert verdict(table.iloc[:0])["verdict"] == "not_applicable"


def test_one_threshold_decides_and_is_tested(monkeypatch):
    table = heads(candidate=0.6, token=0.0)
    assert verdict(table)["verdict"] == "contradicted"
    assert verdict(table)["p_value"] > 0.9
    monkeypatch.setattr(m4_no_nash_components, "LEAST_DROP", 0.9)
    assert verdict(table)["verdict"] == "supported"
    assert verdict(table)["p_value"] < 0.01


def three_arms(mlps=None, everywhere=None, mass=0.9, **heads_of):
    """Heads at the decision, beside MLPs there and both at all positions."""
    found = [heads(**{"token": 0.0, "candidate": 0.02} | heads_of)]
    for component, positions, arm in (
        ("mlp", "decision", mlps or {}),
        ("both", "all", everywhere or {}),
    ):
        table = heads(**{"token": 0.0, "candidate": 0.02, "seed": len(found)} | arm)
        unablated = table["kind"] == "none"
        table = table.assign(
            positions=positions, component=np.where(unablated, "", component), heads=component
        )
        if component == "both":
            table = table.assign(label_mass=np.where(table["kind"] == "candidate", mass, 0.9))
        else:
            table = table[~unablated]
        found.append(table)
    return pd.concat(found, ignore_index=True)


def test_the_claim_holds_if_no_arm_matters_and_the_widest_one_is_told():
    found = verdict(three_arms(everywhere={"noise": 0.3}))
    assert found["verdict"] == "supported"
    detail = json.loads(found["detail"])
    assert [arm["component"] for arm in detail["arms"]] == ["head", "mlp", "both"]
    assert detail["decides"]["positions"] == "all"
    assert found["ci_high"] - found["ci_low"] > 3 * (
        detail["arms"][0]["high"] - detail["arms"][0]["low"]
    )
    for words in ("heads at the decision (5.0 6.1)", "MLPs at the decision (mlp)"):
        assert words in found["reason"]


@pytest.mark.parametrize("arm", ["mlps", "everywhere"])
def test_one_arm_is_enough_to_contradict_and_one_to_leave_it_open(arm):
    found = verdict(three_arms(**{arm: {"candidate": 1.0}}))
    assert found["verdict"] == "contradicted"
    component = {"mlps": "mlp", "everywhere": "both"}[arm]
    assert json.loads(found["detail"])["decides"]["component"] == component
    assert found["estimate"] == pytest.approx(1.0, abs=0.05)
    assert found["p_value"] > 0.9
    open_ = verdict(three_arms(**{arm: {"candidate": 0.2, "noise": 0.3}}))
    assert open_["verdict"] == "inconclusive"


def test_three_arms_are_three_chances_to_contradict():
    """An interval beyond the bound by itself, and not when there are three of them."""
    rows = {"candidate": 0.23, "noise": 0.38, "token": 0.0, "seed": 4}
    alone = verdict(heads(**rows))
    assert alone["verdict"] == "contradicted"
    table = three_arms(**rows)
    low = json.loads(verdict(table)["detail"])["arms"][0]
    assert low["at_once_low"] < m4_no_nash_components.LEAST_DROP < low["low"]
    assert verdict(table)["verdict"] == "inconclusive"


def test_what_breaks_the_answer_computes_no_nash_action():
    found = verdict(three_arms(everywhere={"candidate": 1.0}, mass=0.05))
    assert found["verdict"] == "inconclusive"
    assert "all positions breaks the answer" in found["reason"]


def test_prompts_with_much_mass_do_not_say_for_all_that_an_answer_is_broken():
    """A quarter of them has most of the labels' probability, and the ablation takes it there."""
    table = heads(candidate=1.0, token=0.0)
    likely = table["match_id"].isin([f"m{i}" for i in (0, 1, 8, 9)])
    ablated = table["kind"] == "candidate"
    mass = np.where(likely, 0.9, 0.01) * np.where(likely & ablated, 0.05, 1.0)
    found = verdict(table.assign(label_mass=mass))
    assert found["verdict"] == "contradicted"
    assert json.loads(found["detail"])["decides"]["mass_kept"] == pytest.approx(1.0)


def test_an_arm_without_an_interval_leaves_the_others():
    table = three_arms()
    few = table[(table["positions"] == "decision") | table["match_id"].isin(["m0", "m1"])]
    detail = json.loads(verdict(few)["detail"])
    assert [arm["component"] for arm in detail["arms"]] == ["head", "mlp"]
