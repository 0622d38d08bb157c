"""The metrics table: known agents recover their numbers, and every row has one or a reason."""

import numpy as np
import pandas as pd
import pytest

from nashlens.estimates import Bootstrap
from nashlens.games.catalog import CATALOG
from nashlens.models.table import models_table
from nashlens.play.metrics.cells import RatioMeasures, cells_of, derived
from nashlens.play.metrics.effects import surface_effects
from nashlens.play.metrics.measures import MATCHES, measures
from nashlens.play.metrics.table import measure_play

from ..fakes import ALL_FORMS, likes, matches_of, play_matches, players, settings
from .fakes import MODEL, QUIZ, by_hand, measured, measured_matches, played, scripted, value

PD, BOS = CATALOG["prisoners_dilemma"], CATALOG["battle_of_the_sexes"]
PENNIES = CATALOG["matching_pennies"]
SCRIPTS = [scripted(name) for name in ("ALLD", "RANDOM", "ALLC", "WSLS")]


@pytest.fixture(scope="module")
def mixed():
    """A model that plays TFT, against scripts and itself, in three games and all orders."""
    pairs = [(MODEL, MODEL), *((MODEL, s) for s in SCRIPTS), *((s, MODEL) for s in SCRIPTS)]
    orders = ["simultaneous", "row_first", "column_first"]
    play = played(*pairs, games=[PD, BOS, PENNIES], rounds=8, repetitions=3, move_orders=orders)
    return play, *measured(play, [PD, BOS, PENNIES])


@pytest.mark.parametrize("strategy", ["TFT", "GRIM", "WSLS", "ALLD"])
def test_a_script_wrapped_as_a_model_recovers_its_own_metrics(strategy):
    pairs = [(MODEL, scripted("RANDOM")), (scripted("RANDOM"), MODEL)]
    _, table = measured(played(*pairs, strategy=strategy, rounds=12, repetitions=4))
    mine = {"agent": "a", "opponent": "random"}
    assert value(table, "strategy_weight", strategy, **mine) == pytest.approx(1, abs=1e-3)
    assert value(table, "strategy_error", **mine) < 1e-3
    if strategy == "TFT":
        assert value(table, "reciprocity", **mine) == 1
        assert value(table, "reciprocity", column="ci_low", **mine) == 1
    elif strategy == "ALLD":
        assert value(table, "cooperation", **mine) == 0
        assert value(table, "reciprocity", **mine) == 0


def test_tft_against_all_defect_is_as_by_hand(mixed):
    _, _, table = mixed
    cell = {"agent": "a", "opponent": "alld", "game": "prisoners_dilemma"}
    assert value(table, "cooperation", **cell) == 1 / 8
    assert value(table, "unravelling", "change", **cell) == -1
    assert value(table, "lock_rate", **cell) == 1
    assert value(table, "lock_onset", **cell) == 2
    assert value(table, "nash_tv", **cell) == 1 / 8
    assert value(table, "nash_tv_rounds", "last third", **cell) == 0
    assert value(table, "joint_action", "0,1", **cell) == 1 / 8
    assert value(table, "first_defection", **cell) == 2
    other = {"agent": "alld", "opponent": "a", "game": "prisoners_dilemma"}
    assert value(table, "joint_action", "1,0", **other) == 1 / 8
    assert value(table, "first_defection", **other) == 1


def test_every_row_has_a_number_or_says_why(mixed):
    _, _, table = mixed
    none = table["estimate"].isna()
    assert (table.loc[none, "reason"] != "").all()
    assert table.loc[~none & (table["n_matches"] < 2), "reason"].str.contains("no interval").all()
    known = table[~none & table["ci_low"].notna()]
    assert (known["ci_low"] <= known["ci_high"]).all()
    assert (table.loc[~none & (table["measure"] != "first_mover_share"), "definition"] != "").all()
    keys = ["measure", "term", "agent", "opponent", "pairing", "game", "move_order", "turn"]
    assert not table.duplicated([*keys, "match_rounds"]).any()


def test_quiz_accuracy_stands_beside_models_alone(mixed):
    _, _, table = mixed
    mine = table[table["model"].notna()]
    np.testing.assert_allclose(mine["quiz_accuracy"], 0.65)
    np.testing.assert_allclose(mine["quiz_high"], 0.65 + np.hypot(0.05, 0.075))
    assert set(mine["quiz_n"]) == {40}
    assert table.loc[table["model"].isna(), "quiz_accuracy"].isna().all()


