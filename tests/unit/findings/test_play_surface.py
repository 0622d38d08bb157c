"""Labels and places that decide: found in one game, in actions alone, and not where chance did."""

import json

import pandas as pd
import pytest

from nashlens.findings.shared.surface import LABEL_LIMIT, surface_problem
from nashlens.games.catalog import CATALOG
from nashlens.games.game import Game
from tests.unit.findings.play_tables import (
    ALLC,
    ALLD,
    PD,
    STAG,
    TFT,
    constant,
    itself,
    judged,
    likes_a_label,
    likes_a_place,
    meeting,
    models,
    only_in,
    play,
    recorded,
)

TWO = models(small=("f", 8), big=("f", 70))
HARMONY, DEADLOCK = CATALOG["harmony"], CATALOG["deadlock"]
GAMES = (PD, STAG, HARMONY)
EXACT = only_in(PD.name, ALLD, only_in(DEADLOCK.name, ALLD, ALLC))


def scaled(policy, games=GAMES, change=lambda matches: matches):
    """The larger model plays equilibria; the smaller one does not where a label says so."""
    matches = play(itself("small", policy), itself("big", EXACT), games=games)
    return judged("B3", change(matches), TWO, games=games).loc["f family"]


def test_at_temperature_zero_a_slight_liking_decides_every_action():
    row = scaled(likes_a_label(1.0), (PD,), lambda matches: recorded(matches, 0.6))
    assert row["estimate"] == -0.5
    assert row["verdict"] == "inconclusive"
    assert "the label_map alone moves small (direct) by 1.00 in P(action 0)" in row["reason"]


def test_a_recorded_liking_counts_where_actions_do_not_show_it():
    row = scaled(ALLC, (PD,), lambda matches: recorded(matches, 0.8))
    assert "moves big (direct) by 0.60" in row["reason"]
    row = scaled(ALLC, (PD,), lambda matches: recorded(matches, 0.6))
    assert row["verdict"] == "supported"


@pytest.mark.parametrize("likes", [likes_a_label, likes_a_place])
def test_a_liking_that_decides_one_game(likes):
    row = scaled(only_in(PD.name, likes(1.0), EXACT))
    assert row["ci_high"] < 0
    assert row["verdict"] == "inconclusive"
    assert "by 1.00 in P(action 0) in prisoners_dilemma" in row["reason"]


def test_opposite_likings_do_not_cancel():
    policy = only_in(PD.name, likes_a_label(1.0), likes_a_label(0.0))
    row = scaled(policy, (PD, DEADLOCK))
    assert row["ci_high"] < 0
    assert row["verdict"] == "inconclusive"


def test_an_opening_that_a_label_decides():
    """With itself it is all label; scripts, met more often, soon bring it to something else."""

    def opens(see):
        return TFT(see) if see["other"] else likes_a_label(1.0)(see)

    scripts = [pair for s in ("ALLC", "ALLD") for pair in meeting("small", opens, s, constant(0.5))]
    matches = play(itself("small", opens), itself("big", EXACT), *scripts)
    row = judged("B3", matches, TWO).loc["f family"]
    assert (row["verdict"], "label_map" in row["reason"]) == ("inconclusive", True)


def test_a_liking_in_another_game_is_none_of_a_claims_business():
    matches = play(itself("small", only_in(PD.name, ALLC, likes_a_label(1.0))), games=(PD, STAG))
    row = judged("B1", matches, TWO).loc["small"]
    assert row["verdict"] == "supported"
    assert judged("B6", matches, TWO).loc["small", "verdict"] == "inconclusive"


def test_who_answers_a_label_driven_partner_does_not_go_by_labels():
    label = likes_a_label(1.0)
    matches = play(
        *meeting("small", ALLD, "big", TFT),
        itself("big", TFT),
        *meeting("one", label, "big", TFT),
        *meeting("two", label, "big", TFT),
    )
    row = judged("X1", matches, TWO).loc["small--big"]
    assert row["verdict"] == "supported", row["reason"]


def test_one_level_alone_in_a_game_is_said():
    matches = play(itself("small", ALLC), games=(PD, DEADLOCK))
    cut = matches[(matches["game"] == "deadlock") | (matches["label_map"] == "identity")]
    row = judged("B6", cut, TWO, games=(PD, DEADLOCK)).loc["small"]
    assert "fewer than two whole blocks" in row["reason"]
    assert "(prisoners_dilemma: 0)" in row["reason"]
    every = matches[matches["label_map"] == "identity"]
    row = judged("B6", every, TWO, games=(PD, DEADLOCK)).loc["small"]
    assert "small (direct) saw one label_map alone in deadlock" in row["reason"]


def test_payoffs_that_go_with_a_label_map_are_no_liking():
    """Who plays variants differently, where one label map has more of one variant."""
    other = Game("prisoners_dilemma", [[[5, 5], [0, 7]], [[7, 0], [1, 1]]], variant=1)
    matches = play(itself("small", lambda see: float(see["game"].variant)), games=(PD, other))
    usual = (matches["variant"] == 0) == (matches["label_map"] == "identity")
    rows = matches[usual | (matches["repetition"] < 8)]
    means = rows.groupby("label_map")["cooperation"].mean()
    assert abs(means["identity"] - means["swapped"]) == 0.5
    assert surface_problem(rows, "small", 0.95) == ""


def test_luck_is_seldom_a_liking():
    """Seats that stay with their first action, a coin's, so that matches hardly have a mean."""

    def stays(see):
        return float(see["own"][0] == 0) if see["own"] else 0.5

    found, large = [], 0
    for seed in range(60):
        matches = play(
            itself("small", stays), games=(PD, STAG), rounds=6, repetitions=12, seed=seed
        )
        by_map = matches.groupby(["game", "label_map"])["cooperation"].mean().unstack()
        large += (by_map["identity"] - by_map["swapped"]).abs().max() >= LABEL_LIMIT
        detail = json.loads(judged("B6", matches, TWO, resamples=50).loc["small", "detail"])
        found.append(detail["surface"])
    assert large >= 6
    assert sum(bool(text) for text in found) <= 4, pd.Series(found).value_counts()
