"""Claims about one kind of play, the truth planted both ways: B1 to B6."""

import json
from functools import cache

import numpy as np
import pandas as pd
import pytest

from tests.unit.findings.play_tables import (
    ALLC,
    ALLD,
    COIN,
    GRIM,
    PD,
    PENNIES,
    STAG,
    TFT,
    constant,
    itself,
    judged,
    likes_a_label,
    likes_a_place,
    models,
    noisy,
    only_in,
    play,
    recorded,
)
from tests.unit.play.fakes import FORMS, likes, matches_of, play_matches, players, settings
from tests.unit.play.metrics.fakes import MODEL, measured, measured_matches, played

TWO = models(small=("f", 8), big=("f", 70))
APART = models(a=("f", 70), b=("g", 72))


def verdict(rows, subject):
    row = rows.loc[subject]
    return row["verdict"], row["reason"]


# ---- B1: the lock ----


@pytest.mark.parametrize("policy", [ALLC, TFT, GRIM])
def test_a_lock_on_cooperation(policy):
    rows = judged("B1", play(itself("small", policy), itself("big", policy)), TWO)
    assert rows["verdict"].tolist() == ["supported"] * 3
    row = rows.loc["small"]
    assert (row["estimate"], row["n_matches"], row["n"]) == (1, 24, 288)
    assert row["ci_low"] < 1 == row["ci_high"]
    assert row["control"] == pytest.approx(4.0**-6)
    # Full cooperation and distance 0 cannot both hold.
    assert "nash_tv 1.00 (full cooperation lies at distance 1, not at 0)" in row["reason"]
    assert rows.loc["all models", "n_matches"] == 48


def test_a_lock_on_defection_is_none():
    rows = judged("B1", play(itself("small", ALLD), itself("big", ALLC)), TWO)
    assert verdict(rows, "small")[0] == "contradicted"
    assert verdict(rows, "big")[0] == "supported"
    everyone = rows.loc["all models"]
    assert (everyone["verdict"], everyone["estimate"]) == ("contradicted", 0)
    assert "small 0.00" in everyone["reason"]


def test_liking_a_label_is_no_universal_lock():
    for policy in (likes_a_label(1.0), likes_a_place(1.0)):
        row = judged("B1", play(itself("small", policy)), TWO).loc["small"]
        assert (row["verdict"], row["estimate"]) == ("contradicted", 0.5)
    # Where labels were never swapped it could be one.
    matches = play(itself("small", likes_a_label(1.0)))
    row = judged("B1", matches[matches["label_map"] == "identity"], TWO).loc["small"]
    assert (row["verdict"], row["estimate"]) == ("inconclusive", 1)
    assert "saw one label_map alone" in row["reason"]


def test_a_few_matches_or_games_are_too_few():
    one = judged("B1", play(itself("small", ALLC), repetitions=4), TWO)
    assert verdict(one, "small")[0] == "inconclusive"
    assert "fewer than two whole blocks of matches" in one.loc["small", "reason"]
    assert verdict(one, "all models") == (
        "not_applicable",
        "one model plays itself in mode direct: nothing about all models follows",
    )
    other = judged("B1", play(itself("small", ALLC), games=[STAG]), TWO)
    assert verdict(other, "small")[0] == "not_applicable"
    short = judged("B1", play(itself("small", ALLC), rounds=1), TWO)
    assert "fewer than two rounds" in short.loc["small", "reason"]
    none = judged("B1", play(itself("small", ALLC)), TWO, games=[STAG])
    assert verdict(none, "all models") == (
        "not_applicable",
        "no game is a Prisoner's Dilemma in mode direct",
    )


def test_a_script_that_reads_its_prompts_locks():
    """From prompts of every form to the verdict, by the study's own loop."""
    matches, _ = measured(played((MODEL, MODEL), strategy="TFT", rounds=6, repetitions=16))
    row = judged("B1", matches, models(m=("f", 8))).loc["m"]
    assert (row["verdict"], row["n_matches"]) == ("supported", 16)
    letter = play_matches(
        matches_of((MODEL, MODEL), forms=FORMS, repetitions=16),
        players(likes("J", 1.0)),
        settings(),
    )
    row = judged("B1", measured_matches(letter, [PD]), models(m=("f", 8))).loc["m"]
    assert (row["verdict"], row["estimate"]) == ("contradicted", 0.5)