def test_sizes_and_families_stand_beside_models(mixed):
    play, _, table = mixed
    assert table[["family", "n_parameters"]].isna().all().all()
    manifests = {"m": {"architecture": "Llama", "n_parameters": 135_000_000}}
    known = models_table(manifests, {"m": None})
    assert known.to_dict("records") == [{"model": "m", "family": "Llama", "n_parameters": 1.35e8}]
    assert models_table(manifests, {"m": "smol"})["family"].tolist() == ["smol"]
    how = Bootstrap(0.9, 2, 5)
    _, sized = measure_play(play, [PD, BOS, PENNIES], QUIZ, how, models=known)
    assert set(sized.loc[sized["model"].notna(), "family"]) == {"Llama"}
    assert set(sized.loc[sized["model"].notna(), "n_parameters"]) == {1.35e8}
    assert sized.loc[sized["model"].isna(), "n_parameters"].isna().all()


def test_ratios_are_those_of_the_rows(mixed):
    _, matches, _ = mixed
    ratios = RatioMeasures(matches, measures())
    full = derived(matches)
    for cell in cells_of(matches):
        rows = full.iloc[cell.lines]
        found = ratios.of_cell(cell, confidence=0.9, resamples=20, rng=np.random.default_rng(0))
        once = ~(
            (rows["pairing"] == "self_play") & rows["turn"].isna() & (rows["seat"] == "column")
        )
        for measure, got in zip(ratios.measures, found, strict=True):
            part = rows[once] if measure.once_in_self_play else rows
            expected = []
            for top, bottom in [
                (measure.numerator, measure.denominator),
                *([measure.subtracted] * bool(measure.subtracted)),
            ]:
                below = part[top] * 0 + 1 if bottom == MATCHES else part[bottom]
                used = part[top].notna() & below.notna() & (below > 0)
                size = float(below[used].sum())
                expected.append(float(part.loc[used, top].sum()) / size if size else np.nan)
            right = expected[0] - (expected[1] if measure.subtracted else 0)
            assert got.estimate == pytest.approx(right, nan_ok=True)


def test_the_metrics_of_a_reread_transcript_are_the_same(mixed, tmp_path):
    play, _, table = mixed
    play.to_parquet(tmp_path / "play.parquet")
    again = measured(pd.read_parquet(tmp_path / "play.parquet"), [PD, BOS, PENNIES])[1]
    pd.testing.assert_frame_equal(table, again)


def test_renaming_matches_and_shuffling_rows_change_nothing(mixed):
    play, _, table = mixed
    renamed = play.assign(match_id="z" + play["match_id"]).sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(table, measured(renamed, [PENNIES, PD, BOS])[1])


def test_match_lengths_are_not_mixed():
    short, long = by_hand([([0], [0])], PD), by_hand([([1] * 4, [1] * 4)] * 2, PD)
    play = pd.concat([short.assign(match_id="s"), long], ignore_index=True)
    _, table = measured(play)
    rows = table[(table["measure"] == "cooperation") & (table["agent"] == "x")]
    assert dict(zip(rows["match_rounds"], rows["estimate"], strict=True)) == {1: 1, 4: 0}


def test_moving_first_pays_the_one_who_picks():
    """Row gets its own equilibrium when it moves first, and half of both when at once."""
    at_once = by_hand([([0, 0, 1, 1], [0, 0, 1, 1])] * 2, BOS)
    first = by_hand([([0] * 4, [0] * 4)] * 2, BOS, move_order="row_first")
    play = pd.concat([at_once, first.assign(match_id="f" + first["match_id"])], ignore_index=True)
    _, table = measured(play, [BOS])
    mover = {"agent": "x", "move_order": "row_first"}
    assert value(table, "first_mover_share", **mover) == pytest.approx(3 / 5)
    assert value(table, "first_mover_advantage", **mover) == pytest.approx(1 / 10)
    assert value(table, "equilibrium_selection", "own preferred", turn="first", **mover) == 1
    alone = measured(first, [BOS])[1]
    assert "move at once" in value(alone, "first_mover_advantage", column="reason", **mover)


def test_a_liking_for_a_letter_is_an_effect_of_the_label_map_alone():
    matches = matches_of((MODEL, MODEL), forms=ALL_FORMS, repetitions=32)
    forms = [m for m in matches if m.surface.label_set == "jf"]
    play = play_matches(forms, players(likes("J", 0.7)), settings())
    _, table = measured(play)
    cell = {"game": "prisoners_dilemma", "agent": "a"}
    assert value(table, "label_map_effect", "identity - swapped", **cell) == pytest.approx(0.4)
    effect = value(table, "option_order_effect", "forward - reversed", **cell)
    assert effect == pytest.approx(0, abs=1e-9)
    one = table[(table["measure"] == "label_set_effect") & (table["game"].notna())]
    assert set(one["reason"]) == {"one label_set only"}


