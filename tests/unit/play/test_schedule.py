from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from nashlens.games.catalog import CATALOG
from nashlens.play.schedule import (
    BLOCKS_PER_STRATUM,
    Agent,
    blocks_of_forms,
    pairing,
    pairs_of,
    schedule,
)
from nashlens.play.steered import PlayerIntervention
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
SEEDED = {"scripted_repetitions": 4, "seed": 1}
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


def test_a_steered_players_doses_meet_what_is_in_their_group():
    doses = [
        Agent(name, model="m", intervention=PlayerIntervention("abstract", (0.5,), "add", v, "all"))
        for name, v in (("s_0", 0.0), ("s_1", 1.0))
    ]
    agents = AGENTS | {agent.name: agent for agent in doses}
    assert names(pairs_of(agents, ["s_0", "s_1", "tft", "a"], self_play=True)) == [
        *[("s_0", "s_0"), ("s_0", "tft"), ("tft", "s_0"), ("s_0", "a"), ("a", "s_0")],
        *[("s_1", "s_1"), ("s_1", "tft"), ("tft", "s_1"), ("s_1", "a"), ("a", "s_1")],
    ]
    # Another model's agent meets them in a group of its own.
    assert names(pairs_of(agents, ["s_0", "s_1", "b"], self_play=True)) == [
        *[("s_0", "b"), ("b", "s_0"), ("s_1", "b"), ("b", "s_1")]
    ]


def test_an_agent_plays_its_own_games_only():
    one = replace(A, games=("chicken",))
    pairs = [(one, one), (one, B), (B, one), (B, B)]
    matches = schedule(GAMES, pairs, FORMS, repetitions=4, **SEEDED)
    met = {(m.row.name, m.column.name, m.game.name) for m in matches}
    assert met == {
        *[("a", "a", "chicken"), ("a", "b", "chicken"), ("b", "a", "chicken")],
        *[("b", "b", "chicken"), ("b", "b", "prisoners_dilemma")],
    }


def test_match_ids_are_unique_and_do_not_depend_on_other_pairs():
    pairs = pairs_of(AGENTS, ["a", "tft", "alld"], self_play=True)
    every = schedule(GAMES, pairs, FORMS, repetitions=8, scripted_repetitions=8, seed=1)
    assert len({match.match_id for match in every}) == len(every) == 2 * 5 * 8
    few = schedule(GAMES[:1], pairs[:1], FORMS, repetitions=8, scripted_repetitions=8, seed=1)
    assert few == [m for m in every if m.row == m.column and m.game == GAMES[0]]


VARIANTS = [replace(CATALOG["prisoners_dilemma"], variant=k) for k in range(3)]


@given(
    st.sets(st.sampled_from(["neutral", "named", "cover", "table"]), min_size=1),
    st.integers(1, 4),
    st.tuples(st.integers(0, 40), st.integers(0, 12)),
    st.integers(0, 3),
)
def test_matches_come_in_whole_blocks(templates, sets, repetitions, seed):
    labels = {f"s{k}": [f"A{k}", f"B{k}"] for k in range(sets)}
    forms = surfaces(sorted(templates), labels, ["identity", "swapped"], ["forward", "reversed"])
    matches = schedule(
        VARIANTS,
        pairs_of(AGENTS, ["a", "tft"], self_play=True),
        forms,
        repetitions=repetitions[0],
        scripted_repetitions=repetitions[1],
        seed=seed,
        move_orders=["simultaneous", "row_first"],
    )
    blocks, scenarios = {}, {}
    for match in matches:
        blocks.setdefault(match.block_id, []).append(match)
        scenarios.setdefault(match.scenario_id, []).append(match)
    assert len(matches) == 2 * (repetitions[0] // 4 * 4) + 2 * (repetitions[1] // 4 * 4)
    for block in blocks.values():
        cells = {(m.surface.label_map, m.surface.option_order) for m in block}
        assert len(block) == len(cells) == 4
    # What the same block of all pairs and move orders shares.
    for same in scenarios.values():
        about = {(m.game.variant, m.surface.template, m.surface.label_set) for m in same}
        assert len(about) == 1


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 60), st.integers(0, 5))
def test_every_stratum_has_blocks_enough_and_all_come_before_any_repeats(n, sets, count, seed):
    templates = ["neutral", "named", "cover", "table"][:n]
    labels = {f"s{k}": [f"A{k}", f"B{k}"] for k in range(sets)}
    forms = surfaces(templates, labels, ["identity", "swapped"], ["forward", "reversed"])
    blocks = blocks_of_forms(forms, "pd", seed, count)
    strata = [(block[0].template, block[0].label_set) for block in blocks]
    used = Counter(strata)
    assert min(used.values()) >= min(count, BLOCKS_PER_STRATUM)
    whole = count // BLOCKS_PER_STRATUM
    assert len(used) == max(1, min(whole, n * sets))
    # As many templates and label sets as can be.
    assert len({t for t, _ in used}) == min(n, max(1, whole))
    assert len({s for _, s in used}) == min(sets, max(1, whole))


def test_games_begin_with_different_strata():
    first = {blocks_of_forms(FORMS, f"game {k}", 1, 1)[0][0].code for k in range(20)}
    assert len(first) > 3


def test_bounds_of_one_kind_hold_for_it_alone():
    few = Agent.from_config(
        "b",
        {
            "model": "n",
            "repetitions": 12,
            "self_play": {"rounds": None, "repetitions": 8, "sequential": True},
            "cross_play": {"rounds": 4, "repetitions": None, "sequential": False},
            "scripted": {"rounds": 2, "repetitions": 0, "sequential": True},
        },
    )
    matches = schedule(
        GAMES[:1],
        [(A, A), (few, few), (A, few), (few, TFT), (A, TFT)],
        FORMS,
        repetitions=16,
        scripted_repetitions=4,
        seed=1,
        move_orders=["simultaneous", "row_first"],
        sequential_repetitions=4,
    )
    counts = Counter((m.row.name, m.column.name, m.move_order, m.length(10)) for m in matches)
    assert counts == {
        ("a", "a", "simultaneous", 10): 16,
        ("a", "a", "row_first", 10): 4,
        ("b", "b", "simultaneous", 10): 8,
        ("b", "b", "row_first", 10): 4,
        ("a", "b", "simultaneous", 4): 12,
        ("a", "tft", "simultaneous", 10): 4,
    }
