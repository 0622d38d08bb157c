"""What a rule tests, as data: it gives the verdict, and nothing of it is lost on the way."""

import json
import math

import numpy as np
import pytest

from nashlens.findings.claim import Missing, decide
from nashlens.findings.claims import CLAIMS, claim_modules
from nashlens.findings.conditions import (
    COMPARISONS,
    above,
    as_text,
    at_least,
    at_most,
    below,
    case,
    decided,
    deciding,
    same,
    told,
    with_condition,
)
from nashlens.findings.judge import NOT_BEYOND, combine, judge
from tests.unit.findings.tables import SETTINGS, lens, probe_rows, prompts, steps
from tests.unit.findings.writers import override

FRAME = prompts(games=("pd", "harmony"))
LATE, FLAT = {"nash": steps(1.0, 0.2), "prosocial": steps(0.0, 2.0)}, {"nash": 1.0}


def conditions_of(row):
    return json.loads(row["conditions"])


def lens_findings(**truth):
    tables = {"prompts": FRAME, "lens": lens(FRAME, **truth)}
    return judge(tables, SETTINGS).set_index("claim")


def test_a_comparison_says_what_it_compared_and_nan_never_holds():
    made = {
        above("a", 1.0, 1.0): False,
        at_least("a", 1.0, 1.0): True,
        below("a", 1.0, 1.0): False,
        at_most("a", 1.0, 1.0): True,
        same("a", "x", "x"): True,
        told("a", True): True,
    }
    assert [one.holds for one in made] == list(made.values())
    assert [one.sign for one in made] == [*COMPARISONS, ""]
    assert not any(make("a", math.nan, 0.0).holds for make in (above, at_least, below, at_most))


def test_the_first_case_that_is_met_decides():
    yes, no = told("yes", True), told("no", False)
    rule = (
        case("supported", yes, no),
        case("supported", yes, without=[yes]),
        case("contradicted", yes, without=[no], because="so it is"),
        case("inconclusive"),
    )
    outcome = decided(*rule)
    assert (outcome.verdict, outcome.because) == ("contradicted", "so it is")
    written = json.loads(as_text(outcome.cases))
    assert [one["words"] for one in written["conditions"]] == ["yes", "no"]
    assert written["cases"][2] == {
        "verdict": "contradicted", "because": "so it is", "yes": [0], "no": [1]
    }  # fmt: skip
    assert deciding(written) == 2
    with pytest.raises(ValueError, match="without conditions"):
        decided(case("supported", no))


def test_numbers_are_written_whole_and_missing_ones_as_none():
    cases = (case("supported", above("a", np.float64(1 / 3), math.nan)), case("inconclusive"))
    (one,) = json.loads(as_text(cases))["conditions"]
    assert one == {"words": "a", "value": 1 / 3, "sign": ">", "bound": None, "holds": False}
    assert as_text(()) == ""


@pytest.mark.parametrize("truth", [LATE, FLAT, {}], ids=["override", "none", "noise"])
def test_the_late_override_is_read_off_its_conditions(truth):
    row = lens_findings(**truth).loc["M6"]
    found = conditions_of(row)
    assert found["cases"][deciding(found)]["verdict"] == row["verdict"]
    by_words = {one["words"]: one for one in found["conditions"]}
    late = by_words["action part at the late peak (logits)"]
    assert late["value"] == row["estimate"]
    early = by_words["early action part (logits)"]
    assert early["value"] == pytest.approx(json.loads(row["detail"])["early_action"], rel=1e-5)
    assert (early["sign"], early["bound"]) == ("<=", -0.05)


def test_both_verdicts_follow_from_numbers_of_the_same_conditions():
    """What is planted both ways asks the same, and is answered otherwise."""
    both = [lens_findings(**truth) for truth in (LATE, FLAT)]
    assert [rows.loc["M6", "verdict"] for rows in both] == ["supported", "contradicted"]
    words = [[one["words"] for one in conditions_of(rows.loc["M6"])["conditions"]] for rows in both]
    assert words[0] == words[1]


def test_what_cannot_be_judged_asks_nothing_and_a_missing_interval_is_a_condition():
    (claim,) = [one for one in CLAIMS if one.id == "M1"]
    assert decide(claim, Missing("none")).cases == ()
    assert set(lens_findings(**LATE).loc[["M1", "M7"], "conditions"]) == {""}
    probes = probe_rows("opponent_last", [0.5, 0.9]).assign(ci_low=np.nan)
    row = judge({"probes": probes}, SETTINGS)
    found = conditions_of(row.set_index("claim").loc["M1"])
    assert found["conditions"][0]["words"] == "the estimate has an interval and a p-value"
    assert not found["conditions"][0]["holds"]


def test_the_correction_over_all_claims_is_one_more_condition():
    rows = judge({"prompts": FRAME, "lens": lens(FRAME, **LATE)}, SETTINGS)
    for level, verdict in ((0.9, "supported"), (0.0, "inconclusive")):
        row = combine([rows], level).set_index("claim").loc["M6"]
        assert row["verdict"] == verdict
        found = conditions_of(row)
        decisive, last = found["cases"][deciding(found)], found["conditions"][-1]
        assert decisive["verdict"] == verdict
        assert (last["value"], last["sign"], last["bound"]) == (row["q_value"], "<=", level)
        assert (len(found["conditions"]) - 1 in decisive["yes"]) == (verdict == "supported")
        assert (NOT_BEYOND in decisive["because"]) == (verdict == "inconclusive")
    assert with_condition("", told("x", False), "") == ""


def test_what_rules_support_alone_is_open_in_every_row_that_the_correction_takes_back():
    tables = {"override": override(), "prompts": FRAME, "lens": lens(FRAME, **LATE)}
    rows = judge(tables, SETTINGS)
    assert {"M6", "M10"} <= set(rows.loc[rows["verdict"] == "supported", "claim"])
    for _, row in combine([rows], 0.0).iterrows():
        if row["conditions"]:
            found = conditions_of(row)
            assert found["cases"][deciding(found)]["verdict"] == row["verdict"] != "supported"


def test_every_rule_states_conditions():
    """A rule without any would leave the page with nothing to walk through."""
    for module in claim_modules():
        read = module.CLAIM.rule.__code__.co_names
        assert "decided" in read, module.__name__
