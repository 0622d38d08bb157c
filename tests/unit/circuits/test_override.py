"""Ablating and exchanging late components of planted models, against what was planted."""

import numpy as np
import pytest

from nashlens.circuits.attribution import attribution_table, choose_decisions, record_answers
from nashlens.circuits.concentration import concentration_estimates
from nashlens.circuits.override import (
    EXCHANGES,
    exchange_pairs,
    exchanged_rows,
    late_components,
    late_writers,
    override_table,
    random_groups,
    site_name,
)
from nashlens.circuits.readings import Ablations
from nashlens.circuits.writing import writing_tables
from nashlens.engine.core import Engine
from nashlens.engine.patching import Site
from nashlens.estimates import Bootstrap
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.models.weights import WeightReader
from tests.designs import make_pairs
from tests.unit.findings.writers import attribution

LATE = 1 / 3


def ablated(folder, prompts):
    engine = Engine(load_model(folder, device="cpu", dtype="float32"))
    chosen = choose_decisions(prompts, ["prisoners_dilemma"], 64, 1)
    recorded = record_answers(engine, chosen)
    attribution = attribution_table(engine, chosen, recorded, WeightReader(folder), model="m")
    return override_table(
        *(engine, chosen, attribution, recorded),
        late_fraction=LATE,
        draws=5,
        orders=2,
        seed=1,
        model="m",
    )


def action_part(table, kind, column="drop"):
    return Ablations(table, kind, column).action_part()


def test_ablating_the_planted_override_brings_nash_play_back(planted):
    folder, _, prompts = planted("override")
    table = ablated(folder, prompts)
    before = action_part(table, "none", "logit_nash")[0]
    after = action_part(table, "candidate", "logit_nash")[0]
    assert before < -0.2
    assert after > 0.2
    random = action_part(table, "random", "logit_nash")
    assert len(random) == 5
    assert random.max() < after
    # The last of the curve is the whole group.
    curve = action_part(table, "first")
    assert curve[-1] == pytest.approx(action_part(table, "candidate")[0], abs=1e-4)


def test_without_an_override_nothing_returns(planted):
    folder, _, prompts = planted("nash")
    table = ablated(folder, prompts)
    assert action_part(table, "none", "logit_nash")[0] > 0.2
    kinds = set(table["kind"])
    if "candidate" in kinds:
        assert action_part(table, "candidate")[0] > -0.2


def test_the_phases_share_no_history(planted):
    folder, _, prompts = planted("override")
    table = ablated(folder, prompts)
    chosen = choose_decisions(prompts, ["prisoners_dilemma"], 64, 1)
    choosing = chosen[chosen["phase"] == "choose"]["match_id"]
    assert set(table["phase"]) == {"test"}
    assert not set(table["match_id"]) & set(choosing)


@pytest.mark.parametrize(
    "name", ["override_soloist", "override_choir", "override_redundant", "override_mlp"]
)
def test_the_planted_components_are_those_that_are_found(planted, name):
    folder, facts, prompts = planted(name)
    table = ablated(folder, prompts)
    found = table[table["kind"] == "candidate"]["heads"].iloc[0].split()
    assert set(found) == {site_name(Site(*one)) for one in facts.components}
    before = action_part(table, "none", "logit_nash")[0]
    assert before < -0.2 < 0.2 < action_part(table, "candidate", "logit_nash")[0]
    assert action_part(table, "random", "logit_nash").max() < 0
    numbers = concentration_estimates(table, model="m", how=Bootstrap(0.95, 200, 1))
    half = numbers[(numbers["share"] == 0.5) & (numbers["order"] == "chosen")]["estimate"].iloc[0]
    assert half >= 3 if name == "override_choir" else half <= 2


def test_words_that_a_choir_writes_are_no_override(planted):
    folder, _, prompts = planted("word_choir")
    table = ablated(folder, prompts)
    assert abs(action_part(table, "candidate")[0]) < 0.2
    numbers = concentration_estimates(table, model="m", how=Bootstrap(0.95, 200, 1))
    assert set(numbers["quantity"]) == {"curve"}


def test_many_that_write_the_same_are_all_found():
    names = [f"{layer}.{head}" for layer in (5, 6) for head in range(30)]
    table = attribution(dict.fromkeys(names, -0.1), {}, layers=6, heads=30, noise=0.0)
    every, candidates = late_writers(table, LATE)
    assert {site_name(site) for site in every} == set(names)
    # 95% of what sixty write is written by 57.
    assert candidates == every[:57]


def test_those_are_candidates_that_write_95_percent():
    amounts = {f"6.{head}": -1.0 / (head + 1) for head in range(30)}
    table = attribution({**amounts, "5.mlp": 2.0, "2.0": -9.0}, {}, layers=6, heads=30, noise=0.0)
    every, candidates = late_writers(table, LATE)
    assert [site_name(site) for site in every] == list(amounts)
    written = -np.cumsum(list(amounts.values()))
    shares = written / written[-1]
    assert shares[len(candidates) - 2] < 0.95 <= shares[len(candidates) - 1]
    nothing = attribution({}, {"6.mlp": 1.0}, layers=6, heads=30, noise=0.0)
    assert late_writers(nothing, LATE) == ([], [])


