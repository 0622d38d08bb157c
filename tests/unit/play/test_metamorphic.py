"""Changes that must change exactly so much of a table and no more."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nashlens.games.catalog import CATALOG
from nashlens.games.game import Game
from nashlens.play.run import MatchState, decisions_table, play_round, play_rounds
from nashlens.play.schedule import Agent, Match
from nashlens.prompts.design import surfaces
from nashlens.seeds import stream

from .fakes import (
    ALL_FORMS,
    COT,
    MODEL,
    PAD,
    likes,
    matches_of,
    play_matches,
    players,
    plays,
    settings,
)

KEY = ["match_id", "round", "seat"]
BOS = CATALOG["battle_of_the_sexes"]
OTHER = {"row": "column", "column": "row", "row_first": "column_first"}


def write(prompt, seed):
    return f"thought {seed % 997}"


def play(matches, p_action_0, **changes):
    return play_matches(matches, players(p_action_0, write), settings(**changes))


class Mirrored:
    """A match's random numbers with the two seats' exchanged."""

    def __init__(self, rng):
        self.rng = rng

    def random(self, n):
        return self.rng.random(n)[::-1]


@pytest.mark.parametrize("order", ["simultaneous", "row_first"])
@pytest.mark.parametrize("pair", [(MODEL, PAD), (COT, Agent("w", strategy="WSLS"))])
def test_swapping_seats_swaps_the_rows_and_nothing_else(pair, order):
    (match,) = matches_of(pair, games=[BOS], move_orders=[order])
    swapped = replace(
        match, game=BOS.transpose(), row=pair[1], column=pair[0], move_order=OTHER.get(order, order)
    )
    options = settings(rounds=8)

    def run(match, mirror):
        rng = stream(3, "match", "one")
        state = MatchState(match, 8, Mirrored(rng) if mirror else rng)
        # The words do not come in: their seeds have the match's name and the seat.
        player = players(plays("TFT_ERRORS", 0.4), lambda prompt, seed: "hm")
        rounds = [play_round([state], player, options) for _ in range(8)]
        return decisions_table(rounds)

    before, after = run(match, False), run(swapped, True)
    after["seat"] = after["seat"].map(OTHER)
    same = [
        "round",
        "seat",
        "agent",
        "opponent",
        "action",
        "opponent_action",
        "payoff",
        "prompt_id",
    ]
    same += ["opponent_payoff", "p_action_0", "nash_action", "prosocial_action", "n_tokens"]
    key = ["round", "seat"]
    pd.testing.assert_frame_equal(
        before.sort_values(key, ignore_index=True)[same],
        after.sort_values(key, ignore_index=True)[same],
    )


@pytest.mark.parametrize("agent", [MODEL, COT, PAD], ids=lambda agent: agent.mode)
def test_relabelling_changes_labels_and_prompts_alone_for_a_player_that_reads(agent):
    def forms(name, labels):
        return surfaces(["neutral", "table"], {name: labels}, ["identity"], ["forward"])

    pair = (agent, Agent("r", strategy="RANDOM"))
    tables = [
        play(matches_of(pair, forms=forms(*labels), repetitions=2), plays("TFT"), rounds=6)
        for labels in (("jf", ["J", "F"]), ("xy", ["X", "Y"]), ("fj", ["F", "J"]))
    ]
    changed = ["label_set", "prompt_id"]
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table.drop(columns=changed), tables[0].drop(columns=changed))
        mine = table["model"].notna()
        assert (table.loc[mine, "prompt_id"] != tables[0].loc[mine, "prompt_id"]).all()


def test_swapping_the_label_map_turns_a_player_that_likes_a_letter_around():
    def forms(label_map):
        return surfaces(["neutral"], {"jf": ["J", "F"]}, [label_map], ["forward"])

    tables = [
        play(matches_of((MODEL, MODEL), forms=forms(kind)), likes("J", 0.7), rounds=3)
        for kind in ("identity", "swapped")
    ]
    np.testing.assert_allclose(tables[0]["p_action_0"], 0.7)
    np.testing.assert_allclose(tables[1]["p_action_0"], 0.3)
    np.testing.assert_allclose(tables[0]["label_mass"], tables[1]["label_mass"])


def test_an_affine_payoff_change_moves_payoffs_alone():
    cells = [[[3 * x - 2 for x in cell] for cell in line] for line in BOS.payoffs]
    scaled = Game(BOS.name, cells, BOS.actions, BOS.title)
    pair = (MODEL, Agent("w", strategy="WSLS"))
    before, after = (
        play(matches_of(pair, games=[game], forms=ALL_FORMS, repetitions=8), plays("TFT"), rounds=6)
        for game in (BOS, scaled)
    )
    for column in ("payoff", "opponent_payoff"):
        np.testing.assert_allclose(after[column], 3 * before[column] - 2)
    changed = ["payoff", "opponent_payoff", "prompt_id", "n_tokens"]
    pd.testing.assert_frame_equal(before.drop(columns=changed), after.drop(columns=changed))


def test_reordering_options_changes_the_order_and_the_prompt_alone():
    def forms(order):
        return surfaces(["neutral", "cover"], {"jf": ["J", "F"]}, ["identity"], [order])

    pair = (MODEL, Agent("r", strategy="RANDOM"))
    before, after = (
        play(matches_of(pair, forms=forms(order), repetitions=2), plays("GRIM"), rounds=6)
        for order in ("forward", "reversed")
    )
    changed = ["match_id", "option_order", "prompt_id"]
    pd.testing.assert_frame_equal(before.drop(columns=changed), after.drop(columns=changed))
    mine = before["model"].notna()
    assert (before.loc[mine, "prompt_id"] != after.loc[mine, "prompt_id"]).all()


def test_renaming_a_match_changes_its_random_numbers_alone():
    renamed = replace(MODEL, name="other")
    before, after = (
        play(matches_of((agent, agent), repetitions=3), likes("J", 0.6), rounds=8)
        for agent in (MODEL, renamed)
    )
    drawn = before["action"].to_numpy() != after["action"].to_numpy()
    assert 0.2 < drawn.mean() < 0.8
    assert not set(before["seed"]) & set(after["seed"])
    same = ["game", "round", "seat", "template", "label_map", "option_order", "p_action_0", "mode"]
    pd.testing.assert_frame_equal(before[same], after[same])


def test_the_order_of_matches_changes_the_order_of_rows_alone():
    matches: list[Match] = matches_of((MODEL, PAD), (COT, MODEL), repetitions=3)
    before, after = (
        decisions_table(play_rounds(some, lambda: players(likes("J"), write), settings()))
        for some in (matches, matches[::-1])
    )
    pd.testing.assert_frame_equal(
        before.sort_values(KEY, ignore_index=True), after.sort_values(KEY, ignore_index=True)
    )