# ---- B2: chain of thought ----


def thought(small_direct, small_cot, big_direct, big_cot, **more):
    return play(
        itself("small", small_direct),
        itself("small", small_cot, "cot"),
        itself("big", big_direct),
        itself("big", big_cot, "cot"),
        **more,
    )


def test_thought_harms_the_small_and_helps_the_large():
    rows = judged("B2", thought(ALLD, noisy(ALLC, 0.1), ALLC, ALLD), TWO)
    assert rows["verdict"].to_dict() == {
        "small": "supported", "big": "supported", "f family": "supported",
    }  # fmt: skip
    assert rows.loc["small", "estimate"] == pytest.approx(0.99, abs=0.02)
    assert rows.loc["big", "estimate"] == -1
    assert rows.loc["f family", "estimate"] == pytest.approx(-1.99, abs=0.02)
    # The control is what random play in mode cot would have made of it.
    assert rows.loc["small", "control"] == pytest.approx(0.75)
    assert rows.loc["big", "control"] == pytest.approx(-0.25)
    detail = json.loads(rows.loc["big", "detail"])
    assert detail["arms"]["cot"]["distance"] == 0
    # Cooperation is as far as can be from defection; who deviates from it gains 2 in a range of 5.
    assert (detail["l2"], detail["regret"]) == (-1, -0.4)


def test_thought_the_other_way_round():
    rows = judged("B2", thought(ALLC, ALLD, ALLD, ALLC), TWO)
    assert set(rows["verdict"]) == {"contradicted"}


def test_thought_that_changes_nothing():
    rows = judged("B2", thought(ALLD, ALLD, ALLD, ALLD), TWO)
    assert rows.loc["f family", "verdict"] != "supported"
    assert "near-perfect already" in rows.loc["big", "reason"]
    rows = judged("B2", thought(ALLC, ALLC, ALLC, ALLC), TWO)
    assert rows.loc["big", "verdict"] == "contradicted"
    assert "not near equilibrium play" in rows.loc["big", "reason"]


def test_nearer_than_before_is_not_near():
    row = judged("B2", thought(ALLD, ALLC, ALLC, COIN), TWO).loc["big"]
    assert row["verdict"] == "contradicted"


def test_thought_that_ends_in_coins_from_coins_is_no_finding():
    row = judged("B2", thought(COIN, ALLC, COIN, ALLD), TWO).loc["small"]
    assert row["estimate"] == pytest.approx(0.25, abs=0.05)
    assert (row["verdict"], "uniformly random" in row["reason"]) == ("inconclusive", True)


def test_a_label_in_place_of_a_thought():
    row = judged("B2", thought(likes_a_label(0.95), COIN, ALLC, ALLD), TWO).loc["small"]
    assert row["verdict"] == "inconclusive"
    assert "the label_map alone moves small (direct) by 0.9" in row["reason"]


def test_without_probabilities_actions_show_a_liking():
    matches = thought(likes_a_label(1.0), COIN, ALLC, ALLD)
    parsed = matches.assign(sum_p_action_0=0.0, n_p_action_0=0)
    row = judged("B2", parsed, TWO).loc["small"]
    assert "the label_map alone moves small (direct) by 1.00" in row["reason"]


def test_what_thought_lacks_is_said():
    direct = play(itself("small", ALLD), itself("big", ALLD))
    row = judged("B2", direct, TWO).loc["all models"]
    assert row["verdict"] == "not_applicable"
    assert "direct: small, big; cot: none" in row["reason"]
    short = play(itself("small", ALLD, "cot"), rounds=3)
    rows = judged("B2", [direct, short], TWO)
    assert rows.loc["small", "verdict"] == "not_applicable"
    assert "cot: 3 rounds; direct: 12 rounds" in rows.loc["small", "reason"]
    assert "no family has two models" in rows.loc["all models", "reason"]
    middle = models(small=("f", 32), big=("g", 70))
    rows = judged("B2", thought(ALLD, ALLC, ALLC, ALLD), middle)
    assert rows.loc["small", "verdict"] == "inconclusive"
    assert "nothing about a model of this size" in rows.loc["small", "reason"]
    assert np.isnan(rows.loc["small", "p_value"])


