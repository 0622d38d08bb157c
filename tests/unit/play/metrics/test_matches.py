"""What single matches show: by hand, by a slow oracle, and under changes that must not matter."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nashlens.errors import DataError
from nashlens.games.catalog import CATALOG
from nashlens.games.equilibria import prosocial_action
from nashlens.games.game import Game
from nashlens.play.schedule import Agent

from .fakes import MODEL, by_hand, measured, measured_matches, played, scripted

PD, BOS = CATALOG["prisoners_dilemma"], CATALOG["battle_of_the_sexes"]
sequences = st.integers(1, 8).flatmap(
    lambda t: st.tuples(*[st.lists(st.integers(0, 1), min_size=t, max_size=t)] * 2)
)


def seat(table, name, number=0):
    return table[(table["seat"] == name) & (table["match_id"] == f"m{number}")].iloc[0]


def test_tit_for_tat_against_all_defect_by_hand():
    play = by_hand([([0, 1, 1, 1], [1, 1, 1, 1])], PD)
    tft, alld = (seat(measured_matches(play, [PD]), name) for name in ("row", "column"))
    assert [tft[f"n_{cell}"] for cell in ("00", "01", "10", "11")] == [0, 1, 0, 3]
    assert [alld[f"n_{cell}"] for cell in ("00", "01", "10", "11")] == [0, 0, 1, 3]
    assert (tft["cooperation"], alld["cooperation"]) == (0.25, 0)
    assert (tft["payoff"], alld["payoff"]) == (3, 8)
    assert (tft["first_defection"], tft["partner_first_defection"]) == (2, 1)
    assert (tft["cooperation_before"], tft["cooperation_after"]) == (1, 0)
    assert (tft["n_before"], tft["n_after"]) == (1, 3)
    assert (tft["locked"], tft["lock_onset"], tft["full_lock"]) == (1, 2, 0)
    assert (tft["lock_own"], tft["lock_other"]) == (1, 1)
    assert tft["nash_tv"] == 0.25 == alld["nash_tv"]
    assert tft["nash_tv_first"] == 1
    assert tft["nash_tv_last"] == 0
    assert tft["nash_tv_control"] == 0
    # A quarter of the weight stands on the equilibrium's cell, whatever the number of rounds.
    assert tft["nash_tv_random"] == pytest.approx(0.75)
    assert tft["nash_regret"] == pytest.approx(0.25 / 5)
    # Both seats' gaps from (defect, defect), of all rounds and of the first one.
    assert tft["nash_norm"] == pytest.approx(0.25)
    assert tft["nash_norm_first"] == pytest.approx(1)
    assert tft["nash_norm_random"] == pytest.approx(np.sqrt(2) * tft["nash_l2_random"])
    assert tft["nash_tv_slope"] == pytest.approx(np.polyfit(range(4), [1, 0, 0, 0], 1)[0])
    # Sums 5, 2, 2, 2 between 2 and 6.
    assert tft["efficiency"] == pytest.approx(0.75 / 4)
    assert (tft["n_after_other_1"], tft["n_0_after_other_1"]) == (3, 0)
    assert (alld["n_after_other_0"], alld["n_0_after_other_0"]) == (1, 0)


def oracle(own, other, game, name):
    """The counts, one round at a time."""
    t, good = len(own), prosocial_action(game, name)
    theirs = prosocial_action(game, {"row": "column", "column": "row"}[name])
    found = {f"n_{i}{j}": 0 for i in (0, 1) for j in (0, 1)}
    found |= {f"n{k}_after_other_{a}": 0 for k in ("", "_0") for a in (0, 1)}
    found |= {"payoff": 0.0, "first_defection": np.nan, "partner_first_defection": np.nan}
    for r in range(t):
        found[f"n_{own[r]}{other[r]}"] += 1
        found["payoff"] += game.seat_payoffs(name, own[r], other[r])[0]
        if r:
            found[f"n_after_other_{other[r - 1]}"] += 1
            found[f"n_0_after_other_{other[r - 1]}"] += own[r] == 0
        for key, move, right in (
            ("first_defection", own[r], good),
            ("partner_first_defection", other[r], theirs),
        ):
            if right is not None and move != right and np.isnan(found[key]):
                found[key] = r + 1
    run = 1
    while run < t and (own[t - run - 1], other[t - run - 1]) == (own[-1], other[-1]):
        run += 1
    locked = t >= 2 and run >= max(2, t / 2)
    found["lock_onset"] = t - run + 1 if locked else np.nan
    found["lock_own"] = own[-1] if locked else np.nan
    found["lock_other"] = other[-1] if locked else np.nan
    found["locked"] = float(locked) if t >= 2 else np.nan
    found["full_lock"] = float(run == t) if t >= 2 else np.nan
    return found


@given(st.lists(sequences, min_size=1, max_size=4), st.sampled_from(sorted(CATALOG)))
@settings(max_examples=40, deadline=None)
def test_every_count_is_that_of_the_slow_oracle(moves, name):
    game = CATALOG[name]
    table = measured_matches(by_hand(moves, game), [game])
    for number, (row, column) in enumerate(moves):
        for side, own, other in (("row", row, column), ("column", column, row)):
            line = seat(table, side, number)
            for key, right in oracle(own, other, game, side).items():
                seen = line[key]
                assert (pd.isna(seen) and pd.isna(right)) or seen == pytest.approx(right), key


@given(st.lists(sequences, min_size=1, max_size=3), st.sampled_from(sorted(CATALOG)))
@settings(max_examples=30, deadline=None)
def test_swapping_seats_swaps_the_rows(moves, name):
    game = CATALOG[name]
    before = measured_matches(by_hand(moves, game), [game])
    turned = replace(game.transpose(), name=game.name)
    after = measured_matches(by_hand([m[::-1] for m in moves], turned), [turned])
    after["seat"] = after["seat"].map({"row": "column", "column": "row"})
    after = after.sort_values(["match_id", "seat"], ignore_index=True)
    same = [c for c in before.columns if c not in ("agent", "opponent", "model", "opponent_model")]
    pd.testing.assert_frame_equal(before[same], after[same])


@given(st.lists(sequences, min_size=1, max_size=3), st.sampled_from(sorted(CATALOG)))
@settings(max_examples=30, deadline=None)
def test_an_affine_payoff_change_moves_payoffs_alone(moves, name):
    game = CATALOG[name]
    scaled = Game(
        name, [[tuple(3 * x - 2 for x in cell) for cell in line] for line in game.payoffs]
    )
    before = measured_matches(by_hand(moves, game), [game])
    after = measured_matches(by_hand(moves, scaled), [scaled])
    points = ["payoff", "opponent_payoff"]
    expected = 3 * before[points].to_numpy() - 2 * before[["n_rounds"]].to_numpy(float)
    np.testing.assert_allclose(after[points], expected, atol=1e-9)
    pd.testing.assert_frame_equal(before.drop(columns=points), after.drop(columns=points))


def test_renaming_and_reordering_change_names_and_order_alone():
    play = played((MODEL, scripted("RANDOM")), (MODEL, MODEL), strategy="WSLS", games=[PD, BOS])
    before = measured_matches(play, [PD, BOS])
    renamed = play.assign(match_id="z" + play["match_id"]).sample(frac=1, random_state=0)
    after = measured_matches(renamed, [BOS, PD])
    pd.testing.assert_frame_equal(
        before.drop(columns="match_id"), after.drop(columns="match_id"), check_like=True
    )
    changed = ["label_map", "option_order", "label_set", "template"]
    other = play.assign(**dict.fromkeys(changed, "x"))
    pd.testing.assert_frame_equal(
        measured_matches(other, [PD, BOS]).drop(columns=changed), before.drop(columns=changed)
    )


def test_transcripts_replay_to_the_same_table(tmp_path):
    play = played((MODEL, scripted("GRIM")), strategy="TFT_ERRORS", p=0.3, games=[PD, BOS])
    play.to_parquet(tmp_path / "play.parquet")
    again = pd.read_parquet(tmp_path / "play.parquet")
    pd.testing.assert_frame_equal(
        measured_matches(play, [PD, BOS]), measured_matches(again, [PD, BOS])
    )


def test_a_match_that_an_invalid_answer_ended_counts_its_whole_rounds():
    play = by_hand([([0, 0, None], [0, 1, 1])], PD)
    row, column = (seat(measured_matches(play, [PD]), name) for name in ("row", "column"))
    assert (row["n_rounds"], row["n_invalid"], row["opponent_n_invalid"]) == (2, 1, 0)
    assert (column["n_rounds"], column["n_invalid"], column["opponent_n_invalid"]) == (2, 0, 1)
    assert row["match_rounds"] == 3
    nothing = seat(measured_matches(by_hand([([None], [1])], PD), [PD]), "row")
    assert nothing["n_rounds"] == 0
    assert nothing[["cooperation", "nash_tv", "nash_tv_control", "locked"]].isna().all()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("payoff", 7.0, "payoff is 7 and the actions say"),
        ("opponent_action", 0, "opponent_action is 0 and the actions say 1"),
        ("round", 1, "stands twice"),
        ("game", "chess", "game chess, variant 0 is not in the games table"),
    ],
)
def test_tables_that_contradict_themselves_are_refused(column, value, message):
    play = by_hand([([0, 1], [1, 1])], PD)
    play.loc[2, column] = value
    play.loc[:, "game"] = play.loc[2, "game"]
    with pytest.raises(DataError, match=message):
        measured_matches(play, [PD])


def test_a_second_mover_can_answer_in_the_same_round():
    play = by_hand([([0, 1, 1], [0, 1, 1])], PD, move_order="row_first")
    table = measured_matches(play, [PD])
    second, first = seat(table, "column"), seat(table, "row")
    assert (second["turn"], first["turn"]) == ("second", "first")
    assert (second["n_before"], second["n_after"]) == (1, 2)
    assert (first["n_before"], first["n_after"]) == (2, 1)
    assert np.isnan(second["nash_tv_policy"])
    assert second["spe_tv"] == pytest.approx(1 / 3)
    # Cooperating first and answering in kind is not subgame perfect in the dilemma.
    assert measured_matches(play.assign(move_order="simultaneous"), [PD])["spe_tv"].isna().all()
    known = play.assign(move_order="simultaneous", horizon="known")
    np.testing.assert_allclose(measured_matches(known, [PD])["spe_tv"], 1 / 3)


def test_recorded_probabilities_of_the_equilibrium_have_no_distance():
    pennies = CATALOG["matching_pennies"]
    play = by_hand([([0, 1, 1, 0], [1, 1, 0, 1])], pennies).assign(p_action_0=0.5)
    line = seat(measured_matches(play, [pennies]), "row")
    assert line["nash_tv_policy"] == 0
    assert line["nash_tv"] > 0
    assert line["nash_tv_control"] > 0
    assert line["mixed_share"] == 0.5


def test_equilibrium_selection_is_seen_from_the_seat():
    play = by_hand([([0, 0, 1, 1], [0, 1, 1, 0])], BOS, agents=("a", "b"))
    row, column = (seat(measured_matches(play, [BOS]), name) for name in ("row", "column"))
    names = ["n_equilibrium", "n_own_preferred", "n_other_preferred"]
    assert row[names].tolist() == [2, 1, 1]
    assert column[names].tolist() == [2, 1, 1]
    play = by_hand([([0, 0], [0, 0])], BOS)
    assert seat(measured_matches(play, [BOS]), "column")[names].tolist() == [2, 0, 2]


def test_the_agent_has_its_opponents_columns():
    table = measured_matches(played((MODEL, Agent("w", strategy="WSLS"))), [PD])
    mine = table[table["agent"] == "a"]
    assert set(mine["opponent_strategy"]) == {"WSLS"}
    assert mine["opponent_model"].isna().all()
    assert set(table.loc[table["agent"] == "w", "opponent_mode"]) == {"direct"}


def in_turn(lost):
    """Matches in turn of an agent that has no valid first answer in some of them."""
    rows = [([None], [None]) if k in lost else ([0, 1], [1, 1]) for k in range(4)]
    play = by_hand(rows, PD, move_order="row_first")
    # The second mover had nothing to see.
    return play[(play["seat"] == "row") | play["opponent_action"].notna()]


def test_a_match_whose_first_answer_is_invalid_in_turn_is_dropped_and_counted():
    table, metrics = measured(in_turn({1, 2}))
    assert set(table["match_id"]) == {"m0", "m3"}
    rates = metrics[metrics["measure"] == "cooperation"]
    assert rates["n_dropped"].tolist() == [2] * len(rates)
    assert rates["n_matches"].tolist() == [2] * len(rates)
    table, metrics = measured(in_turn(set()))
    assert len(table) == 8
    assert (metrics["n_dropped"] == 0).all()


def test_a_seat_that_is_missing_for_another_reason_is_one_clear_error():
    play = in_turn(set())
    cut = play[(play["match_id"] != "m1") | (play["seat"] == "row")]
    with pytest.raises(DataError, match="match m1 has one seat only"):
        measured_matches(cut, [PD])
