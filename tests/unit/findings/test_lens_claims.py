import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nashlens.findings import CLAIMS, judge
from nashlens.findings.claim import JudgeSettings
from nashlens.findings.claims import m5_nash_favoured as m5
from nashlens.findings.claims import m6_late_override as m6
from nashlens.lens.readings import PREFERENCE
from tests.unit.findings.tables import LAYERS, SETTINGS, lens, prompts, steps

FRAME = prompts(templates=("neutral", "named"))
LENS_CLAIMS = [claim for claim in CLAIMS if claim.id in ("M5", "M6")]


def verdicts(table, frame=FRAME, **changes):
    tables = {"lens": table, "prompts": frame}
    found = judge(tables, replace(SETTINGS, **changes), LENS_CLAIMS)
    return found.set_index("claim")


def test_an_override_by_action_is_found_with_its_layers():
    table = lens(FRAME, nash=steps(1.0, 0.2), prosocial=steps(0.0, 2.0), word=1.5)
    found = verdicts(table)
    assert found["verdict"].to_dict() == {"M5": "supported", "M6": "supported"}
    detail = json.loads(found.loc["M6", "detail"])
    assert detail["flip_layer"] == LAYERS - 2
    assert detail["peak_layer"] >= LAYERS - 2
    assert detail["peak_probability"] > 0.6
    assert found.loc["M6", "p_value"] < 0.01
    # Prosocial over Nash in the Prisoner's Dilemma, the one game where they differ: 2.0 - 0.2.
    assert found.loc["M6", "estimate"] == pytest.approx(1.8, abs=0.3)


def test_the_action_part_is_measured_free_of_the_word_and_of_the_place():
    strengths = {"nash": steps(1.0, 0.5), "prosocial": steps(0.0, 1.5)}
    plain = verdicts(lens(FRAME, **strengths, noise=0.01))
    biased = verdicts(lens(FRAME, **strengths, word=5.0, place=-3.0, noise=0.01))
    assert plain.loc["M6", "estimate"] == pytest.approx(1.0, abs=0.02)
    assert biased.loc["M6", "estimate"] == pytest.approx(1.0, abs=0.02)
    assert biased.loc["M6", "control"] == pytest.approx(5.0, abs=0.02)
    assert json.loads(biased.loc["M6", "detail"])["late_place"] == pytest.approx(-3.0, abs=0.02)


def test_an_override_by_word_only_is_contradicted():
    found = verdicts(lens(FRAME, nash=steps(1.0, 0.0), word=steps(0.0, 4.0)))
    assert found.loc["M6", "verdict"] == "contradicted"
    assert "follows the word" in found.loc["M6", "reason"]


def test_nash_carried_to_the_end_has_no_override():
    found = verdicts(lens(FRAME, nash=1.0))
    assert found["verdict"].to_dict() == {"M5": "supported", "M6": "contradicted"}


def test_prosocial_from_the_start_is_no_override():
    found = verdicts(lens(FRAME, prosocial=1.5), FRAME)
    assert found.loc["M6", "verdict"] == "contradicted"


def test_a_preference_in_the_last_layers_only_is_not_most_layers():
    found = verdicts(lens(FRAME, nash=steps(-0.5, 2.0)))
    assert found.loc["M5", "verdict"] == "contradicted"


def test_a_preference_for_a_word_supports_nothing():
    found = verdicts(lens(FRAME, word=3.0))
    assert "supported" not in set(found["verdict"])


def test_null_data_are_seldom_supported():
    supported = 0
    frame = prompts(histories=2, games=("pd", "harmony"))
    for seed in range(15):
        found = verdicts(lens(frame, word=1.0, seed=seed), frame, resamples=200)
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


def test_one_history_gives_no_interval_and_no_error():
    frame = prompts(games=("pd",), histories=1)
    frame = frame[frame["label_set"] == "jf"]
    found = verdicts(lens(frame, nash=1.0), frame)
    assert (found["verdict"] == "inconclusive").all()
    assert found["reason"].str.contains("pd: one history only").all()


def test_a_lens_of_the_embedding_alone_is_no_error():
    table = lens(FRAME)
    found = verdicts(table[table["layer"] == 0])
    assert set(found["verdict"]) <= {"not_applicable", "inconclusive"}


def test_a_prompt_of_two_matches_does_not_multiply_rows():
    table = lens(FRAME, nash=1.0)
    twice = pd.concat([table, table])
    assert verdicts(twice).loc["M5", "n"] == verdicts(table).loc["M5", "n"]
    assert np.isfinite(verdicts(twice).loc["M5", "ci_low"])


