"""Pairs differ in one thing, come back when they are changed again, and are aligned or dropped."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nashlens.errors import DataError
from nashlens.games import CATALOG, SEATS, nash_action
from nashlens.prompts.pairs import build_pairs, counterfactual, exchange_payoffs
from nashlens.prompts.render import Surface
from nashlens.prompts.table import Asked, build_prompts, planned_decisions
from nashlens.vocabulary.pairs import PAIR_KINDS
from tests.unit.prompts.fakes import CharTokenizer, WordTokenizer
from tests.unit.prompts.test_positions import views

FORMS = {
    "templates": ["neutral", "table"],
    "label_maps": ["identity", "swapped"],
    "option_orders": ["forward", "reversed"],
}
DESIGN = FORMS | {
    "label_sets": {"jf": ["J", "F"], "xy": ["X", "Y"]},
    "opponents": ["RANDOM", "TFT"],
    "own_cooperation": 0.5,
    "rounds": [3],
    "histories": 4,
    "seed": 3,
}
DOMINANT = ["prisoners_dilemma", "harmony", "deadlock", "concord"]


def pairs_of(tokenizer, games=("prisoners_dilemma",), **changes):
    design = DESIGN | changes
    decisions = planned_decisions([CATALOG[name] for name in games], **design)
    asked = Asked(tokenizer, "You play.", "I choose option")
    return build_pairs(decisions, asked, kinds=PAIR_KINDS, games=games)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(view=views(), kind=st.sampled_from(PAIR_KINDS))
def test_a_pair_of_a_pair_is_the_pair(view, kind):
    if kind == "history" and not view.other:
        with pytest.raises(DataError, match="no last move"):
            counterfactual(view, kind)
        return
    other = counterfactual(view, kind)
    assert other != view
    again = counterfactual(other, kind)
    assert (again.game, again.surface) == (view.game, view.surface)
    assert (list(again.own), list(again.other)) == (list(view.own), list(view.other))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(view=views(), kind=st.sampled_from(PAIR_KINDS))
def test_only_the_named_thing_differs(view, kind):
    if kind == "history" and not view.other:
        return
    other = counterfactual(view, kind)
    named = {
        "payoffs": {"game": view.game},
        "history": {"other": view.other},
        "labels": {"surface": view.surface},
        "order": {"surface": view.surface},
    }[kind]
    assert replace(other, **named) == view
    if kind == "payoffs":
        assert replace(other.game, payoffs=view.game.payoffs) == view.game
    if kind == "history":
        assert other.other[:-1] == view.other[:-1]
    if kind in ("labels", "order"):
        field = {"labels": "label_map", "order": "option_order"}[kind]
        assert isinstance(other.surface, Surface)
        assert replace(other.surface, **{field: getattr(view.surface, field)}) == view.surface


@pytest.mark.parametrize(("name", "seat"), list(product(sorted(CATALOG), SEATS)))
def test_own_payoffs_of_the_two_actions_are_exchanged(name, seat):
    game = CATALOG[name]
    other = exchange_payoffs(game, seat)
    for own, theirs in product((0, 1), (0, 1)):
        mine, yours = game.seat_payoffs(seat, own, theirs)
        exchanged, _ = game.seat_payoffs(seat, 1 - own, theirs)
        assert other.seat_payoffs(seat, own, theirs) == (exchanged, yours)
        assert exchange_payoffs(other, seat).seat_payoffs(seat, own, theirs) == (mine, yours)


@pytest.mark.parametrize(("name", "seat"), list(product(DOMINANT, SEATS)))
def test_a_dominant_action_flips(name, seat):
    game = CATALOG[name]
    assert nash_action(exchange_payoffs(game, seat), seat) == 1 - nash_action(game, seat)


def test_pairs_are_of_the_prompts_table_and_aligned():
    tokenizer = WordTokenizer()
    pairs = pairs_of(tokenizer)
    prompts = build_prompts(
        [CATALOG["prisoners_dilemma"]],
        tokenizer,
        **DESIGN,
        system="You play.",
        assistant_prefix="I choose option",
    )
    assert not pairs["dropped"].any()
    assert set(pairs["prompt_id"]) == set(prompts["prompt_id"])
    assert len(pairs) == len(PAIR_KINDS) * len(prompts)
    assert pairs["pair_id"].is_unique
    base = prompts.set_index(["block_id", "label_map", "option_order"])
    sources = {"labels": "label_map", "order": "option_order"}
    for row in pairs.to_dict("records"):
        assert len(row["ids"]) == len(row["source_ids"]) == len(row["groups"])
        tokens = zip(row["groups"], row["ids"], row["source_ids"], strict=True)
        differs = {group for group, a, b in tokens if a != b}
        assert differs
        assert set(row["changed"]) == differs
        flips = row["nash_action"] != row["source_nash_action"]
        assert flips == (row["kind"] == "payoffs")
        moved = row["opponent_last"] != row["source_opponent_last"]
        assert moved == (row["kind"] == "history")
        if row["kind"] in sources:
            # The source is another prompt of the same block.
            key = {name: row[name] for name in base.index.names}
            levels = FORMS[sources[row["kind"]] + "s"]
            column = sources[row["kind"]]
            key[column] = levels[1 - levels.index(key[column])]
            assert base.loc[tuple(key.values())]["token_ids"].tolist() == row["source_ids"].tolist()


def test_where_pairs_may_differ():
    pairs = pairs_of(WordTokenizer())
    changed = pairs.groupby("kind")["changed"].agg(lambda lists: {g for one in lists for g in one})
    payoffs, options = {f"payoff_{k}" for k in range(1, 5)}, {"option_first", "option_second"}
    assert changed["payoffs"] == payoffs | {"round_last", "round_last-1"}
    assert changed["history"] == {"round_last"}
    assert changed["order"] == payoffs | options | {"opening"}
    assert changed["labels"] == changed["order"] | {"round_last", "round_last-1"}


def test_what_cannot_be_aligned_is_dropped_with_its_reason():
    pairs = pairs_of(CharTokenizer(), label_sets={"long": ["Left", "Right"]})
    history = pairs[pairs["kind"] == "history"]
    assert history["dropped"].str.match(r"not aligned: \d+ and \d+ tokens").all()
    first = pairs_of(WordTokenizer(), rounds=[1])
    history = first[first["kind"] == "history"]
    assert (history["dropped"] == "there is no last move to exchange").all()
    assert not first.loc[first["kind"] == "labels", "dropped"].any()


def test_games_without_a_nash_action_that_flips_are_dropped():
    pairs = pairs_of(WordTokenizer(), ("chicken",))
    payoffs = pairs[pairs["kind"] == "payoffs"]
    assert (payoffs["dropped"] == "no Nash action that flips").all()


def test_a_kind_that_does_not_exist_is_named():
    decision = next(planned_decisions([CATALOG["chicken"]], **DESIGN))
    with pytest.raises(DataError, match=r"'talk'.*payoffs"):
        counterfactual(decision.view, "talk")
