"""Matches in lockstep, in mode direct."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nashlens.errors import DataError
from nashlens.play.sampling import at_temperature
from nashlens.play.schedule import Agent, Bounds
from nashlens.vocabulary.prompts import MOVE_ORDERS

from .fakes import (
    ALL_FORMS,
    MODEL,
    PD,
    likes,
    matches_of,
    moves,
    play_matches,
    players,
    plays,
    same,
    settings,
)


def scripted(one, other, **more):
    return matches_of((Agent("x", strategy=one), Agent("y", strategy=other)), **more)


@pytest.mark.parametrize(
    ("one", "other", "row", "column"),
    [
        ("TFT", "ALLD", [0, 1, 1, 1], [1, 1, 1, 1]),
        ("GRIM", "ALLC", [0, 0, 0, 0], [0, 0, 0, 0]),
        ("WSLS", "ALLD", [0, 1, 0, 1], [1, 1, 1, 1]),
        ("TFT", "TFT", [0, 0, 0, 0], [0, 0, 0, 0]),
        ("ALLD", "GRIM", [1, 1, 1, 1], [0, 1, 1, 1]),
        ("WSLS", "WSLS", [0, 0, 0, 0], [0, 0, 0, 0]),
    ],
)
def test_known_matches_of_scripted_strategies(one, other, row, column):
    frame = play_matches(scripted(one, other), {}, settings())
    assert moves(frame, "row") == row
    assert moves(frame, "column") == column
    assert frame["model"].isna().all()
    assert frame["label_mass"].isna().all()


def test_payoffs_are_the_games_from_each_seat():
    frame = play_matches(scripted("ALLC", "ALLD"), {}, settings())
    by_seat = frame.groupby("seat")[["payoff", "opponent_payoff"]].first()
    assert by_seat.loc["row"].tolist() == list(PD.payoff(0, 1))
    assert by_seat.loc["column"].tolist() == list(PD.payoff(0, 1))[::-1]


def test_probabilities_follow_the_label_map():
    matches = matches_of((MODEL, MODEL), repetitions=4)
    frame = play_matches(matches, players(likes("J")), settings(rounds=1))
    expected = np.where(frame["label_map"] == "identity", 0.9, 0.1)
    np.testing.assert_allclose(frame["p_action_0"], expected)
    np.testing.assert_allclose(frame["label_mass"], 0.8)
    np.testing.assert_allclose(frame["p_action_0"] + frame["p_action_1"], 1.0)


def test_greedy_takes_the_likelier_action():
    matches = matches_of((MODEL, MODEL), repetitions=4)
    frame = play_matches(matches, players(likes("J", 0.6)), settings(temperature=0.0))
    assert (frame["action"] == (frame["p_action_0"] < 0.5)).all()


@given(st.floats(0.001, 0.999), st.floats(0.05, 20))
def test_temperature_keeps_order_and_bounds(p, temperature):
    q = at_temperature(p, temperature)
    assert 0 <= q <= 1
    assert q == pytest.approx(1 - at_temperature(1 - p, temperature), abs=1e-9)
    assert (q - 0.5) * (p - 0.5) >= 0


def test_temperature_one_leaves_probabilities():
    assert at_temperature(0.3, 1.0) == pytest.approx(0.3)
    assert at_temperature(0.2, 0.5) == pytest.approx(0.04 / (0.04 + 0.64))


def test_a_match_that_outgrows_the_context_is_one_clear_error():
    matches = matches_of((MODEL, MODEL))
    with pytest.raises(DataError, match=r"matches\.rounds"):
        play_matches(matches, players(max_length=50), settings())


def test_tft_with_errors_against_itself_falls_out_of_cooperation_and_is_seeded():
    agents = (Agent("x", strategy="TFT_ERRORS", p=0.3), Agent("y", strategy="TFT_ERRORS", p=0.3))
    frame = play_matches(matches_of(agents), {}, settings(rounds=30))
    meant = 1 - pd.Series([0, *moves(frame, "column")[:-1]])
    assert set(frame["p_action_0"]) == {0.3, 0.7}
    row = frame[frame["seat"] == "row"].sort_values("round")
    assert row["p_action_0"].tolist() == [0.7 if m else 0.3 for m in meant]
    assert 0.1 < (row["action"].to_numpy() == meant).mean() < 0.6


@pytest.mark.parametrize(
    "strategy", ["ALLC", "ALLD", "TFT", "GRIM", "WSLS", "TFT_ERRORS", "RANDOM"]
)
@pytest.mark.parametrize("order", MOVE_ORDERS)
def test_a_script_wrapped_as_a_model_recovers_its_own_moves(strategy, order):
    """It reads its history from the prompt, so the prompt has it, and the right way round."""
    opponents = [Agent(name, strategy=name) for name in ("RANDOM", "TFT", "WSLS")]
    script = Agent("a", strategy=strategy)
    for place in (0, 1):
        pairs = [[(x, other), (other, x)][place] for x in (script,) for other in opponents]
        asked = [[(x, other), (other, x)][place] for x in (MODEL,) for other in opponents]
        # A draw says which label a model takes, and which action a script: the same in these.
        plain = [f for f in ALL_FORMS if (f.label_map, f.option_order) == ("identity", "forward")]
        chance = strategy in ("TFT_ERRORS", "RANDOM")
        forms = plain if chance else ALL_FORMS
        options = {"forms": forms, "repetitions": 6, "move_orders": [order]}
        # One name, so one random stream: what a model with the same probabilities draws.
        known = play_matches(matches_of(*pairs, **options), {}, settings(rounds=9))
        found = play_matches(
            matches_of(*asked, **options), players(plays(strategy)), settings(rounds=9)
        )
        key = ["match_id", "round", "seat"]
        columns = [*key, "action", "payoff", "opponent_payoff"]
        pd.testing.assert_frame_equal(
            known.sort_values(key, ignore_index=True)[columns],
            found.sort_values(key, ignore_index=True)[columns],
        )
        mine = found["agent"] == "a"
        np.testing.assert_allclose(
            found.loc[mine, "p_action_0"], known.loc[mine, "p_action_0"], atol=1e-12
        )


def test_the_second_mover_sees_the_first_ones_move_of_this_round():
    for order in MOVE_ORDERS[1:]:
        player = players(same(0.5))
        frame = play_matches(matches_of((MODEL, MODEL), move_orders=[order]), player, settings())
        second = "column" if order == "row_first" else "row"
        rows = frame[frame["seat"] == second].sort_values("round")
        form = matches_of((MODEL, MODEL))[0].surface
        calls = player["m"].scorer.calls
        assert [len(texts) for texts, _ in calls] == [1] * 8
        for (first,), _ in calls[::2]:
            assert "has chosen" not in first
        for ((text,), _), action, now in zip(
            calls[1::2], rows["opponent_action"], rows["round"], strict=True
        ):
            assert f"Round {now}: the other player has chosen option {form.label(action)}." in text


def test_the_move_order_and_the_horizon_are_columns():
    frame = play_matches(
        matches_of((MODEL, MODEL), move_orders=MOVE_ORDERS), players(), settings(horizon_known=True)
    )
    assert frame.groupby("move_order")["match_id"].nunique().to_dict() == dict.fromkeys(
        MOVE_ORDERS, 1
    )
    assert set(frame["horizon"]) == {"known"}
    assert set(frame["match_rounds"]) == {4}
    assert frame["match_id"].str.contains("row_first").eq(frame["move_order"] == "row_first").all()


def test_an_agent_may_bound_the_length_of_its_matches():
    short = Agent("b", model="m", rounds=2)
    frame = play_matches(matches_of((MODEL, MODEL), (MODEL, short)), players(), settings())
    assert frame.groupby("match_id")["round"].max().tolist() == [4, 2]
    assert frame.groupby("match_id")["match_rounds"].max().tolist() == [4, 2]


def test_an_agent_may_bound_its_matches_with_scripts_alone():
    short = Agent("b", model="m", rounds=3, scripted=Bounds(rounds=1))
    script = Agent("d", strategy="ALLD")
    frame = play_matches(matches_of((short, short), (script, short)), players(), settings())
    assert frame.groupby("pairing")["round"].max().to_dict() == {"scripted": 1, "self_play": 3}


def test_a_window_hides_older_rounds_from_models_and_not_from_scripts():
    player = players(plays("GRIM"))
    agents = (Agent("w", strategy="WSLS"), Agent("d", strategy="ALLD"))
    play_matches(matches_of((MODEL, agents[0])), player, settings(window=1, rounds=5))
    texts = [text for texts, _ in player["m"].scorer.calls for text in texts]
    assert [text.count("you chose option") for text in texts] == [0, 1, 1, 1, 1]
    frame = play_matches(matches_of(agents), {}, settings(window=1, rounds=5))
    assert moves(frame, "row") == [0, 1, 0, 1, 0]


def test_nothing_is_generated_in_mode_direct():
    frame = play_matches(matches_of((MODEL, MODEL)), players(), settings())
    assert frame[["answer", "parsed_action", "attempts", "n_written"]].isna().all().all()
