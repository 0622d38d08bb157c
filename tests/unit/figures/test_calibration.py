"""The calibration's figure: what was missed, what was wrong, and effects that were put in."""

from __future__ import annotations

import pandas as pd

from nashlens.figures.registry import draw

from .look import texts


def test_the_calibration_shows_what_was_missed_and_what_was_wrong(one_model):
    found = texts(draw("calibration", one_model))
    assert "recall 0.71 of 7 planted facts; largest layer error 1" in " ".join(found.split())
    assert "missed" in found
    assert "found though absent" in found
    assert "5-9" in found
    assert "8/8\n+1" in found
    assert "1 of 8" in found


def test_an_override_of_which_some_components_are_named_is_missed(one_model):
    calibration = one_model["calibration"].copy()
    here = calibration["fact"] == "components"
    named = ["found", "precision", "recall", "outcome"]
    calibration.loc[here, named] = [8, 7 / 8, 7 / 8, "miss"]
    assert "7/8\n+1" in texts(draw("calibration", {**one_model, "calibration": calibration}))


def test_effects_of_a_wrong_kind_are_counted_over_claims(one_model):
    calibration = one_model["calibration"]
    one = calibration[calibration["fact"] == "M6"].iloc[0].to_dict()

    def drawn(*outcomes):
        rows = [one | {"fact": f"wrong_spike_M{k}", "outcome": is_} for k, is_ in outcomes]
        table = pd.concat([calibration, pd.DataFrame(rows)], ignore_index=True)
        return texts(draw("calibration", {**one_model, "calibration": table}))

    found = drawn((6, "true_negative"), (7, "true_negative"))
    assert "| wrong effects put in" in found
    assert "1/2" not in found
    assert "1/2" in drawn((6, "true_negative"), (7, "false_positive"))


def test_the_caption_says_how_many_effects_were_found_in_null_models(one_model):
    rates = one_model["calibration_rates"].copy()
    here = rates["quantity"] == "spikes_found"
    rates.loc[here, ["estimate", "n"]] = [0.75, 40]
    found = texts(draw("calibration", {**one_model, "calibration_rates": rates}))
    assert "of 40 large effects put into null models 75% were found" in found.replace("\n", " ")


def test_what_must_be_contradicted_says_so_in_its_claims_cell(one_model):
    calibration = one_model["calibration"]
    one = calibration[calibration["fact"] == "M6"].iloc[0].to_dict() | {"fact": "M9"}

    def drawn(outcome):
        rows = [
            one | {"planted": 0.0, "found": 0.0, "outcome": "true_negative"},
            one | {"fact": "M9_contradicted", "outcome": outcome},
        ]
        table = pd.concat([calibration, pd.DataFrame(rows)], ignore_index=True)
        return texts(draw("calibration", {**one_model, "calibration": table})).split(" | ")

    assert "no" in drawn("hit")
    assert "?" not in drawn("hit")
    assert "?" in drawn("miss")
