"""C1 and C2 on synthetic tables: estimates, controls, what is open, and what cannot be judged."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from nashlens.findings import LINEAGE_CLAIMS, combine, judge, judge_with_parts
from nashlens.findings.claim import ALL_MODELS
from tests.unit.findings.tables import LAYERS, SETTINGS, lens, prompts, steps

FRAME = prompts(games=("pd",), histories=6).assign(text=lambda frame: frame["prompt_id"])
LINEAGE = SETTINGS.about(ALL_MODELS)
OVERRIDE = {"nash": steps(1.0, 0.2), "prosocial": steps(0.0, 2.0)}
NASH = {"nash": 1.0}
UNCLEAR = {"nash": steps(1.0, 0.0), "prosocial": steps(0.0, 0.15), "noise": 0.6}


def tables(models, *, bases=None, sizes=None, frames=None):
    """Tables of models by name, each with the parts of its lens."""
    frames = {name: (frames or {}).get(name, FRAME) for name in models}
    return {
        "prompts": pd.concat([frame.assign(model=name) for name, frame in frames.items()]),
        "lens": pd.concat(
            [
                lens(frames[name], seed=k, **parts).assign(model=name)
                for k, (name, parts) in enumerate(models.items())
            ]
        ),
        "models": pd.DataFrame(
            {
                "model": list(models),
                "family": "f",
                "n_parameters": [float((sizes or {}).get(name, 1e6)) for name in models],
                "base": [(bases or {}).get(name, "") for name in models],
            }
        ),
    }


def row_of(claim, made):
    found = judge(made, LINEAGE, LINEAGE_CLAIMS)
    (row,) = found[found["claim"] == claim].to_dict("records")
    return row


def pair(trained, base=NASH, **how):
    return tables({"raw": base, "tuned": trained}, bases={"tuned": "raw"}, **how)


def test_what_training_added_is_measured_free_of_the_word():
    row = row_of("C1", pair({**OVERRIDE, "word": 3.0, "noise": 0.05}, {**NASH, "noise": 0.05}))
    assert (row["model"], row["verdict"]) == ("raw--tuned", "supported")
    detail = json.loads(row["detail"])
    # Before: -1 in both. Late: 2.0 - 0.2 in the trained model, -1 in its base.
    assert detail["change"] == pytest.approx(2.8, abs=0.1)
    assert detail["other_change"] == pytest.approx(0.0, abs=0.1)
    assert row["estimate"] == pytest.approx(2.8, abs=0.1)
    assert row["ci_low"] < row["estimate"] < row["ci_high"]
    # The word is the same in all layers: no late change of it.
    assert row["control"] == pytest.approx(0.0, abs=0.1)
    assert (row["n"], row["n_matches"]) == (2 * len(FRAME), 18)
    assert (detail["trained"]["verdict"], detail["base"]["verdict"]) == (
        "supported",
        "contradicted",
    )
    assert row["p_value"] < 0.01


def test_the_trained_models_m6_is_that_of_its_own_row():
    made = pair(OVERRIDE)
    detail = json.loads(row_of("C1", made)["detail"])
    own = {
        name: made[name][made[name]["model"] == "tuned"].reset_index(drop=True)
        for name in ("prompts", "lens")
    }
    found = judge(own, SETTINGS.about("tuned")).set_index("claim").loc["M6"]
    assert detail["trained"]["late"] == pytest.approx(found["estimate"], rel=1e-5)
    assert detail["trained"]["low"] == pytest.approx(found["ci_low"], rel=1e-5)


def test_other_words_leave_it_open():
    other = FRAME.assign(text="<user>" + FRAME["text"], prompt_id="c" + FRAME["prompt_id"])
    row = row_of("C1", pair(OVERRIDE, frames={"tuned": other}))
    assert row["verdict"] == "inconclusive"
    assert "chat_template: none" in row["reason"]
    assert json.loads(row["detail"])["same_prompts"] == 0.0
    assert row["estimate"] == pytest.approx(2.8, abs=0.3)


def test_a_base_that_is_unclear_leaves_it_open():
    row = row_of("C1", pair(OVERRIDE, UNCLEAR))
    assert row["verdict"] == "inconclusive"
    assert "whether the base has the override too is open" in row["reason"]


def test_only_scenarios_that_both_were_asked_count():
    fewer = FRAME[~FRAME["match_id"].str.endswith("-0")]
    row = row_of("C1", pair(OVERRIDE, frames={"raw": fewer}))
    assert row["n_matches"] == 15
    assert row["verdict"] == "supported"
    none = FRAME.assign(block_id="other/" + FRAME["block_id"])
    row = row_of("C1", pair(OVERRIDE, frames={"raw": none}))
    assert row["verdict"] == "not_applicable"
    assert "no scenario with a prosocial action" in row["reason"]


def test_without_a_pair_or_two_sizes_nothing_is_asked():
    found = judge(tables({"m": OVERRIDE}), LINEAGE, LINEAGE_CLAIMS).set_index("claim")
    assert (found["verdict"] == "not_applicable").all()
    assert (found["model"] == "all models").all()
    assert "models.NAME.base" in found.loc["C1", "reason"]
    assert "there are m (1M), family f" in found.loc["C2", "reason"]
    assert combine([found.reset_index()], 0.05)["verdict"].eq("not_applicable").all()


def test_a_base_is_no_size_of_a_family():
    made = tables(
        {"raw": NASH, "tuned": OVERRIDE, "small": NASH},
        bases={"tuned": "raw"},
        sizes={"raw": 1e9, "tuned": 1e9, "small": 1e8},
    )
    row = row_of("C2", made)
    assert (row["model"], row["verdict"]) == ("f family", "supported")
    assert "M6 at 2 sizes" in row["reason"]
    detail = json.loads(row["detail"])
    assert (detail["threshold"], detail["below"], detail["n_sizes"]) == ("tuned", "small", 2)
    assert row["estimate"] == pytest.approx(2.8, abs=0.3)


def test_two_models_of_one_size_that_differ_are_no_step():
    sizes = {"a": 1e6, "b": 4e6, "c": 4e6}
    row = row_of("C2", tables({"a": NASH, "b": NASH, "c": OVERRIDE}, sizes=sizes))
    assert row["verdict"] == "inconclusive"
    assert "two models of one size differ" in row["reason"]


def test_models_of_different_depth_are_compared_by_their_own_late_layers():
    made = tables({"a": NASH, "b": OVERRIDE}, sizes={"b": 9e6})
    deep = made["lens"]["model"] == "b"
    # Every second layer of the smaller one is dropped.
    keep = deep | (made["lens"]["layer"] % 2 == 0)
    made["lens"] = made["lens"][keep]
    row = row_of("C2", made)
    assert row["verdict"] == "supported"
    assert made["lens"].loc[deep[keep], "layer"].max() == LAYERS


def test_a_pair_is_judged_on_parts_too():
    both = judge_with_parts(pair(OVERRIDE), replace(LINEAGE, resamples=200), LINEAGE_CLAIMS[:1])
    parts = both["sensitivity"]
    judged = parts[parts["factor"].isin(["label_set", "half", "bootstrap"])]
    assert len(judged) == 8
    assert judged["agreement"].isin(["agrees", "weaker"]).all(), judged.to_string()
    assert (both["findings"]["fragile"] == "").all()
