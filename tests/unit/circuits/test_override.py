"""Ablating and exchanging late components of planted models, against what was planted."""

import numpy as np
import pytest

from nashlens.circuits.attribution import attribution_table, choose_decisions
from nashlens.circuits.concentration import concentration_estimates
from nashlens.circuits.override import (
    override_table,
    random_groups,
    site_name,
    swaps_table,
)
from nashlens.circuits.readings import Ablations
from nashlens.engine.core import Engine
from nashlens.engine.patching import Site
from nashlens.estimates import Bootstrap
from nashlens.games import CATALOG
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.models.weights import WeightReader
from nashlens.prompts.pairs import build_pairs
from nashlens.prompts.table import Asked, planned_decisions

LATE = 1 / 3
DESIGN = {
    "templates": ["neutral"],
    "label_sets": {"jf": ["J", "F"]},
    "label_maps": ["identity", "swapped"],
    "option_orders": ["forward", "reversed"],
    "opponents": ["RANDOM"],
    "own_cooperation": 0.5,
    "rounds": [3],
    "histories": 2,
    "seed": 3,
}


def ablated(folder, prompts):
    engine = Engine(load_model(folder, device="cpu", dtype="float32"))
    chosen = choose_decisions(prompts, ["prisoners_dilemma"], 64, 1)
    attribution = attribution_table(engine, chosen, WeightReader(folder), model=folder.name)
    return override_table(
        engine, chosen, attribution, late_fraction=LATE, draws=5, orders=2, seed=1, model="m"
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
def swapped(planted):
    """Return what exchanges components between the pairs of a planted model."""

    def make(name, sites):
        folder, _, _ = planted(name)
        decisions = planned_decisions([CATALOG["prisoners_dilemma"]], **DESIGN)
        asked = Asked(ChatTokenizer(folder), None, "I choose option")
        pairs = build_pairs(decisions, asked, kinds=["payoffs"], games=["prisoners_dilemma"])
        engine = Engine(load_model(folder, device="cpu", dtype="float32"))
        if sites is None:
            sites = [
                Site(kind, layer, head)
                for layer in range(5, engine.n_layers + 1)
                for kind, head in [("mlp", -1), *(("head", h) for h in range(engine.n_heads))]
            ]
        some = pairs[pairs["dropped"] == ""].iloc[:8].reset_index(drop=True)
        return swaps_table(
            engine,
            some,
            sites,
            layers=range(9, 13),
            draws=0 if len(sites) > 9 else 3,
            seed=1,
            model="m",
        )

    return make


def test_all_that_is_written_from_where_payoffs_arrive_is_the_other_answer(swapped):
    table = swapped("nash", None)
    assert set(table["direction"]) == {"destroy", "restore"}
    assert table["total"].abs().min() > 0.5
    assert table["effect"].to_numpy() == pytest.approx(table["total"].to_numpy(), rel=0.05)


def test_an_override_that_writes_in_both_prompts_has_nothing_to_exchange(swapped):
    table = swapped("override", [Site("head", layer, 0) for layer in (10, 11, 12)])
    assert set(table["kind"]) == {"candidate", "random"}
    assert table["effect"].abs().max() < 0.05 * table["total"].abs().min()


def test_components_have_the_names_of_the_attribution_table():
    assert [site_name(s) for s in (Site("mlp", 3), Site("head", 3, 1))] == ["3.mlp", "3.1"]
