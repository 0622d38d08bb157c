"""The screen of patching: what it chooses, and what its ranking is worth."""

import logging

import numpy as np
import pytest
from scipy.stats import spearmanr

from nashlens.circuits.patches import MAIN_PART, Patches
from nashlens.circuits.patching import Patch
from nashlens.circuits.patching_summary import RANKING, patching_estimates
from nashlens.circuits.screen import EVERY, LARGEST, OTHERS, RANDOM, REFERENCE, choose_patches
from nashlens.engine.gradients import attribution_patching
from nashlens.engine.labels import labelled_prompts
from nashlens.prompts.groups import group_indices

from .nash_pairs import GROUPS, HOW, patched

FEW = {"kinds": ["payoffs", "history"], "layers": [3, 4, 12], "sites": ["residual", "mlp"]}
N = 5


@pytest.fixture(scope="module")
def exact(nash_engine, nash_pairs):
    return patched(nash_engine, nash_pairs, **FEW, heads=["decision"])


@pytest.fixture(scope="module")
def screened(nash_engine, nash_pairs):
    return patched(nash_engine, nash_pairs, **FEW, heads=["decision"], screen=N)


def keys(table):
    return table.set_index(["pair_id", "direction", "patch"])


def test_a_screen_of_all_is_none(nash_engine, nash_pairs, exact):
    table = patched(nash_engine, nash_pairs, **FEW, heads=["decision"], screen=10_000)
    assert set(table.loc[table["effect"] != 0, "chosen"]) == {LARGEST}
    assert np.abs(keys(table)["effect"] - keys(exact)["effect"]).max() == 0.0
    assert np.abs(keys(table)["label_mass"] - keys(exact)["label_mass"]).max() == 0.0
    assert exact["screened"].isna().all()
    assert set(exact["chosen"]) == {EVERY}


def test_what_it_chooses_is_exact_and_the_rest_is_missing(exact, screened):
    chosen = screened.drop_duplicates("patch").set_index("patch")["chosen"]
    assert (chosen == LARGEST).sum() == N
    assert (chosen == RANDOM).sum() == OTHERS
    # One choice for all kinds and directions.
    assert (screened.groupby("patch")["chosen"].nunique() == 1).all()
    here = screened["chosen"] != ""
    assert screened.loc[here, "effect"].notna().all()
    theirs = keys(exact).loc[keys(screened[here]).index, "effect"]
    assert np.abs(keys(screened[here])["effect"] - theirs).max() < 1e-5
    # What cannot change is known to be nothing; the rest is not known.
    assert (exact.loc[~here & screened["effect"].notna(), "effect"] == 0).all()
    assert screened.loc[~here, ["effect", "label_mass"]].isna().any(axis=None)
    assert screened["screened"].notna().all()


def test_the_embedding_of_what_it_chooses_is_there_to_compare(screened):
    rows = screened[(screened["site"] == "residual") & (screened["chosen"] != "")]
    for group in set(rows.loc[rows["layer"] > 0, "group"]):
        embedding = screened[screened["patch"] == f"residual/0/{group}"]
        assert embedding["effect"].notna().all(), group


@pytest.mark.parametrize("direction", ["destroy", "restore"])
def test_the_column_is_the_engines_estimate(nash_engine, nash_pairs, screened, direction):
    rows = screened[(screened["kind"] == "payoffs") & (screened["direction"] == direction)]
    columns = ["ids", "source_ids"] if direction == "destroy" else ["source_ids", "ids"]
    some = list(dict.fromkeys(rows["pair_id"]))[:3]
    these = nash_pairs.set_index("pair_id").loc[some].reset_index()
    into, source = (labelled_prompts(these, name) for name in columns)
    patches = [Patch("residual", 4, -1, "question"), Patch("head", 3, 1, "decision")]
    groups = [group_indices(list(one), [*GROUPS]) for one in these["groups"]]
    theirs = attribution_patching(
        nash_engine, into, [one.change for one in patches],
        groups=groups, sources=[list(one.ids) for one in source],
    )  # fmt: skip
    names = ["residual/4/question", "head/3.1/decision"]
    ours = rows.pivot(index="pair_id", columns="patch", values="screened").loc[some, names]
    assert np.abs(theirs).max() > 1e-3
    assert np.abs(ours.to_numpy() - theirs).max() < 1e-6


