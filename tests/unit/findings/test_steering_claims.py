import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nashlens.findings import CLAIMS, judge
from tests.unit.findings.tables import SETTINGS, steering

CLAIMED = [claim for claim in CLAIMS if claim.id in ("M7", "M8")]


def verdicts(table, **changes):
    return judge({"steering": table}, replace(SETTINGS, **changes), CLAIMED).set_index("claim")


def detail(found, claim):
    return json.loads(found.loc[claim, "detail"])


def test_a_steerable_direction_is_supported_at_its_layer():
    found = verdicts(steering(slope=2.0, clamp=0.4))
    assert (found["verdict"] == "supported").all()
    assert (found["p_value"] < 0.03).all()
    for claim in ("M7", "M8"):
        assert detail(found, claim)["direction"] == "abstract"
        assert detail(found, claim)["layers"] == "8"
    assert found.loc["M7", "ci_low"] < found.loc["M7", "estimate"] < found.loc["M7", "ci_high"]
    assert found.loc["M8", "estimate"] > 0.95
    assert "action" in found.loc["M7", "reason"]


def test_what_moved_and_whether_it_carries_over_is_in_the_detail():
    found = detail(verdicts(steering(slope=2.0, word=1.0, carries=0.1)), "M7")
    assert found["action"] > 0.6
    assert abs(found["word"]) < 0.1
    assert abs(found["place"]) < 0.02
    for name in ("seen_words", "unseen_words", "identity", "swapped"):
        assert found[name] == pytest.approx(found["action"], abs=0.1)
    assert found["spread_label_set"] < 0.1
    assert found["word_direction"] == "label"
    assert found["word_change"] > 0.4
    assert found["word_change_others"] < 0.1


def test_no_effect_is_contradicted():
    found = verdicts(steering(slope=0.0, random_slope=0.01, clamp=0.0))
    assert (found["verdict"] == "contradicted").all()
    assert "no layer" in found.loc["M7", "reason"]


def test_a_direction_that_moves_only_the_words_it_knows_is_contradicted():
    found = verdicts(steering(word=3.0, random_slope=0.01))
    assert (found["verdict"] == "contradicted").all()
    assert "only words move" in found.loc["M7", "reason"]
    # Other words that move a little do not make it carry over.
    found = verdicts(steering(word=3.0, carries=0.3, random_slope=0.01))
    assert found.loc["M7", "verdict"] == "contradicted"


def test_a_label_direction_that_carries_over_to_other_words_is_supported():
    found = verdicts(steering(word=2.0, carries=2.0, random_slope=0.1))
    assert found.loc["M7", "verdict"] == "supported"
    assert detail(found, "M7")["direction"] == "label"
    assert detail(found, "M7")["part"] == "word"
    # Under both label maps towards the first label.
    assert detail(found, "M7")["identity"] > 0.5
    assert detail(found, "M7")["swapped"] > 0.5


def test_a_direction_that_works_at_several_layers_at_once_only_is_found_there():
    found = verdicts(steering(slope=0.01, joint=2.0))
    assert found.loc["M7", "verdict"] == "supported"
    assert detail(found, "M7")["layers"] == "1+2"
    assert detail(found, "M7")["layer"] == 1
    assert "1+2 at once" in found.loc["M7", "reason"]


def test_without_unseen_words_a_label_direction_is_not_judged():
    table = steering(word=3.0, kinds=("label",)).assign(seen_label_set=True)
    found = verdicts(table)
    assert (found["verdict"] == "not_applicable").all()
    assert found["reason"].str.contains("train_label_sets").all()


def test_an_effect_no_larger_than_random_ones_is_not_supported():
    found = verdicts(steering(slope=0.4, random_slope=1.0, clamp=0.05, word=0.1, carries=0.1))
    assert found.loc["M7", "verdict"] == "contradicted"
    assert found.loc["M8", "verdict"] != "supported"


def test_wide_bounds_of_few_matches_do_not_hide_that_random_directions_do_more():
    # Bounds of four matches that hold at every place at once reach far over what counts.
    found = verdicts(steering(word=3.0, histories=2, noise=0.1, random_slope=1.0))
    assert (found["verdict"] == "contradicted").all()


def test_one_way_only_is_inconclusive():
    table = steering(slope=2.0, random_slope=0.05)
    ours = (table["kind"] == "add") & (table["direction"] == "abstract") & (table["layers"] == "8")
    unsteered = table[ours & (table["value"] == 0)].set_index("prompt_id")["p_action_1"]
    up = (table["kind"] == "add") & (table["direction"] == "abstract") & (table["value"] > 0)
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
        slope, word, carries = 0.5 * rng.normal(size=3)
        how = {"random_slope": 0.5, "clamp": 0.0, "seed": seed, "noise": 0.3}
        table = steering(slope=slope, word=word, carries=carries, **how)
        supported += (verdicts(table, resamples=200)["verdict"] == "supported").sum()
    assert supported <= 1


def test_without_random_directions_nothing_is_supported():
    found = verdicts(steering(slope=2.0, clamp=0.4, directions=0))
    assert (found["verdict"] == "inconclusive").all()
    assert found["reason"].str.contains("no random direction").all()
    assert np.isnan(found.loc["M8", "control"])


def test_clamped_random_directions_are_the_control_of_clamping():
    table = steering(slope=2.0, clamp=0.4)
    assert verdicts(table).loc["M8", "control"] > 0.5
    added = table[~((table["kind"] == "clamp") & table["direction"].str.startswith("random"))]
    assert verdicts(added).loc["M8", "verdict"] == "inconclusive"


def test_words_with_a_meaning_do_not_enter():
    table = steering(slope=2.0, clamp=0.4)
    words = table[table["label_set"] == "xy"].assign(
        label_kind="actions", label_set="own", p_action_1=0.0
    )
    words["block_id"] = words["block_id"] + "/own"
    both = pd.concat([table.assign(label_kind="neutral"), words], ignore_index=True)
    pd.testing.assert_frame_equal(verdicts(both), verdicts(table))


def test_incomplete_sweeps_are_no_errors():
    table = steering(slope=2.0, clamp=0.4)
    added = table[table["kind"] == "add"]
    assert verdicts(added).loc["M8", "verdict"] == "not_applicable"
    assert verdicts(added[added["value"] > 0]).loc["M7", "verdict"] == "not_applicable"
    assert verdicts(table[table["value"] == 0])["verdict"].eq("not_applicable").all()
    alone = table[table["match_id"] == table["match_id"].iloc[0]]
    assert verdicts(alone)["verdict"].eq("inconclusive").all()
    assert verdicts(table.iloc[:0])["verdict"].eq("not_applicable").all()
    # A block that lacks a dose is left out.
    torn = table[~((table["layers"] == "4") & (table["prompt_id"] == "p3"))]
    assert verdicts(torn).loc["M7", "n"] == 60
