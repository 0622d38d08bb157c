"""M9 and M10 on tables of known overrides: needed or not, sufficient or not, choir or soloist."""

import json

import numpy as np
import pytest

from nashlens.circuits.override import sizes_tried
from nashlens.findings import CLAIMS, judge
from nashlens.findings.claim import JudgeSettings
from nashlens.findings.claims import m9_late_cause as m9
from nashlens.findings.claims import m10_choir as m10
from tests.unit.findings.tables import SETTINGS, lens, prompts, steps
from tests.unit.findings.writers import CHOIR, override

CLAIMED = [claim for claim in CLAIMS if claim.id in ("M9", "M10")]
FRAME = prompts()
TURNS = {"prompts": FRAME, "lens": lens(FRAME, nash=steps(1.0, 0.2), prosocial=steps(0.0, 2.0))}
SOLO = (3.0, 0.05, 0.05, 0.05)


def verdicts(table, **tables):
    return judge({**TURNS, "override": table, **tables}, SETTINGS, CLAIMED).set_index("claim")


def test_necessary_and_sufficient_components_are_the_cause():
    found = verdicts(override(destroy=2.0, restore=1.5)).loc["M9"]
    assert found["verdict"] == "supported", found["reason"]
    assert found["estimate"] == pytest.approx(3.2, abs=0.1)
    assert found["p_value"] < 0.01
    assert 0 < found["detectable"] < 0.5
    detail = json.loads(found["detail"])
    assert detail["restore"]["effect"] == pytest.approx(1.5, abs=0.1)
    assert detail["lead_after"] == pytest.approx(2.0, abs=0.1)
    assert detail["pairs"] == 32


@pytest.mark.parametrize(
    ("moved", "verdict", "said", "sufficient"),
    [
        ({}, "inconclusive", "no pair asks whether they suffice", "not asked"),
        (
            {"destroy": 0.02, "restore": 0.02},
            "supported",
            "judged by necessity alone",
            "cannot be asked",
        ),
        ({"destroy": 2.0, "restore": 0.05}, "contradicted", "do not suffice", "refuted"),
        ({"destroy": 0.05, "restore": 1.5}, "supported", "they suffice", "shown"),
        (
            {"destroy": 2.0, "restore": 0.4},
            "inconclusive",
            "they move it and do not turn it",
            "open",
        ),
    ],
)
def test_what_exchanges_say(moved, verdict, said, sufficient):
    found = verdicts(override(**moved)).loc["M9"]
    assert found["verdict"] == verdict, found["reason"]
    assert said in found["reason"]
    assert json.loads(found["detail"])["sufficient"] == sufficient
    assert f"that they suffice: {sufficient}" in found["reason"]


def test_random_groups_that_do_as_much_leave_no_cause():
    found = verdicts(override(random=3.2, destroy=2.0, restore=1.5)).loc["M9"]
    assert found["verdict"] == "contradicted", found["reason"]


def test_a_part_of_the_cause_is_no_cause():
    found = verdicts(override(before=-5.0, destroy=2.0, restore=1.5)).loc["M9"]
    assert found["verdict"] == "inconclusive"
    assert "Nash play does not return" in found["reason"]


def test_a_choir_and_soloists_are_told_apart():
    choir, solo = (verdicts(override(effects)).loc["M10"] for effects in (CHOIR, SOLO))
    assert choir["verdict"] == "supported", choir["reason"]
    assert choir["estimate"] == pytest.approx(0.27, abs=0.02)
    assert solo["verdict"] == "contradicted", solo["reason"]
    assert verdicts(override((3.0,))).loc["M10", "verdict"] == "contradicted"
    assert json.loads(choir["detail"])["half"] == 4


def test_a_soloist_in_the_wrong_place_of_the_order_is_no_choir():
    found = verdicts(override((0.1, 0.1, 0.1, 3.0, 0.1, 0.1))).loc["M10"]
    assert found["estimate"] < 0.5
    assert found["verdict"] == "contradicted"
    assert "a single component adds most of it" in found["reason"]


def test_many_that_write_the_same_are_a_choir():
    """Of 60, some numbers are tried: steps of several components are told as such."""
    found = verdicts(override((0.06,) * 60, late=264)).loc["M10"]
    assert found["verdict"] == "supported", found["reason"]
    detail = json.loads(found["detail"])
    assert (detail["components"], detail["against"], detail["sizes"]) == (60, 60, 20)
    assert detail["held"] == 1
    # What has 80% of 60 is 48 or, by noise, the next number that was tried.
    assert detail["most"] in [size for size in sizes_tried(60) if size >= 48][:2]
    assert "of 20 numbers that were tried; a step of " in found["reason"]


