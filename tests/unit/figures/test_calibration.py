"""The calibration's figure: what was missed, what was wrong, and effects that were put in."""

from __future__ import annotations

import pandas as pd

from nashlens.figures.registry import draw

from .test_figures import texts


def test_the_calibration_shows_what_was_missed_and_what_was_wrong(one_model):
    found = texts(draw("calibration", one_model))
    assert "recall 0.71 of 7 planted facts; largest layer error 1" in " ".join(found.split())
    assert "missed" in found
    assert "found though absent" in found
    assert "5-9" in found
    assert "7/8\n+1" in found
    assert "1 of 8" in found


def test_effects_that_were_put_in_are_counted_over_claims(one_model):
    calibration = one_model["calibration"]
    one = calibration[calibration["fact"] == "M6"].iloc[0].to_dict()
    put_in = [("spike_M4", "hit"), ("spike_M6", "hit"), ("spike_M7", "miss")]
    wrong = [("wrong_spike_M6", "true_negative"), ("wrong_spike_M7", "true_negative")]

    def drawn(outcomes):
        rows = pd.DataFrame([one | {"fact": fact, "outcome": is_} for fact, is_ in outcomes])
        table = pd.concat([calibration, rows], ignore_index=True)
        return texts(draw("calibration", {**one_model, "calibration": table}))

    found = drawn(put_in + wrong)
    assert "| effects put in" in found
    assert "| wrong effects put in" in found
    assert "2/3" in found
    assert "1/2" not in found
    assert "1/2" in drawn([*put_in, wrong[0], ("wrong_spike_M7", "false_positive")])
