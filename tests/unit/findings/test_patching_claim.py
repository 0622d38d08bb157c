"""M11 on tables of known paths: computed at a place, nowhere, or not from payoffs."""

import json

import numpy as np
import pytest

from nashlens.findings import CLAIMS, judge
from nashlens.findings.claims import m11_computed_from_payoffs as m11
from tests.unit.findings.tables import PLANTED_PATH, SETTINGS, only_screened, patching

CLAIMED = [claim for claim in CLAIMS if claim.id == "M11"]


def verdict(table):
    return judge({"patching": table}, SETTINGS, CLAIMED).iloc[0]


@pytest.mark.parametrize("directions", [("destroy",), ("destroy", "restore")])
def test_the_lowest_place_that_carries_half_is_found(directions):
    found = verdict(patching(PLANTED_PATH, directions=directions))
    detail = json.loads(found["detail"])
    assert found["verdict"] == "supported"
    assert (detail["layer"], detail["group"], detail["decision_layer"]) == (4, "options", 6)
    assert found["estimate"] == pytest.approx(0.9, abs=0.02)
    assert 0.5 < found["ci_low"] < found["estimate"] < found["ci_high"]
    assert abs(found["control"]) < 0.05
    assert detail["total"] == pytest.approx(3.0, abs=0.05)
    assert found["p_value"] < 0.01
    assert (found["n"], found["n_matches"]) == (64, 16)


def test_what_follows_the_word_is_not_counted():
    found = verdict(patching(PLANTED_PATH, total=0.0, token=5.0))
    assert found["verdict"] == "inconclusive"
    swamped = verdict(patching(PLANTED_PATH, token=5.0))
    assert swamped["verdict"] == "supported"
    assert json.loads(swamped["detail"])["word_part"] == pytest.approx(5.0, abs=0.1)


AT_ONCE = PLANTED_PATH | {"decision": (0.0, 0.0, 0.9, 0.9)}
"""The decision reads the payoffs itself, and nothing before it does."""


def test_no_place_before_the_decision_contradicts_it():
    shares = AT_ONCE | {"options": (0.0, 0.0, 0.3, 0.1), "question": (0.0, 0.0, 0.1, 0.3)}
    found = verdict(patching(shares))
    assert found["verdict"] == "contradicted"
    assert found["estimate"] == pytest.approx(0.3, abs=0.05)


def test_what_carries_from_the_embedding_on_is_no_place():
    shares = AT_ONCE | {"options": (0.0, 0.0, 0.1, 0.1), "question": (0.0, 0.0, 0.1, 0.1)}
    assert verdict(patching(shares))["verdict"] == "contradicted"
    detail = json.loads(verdict(patching(shares))["detail"])
    assert detail["group"] in ("options", "question")


def test_it_reads_one_direction_and_says_the_other():
    both = patching(PLANTED_PATH, directions=("destroy", "restore"))
    weak = both["effect"].where(both["direction"] == "destroy", both["effect"] / 3)
    found, alone = verdict(both.assign(effect=weak)), verdict(patching(PLANTED_PATH))
    # Draws of noise follow one another, so that numbers differ by noise.
    assert found["verdict"] == alone["verdict"] == "supported"
    assert found["estimate"] == pytest.approx(alone["estimate"], abs=0.02)
    detail = json.loads(found["detail"])
    assert detail["direction"] == "destroy"
    assert detail["reverse"] == pytest.approx(0.3, abs=0.02)
    assert detail["reverse_low"] < detail["reverse"] < detail["reverse_high"]
    assert "in the direction restore 0.30 [" in found["reason"]
    assert "in the direction" not in alone["reason"]
    restored = verdict(patching(PLANTED_PATH, directions=("restore",)))
    assert json.loads(restored["detail"])["direction"] == "restore"
    assert restored["verdict"] == "supported"


def test_a_screen_finds_the_place_among_what_is_exact():
    found = verdict(only_screened(patching(PLANTED_PATH), ["residual/6/question"]))
    detail = json.loads(found["detail"])
    assert found["verdict"] == "supported"
    assert (detail["layer"], detail["group"]) == (4, "options")
    # What was only screened is no place, whatever its gradient says.
    later = verdict(only_screened(patching(PLANTED_PATH), ["residual/4/options"]))
    detail = json.loads(later["detail"])
    assert (detail["layer"], detail["group"]) == (6, "question")


def test_bounds_allow_for_what_was_only_screened():
    """Half of the places are screened: the others' bounds are no narrower for it."""
    table = patching(PLANTED_PATH, noise=1.0)
    out = ["residual/2/question", "residual/6/options", "residual/2/options"]
    screened, alone = only_screened(table, out), table[~table["patch"].isin(out)]
    found = [verdict(t) for t in (screened, table, alone)]
    assert len({one["estimate"] for one in found}) == 1
    width = [one["ci_high"] - one["ci_low"] for one in found]
    assert width[0] == pytest.approx(width[1])
    assert width[0] > width[2]