# ---- B3 to B5: size, family, scratchpad ----


def test_scale():
    assert verdict(judged("B3", play(itself("small", ALLC), itself("big", ALLD)), TWO), "f family")[
        0
    ] == ("supported")
    same = judged("B3", play(itself("small", noisy(ALLD, 0.2)), itself("big", ALLC)), TWO)
    assert verdict(same, "f family")[0] == "contradicted"


def test_a_larger_model_at_random_is_not_nearer():
    row = judged("B3", play(itself("small", ALLC), itself("big", COIN)), TWO).loc["f family"]
    assert row["estimate"] == pytest.approx(-0.25, abs=0.05)
    assert row["verdict"] == "inconclusive"
    assert "the largest is no nearer than uniformly random play" in row["reason"]


def test_one_size_is_no_scale():
    rows = judged("B3", play(itself("a", ALLC), itself("b", ALLD)), APART)
    assert rows.index.tolist() == ["all models"]
    assert rows.iloc[0]["verdict"] == "not_applicable"
    assert "a (70B), family f" in rows.iloc[0]["reason"]


def test_two_families_of_one_size():
    rows = judged("B4", play(itself("a", ALLC), itself("b", ALLD)), APART)
    assert rows.loc["a--b", "verdict"] == "supported"
    assert rows.loc["a--b", "estimate"] == 1
    many = {"repetitions": 60, "games": (PD, STAG)}
    same = play(itself("a", noisy(ALLD, 0.1)), itself("b", noisy(ALLD, 0.1)), **many)
    assert judged("B4", same, APART).loc["a--b", "verdict"] == "contradicted"
    few = play(itself("a", noisy(ALLD, 0.3)), itself("b", noisy(ALLD, 0.4)), repetitions=8)
    assert judged("B4", few, APART).loc["a--b", "verdict"] == "inconclusive"
    rows = judged("B4", play(itself("small", ALLC), itself("big", ALLD)), TWO)
    assert rows.loc["all models", "verdict"] == "not_applicable"


def test_notes_against_thought():
    matches = play(itself("a", ALLD, "scratchpad"), itself("a", ALLC, "cot"))
    assert judged("B5", matches, APART).loc["a", ["verdict", "estimate"]].tolist() == [
        "supported",
        -1,
    ]
    row = judged("B5", play(itself("a", ALLD, "cot")), APART).loc["all models"]
    assert row["verdict"] == "not_applicable"
    assert "scratchpad: none; cot: a" in row["reason"]


# ---- B6: convergence ----


def test_cooperators_never_converge():
    row = judged("B6", play(itself("a", GRIM)), APART).loc["a"]
    assert (row["verdict"], row["estimate"], row["control"]) == ("supported", 1, 0)


def test_a_game_that_ends_in_equilibrium_contradicts():
    def learns(see):
        return 0.7 if see["round"] < 10 else 0.0

    games = {"games": (PD, STAG), "repetitions": 40, "rounds": 30}
    row = judged("B6", play(itself("a", learns), **games), APART).loc["a"]
    assert (row["verdict"], row["estimate"]) == ("contradicted", 0)
    assert "prisoners_dilemma, stag_hunt did converge" in row["reason"]


def test_a_distance_that_a_mixed_equilibrium_could_show_is_open():
    """In the Stag Hunt a frequency that is a fifth off may be its mixed equilibrium's."""
    matches = play(itself("a", constant(0.1)), games=(STAG,), repetitions=40)
    row = judged("B6", matches, APART).loc["a"]
    assert 0.05 < row["estimate"] < row["control"] < 0.3
    assert row["verdict"] == "inconclusive"


