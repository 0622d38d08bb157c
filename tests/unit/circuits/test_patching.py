"""Patching between pairs of planted models finds the path of the payoffs that was planted."""

import numpy as np
import pandas as pd
import pytest

from nashlens.circuits.patches import Patches
from nashlens.circuits.patching import Patch, choose_pairs, patch_name, patching_table
from nashlens.circuits.patching_summary import patching_estimates
from nashlens.engine.core import Engine
from nashlens.engine.labels import LabelledPrompt
from nashlens.estimates import Bootstrap
from nashlens.games import CATALOG
from nashlens.models.convert import convert_source
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.planted.mechanisms import READ
from nashlens.prompts.pairs import build_pairs
from nashlens.prompts.table import Asked, planned_decisions
from tests.unit.findings.tables import PLANTED_PATH, patching

HOW = Bootstrap(0.95, 200, 1)
GROUPS = ["payoffs", "rounds", "options", "question", "decision"]
KINDS = ["payoffs", "history", "labels"]
LAYERS = [2, 3, 4, 5, 12]


@pytest.fixture(scope="module")
def nash(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "nash"
    convert_source("planted:nash", folder)
    return folder


@pytest.fixture(scope="module")
def pairs(nash):
    decisions = planned_decisions(
        [CATALOG["deadlock"]],
        templates=["neutral"],
        label_sets={"jf": ["J", "F"]},
        label_maps=["identity", "swapped"],
        option_orders=["forward", "reversed"],
        opponents=["RANDOM"],
        own_cooperation=0.5,
        rounds=[4],
        histories=2,
        seed=1,
    )
    asked = Asked(ChatTokenizer(nash), None, "I choose option")
    return build_pairs(decisions, asked, kinds=KINDS, games=["deadlock"])


@pytest.fixture(scope="module")
def engine(nash):
    return Engine(load_model(nash, device="cpu", dtype="float32"))


def patched(engine, pairs, **changes):
    settings = {
        "games": ["deadlock"], "kinds": KINDS, "pairs_per_game": 16, "sites": ["residual"],
        "directions": ["destroy", "restore"], "layers": LAYERS, "groups": GROUPS, "heads": [],
    }  # fmt: skip
    return patching_table(engine, pairs, **(settings | changes), seed=1, model="nash")


@pytest.fixture(scope="module")
def table(engine, pairs):
    return patched(engine, pairs)


def share(table, kind, part="action"):
    patches = Patches(table, kind)
    means = patches.blocks.estimate(patches.parts[part]).estimate
    return pd.Series(means[1:] / means[0], index=patches.places.index)


def test_the_planted_path_is_found(table):
    found = share(table, "payoffs")
    # Block 3 computes at the labels, block 4 gathers at the question mark, the plant is behind it.
    path = {0: "payoffs", 2: "payoffs", READ - 1: "options", READ: "question", 5: "decision"}
    for layer, group in path.items():
        assert found[f"residual/{layer}/{group}"] == pytest.approx(1.0, abs=0.05)
        others = [f"residual/{layer}/{name}" for name in GROUPS if name != group]
        assert np.abs(found[others]).max() < 0.05, layer


def test_a_pair_has_the_difference_of_its_prompts_answers(engine, pairs, table):
    here = table[table["patch"] == "residual/0/payoffs"]
    ids = pairs.set_index("pair_id")
    for direction, (into, source) in {
        "destroy": ("ids", "source_ids"),
        "restore": ("source_ids", "ids"),
    }.items():
        row = here[here["direction"] == direction].iloc[0]
        pair = ids.loc[row["pair_id"]]
        labels = (pair["label_tokens_0"].tolist(), pair["label_tokens_1"].tolist())
        asked = [LabelledPrompt(pair[name].tolist(), labels) for name in (into, source)]
        logprobs = engine.label_logprobs(asked)
        logits = logprobs[:, 1] - logprobs[:, 0]
        assert row["logit"] == pytest.approx(logits[0], abs=1e-3)
        assert row["total"] == pytest.approx(logits[1] - logits[0], abs=1e-3)


def test_exchanged_labels_are_read_where_an_action_is_answered(table):
    rows = table[table["kind"] == "labels"]
    assert set(rows["direction"]) == {"destroy"}
    found = share(table, "labels")
    # After block 5 the decision knows the action, and looks up its label later.
    assert abs(found["residual/5/decision"]) < 0.05
    assert found["residual/5/options"] == pytest.approx(1.0, abs=0.05)
    assert found["residual/12/decision"] == pytest.approx(1.0, abs=0.05)


def test_a_patch_that_can_change_nothing_is_not_computed(table):
    history = table[(table["kind"] == "history") & (table["group"] == "payoffs")]
    assert (history["effect"] == 0).all()
    embedding = table[(table["kind"] == "payoffs") & (table["layer"] == 0)]
    assert (embedding.loc[embedding["group"] == "question", "effect"] == 0).all()


def test_heads_and_what_blocks_add(engine, pairs):
    table = patched(
        engine, pairs, kinds=["payoffs"], layers=[3], groups=["options"],
        sites=["attention", "mlp"], heads=["options"],
    )  # fmt: skip
    assert list(dict.fromkeys(table["site"])) == ["attention", "mlp", "head"]
    assert table["patch"].nunique() == 2 + engine.n_heads
    assert (table.loc[table["site"] == "head", "head"] >= 0).all()


def test_a_group_that_no_prompt_has_is_left_out(engine, pairs):
    groups = ["round_last-9", "rounds", "options"]
    found = patched(engine, pairs, kinds=["payoffs"], layers=[3], groups=groups)
    assert set(found["group"]) == {"rounds", "options"}


def test_pairs_of_all_kinds_are_of_the_same_blocks(pairs):
    chosen = [choose_pairs(pairs, kind, KINDS, ["deadlock"], 8, 1) for kind in KINDS]
    assert len({tuple(one["block_id"]) for one in chosen}) == 1
    assert all(len(one) == 8 for one in chosen)


def test_a_history_is_patched_with_its_mirror_image(pairs):
    chosen = choose_pairs(pairs, "payoffs", KINDS, ["deadlock"], 8, 1)
    assert chosen["match_id"].nunique() == 1
    assert chosen.groupby("mirrored")["pair_id"].size().to_dict() == {False: 4, True: 4}
    both = choose_pairs(pairs, "payoffs", KINDS, ["deadlock"], 16, 1)
    assert both.groupby("match_id")["mirrored"].sum().tolist() == [4, 4]


def test_without_an_aligned_pair_the_table_is_empty(engine, pairs):
    table = patched(engine, pairs.assign(dropped="not aligned"))
    assert table.empty
    assert {"pair_id", "direction", "patch", "effect", "match_id"} <= set(table.columns)
    assert patching_estimates(table, model="nash", how=HOW).empty


def test_names_of_patches():
    assert patch_name(Patch("residual", 0, -1, "payoffs")) == "residual/0/payoffs"
    assert patch_name(Patch("head", 3, 2, "decision")) == "head/3.2/decision"


def test_both_directions_of_a_pair_are_averaged():
    one = patching(PLANTED_PATH, noise=0.0)
    both = patching(PLANTED_PATH, noise=0.0, directions=("destroy", "restore"))
    parts = [Patches(table, "payoffs").parts for table in (one, both)]
    for part in ("action", "word", "place"):
        assert parts[0][part] == pytest.approx(parts[1][part])


def test_estimates_have_shares_where_there_is_a_difference():
    found = patching_estimates(patching(PLANTED_PATH), model="m", how=HOW)
    action = found[(found["kind"] == "payoffs") & (found["quantity"] == "action_part")]
    action = action.set_index("patch")
    assert action.loc["total", "estimate"] == pytest.approx(3.0, abs=0.05)
    assert action.loc["total", "interval"] == "student"
    options = action.loc["residual/4/options"]
    assert options["share"] == pytest.approx(0.9, abs=0.02)
    assert options["share_low"] < options["share"] < options["share_high"]
    word = found[(found["kind"] == "payoffs") & (found["quantity"] == "word_part")]
    assert word.set_index("patch").loc["total", "estimate"] == pytest.approx(0.5, abs=0.05)
    control = found[(found["kind"] == "history") & (found["quantity"] == "action_part")]
    assert control["share"].isna().all()
