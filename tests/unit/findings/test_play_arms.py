"""What may be compared with what: rounds that were played, payoff variants, single games."""

import json

import numpy as np
import pandas as pd
import pytest

from nashlens.findings.claim import JudgeSettings, Missing
from nashlens.findings.shared.arms import comparable_arms
from nashlens.findings.shared.means import ArmMeans
from nashlens.games.game import Game
from tests.unit.findings.play_tables import (
    ALLC,
    ALLD,
    COIN,
    FORMS,
    PD,
    PENNIES,
    STAG,
    constant,
    itself,
    judged,
    models,
    play,
)

ONE = models(a=("f", 8))


def cycle(see):
    """Goes through all four cells alike: exact play of Matching Pennies."""
    turn = see["round"] if see["seat"] else see["round"] // 2
    return float(turn % 2 == 0)


def gives_up(every, after):
    """The same, but for an answer that is none in every so many matches."""

    def policy(see):
        ends = see["repetition"] % every == 0 and see["round"] == after
        return None if ends else cycle(see)

    return policy


def thinks(policy, **more):
    modes = (("scratchpad", cycle), ("cot", policy), ("direct", cycle))
    pairs = [itself("a", one, mode) for mode, one in modes]
    return play(*pairs, games=(PENNIES,), repetitions=60, **more)


@pytest.mark.parametrize("claim", ["B2", "B5"])
def test_matches_that_ended_early_are_no_other_play(claim):
    """Few rounds lie far from a mixed equilibrium, whoever plays them."""
    row = judged(claim, thinks(gives_up(12, 1)), ONE).loc["a"]
    assert (row["verdict"], row["estimate"]) == ("contradicted", 0)
    # Each of the five takes its block along, in both arms.
    assert row["n_matches"] == 80
    assert "ended early 5 of 60 (cot) matches: their blocks do not count" in row["reason"]
    whole = judged(claim, thinks(cycle), ONE).loc["a"]
    assert "ended early" not in whole["reason"]


@pytest.mark.parametrize("after", [0, 1])
def test_many_that_ended_early_leave_it_open(after):
    row = judged("B5", thinks(gives_up(4, after)), ONE).loc["a"]
    assert row["verdict"] == "inconclusive"
    assert "ended early 15 of 60 (cot) matches: too many" in row["reason"]
    row = judged("B5", thinks(gives_up(1, after)), ONE).loc["a"]
    assert "ended early 60 of 60 (cot) matches: too many" in row["reason"]


# ---- payoff variants ----

OTHER = Game("prisoners_dilemma", [[[5, 5], [0, 7]], [[7, 0], [1, 1]]], variant=1)  # type: ignore


def by_variant(see):
    return float(see["game"].variant)


def bounded(cot):
    """Repetitions 0 to 11 are of the game itself, 12 to 23 of its variant; cot has some of them."""
    matches = pd.concat(
        [
            play(itself("a", by_variant, mode), games=[game], seed=10 * k + game.variant)
            for k, mode in enumerate(("scratchpad", "cot"))
            for game in (PD, OTHER)
        ]
    )
    matches = matches[matches["variant"] == matches["repetition"] // 12]
    return matches[(matches["mode"] == "scratchpad") | matches["repetition"].isin(cot)]


def test_a_bound_on_repetitions_compares_other_payoffs_with_none():
    games = [PD, OTHER]
    row = judged("B5", bounded(range(12)), ONE, games=games).loc["a"]
    assert row["estimate"] == 0
    row = judged("B5", bounded(range(24)), ONE, games=games).loc["a"]
    assert (row["estimate"], row["n_matches"]) == (0, 48)
    # A variant as often in one arm as in the other: the first of both, in whole blocks.
    row = judged("B5", bounded(range(18)), ONE, games=games).loc["a"]
    assert (row["estimate"], row["n_matches"]) == (0, 32)


def test_arms_without_a_variant_in_common():
    matches = bounded(range(24))
    first, last = (matches[matches["variant"] == k] for k in (0, 1))
    found = comparable_arms({"first": first, "last": last})
    assert isinstance(found, Missing)
    assert "no game was played by all of: first, last" in found.reason


# ---- single games ----


def alike(names, blocks=2):
    """Games of so many blocks of four matches that are all alike."""
    rows = [
        {
            "game": name, "scenario_id": f"{name}/{b}", "block_id": f"{name}/{b}", "x": 1.0,
            "match_id": f"{name}{b}{k}", "template": "t", "label_set": "l", "n_rounds": 12,
            "label_map": FORMS[k][0], "option_order": FORMS[k][1],
        }
        for name in names for b in range(blocks) for k in range(4)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_more_games_do_not_narrow_a_single_one():
    settings = JudgeSettings("a", 0.95, 200, 3)

    def error(names, cell):
        means = ArmMeans({"all": alike(names)}, ["x"], settings)
        return means.contrast("x", {"all": 1.0}, cell).error

    assert error("a", "a") == error("abcde", "a") == 0.5 / 8
    # Averaged, all of them together are as so many matches.
    assert error("abcde", None) == pytest.approx(0.5 / 40)


def test_games_do_not_bear_witness_for_one_another():
    few = judged("B6", play(itself("a", ALLD), repetitions=8), ONE).loc["a"]
    many = play(itself("a", ALLD), games=(PD, STAG), repetitions=8)
    more = judged("B6", many, ONE).loc["a"]
    assert more["ci_high"] >= few["ci_high"] > 0.1
    assert more["verdict"] == "inconclusive"


def test_a_coin_that_is_nearly_fair_shows_nothing():
    matches = play(itself("a", constant(0.44)), repetitions=400)
    row = judged("B6", matches, ONE).loc["a"]
    assert row["verdict"] == "inconclusive"
    assert "random play would be as far" in row["reason"]
    assert row["p_value"] > 0.05
    far = play(itself("a", constant(0.3)), repetitions=100)
    assert judged("B6", far, ONE).loc["a", "verdict"] == "supported"


def test_who_never_ends_a_match_loses_none():
    matches = play(itself("a", ALLC), itself("a", COIN, "cot"))
    detail = json.loads(judged("B2", matches, ONE).loc["a", "detail"])
    assert detail["left_out"] == ""
    assert np.isfinite(detail["l2"])
