"""Bugs that public tools of this kind have had, each kept out by a test through whole matches."""

import re

import pandas as pd
import pytest

from nashlens.games.catalog import CATALOG
from nashlens.games.game import SEATS
from nashlens.play.run import decisions_table, play_rounds, texts_table
from nashlens.play.schedule import Agent
from nashlens.vocabulary.prompts import MOVE_ORDERS

from .fakes import (
    ALL_FORMS,
    COT,
    MODEL,
    PAD,
    PLAYED,
    cot,
    matches_of,
    moves,
    play_matches,
    players,
    plays,
    same,
    settings,
)  # fmt: skip
from .test_answers import WORDS

GAMES = list(CATALOG.values())
KEY = ["match_id", "round", "seat"]


def prompts_of(player):
    return [text for texts, _ in player["m"].scorer.calls for text in texts]


def test_the_history_line_swaps_you_and_the_other():
    """The model never saw its own moves."""
    for pair, seat in ((MODEL, Agent("d", strategy="ALLD")), "row"), (
        (Agent("d", strategy="ALLD"), MODEL), "column",
    ):  # fmt: skip
        for match in matches_of(pair, forms=ALL_FORMS, repetitions=len(ALL_FORMS)):
            player = players(plays("ALLC"))
            frame = play_matches([match], player, settings(rounds=3))
            assert moves(frame, seat) == [0, 0, 0]
            label = match.surface.label
            assert PLAYED.findall(prompts_of(player)[-1]) == [(label(0), label(1))] * 2


def test_the_first_substring_match_wins():
    """An answer that named both options counted as the first one."""
    player = players(same(1.0), lambda prompt, seed: "Final answer: option J or option F")
    rounds = play_rounds(
        matches_of((COT, COT)), lambda: player, settings(cot=cot(answer="parsed", retries=0))
    )
    assert decisions_table(rounds)["action"].isna().all()


def test_retries_are_hidden():
    """An invalid answer and its retry left no trace."""
    player = players(same(1.0), lambda prompt, seed: "Final answer: option K")
    rounds = play_rounds(
        matches_of((COT, COT)), lambda: player, settings(cot=cot(answer="parsed", retries=3))
    )
    assert decisions_table(rounds)["attempts"].tolist() == [4, 4]
    assert texts_table(rounds)["answer"].tolist() == ["none"] * 8


def test_i_will_not_defect_is_read_as_defect():
    forms = [f for f in ALL_FORMS if f.label_map == "identity"][:1]
    forms = [type(forms[0])("neutral", "words", WORDS)]
    player = players(same(1.0), lambda prompt, seed: "Final answer: I will not defect")
    asked = play_rounds(
        matches_of((COT, Agent("d", strategy="ALLD")), forms=forms),
        lambda: {"m": _wordy(player["m"])},
        settings(rounds=1, cot=cot(answer="parsed", retries=0)),
    )
    mine = decisions_table(asked).query("agent == 'c'")
    assert mine["answer"].tolist() == ["negated"]
    assert mine["action"].isna().all()


def _wordy(player):
    """A player whose last word is one token, so that whole words can be labels."""

    class Words(type(player.tokenizer)):
        def encode(self, text):
            end = re.search(r" (cooperate|defect)$", text)
            start = text[: end.start()] if end else text
            word = [1000 + ord(end[1][0].upper())] if end else []
            return [ord(c) for c in start] + word

    return type(player)(Words(), player.scorer, player.write)


@pytest.mark.parametrize("game", GAMES, ids=lambda game: game.name)
def test_decisions_are_inverted_in_one_game(game):
    """An action, its label, its payoff and its line in the history are one thing in every game."""
    for action, strategy in enumerate(("ALLC", "ALLD")):
        player = players(plays(strategy))
        matches = matches_of(
            (MODEL, Agent("r", strategy="RANDOM")), games=[game], forms=ALL_FORMS, repetitions=8
        )
        frame = play_matches(matches, player, settings())
        mine = frame[frame["agent"] == "a"]
        assert (mine["action"] == action).all()
        assert (mine["p_action_0"] == 1 - action).all()
        for _, row in mine.iterrows():
            assert row["payoff"] == game.seat_payoffs("row", action, row["opponent_action"])[0]


