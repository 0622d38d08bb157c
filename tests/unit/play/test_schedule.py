from collections import Counter

from nashlens.games.catalog import CATALOG
from nashlens.play.schedule import Agent, chunks, pairing, pairs_of, schedule, surface_sequence
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


def test_chunks_hold_one_game_and_keep_every_match():
    matches = schedule(
        GAMES,
        pairs_of(AGENTS, ["a", "tft"], self_play=True),
        FORMS,
        repetitions=3,
        scripted_repetitions=3,
        seed=1,
    )
    batches = list(chunks(matches, 4))
    assert [match for batch in batches for match in batch] == matches
    assert all(len(batch) <= 4 and len({m.game.name for m in batch}) == 1 for batch in batches)