def test_the_bias_of_few_rounds_is_no_distance():
    """Coins are Matching Pennies' equilibrium; their frequencies lie off it all the same."""
    matches = play(itself("a", COIN), games=(PENNIES,), repetitions=60)
    row = judged("B6", matches, APART).loc["a"]
    assert row["control"] > 0.2
    assert row["estimate"] == pytest.approx(0, abs=0.06)
    assert row["verdict"] != "supported"


def test_coins_do_not_show_that_nothing_converges():
    row = judged("B6", play(itself("a", COIN)), APART).loc["a"]
    assert row["estimate"] > 0.6
    assert row["verdict"] == "inconclusive"
    assert "random play would be as far" in row["reason"]


# ---- all of them ----

THREE = models(small=("f", 8), big=("f", 70), third=("g", 71))


@cache
def alike(p, seed):
    """Three players, in every mode, that take action 0 with one probability."""
    pairs = [
        itself(name, constant(p), mode)
        for name in ("small", "big", "third")
        for mode in ("direct", "cot", "scratchpad")
    ]
    return play(*pairs, games=(PD, STAG), repetitions=4, rounds=10, seed=seed)


@pytest.mark.parametrize("claim", ["B1", "B2", "B3", "B4", "B5", "B6"])
def test_coins_support_nothing(claim):
    for seed in range(6):
        rows = judged(claim, alike(0.5, seed), THREE, resamples=200)
        assert "supported" not in set(rows["verdict"]), rows["reason"].tolist()


HIDDEN = [
    (likes_a_label(0.9), 12, None),
    (likes_a_place(0.8), 12, None),
    (likes_a_label(1.0), 48, 0.6),  # as greedy play of a slight liking
    (only_in("prisoners_dilemma", likes_a_label(1.0), COIN), 48, None),
    (only_in("prisoners_dilemma", likes_a_label(1.0), likes_a_label(0.0)), 48, None),
    (constant(0.44), 48, None),
]


@pytest.mark.parametrize(("policy", "repetitions", "p"), HIDDEN)
def test_surface_forms_support_nothing(policy, repetitions, p):
    """Players that a label or a place decides, which become coins when they think."""
    matches = play(
        *(
            itself(name, policy if name == "big" or mode == "cot" else COIN, mode)
            for name in ("small", "big", "third")
            for mode in ("direct", "cot", "scratchpad")
        ),
        games=(PD, STAG),
        repetitions=repetitions,
    )
    matches = matches if p is None else recorded(matches, p)
    for claim in ("B1", "B2", "B3", "B4", "B5", "B6"):
        rows = judged(claim, matches, THREE, resamples=200)
        assert "supported" not in set(rows["verdict"]), rows["reason"].tolist()


@pytest.mark.parametrize("claim", ["B3", "B4"])
def test_noise_is_seldom_called_an_effect(claim):
    """Two players that are alike, both nearer than coins: a contrast of nothing."""
    found = []
    for seed in range(20):
        rows = judged(claim, alike(0.25, seed), THREE, resamples=200)
        found += rows["verdict"].tolist()
    # One test in forty at most, of either side.
    assert sum(one == "supported" for one in found) <= 2, found


def test_some_matches_are_judged_like_all_of_them():
    matches = pd.concat(
        [
            play(itself("small", ALLC), itself("big", ALLD), label_set="jf", seed=1),
            play(itself("small", ALLD), itself("big", ALLC), label_set="xy", seed=2),
        ],
        ignore_index=True,
    )
    for label_set, expected in (("jf", "supported"), ("xy", "contradicted")):
        part = matches[matches["label_set"] == label_set]
        assert verdict(judged("B3", part, TWO), "f family")[0] == expected
    assert verdict(judged("B3", matches, TWO), "f family")[0] != "supported"


def test_judging_is_deterministic():
    matches = play(itself("small", noisy(ALLC, 0.1)), itself("big", noisy(ALLD, 0.1)))
    one, two = (judged("B3", matches, TWO) for _ in range(2))
    pd.testing.assert_frame_equal(one, two)