def test_sizes_that_fall_slowly_are_no_soloist():
    effects = 1.0 / np.arange(1, 257)
    candidates = int((effects.cumsum() < 0.95 * effects.sum()).sum()) + 1
    table = override(effects[:candidates], before=-3.0, others=effects[candidates:], late=264)
    found = verdicts(table).loc["M10"]
    assert found["verdict"] == "supported", found["reason"]
    # The first two have 1.5 of the 6.1 of all, though more than half of the first eight.
    assert found["estimate"] == pytest.approx(1.5 / effects.sum(), abs=0.02)
    detail = json.loads(found["detail"])
    assert detail["against"] == 256
    assert detail["held"] == pytest.approx(0.95, abs=0.02)
    assert f"the {candidates} that write nearly all have a share of 0.9" in found["reason"]


def test_what_those_have_that_are_put_in_order_is_not_the_whole():
    """Two have all that candidates have, and a third of what all have that write against Nash."""
    found = verdicts(override((0.5, 0.5), others=(0.1,) * 20)).loc["M10"]
    assert found["estimate"] == pytest.approx(1 / 3, abs=0.02)
    detail = json.loads(found["detail"])
    assert detail["held"] == pytest.approx(1 / 3, abs=0.02)
    assert detail["half"] == 22
    # The last step is of twenty, and has more than half: who of them is not known.
    assert detail["step_components"] == 20
    assert found["verdict"] == "inconclusive", found["reason"]


def test_a_step_of_several_that_adds_most_tells_nothing():
    effects = np.full(60, 0.01)
    effects[50] = 3.0
    found = verdicts(override(effects, orders=0, late=264)).loc["M10"]
    detail = json.loads(found["detail"])
    assert detail["step_components"] > 1
    assert detail["largest_step_low"] < 0.5 < detail["largest_step_high"]
    assert found["verdict"] == "inconclusive", found["reason"]


def test_no_effect_cannot_be_shared_out():
    assert verdicts(override((0.02,) * 6)).loc["M10", "verdict"] == "inconclusive"
    assert verdicts(override((-0.1,) * 6)).loc["M10", "verdict"] == "inconclusive"


def test_few_histories_have_no_interval():
    found = verdicts(override(histories=1))
    assert set(found["verdict"]) == {"inconclusive"}
    assert found["reason"].str.contains("one history to test on").all()


def test_without_an_override_there_is_nothing_to_explain():
    flat = {"lens": lens(FRAME, nash=1.0)}
    found = verdicts(override(), **flat)
    assert set(found["verdict"]) == {"not_applicable"}
    assert found["reason"].str.contains("the lens shows no late override").all()
    noisy = {"lens": lens(FRAME, nash=steps(1.0, 0.2), prosocial=steps(0.0, 2.0), noise=9.0)}
    assert set(verdicts(override(), **noisy)["verdict"]) <= {"inconclusive", "not_applicable"}


def test_without_late_writers_or_the_stage_it_is_said():
    table = override()
    nothing = verdicts(table[table["kind"] == "none"])
    assert set(nothing["verdict"]) == {"inconclusive"}
    assert nothing["reason"].str.contains("no late head or MLP writes against").all()
    one = verdicts(table[table["label_map"] == "identity"])
    assert set(one["verdict"]) == {"not_applicable"}
    left = judge(TURNS, SETTINGS, CLAIMED)
    assert set(left["reason"]) == {"left out: attribution is null in the config"}


def test_noise_is_called_a_cause_or_a_choir_at_the_nominal_rate(monkeypatch):
    """Components that do nothing beyond random groups; and two of four that have exactly half."""
    settings = JudgeSettings("m", 0.95, 200, 1, 0.25, 0.01)
    for module, truth in (
        (m9, {"effects": (0.02,) * 8, "before": -0.1, "destroy": 2.0, "restore": 1.5}),
        (m10, {"effects": (0.5,) * 4}),
    ):
        monkeypatch.setattr(module, "override_problem", lambda *_: None)
        found = []
        for seed in range(20):
            table = override(**truth, noise=0.5, histories=6, orders=1, seed=seed)
            evidence = module.estimate({"override": table}, settings)
            found.append(module.rule(evidence).verdict)
        assert np.mean([one == "supported" for one in found]) < 0.12, module.CLAIM.id