def test_an_effect_too_small_to_matter_is_told_from_none_and_does_not_count():
    small = {"nash": steps(0.1, -0.1), "noise": 0.01}
    found = verdicts(lens(FRAME, **small))
    assert found["verdict"].to_dict() == {"M5": "contradicted", "M6": "contradicted"}
    # The interval is clear of 0 all the same.
    assert found.loc["M6", "ci_low"] > 0
    assert "no late layer prefers the prosocial action" in found.loc["M6", "reason"]


def test_without_the_nash_action_before_there_is_nothing_to_override():
    found = verdicts(lens(FRAME, prosocial=steps(0.0, 1.0), noise=0.05))
    assert found.loc["M6", "verdict"] == "contradicted"
    assert "the layers before do not favour the Nash action" in found.loc["M6", "reason"]


def test_layers_are_counted_three_ways():
    parts = np.array([0.0] * 3 + [-1.0] * 4 + [1.0] * 9)
    found = verdicts(lens(FRAME, nash=parts, noise=0.05)).loc["M5"]
    detail = json.loads(found["detail"])
    counts = ("favoured_layers", "sure_layers", "against_layers", "neither_layers")
    assert [detail[name] for name in counts] == [9, 9, 4, 3]
    assert (found["verdict"], found["estimate"]) == ("supported", 9 / 16)


def test_layers_near_the_threshold_leave_the_share_open():
    near = lens(FRAME, nash=np.array([1.0] * 6 + [PREFERENCE] * 6 + [0.0] * 4), noise=0.1)
    found = verdicts(near).loc["M5"]
    assert (found["ci_low"], found["ci_high"], found["verdict"]) == (
        6 / 16,
        12 / 16,
        "inconclusive",
    )


def test_bounds_hold_the_truth_and_choosing_the_peak_is_paid():
    action = np.array([0.0] * 5 + [0.1, 0.15, 0.2, 0.25, 0.3] + [0.6, -0.3, 0.6, 0.5, 0.6, 0.55])
    frame = FRAME[FRAME["game"] == "pd"]
    share, held = (action > PREFERENCE).mean(), []
    for seed in range(30):
        table = lens(frame, nash=-action, word=1.0, noise=0.1, seed=seed)
        settings = JudgeSettings("m", 0.95, 200, seed, 0.25, 0.01)
        # Seen from the other action, the same logits are M5's.
        turned = frame.assign(nash_action=frame["prosocial_action"])
        favoured = m5.estimate({"lens": table, "prompts": turned}, settings)
        override = m6.estimate({"lens": table, "prompts": frame}, settings)
        peak = action[override.peak_layer - 1]
        held.append((favoured.low <= share <= favoured.high, override.low <= peak <= override.high))
    assert (np.mean(held, axis=0) >= 0.9).all()


def test_words_with_a_meaning_and_blocks_that_are_not_whole_are_left_out():
    table = lens(FRAME, nash=1.0)
    of_actions = FRAME["label_set"].eq("pq") & FRAME["game"].eq("pd")
    frame = FRAME.assign(label_kind=np.where(of_actions, "actions", "neutral"))
    torn = FRAME["block_id"].eq("pd/jf-0/2/neutral/jf") & FRAME["label_map"].eq("swapped")
    whole, found = verdicts(table), verdicts(table, frame[~torn])
    assert whole.loc["M6", "n"] - found.loc["M6", "n"] == of_actions.sum() + 4


def test_how_far_an_action_part_carries_is_told_with_it():
    sets = {"jf": -0.5, "xy": 0.0, "pq": 0.5}
    table = lens(FRAME, nash=steps(1.0, -1.0), noise=0.01)
    towards = np.where(FRAME["prosocial_action"].eq(1).fillna(False), 1.0, -1.0)
    towards = towards * FRAME["label_set"].map(sets)
    shift = table["prompt_id"].map(dict(zip(FRAME["prompt_id"], towards, strict=True)))
    shifted = table.assign(logit_1=table["logit_1"] + shift * (table["layer"] > 0))
    found = verdicts(shifted).loc["M6"]
    detail = json.loads(found["detail"])
    assert found["estimate"] == pytest.approx(1.0, abs=0.02)
    assert detail["spread_label_sets"] == pytest.approx(0.5, abs=0.02)
    assert detail["spread_templates"] < 0.02
    assert "(standard deviation 0.50 between label sets, 0.0" in found["reason"]
    assert found["ci_high"] - found["ci_low"] < 0.05