def sizes(**of):
    return {Patch("residual", int(name[1:]), -1, "question"): size for name, size in of.items()}


def test_the_largest_of_each_kind_are_chosen_in_turn():
    first, second = sizes(l1=9.0, l2=8.0, l3=7.0, l4=0.1), sizes(l1=0.1, l2=0.2, l3=0.3, l4=0.4)
    rng = np.random.default_rng(0)
    why = choose_patches([first, second], 3, rng)
    chosen = [patch.layer for patch, reason in why.items() if reason == LARGEST]
    assert chosen == [1, 4, 2]
    assert why[Patch("residual", 3, -1, "question")] == RANDOM


def test_random_ones_are_never_among_the_chosen_and_follow_the_seed():
    many = {Patch("mlp", layer, -1, "decision"): float(layer) for layer in range(1, 60)}
    draws = [choose_patches([many], 10, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    for why in draws:
        by_reason = {reason: {p.layer for p in why if why[p] == reason} for reason in why.values()}
        assert by_reason == {LARGEST: set(range(50, 60)), RANDOM: by_reason[RANDOM]}
        assert len(by_reason[RANDOM]) == OTHERS


def test_the_embedding_comes_with_a_residual():
    many = sizes(**{f"l{layer}": float(layer) for layer in range(60)})
    embedding = Patch("residual", 0, -1, "question")
    reasons = {
        choose_patches([many], 1, np.random.default_rng(seed))[embedding] for seed in range(20)
    }
    # It may be drawn itself.
    assert REFERENCE in reasons <= {REFERENCE, RANDOM}
    without = {patch: size for patch, size in many.items() if patch.layer > 0}
    assert embedding not in choose_patches([without], 1, np.random.default_rng(0))


def test_the_ranking_is_within_blocks_and_has_its_interval(screened, caplog):
    with caplog.at_level(logging.INFO):
        table = patching_estimates(screened, model="nash", how=HOW)
    ranking = table[table["quantity"] == RANKING]
    row = ranking[
        (ranking["kind"] == "payoffs")
        & (ranking["direction"] == "destroy")
        & (ranking["patch"] == RANDOM)
    ].iloc[0]
    patches = Patches(screened, "payoffs", "destroy")
    part = MAIN_PART["payoffs"]
    exact, estimated = np.abs(patches.parts[part][:, 1:]), np.abs(patches.screened()[part])
    moving = (exact > 0).any(axis=0) | (estimated > 0).any(axis=0)
    which = np.flatnonzero((patches.places["chosen"] == RANDOM).to_numpy() & moving)
    theirs = [
        spearmanr(a, b).statistic for a, b in zip(exact[:, which], estimated[:, which], strict=True)
    ]
    assert row["estimate"] == pytest.approx(patches.blocks.estimate(np.c_[theirs]).estimate[0])
    assert row["patches"] == len(which)
    assert (row["n"], row["n_matches"]) == (16, 2)
    assert -1 <= row["ci_low"] <= row["estimate"] <= row["ci_high"] <= 1
    assert f"rank correlation of {row['estimate']:.2f}" in caplog.text
    # What was only screened is a number of another kind.
    methods = table[table["quantity"] == "action_part"].set_index("patch")["method"]
    assert set(methods) == {"exact", "gradient"}


def test_without_a_screen_there_is_no_ranking(exact):
    table = patching_estimates(exact, model="nash", how=HOW)
    assert RANKING not in set(table["quantity"])
    assert set(table["method"]) == {"exact"}
    assert table["patches"].isna().all()