def test_effects_are_least_squares_with_cell_means():
    rng = np.random.default_rng(0)
    n = 60
    frame = pd.DataFrame(
        {
            "match_id": [f"m{k}" for k in range(n)], "block_id": [f"b{k // 4}" for k in range(n)],
            "game": rng.choice(["a", "b"], n), "opponent": rng.choice(["x", "y"], n),
            "pairing": "scripted", "move_order": "simultaneous", "turn": None, "match_rounds": 4,
            "seat": rng.choice(["row", "column"], n), "n_p_action_0": rng.integers(1, 5, n),
            "label_map": rng.choice(["identity", "swapped"], n),
            "option_order": rng.choice(["forward", "reversed"], n),
            "label_set": rng.choice(["p", "q", "r"], n), "template": rng.choice(["s", "t"], n),
        }
    )  # fmt: skip
    frame["sum_p_action_0"] = rng.random(n) * frame["n_p_action_0"]
    found = surface_effects(frame, {"b"}, confidence=0.9, resamples=10, rng=rng)
    cells = pd.get_dummies(frame["game"] + frame["opponent"]).to_numpy(float)
    columns = [
        (frame["label_map"] == "identity") - 0.5, (frame["option_order"] == "forward") - 0.5,
        *(1.0 * (frame["label_set"] == s) - (frame["label_set"] == "r") for s in "pq"),
        1.0 * (frame["template"] == "s") - (frame["template"] == "t"),
        np.where(frame["game"] == "b", (frame["seat"] == "row") - 0.5, 0),
    ]  # fmt: skip
    root = np.sqrt(frame["n_p_action_0"].to_numpy(float))[:, None]
    y = (frame["sum_p_action_0"] / frame["n_p_action_0"]).to_numpy()[:, None]
    beta = np.linalg.lstsq(root * np.column_stack([*columns, cells]), root * y, rcond=None)[0][:, 0]
    right = [beta[0], beta[1], beta[2], beta[3], -beta[2] - beta[3], beta[4], -beta[4]]
    np.testing.assert_allclose([effect.estimate for effect in found], right, atol=1e-9)


def test_what_the_design_confounds_has_no_estimate():
    play = by_hand([([0, 1], [0, 1])] * 4, PD)
    rows = measured_matches(play, [PD]).query("agent == 'x'").reset_index(drop=True)
    together = rows.assign(
        label_map=["identity", "swapped"] * 2, option_order=["forward", "reversed"] * 2
    )
    found = surface_effects(
        together, (), confidence=0.9, resamples=10, rng=np.random.default_rng(0)
    )
    assert {effect.reason for effect in found[:2]} == {"the design confounds it with other terms"}
    assert np.isnan([effect.estimate for effect in found]).all()


def test_matches_without_a_whole_round_give_reasons():
    matches, table = measured(by_hand([([None], [1])], PD))
    assert (matches["n_rounds"] == 0).all()
    behaviour = table[~table["measure"].str.contains("_effect|n_invalid")]
    assert behaviour["estimate"].isna().all()
    assert (behaviour["reason"] != "").all()


def test_equilibria_that_a_seat_does_not_prefer_have_a_share_of_their_own():
    play = by_hand([([0, 0, 1, 0], [0, 1, 1, 0])] * 2, BOS)
    _, table = measured(play, [BOS])
    mine = {"agent": "x"}
    assert value(table, "equilibrium_selection", "any", **mine) == 3 / 4
    assert value(table, "equilibrium_selection", "own preferred", **mine) == 2 / 4
    assert value(table, "equilibrium_selection", "not own preferred", **mine) == 1 / 4
    assert value(table, "equilibrium_selection", "any", column="control", **mine) == 1 / 2
    assert value(table, "equilibrium_selection", "own preferred", column="control", **mine) == 1 / 4


def test_other_models_are_pooled_as_scripts_are():
    play = pd.concat(
        [
            by_hand([([0, 0], [1, 1])] * 2, PD, agents=("x", "y")),
            by_hand([([1, 1], [1, 1])] * 2, PD, agents=("x", "z")).assign(
                match_id=["z0"] * 4 + ["z1"] * 4
            ),
        ],
        ignore_index=True,
    )
    _, table = measured(play)
    pooled = {"agent": "x", "pairing": "cross_play", "opponent": None}
    assert value(table, "cooperation", **pooled) == 1 / 2
    assert value(table, "cooperation", column="n_matches", **pooled) == 4
    assert not ((table["agent"] == "y") & table["opponent"].isna() & table["game"].notna()
                & ~table["measure"].str.endswith("effect")).any()  # fmt: skip
