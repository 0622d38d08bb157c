import json

import numpy as np
import pandas as pd
import pytest

from nashlens.findings import CLAIMS, judge
from tests.unit.findings.tables import SETTINGS, probe_rows, prompts

FRAME = prompts(histories=1)
PROBE_CLAIMS = [claim for claim in CLAIMS if claim.id in ("M1", "M2", "M3")]
FALLING = [0.5, *np.linspace(0.96, 0.7, 16)]
FLAT = [0.5] * 17


def verdicts(*parts, frame=FRAME):
    tables = {"probes": pd.concat(parts), "prompts": frame}
    return judge(tables, SETTINGS, PROBE_CLAIMS).set_index("claim")


def history(accuracy, **changes):
    return probe_rows("opponent_last", accuracy, **changes)


def nash(label, place=None, **changes):
    """Rows of both targets, the place as weak as can be where nothing is said."""
    place = [0.5] * len(label) if place is None else place
    targets = zip(("nash_label", "nash_place"), (label, place), strict=True)
    return pd.concat([probe_rows(name, accuracy, **changes) for name, accuracy in targets])


def test_the_papers_own_picture_is_supported():
    found = verdicts(history(FALLING), nash([0.5] + [0.55] * 16))
    assert (found["verdict"] == "supported").all()
    assert (found["p_value"] < 0.01).all()
    assert found.loc["M1", "estimate"] == 0.96


def test_history_that_is_not_there_is_contradicted_and_cannot_be_consumed():
    found = verdicts(history(FLAT), nash(FLAT))
    assert found.loc["M1", "verdict"] == "contradicted"
    assert found.loc["M2", "verdict"] == "inconclusive"


def test_history_that_stays_is_not_consumed():
    found = verdicts(history([0.5] + [0.9] * 16, error=0.015), nash(FLAT))
    assert found.loc["M2", "verdict"] == "contradicted"


def test_history_that_appears_late_contradicts_consumption():
    found = verdicts(history([0.5, *np.linspace(0.5, 0.95, 16)]), nash(FLAT))
    assert found.loc["M2", "verdict"] == "contradicted"


def test_history_in_the_embedding_is_not_the_first_layers_doing():
    found = verdicts(history(FALLING, embedding=0.97), nash(FLAT))
    assert found.loc["M1", "verdict"] == "inconclusive"
    assert "embedding" in found.loc["M1", "reason"]


@pytest.mark.parametrize(
    ("column", "name"), [("bag_of_words", "bag of words"), ("random_weights", "random weights")]
)
def test_what_needs_no_training_must_be_beaten(column, name):
    found = verdicts(history(FALLING, **{column: 0.95}), nash(FLAT))
    assert found.loc["M1", "verdict"] == "inconclusive"
    assert name in found.loc["M1", "reason"]


def test_a_baseline_that_was_not_made_decides_nothing():
    found = verdicts(history(FALLING, random_weights=np.nan), nash(FLAT))
    assert found.loc["M1", "verdict"] == "supported"


def test_other_splits_are_beside_the_estimate_and_not_in_it():
    other = probe_rows("opponent_last", FLAT, split="label_set")
    found = verdicts(history(FALLING), other, nash(FLAT))
    assert found.loc["M1", "estimate"] == 0.96
    assert json.loads(found.loc["M1", "detail"])["held_out_label_set"] == 0.5


def test_the_largest_layer_has_a_control_of_its_own():
    found = verdicts(history(FALLING), nash(FLAT, permutation_max_high=0.57))
    assert found.loc["M3", "control"] == 0.57


def test_a_wide_interval_decides_nothing():
    found = verdicts(history([0.5] + [0.6] * 16, error=0.08), nash(FLAT, error=0.1))
    assert (found["verdict"] == "inconclusive").all()


STRONG = [0.5] + [0.6] * 8 + [0.95] * 8


@pytest.mark.parametrize("accuracies", [(STRONG, FLAT), (FLAT, STRONG)])
def test_either_target_is_enough_against_a_weak_code(accuracies):
    found = verdicts(history(FALLING), nash(*accuracies)).loc["M3"]
    assert found["verdict"] == "contradicted"
    detail = json.loads(found["detail"])
    names = ["nash_label", "nash_place"]
    assert detail["target"] == names[accuracies.index(STRONG)]
    assert [detail[name] for name in names] == [max(values) for values in accuracies]
    assert (detail["layer"], detail["layers"]) == (9, 17)
    assert found["n_matches"] == 192


def test_reasons_name_the_layers_that_were_probed():
    kept = [0, 1, 4, 9, 16]
    whole = [history(FALLING), nash(STRONG, FLAT)]
    some = [rows[rows["layer"].isin(kept)] for rows in whole]
    every, few = (verdicts(*rows) for rows in (whole, some))
    for claim in ("M2", "M3"):
        assert few.loc[claim, "verdict"] == every.loc[claim, "verdict"]
    assert every.loc["M3", "reason"].endswith("probed were layers 0 to 16")
    assert "; probed were layers 0, 1, 4, 9 and 16" in few.loc["M3", "reason"]
    assert "at layer 1, of layers 1 to 16" in every.loc["M2", "reason"]
    assert "at layer 1, of layers 1, 4, 9 and 16" in few.loc["M2", "reason"]


