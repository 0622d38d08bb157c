import numpy as np
import pytest

from nashlens.estimates import Bootstrap
from nashlens.lens.summary import DESCRIPTIONS, summarise_lens
from tests.unit.findings.tables import LAYERS, lens, prompts, steps

FRAME = prompts()
HOW = Bootstrap(confidence=0.95, resamples=300, seed=3)


def summary(table, frame=FRAME):
    return summarise_lens(table, frame, model="m", how=HOW).set_index("quantity")


def test_an_override_by_action_in_numbers():
    table = lens(FRAME, nash=steps(1.0, 0.2), prosocial=steps(0.0, 2.0), word=0.3)
    found = summary(table)
    assert list(found.index) == list(DESCRIPTIONS)
    assert found.loc["nash_from", "estimate"] == 1
    flip = found.loc["flip_layer"]
    assert (flip["estimate"], flip["ci_low"], flip["ci_high"]) == (LAYERS - 2,) * 3
    assert found.loc["peak_layer", "estimate"] >= LAYERS - 2
    # 2.0 - 0.2 logits, spread by the noise.
    assert found.loc["peak_height", "estimate"] == pytest.approx(0.85, abs=0.04)
    assert found.loc["follows_action", "estimate"] == pytest.approx(1.8 / 2.1, abs=0.05)
    assert found.loc["follows_action", "reason"] == "follows the action"
    assert (found["ci_low"] <= found["estimate"]).all()
    assert (found["estimate"] <= found["ci_high"]).all()


def test_an_override_by_word_follows_the_word():
    found = summary(lens(FRAME, nash=steps(1.0, 0.0), word=steps(0.0, 4.0)))
    assert np.isnan(found.loc["flip_layer", "estimate"])
    assert "last layer" in found.loc["flip_layer", "reason"]
    assert found.loc["follows_action", "reason"] == "follows the word"
    assert found.loc["follows_action", "ci_high"] < 0.2


def test_the_nash_action_is_favoured_from_where_it_is():
    strengths = np.array([0.0] * 6 + [1.0] * (LAYERS - 6))
    found = summary(lens(FRAME, nash=strengths, noise=0.1))
    row = found.loc["nash_from"]
    assert (row["estimate"], row["ci_high"]) == (7, 7)
    assert row["ci_low"] >= 5


def test_prosocial_from_the_start_is_no_flip():
    found = summary(lens(FRAME, prosocial=1.5))
    assert np.isnan(found.loc["flip_layer", "estimate"])
    assert "before" in found.loc["flip_layer", "reason"]


def test_nothing_is_seldom_found_where_nothing_is():
    found = [summary(lens(FRAME, word=1.0, seed=seed)) for seed in range(20)]
    assert sum(np.isfinite(f.loc["nash_from", "estimate"]) for f in found) <= 3
    assert sum(np.isfinite(f.loc["flip_layer", "estimate"]) for f in found) == 0


def test_what_cannot_be_said_has_its_reason():
    table = lens(FRAME, nash=1.0)
    agreeing = FRAME[FRAME["game"] == "harmony"]
    found = summary(table, agreeing)
    assert np.isfinite(found.loc["nash_from", "estimate"])
    assert "prosocial action other than" in found.loc["peak_layer", "reason"]
    assert found.loc["peak_layer", "n"] == 0
    one_map = FRAME[FRAME["label_map"] == "identity"]
    assert "both label maps" in summary(table, one_map).loc["nash_from", "reason"]


def test_a_flip_too_small_to_matter_is_none():
    found = summary(lens(FRAME, nash=steps(0.1, -0.1), noise=0.005))
    assert np.isnan(found.loc["nash_from", "estimate"])
    assert np.isnan(found.loc["flip_layer", "estimate"])