@pytest.mark.parametrize("place", ["options", "question", "decision"])
def test_a_layer_that_was_only_screened_contradicts_nothing(place):
    shares = AT_ONCE | {"options": (0.0, 0.0, 0.3, 0.1), "question": (0.0, 0.0, 0.1, 0.3)}
    table = patching(shares)
    assert verdict(table)["verdict"] == "contradicted"
    out = [f"residual/4/{name}" for name in ("payoffs", "options", "question", "decision")]
    found = verdict(only_screened(table, out))
    assert found["verdict"] == "inconclusive"
    assert "patching.screen" in found["reason"]
    # Where the rest still carries more than half, one place that was not patched matters little.
    one = verdict(only_screened(table, [f"residual/4/{place}"]))
    assert one["verdict"] == ("inconclusive" if place == "decision" else "contradicted")


@pytest.mark.parametrize("left_out", [["payoffs"], ["payoffs", "options"], ["payoffs", "question"]])
def test_what_was_not_patched_contradicts_nothing(left_out):
    """The label is at the payoffs until the decision reads it there."""
    shares = dict.fromkeys(PLANTED_PATH, (0.0, 0.0, 0.0, 0.0))
    shares |= {"payoffs": (0.6, 0.8, 0.9, 0.1), "decision": (0.0, 0.0, 0.1, 0.9)}
    assert verdict(patching(shares))["verdict"] == "supported"
    some = {name: share for name, share in shares.items() if name not in left_out}
    found = verdict(patching(some))
    assert found["verdict"] == "inconclusive"
    assert "see patching.groups" in found["reason"]
    assert json.loads(found["detail"])["covered_layer"] == 2


@pytest.mark.parametrize("whole", ["payoffs", "all"])
def test_tokens_that_are_in_two_groups_count_once(whole):
    shares = {"payoff_1": (0.1, 0.1, 0.0, 0.0), "payoff_4": (0.3, 0.3, 0.0, 0.0)}
    shares |= {whole: (0.4, 0.4, 0.0, 0.0), "question": (0.0, 0.0, 0.3, 0.1)}
    found = verdict(patching(shares | {"decision": (0.0, 0.0, 0.7, 0.9)}))
    assert found["verdict"] == "inconclusive"
    detail = json.loads(found["detail"])
    assert (detail["covered_layer"], detail["covered"]) == (2, pytest.approx(0.4, abs=0.05))


def test_a_payoff_that_makes_a_tie_can_be_the_place():
    """One payoff alone carries half of it from the embedding on, and the rest is computed there."""
    nowhere = dict.fromkeys(["options", "question"], (0.0, 0.0, 0.0, 0.0))
    place = nowhere | {"payoff_4": (0.52, 0.52, 1.0, 0.1), "decision": (0.0, 0.0, 0.0, 0.9)}
    place |= {"payoff_3": (0.48, 0.48, 0.4, 0.0)}
    detail = json.loads(verdict(patching(place))["detail"])
    assert verdict(patching(place))["verdict"] == "supported"
    assert (detail["layer"], detail["group"]) == (4, "payoff_4")
    held = place | {"payoff_4": (0.52, 0.52, 0.6, 0.1)}
    assert verdict(patching(held))["verdict"] == "contradicted"


def test_pairs_that_flip_nothing_are_inconclusive():
    found = verdict(patching(PLANTED_PATH, total=0.1))
    assert found["verdict"] == "inconclusive"
    assert "flip nothing" in found["reason"]
    assert verdict(patching(PLANTED_PATH, total=-3.0))["verdict"] == "inconclusive"


def test_a_control_that_carries_as_much_leaves_it_open():
    found = verdict(patching(PLANTED_PATH, control=2.5))
    assert found["verdict"] == "inconclusive"
    assert "may carry as much" in found["reason"]
    without = verdict(patching(PLANTED_PATH, kinds=("payoffs",)))
    assert without["verdict"] == "inconclusive"
    assert "as the control" in without["reason"]


def test_one_history_has_no_interval():
    found = verdict(patching(PLANTED_PATH, histories=2))
    assert found["verdict"] == "inconclusive"


def test_without_blocks_or_the_table_it_is_not_applicable():
    table = patching(PLANTED_PATH)
    some = verdict(table[table["label_map"] == "identity"])
    assert some["verdict"] == "not_applicable"
    assert verdict(table[:0])["reason"] == "the patching table has no row for this model"
    left = judge({}, SETTINGS, CLAIMED).iloc[0]
    assert left["verdict"] == "not_applicable"
    assert left["reason"] == "left out: patching is null in the config"


def test_no_path_is_false_at_the_nominal_rate():
    """Places that carry exactly half are called so as rarely as the interval says."""
    shares = {"payoffs": (1.0, 1.0, 0.0, 0.0), "options": (0.0, 0.0, 0.5, 0.5),
              "question": (0.0, 0.0, 0.5, 0.5), "decision": (0.0, 0.0, 0.0, 0.0)}  # fmt: skip
    found = [verdict(patching(shares, noise=1.0, seed=seed))["verdict"] for seed in range(60)]
    assert np.mean([v == "supported" for v in found]) < 0.12


def test_the_detectable_effect_is_a_share():
    found = verdict(patching(PLANTED_PATH))
    assert 0 < found["detectable"] < 0.2
    assert m11.LEAST_SHARE == 0.5
