from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from nashlens.games.catalog import CATALOG
from nashlens.play.schedule import (
    Agent,
    pairing,
    pairs_of,
    schedule,
    split_into_chunks,
    surface_sequence,
)
from nashlens.prompts.design import surfaces

FORMS = surfaces(
    ["neutral", "named"],
    {"jf": ["J", "F"], "xy": ["X", "Y"], "pq": ["P", "Q"]},
    ["identity", "swapped"],
    ["forward", "reversed"],
)
A, B = Agent("a", model="m"), Agent("b", model="n")
TFT, ALLD = Agent("tft", strategy="TFT"), Agent("alld", strategy="ALLD")
AGENTS = {agent.name: agent for agent in (A, B, TFT, ALLD)}
SEEDED = {"scripted_repetitions": 1, "seed": 1}
GAMES = [CATALOG["prisoners_dilemma"], CATALOG["chicken"]]


def names(pairs):
    return [(row.name, column.name) for row, column in pairs]


def test_a_group_is_self_play_and_every_scripted_agent_in_both_seats():
    pairs = pairs_of(AGENTS, ["a", "tft", "alld"], self_play=True)
    assert names(pairs) == [("a", "a"), ("a", "tft"), ("tft", "a"), ("a", "alld"), ("alld", "a")]
    assert names(pairs_of(AGENTS, ["a"], self_play=False)) == []


def test_cross_play_is_of_both_orders():
    assert names(pairs_of(AGENTS, ["b", "a"], self_play=True)) == [("b", "a"), ("a", "b")]
    assert [pairing(*p) for p in ((A, A), (A, B), (A, TFT))] == [
        "self_play",
        "cross_play",
        "scripted",
    ]


def test_match_ids_are_unique_and_do_not_depend_on_other_pairs():
    pairs = pairs_of(AGENTS, ["a", "tft", "alld"], self_play=True)
    every = schedule(GAMES, pairs, FORMS, repetitions=3, scripted_repetitions=3, seed=1)
    assert len({match.match_id for match in every}) == len(every) == 2 * 5 * 3
    few = schedule(GAMES[:1], pairs[:1], FORMS, repetitions=3, scripted_repetitions=3, seed=1)
    assert few == [m for m in every if m.row == m.column and m.game == GAMES[0]]


def test_two_repetitions_cancel_label_and_order_preferences():
    for game in ("pd", "chicken", "harmony"):
        first, second = surface_sequence(FORMS, game, 5, 2)
        assert first.template == second.template
        assert first.label_set == second.label_set
        assert first.label_map != second.label_map
        assert first.option_order != second.option_order


def test_one_scripted_repetition_mirrors_the_form_between_the_models_seats():
    pairs = pairs_of(AGENTS, ["a", "tft", "alld"], self_play=True)
    matches = schedule(GAMES, pairs, FORMS, repetitions=3, scripted_repetitions=1, seed=1)
    scripted = [m for m in matches if m.pairing == "scripted"]
    assert len(scripted) == 2 * 2 * 2
    assert len(matches) - len(scripted) == 2 * 3
    for game in GAMES:
        first, second = (
            {m.surface.code for m in scripted if m.game == game and (m.row == A) == seat}
            for seat in (True, False)
        )
        assert len(first) == len(second) == 1
        assert first != second


def test_all_forms_come_before_any_repeats():
    sequence = surface_sequence(FORMS, "pd", 5, 2 * len(FORMS))
    assert set(Counter(form.code for form in sequence).values()) == {2}
    assert len({form.code for form in sequence[: len(FORMS)]}) == len(FORMS)


def test_bounds_of_one_kind_hold_for_it_alone():
    few = Agent.from_config(
        "b",
        {
            "model": "n",
            "repetitions": 3,
            "self_play": {"rounds": None, "repetitions": 2, "sequential": True},
            "cross_play": {"rounds": 4, "repetitions": None, "sequential": False},
            "scripted": {"rounds": 2, "repetitions": 5, "sequential": True},
        },
    )
    matches = schedule(
        GAMES[:1],
        [(A, A), (few, few), (A, few), (few, TFT), (A, TFT)],
        FORMS,
        repetitions=6,
        scripted_repetitions=4,
        seed=1,
        move_orders=["simultaneous", "row_first"],
    )
    counts = Counter((m.row.name, m.column.name, m.move_order, m.length(10)) for m in matches)
    assert counts == {
        ("a", "a", "simultaneous", 10): 6,
        ("a", "a", "row_first", 10): 6,
        ("b", "b", "simultaneous", 10): 2,
        ("b", "b", "row_first", 10): 2,
        ("a", "b", "simultaneous", 4): 3,
        ("b", "tft", "simultaneous", 2): 3,
        ("a", "tft", "simultaneous", 10): 4,
    }


def of_games(*counts):
    games = [replace(CATALOG["chicken"], name=f"g{i}") for i in range(len(counts))]
    return [
        match
        for game, count in zip(games, counts, strict=True)
        for match in schedule([game], [(A, B)], FORMS, repetitions=count, **SEEDED)
    ]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 8))
def test_chunks_keep_every_match_in_order(counts, size):
    matches = of_games(*counts)
    batches = list(split_into_chunks(matches, size))
    assert [match for batch in batches for match in batch] == matches
    assert all(1 <= len(batch) <= size for batch in batches)


def test_games_of_few_matches_share_a_chunk_and_large_ones_keep_to_themselves():
    sizes = [
        [[m.game.name for m in batch].count(name) for name in ("g0", "g1", "g2")]
        for batch in split_into_chunks(of_games(2, 3, 3), 8)
    ]
    assert sizes == [[2, 3, 3]]
    first, other = of_games(8, 6, 9), of_games(8, 7, 9)
    batches = list(split_into_chunks(first, 8))
    assert [len({m.game.name for m in batch}) for batch in batches] == [1, 1, 1, 1]
    kept = [batch for batch in split_into_chunks(other, 8) if batch[0].game.name != "g1"]
    assert kept == [batch for batch in batches if batch[0].game.name != "g1"]
