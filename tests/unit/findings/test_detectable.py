"""The smallest effect that a study would have found."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import nct
from scipy.stats import t as student

from nashlens.findings import ALL_CLAIMS, CLAIMS, combine, judge
from nashlens.findings.claim import Claim, Evidence, with_bounds
from nashlens.findings.conditions import Outcome
from nashlens.findings.detectable import power_sentence, smallest_effect
from tests.unit.findings.tables import SETTINGS

NAN = float("nan")
EVIDENCE = Evidence(estimate=0.3, low=0.1, high=0.5, n=40, n_matches=10, control=0.0, p_value=0.01)


@pytest.mark.parametrize("freedom", [4.0, 12.0, 100.0])
def test_an_effect_of_that_size_is_found_four_times_in_five(freedom):
    """Against the noncentral distribution of t, and its own interval's bound."""
    found = smallest_effect(replace(EVIDENCE, error=0.1, freedom=freedom), 0.95)
    power = nct.sf(student.ppf(0.975, freedom), freedom, found / 0.1)
    assert power == pytest.approx(0.8, abs=0.03)


def test_the_error_comes_from_the_interval_where_it_is_not_given():
    known = smallest_effect(replace(EVIDENCE, error=0.2 / 1.959964), 0.95)
    assert smallest_effect(EVIDENCE, 0.95) == pytest.approx(known)
    few = replace(EVIDENCE, freedom=5.0)
    given = replace(few, error=0.2 / student.ppf(0.975, 5.0))
    assert smallest_effect(few, 0.95) == pytest.approx(smallest_effect(given, 0.95))


def test_bounds_for_several_estimates_at_once_find_larger_effects_only():
    one = replace(EVIDENCE, error=0.1, freedom=20.0)
    several = replace(one, critical=3.0)
    assert smallest_effect(several, 0.95) > smallest_effect(one, 0.95)
    assert smallest_effect(several, 0.95) == pytest.approx(0.1 * (3.0 + student.ppf(0.8, 20.0)))


def test_nothing_is_known_without_an_interval():
    assert np.isnan(smallest_effect(replace(EVIDENCE, low=NAN, high=NAN), 0.95))


def test_the_sentence_says_number_unit_and_from_where():
    claims = {claim.id: claim for claim in CLAIMS}
    assert (
        power_sentence(0.1234, claims["M4"])
        == "This study would have found an effect of 0.12 logits four times in five."
    )
    assert (
        power_sentence(0.125, claims["M3"])
        == "This study would have found a difference of 0.12 in balanced accuracy from 0.65 four"
        " times in five."
    )
    # Where an effect has another unit than the estimate.
    assert (
        power_sentence(0.1, claims["M5"])
        == "This study would have found an effect of 0.1 logits beyond 0.2 in the layer that"
        " decides four times in five."
    )
    assert power_sentence(0.9, claims["M3"]).startswith("This study is too small: it would find")


def test_every_claim_has_a_unit():
    assert all(claim.unit for claim in ALL_CLAIMS)


def _claim(verdict: str) -> Claim:
    """M4 with an estimate and a verdict that are given."""
    return replace(
        next(claim for claim in CLAIMS if claim.id == "M4"),
        tables=(),
        estimate=lambda tables, settings: EVIDENCE,
        rule=lambda evidence: Outcome(verdict),
        reason=lambda evidence, outcome: "numbers",
    )


@pytest.mark.parametrize("verdict", ["supported", "contradicted", "inconclusive"])
def test_reasons_of_open_and_contradicted_claims_end_in_what_would_have_been_found(verdict):
    table = judge({}, SETTINGS, [_claim(verdict)])
    row = combine([table], 0.05).iloc[0]
    assert row["verdict"] == verdict
    assert row["unit"] == "logits"
    assert row["detectable"] == pytest.approx(0.2 + 0.2 * 0.8416 / 1.96, abs=1e-3)
    said = "numbers. This study would have found an effect of 0.29 logits four times in five."
    assert row["reason"] == ("numbers" if verdict == "supported" else said)


def test_a_claim_lost_to_the_correction_says_it_too():
    table = judge({}, SETTINGS, [_claim("supported")])
    lost = combine([table.assign(p_value=0.5)], 0.05).iloc[0]
    assert lost["verdict"] == "inconclusive"
    assert lost["reason"].endswith("(q = 0.5). This study would have found an effect of 0.29 logits"
                                   " four times in five.")  # fmt: skip


def test_a_zero_has_no_sign_in_a_reason():
    found = SimpleNamespace(estimate=-0.004, low=-0.01, high=-0.0)
    assert with_bounds(found) == "0.00 [-0.01, 0.00]"