@pytest.mark.parametrize("order", MOVE_ORDERS)
@pytest.mark.parametrize("known", [False, True])
def test_a_game_ends_one_round_early(order, known):
    matches = matches_of((MODEL, MODEL), (COT, PAD), games=GAMES, move_orders=[order])
    player = players(same(0.5), lambda prompt, seed: "well")
    frame = play_matches(matches, player, settings(rounds=7, horizon_known=known))
    assert (frame.groupby("match_id")["round"].max() == 7).all()
    assert (frame.groupby(["match_id", "round"]).size() == 2).all()
    last = max(prompts_of(player), key=len)
    assert "Round 7: do you choose" in last
    assert ("7 rounds" in last) == known


@pytest.mark.parametrize("mode", [MODEL, COT, PAD], ids=lambda agent: agent.mode)
@pytest.mark.parametrize("order", MOVE_ORDERS)
def test_a_prompt_leaves_out_one_of_the_four_payoff_cells(mode, order):
    player = players(same(0.5), lambda prompt, seed: "well")
    game = CATALOG["chicken"]
    # Eight different payoffs, so that a cell cannot be taken for another.
    cells = [[[10, 20], [11, 21]], [[12, 22], [13, 23]]]
    game = type(game)("g", cells)
    matches = matches_of(
        (mode, mode), games=[game], forms=ALL_FORMS, repetitions=len(ALL_FORMS),
        move_orders=[order],
    )  # fmt: skip
    for match in matches:
        player["m"].scorer.calls.clear()
        play_matches([match], player, settings(rounds=1))
        views = [
            [
                f"{own} {other}"
                for own, other in (game.seat_payoffs(seat, i, j) for i in (0, 1) for j in (0, 1))
            ]
            for seat in SEATS
        ]
        for text in prompts_of(player):
            rules = text.split("Your aim")[0]
            found = re.findall(r"(?<!\d)([12]\d)\D+([12]\d)(?!\d)", rules)
            assert sorted(" ".join(pair) for pair in found) in [sorted(view) for view in views]


def test_a_seed_has_no_effect_when_matches_run_in_parallel():
    def write(prompt, seed):
        return f"{seed}"

    matches = matches_of((MODEL, MODEL), (COT, COT), repetitions=4)
    whole = play_matches(matches, players(same(0.5), write), settings(rounds=6))
    alone = pd.concat(
        play_matches([m], players(same(0.5), write), settings(rounds=6)) for m in matches
    )
    pd.testing.assert_frame_equal(
        whole.sort_values(KEY, ignore_index=True), alone.sort_values(KEY, ignore_index=True)
    )
    other = play_matches(matches, players(same(0.5), write), settings(rounds=6, seed=4))
    assert whole["action"].tolist() != other["action"].tolist()
    assert whole["seed"].nunique() == whole["block_id"].nunique() == 2
    assert whole.groupby("match_id")["action"].apply(tuple).nunique() == 8


def test_self_play_shares_one_stateful_player_between_both_seats():
    """Notes and reasoning of one seat reach the other seat neither in this round nor later."""

    def write(prompt, seed):
        return f"secret {seed}"

    for agent in (PAD, COT):
        player = players(same(0.5), write)
        rounds = play_rounds(matches_of((agent, agent)), lambda p=player: p, settings())
        frame, texts = decisions_table(rounds), texts_table(rounds)
        assert moves(frame, "row") != moves(frame, "column")
        assert texts["text"].is_unique
        asked = [prompt for prompt, _, _ in player["m"].write.asked]
        for seat, other in (SEATS, SEATS[::-1]):
            mine = texts.loc[texts["seat"] == seat, "text"]
            theirs = texts.loc[texts["seat"] == other, "text"]
            for prompt in [*asked, *prompts_of(player)]:
                if any(text in prompt for text in mine):
                    assert not any(text in prompt for text in theirs)
