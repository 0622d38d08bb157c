import json

import numpy as np
import pandas as pd
import pytest

from nashlens.findings import CLAIMS, judge
from tests.unit.findings.tables import LAYERS, SETTINGS, lens, prompts, steps

FRAME = prompts()
LENS_CLAIMS = [claim for claim in CLAIMS if claim.id in ("M5", "M6")]


def verdicts(table, frame=FRAME, **changes):
    tables = {"lens": table, "prompts": frame}
    found = judge(tables, claims=LENS_CLAIMS, **{**SETTINGS, **changes})
    return found.set_index("claim")


def test_an_override_by_action_is_found_with_its_layers():
    table = lens(FRAME, nash=steps(1.0, 0.2), prosocial=steps(0.0, 2.0), token=1.5)
    found = verdicts(table)
    assert found["verdict"].to_dict() == {"M5": "supported", "M6": "supported"}
    detail = json.loads(found.loc["M6", "detail"])
    assert detail["flip_layer"] == LAYERS - 2
    assert detail["peak_layer"] >= LAYERS - 2
    assert detail["peak_probability"] > 0.6
    assert found.loc["M6", "p_value"] < 0.01
    # Prosocial over Nash in the Prisoner's Dilemma, the one game where they differ: 2.0 - 0.2.
    assert found.loc["M6", "estimate"] == pytest.approx(1.8, abs=0.3)


def test_the_action_part_is_measured_free_of_the_token_and_of_the_place():
    strengths = {"nash": steps(1.0, 0.5), "prosocial": steps(0.0, 1.5)}
    plain = verdicts(lens(FRAME, **strengths, noise=0.01))
    biased = verdicts(lens(FRAME, **strengths, token=5.0, place=3.0, noise=0.01))
    assert plain.loc["M6", "estimate"] == pytest.approx(1.0, abs=0.02)
    assert biased.loc["M6", "estimate"] == pytest.approx(1.0, abs=0.02)
    assert biased.loc["M6", "control"] == pytest.approx(5.0, abs=0.02)


def test_an_override_by_token_alone_is_contradicted():
    found = verdicts(lens(FRAME, nash=steps(1.0, 0.0), token=steps(0.0, 4.0)))
    assert found.loc["M6", "verdict"] == "contradicted"
    assert "token" in found.loc["M6", "reason"]


def test_nash_carried_to_the_end_has_no_override():
    found = verdicts(lens(FRAME, nash=1.0))
    assert found["verdict"].to_dict() == {"M5": "supported", "M6": "contradicted"}


def test_prosocial_from_the_start_is_no_override():
    found = verdicts(lens(FRAME, prosocial=1.5), FRAME)
    assert found.loc["M6", "verdict"] == "contradicted"


def test_a_preference_in_the_last_layers_alone_is_not_most_layers():
    found = verdicts(lens(FRAME, nash=steps(-0.5, 2.0)))
    assert found.loc["M5", "verdict"] == "contradicted"


def test_token_preference_alone_supports_nothing():
    found = verdicts(lens(FRAME, token=3.0))
    assert "supported" not in set(found["verdict"])


def test_null_data_are_seldom_supported():
    supported = 0
    for seed in range(15):
        found = verdicts(lens(FRAME, token=1.0, seed=seed), bootstrap=200)
        supported += (found["verdict"] == "supported").sum()
    assert supported <= 1


def test_layers_without_label_mass_cannot_speak_for_most():
    found = verdicts(lens(FRAME, nash=steps(1.0, 0.2), prosocial=steps(0.0, 2.0), mass=1e-6))
    assert (found["verdict"] == "inconclusive").all()
    assert found["reason"].str.contains("mass").all()


def test_one_label_map_cannot_decide():
    frame = FRAME[FRAME["label_map"] == "identity"]
    found = verdicts(lens(frame, nash=1.0), frame)
    assert (found["verdict"] == "inconclusive").all()
    assert found["reason"].str.contains("label_maps").all()


def test_games_without_the_targets_are_not_applicable():
    frame = prompts(games=("pennies",))
    found = verdicts(lens(frame), frame)
    assert (found["verdict"] == "not_applicable").all()
    assert found["estimate"].isna().all()


def test_a_few_matches_give_no_interval_and_no_error():
    frame = prompts(games=("pd",), histories=1)
    frame = frame[frame["label_set"] == "jf"]
    found = verdicts(lens(frame, nash=1.0), frame)
    assert (found["verdict"] == "inconclusive").all()


def test_a_lens_of_the_embedding_alone_is_no_error():
    table = lens(FRAME)
    found = verdicts(table[table["layer"] == 0])
    assert set(found["verdict"]) <= {"not_applicable", "inconclusive"}


def test_a_prompt_of_two_matches_does_not_multiply_rows():
    table = lens(FRAME, nash=1.0)
    twice = pd.concat([table, table])
    assert verdicts(twice).loc["M5", "n"] == verdicts(table).loc["M5", "n"]
    assert np.isfinite(verdicts(twice).loc["M5", "ci_low"])