def test_the_kind_of_game_is_reported_and_decides_nothing():
    game = probe_rows("nash_action", [0.5] + [1.0] * 16)
    with_game = verdicts(history(FALLING), nash(FLAT), game).loc["M3"]
    without = verdicts(history(FALLING), nash(FLAT)).loc["M3"]
    assert with_game["verdict"] == without["verdict"] == "supported"
    assert json.loads(with_game["detail"])["nash_action"] == 1.0
    assert "the kind of game is decoded with 1.00" in with_game["reason"]
    assert "kind of game" not in without["reason"]
    assert with_game["estimate"] == without["estimate"] == 0.5


@pytest.mark.parametrize("column", ["bag_of_words", "embedding", "random_weights"])
def test_what_needs_no_training_contradicts_nothing(column):
    found = verdicts(history(FALLING), nash(STRONG, **{column: 0.94})).loc["M3"]
    assert found["verdict"] == "inconclusive"
    assert "reaches 0.94" in found["reason"]


@pytest.mark.parametrize(
    ("target", "column", "key"),
    [("nash_label", "label_map", "label_maps"), ("nash_place", "option_order", "option_orders")],
)
def test_one_surface_form_leaves_only_the_game_to_decode(target, column, key):
    one = FRAME[FRAME[column] == FRAME[column].iloc[0]]
    found = verdicts(history(FALLING), nash(STRONG), frame=one).loc["M3"]
    assert found["verdict"] == "inconclusive"
    assert target in found["reason"]
    assert f"prompts.{key}" in found["reason"]


def test_both_targets_are_needed():
    found = verdicts(history(FALLING), probe_rows("nash_label", FLAT)).loc["M3"]
    assert found["verdict"] == "not_applicable"
    assert found["reason"] == "nash_place was not probed: add it to probes.targets"


def test_one_layer_is_enough_against_a_weak_code():
    accuracy = [0.5] + [0.52] * 15 + [0.8]
    found = verdicts(history(FALLING), nash(accuracy))
    assert found.loc["M3", "verdict"] != "supported"
    assert found.loc["M3", "p_value"] > 0.5


def test_degenerate_missing_and_unprobed_are_no_errors():
    empty = nash([np.nan] * 3, status="degenerate")
    late = history(FALLING)
    found = verdicts(late[late["layer"] != 1], empty)
    assert found["verdict"].to_dict() == {
        "M1": "not_applicable",
        "M2": "not_applicable",
        "M3": "inconclusive",
    }
    found = verdicts(history(FALLING, error=np.nan))
    assert found["verdict"].to_dict() == {
        "M1": "inconclusive",
        "M2": "inconclusive",
        "M3": "not_applicable",
    }


def test_a_permutation_as_good_as_the_truth_is_heard():
    rows = history(FALLING)
    rows["p_value"] = 0.4
    assert verdicts(rows, nash(FLAT)).loc["M1", "p_value"] == 0.4


def test_other_positions_are_named_and_decide_nothing():
    here = history(FALLING, position="decision")
    weak = history(FLAT, position="decision")
    rounds = history([0.5] + [0.52] * 2 + [0.98] * 14, position="round_last")
    question = history([0.5] + [0.7] * 16, position="option_first")
    alone, found = verdicts(here, nash(FLAT)), verdicts(here, rounds, question, nash(FLAT))
    for column in ("estimate", "ci_low", "control", "verdict", "p_value"):
        assert alone[column].equals(found[column])
    assert "position" not in alone.loc["M1", "reason"]
    assert "best_position" not in json.loads(alone.loc["M2", "detail"])
    found = verdicts(weak, rounds, question, nash(FLAT))
    assert found.loc["M1", "verdict"] == "contradicted"
    for claim in ("M1", "M2"):
        reason, detail = found.loc[claim, "reason"], json.loads(found.loc[claim, "detail"])
        assert (
            "of the other positions round_last is best: it is decodable from layer 3 on, with 0.98"
            " [0.94, 1.02] at layer 3 and 0.98 at the last; at the decision the largest is 0.50, at"
            " layer 1"
        ) in reason
        assert detail["best_position"] == "round_last"
        assert detail["best_position_first_layer"] == 3
        assert detail["decision_peak"] == 0.5


def test_a_position_that_shows_nothing_is_not_called_decodable():
    flat = history(FLAT, position="round_last")
    found = verdicts(history(FALLING, position="decision"), flat, nash(FLAT))
    assert "no layer decodes it for sure" in found.loc["M1", "reason"]
    assert json.loads(found.loc["M1", "detail"])["best_position_first_layer"] is None
    empty = history([np.nan] * 17, position="round_last", status="degenerate")
    found = verdicts(history(FALLING, position="decision"), empty, nash(FLAT))
    assert "position" not in found.loc["M1", "reason"]