def test_of_many_components_some_numbers_are_ablated(planted, monkeypatch):
    """The curve's points are those of the whole curve, and the last ablation is of all."""
    folder, _, prompts = planted("override_choir")
    whole = ablated(folder, prompts)
    monkeypatch.setattr("nashlens.circuits.override.SIZES", 4)
    few = ablated(folder, prompts)
    for kind, sizes in (("first", [1, 2, 4, 8]), ("order", [1, 2, 4, 8] * 2)):
        rows = few[few["kind"] == kind].drop_duplicates("ablation")
        assert rows["size"].tolist() == sizes
        assert rows["draw"].tolist() == (sizes if kind == "first" else [0] * 4 + [1] * 4)
    curve = action_part(whole, "first")
    assert action_part(few, "first") == pytest.approx(curve[[0, 1, 3, 7]], abs=1e-4)
    every = whole[whole["kind"] == "all"].iloc[0]
    assert every["size"] > 8
    assert set(whole[whole["kind"] == "candidate"]["heads"].iloc[0].split()) < set(
        every["heads"].split()
    )
    # The others write nearly nothing.
    assert action_part(whole, "all")[0] == pytest.approx(curve[-1], rel=0.05)


def test_random_groups_are_others_of_the_same_layers():
    rng = np.random.default_rng(0)
    sites = [Site("mlp", 3), Site("head", 3, 1), Site("head", 2, 0)]
    groups = random_groups(sites, [2, 3], 4, 4, rng)
    assert len(groups) == 4
    for group in groups:
        assert sorted(site.layer for site in group) == [2, 3, 3]
        assert not set(group) & set(sites)
        assert all(site.kind == "mlp" or 0 <= site.head < 4 for site in group)


def test_a_layer_with_too_few_others_borrows_from_late_ones():
    sites = [Site("mlp", 3), Site("head", 3, 1)]
    (group,) = random_groups(sites, [2, 3], 2, 1, np.random.default_rng(0))
    assert sorted(site.layer for site in group) == [2, 3]


@pytest.fixture(scope="module")
def exchanged(planted):
    """Return what ablates and exchanges the late components of a planted model."""

    def make(name, pairs=8):
        folder, _, prompts = planted(name)
        conflicts = make_pairs(["prisoners_dilemma"], ChatTokenizer(folder), ["payoffs"])
        tables = writing_tables(
            Engine(load_model(folder, device="cpu", dtype="float32")),
            prompts,
            conflicts,
            WeightReader(folder),
            games=["prisoners_dilemma"],
            prompts=64,
            pairs=pairs,
            random_groups=3,
            orders=1,
            late_fraction=LATE,
            seed=1,
            model="m",
        )
        return tables["override"]

    return make


def test_an_override_in_conflict_only_moves_with_its_components(exchanged):
    table = exchanged("override_in_conflict")
    assert {*EXCHANGES, "destroy_random", "restore_random"} <= set(table["kind"])
    own = table[table["kind"] == "destroy"]
    assert own.groupby("block_id").size().eq(4).all()
    assert own["prompt_id"].nunique() == 8
    assert set(own["phase"]) == {"test"}
    # Nash play returns without what the conflict makes them write, and that alone is prosocial.
    assert action_part(table, "destroy", "logit_nash")[0] > 0.2
    assert action_part(table, "destroy")[0] < -1.0
    assert action_part(table, "restore")[0] > 1.0
    for kind in ("destroy_random", "restore_random"):
        assert np.abs(action_part(table, kind)).max() < 0.2


def test_an_override_that_writes_in_both_prompts_has_nothing_to_exchange(exchanged):
    table = exchanged("override_soloist")
    for kind in EXCHANGES:
        assert abs(action_part(table, kind)[0]) < 0.2
    assert action_part(table, "candidate")[0] < -1.0


def test_without_pairs_nothing_is_exchanged(exchanged):
    assert not set(exchanged("override_soloist", 0)["kind"]) & set(EXCHANGES)


def test_exchanged_values_are_those_of_the_other_prompt(planted):
    """All that is written from where payoffs arrive on is the other prompt's answer."""
    folder, _, prompts = planted("nash")
    engine = Engine(load_model(folder, device="cpu", dtype="float32"))
    conflicts = make_pairs(["prisoners_dilemma"], ChatTokenizer(folder), ["payoffs"])
    chosen = choose_decisions(prompts, ["prisoners_dilemma"], 64, 1)
    pairs = exchange_pairs(conflicts, chosen, 8)
    sites = late_components(range(5, engine.n_layers + 1), engine.n_heads)
    groups = {("candidate", 0): sites}
    for direction in EXCHANGES:
        other = exchanged_rows(engine, pairs, groups, direction)
        back = exchanged_rows(engine, pairs, groups, ("restore", "destroy")[direction == "restore"])
        # Unchanged there is changed here.
        there = back["logit_nash"] + back["drop"]
        assert other["logit_nash"].to_numpy() == pytest.approx(there.to_numpy(), abs=0.05)
        assert other["drop"].abs().min() > 0.5


def test_one_label_map_leaves_nothing_to_choose(planted):
    folder, _, prompts = planted("override")
    one = prompts[prompts["label_map"] == "identity"].reset_index(drop=True)
    table = ablated(folder, one)
    assert set(table["kind"]) == {"none"}


def test_components_have_the_names_of_the_attribution_table():
    assert [site_name(s) for s in (Site("mlp", 3), Site("head", 3, 1))] == ["3.mlp", "3.1"]
