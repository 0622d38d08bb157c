"""Effects of interventions put into tables whose own effects and noise are known."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from nashlens.findings.claim import JudgeSettings
from nashlens.findings.claims.m4_no_nash_components import LEAST_DROP
from nashlens.steering.spike_summary import summarise_spikes, worth
from nashlens.steering.spiked_answers import ANSWER, ASKED, BY_WORD, SOLOIST, answer_verdicts
from nashlens.steering.spikes import WANTED, _described
from tests.unit.findings.tables import heads, only_screened, patching, steering
from tests.unit.findings.writers import override

SETTINGS = JudgeSettings("m", 0.95, 200, 1, late_fraction=0.25, min_label_mass=0.0)
STRENGTHS = (0.1, 0.6, 3.0)
NOTHING = {"candidate": 0.0, "token": 0.3, "random": 0.0, "spread": 0.02}


def late(number=10):
    """Late components that return nothing, with exchanges that move nothing; three are no
    candidates."""
    nothing = {"destroy": 0.0, "restore": 0.0, "others": (0.0,) * 3}
    table = override((0.0,) * number, before=-1.0, **nothing)
    noise = 0.05 * np.random.default_rng(4).normal(size=len(table))
    noise[table["kind"] == "none"] = 0.0
    return table.assign(drop=table["drop"] + noise, logit_nash=table["logit_nash"] - noise)


TABLES = {
    "M4": lambda: {"heads": heads(**NOTHING)},
    "M7": lambda: {"steering": steering(random_slope=0.05)},
    "M8": lambda: {"steering": steering(random_slope=0.05)},
    "M9": lambda: {"override": late()},
    "M10": lambda: {"override": late()},
    "M11": lambda: {
        "patching": patching(
            dict.fromkeys(("options", "question", "decision"), (0.0,) * 4), total=0.0
        )
    },
}


def summary(tables, claim, strengths=STRENGTHS, draws=3):
    rows = [
        (spike, found)
        for spike, found in answer_verdicts(tables, strengths, SETTINGS, draws)
        if found.claim == claim
    ]
    return summarise_spikes(pd.DataFrame(_described(rows, "m")), 0.95)


@pytest.mark.parametrize("claim", list(TABLES))
def test_a_large_effect_is_found_a_small_one_not_and_a_word_never(claim):
    table = summary(TABLES[claim](), claim)
    power = table[table["spike"] == ANSWER].set_index("strength")["estimate"]
    assert power[3.0] == 1.0
    assert power[0.1] == 0.0
    assert (table.loc[table["spike"] == "none", "estimate"] == 0.0).all()
    wrong = table[table["counts"] == "false"]
    assert BY_WORD in set(wrong["spike"])
    assert (wrong["estimate"] == 0.0).all()
    assert (SOLOIST in set(wrong["spike"])) == (claim == "M10")
    (found,) = worth(table).to_dict("records")
    assert found["spike_found"] in (0.6, 3.0)
    assert (found["spike_unit"], found["spike_false"]) == ("logits", 0.0)


def test_an_effect_is_put_where_a_screen_left_something_exact():
    """The first group of tokens was only screened in pairs of payoffs: no claim could name it."""
    table = TABLES["M11"]()["patching"]
    out = (table["group"] == "options") & (table["layer"] > 0)
    # Pairs of another kind do not differ there: what that does is known without a run.
    here = only_screened(table, set(table.loc[out, "patch"]))
    known = (here["kind"] == "history") & here["effect"].isna()
    here["effect"] = here["effect"].mask(known, 0.0)
    power = summary({"patching": here}, "M11")
    power = power[power["spike"] == ANSWER].set_index("strength")["estimate"]
    assert (power[3.0], power[0.1]) == (1.0, 0.0)


def test_power_by_strength_is_that_of_the_known_noise():
    """Drops of 16 blocks with noise 0.05 in each of four prompts; the bound is 0.2."""
    noise = 0.4
    strengths = (0.3, 0.45, 0.6, 0.9)
    found = summary({"heads": heads(**NOTHING | {"noise": noise})}, "M4", strengths, draws=40)
    power = found[found["spike"] == ANSWER].set_index("strength")["estimate"]
    assert all(a <= b for a, b in pairwise(power))
    error = noise / np.sqrt(64)
    for strength in strengths:
        known = norm.cdf((strength - LEAST_DROP) / error - norm.ppf(0.975))
        # What the model's own 16 histories happen to have is in every draw.
        slack = norm.cdf(norm.ppf(np.clip(known, 1e-6, 1 - 1e-6)) + np.array([-2.0, 2.0]))
        assert slack[0] - 0.1 <= power[strength] <= slack[1] + 0.1


def test_the_arm_that_finds_least_is_asked():
    """Heads at the decision find 0.6 logits; at all positions two histories a game find nothing."""
    exact = heads(**NOTHING)
    rough = heads(**NOTHING | {"noise": 3.0}).assign(positions="all", component="both")
    few = rough[rough["match_id"].isin([f"m{i}" for i in range(4)])]
    (found,) = worth(summary({"heads": pd.concat([exact, few])}, "M4")).to_dict("records")
    assert np.isinf(found["spike_found"])
    (found,) = worth(summary({"heads": exact}, "M4")).to_dict("records")
    assert found["spike_found"] == 0.6


def test_an_effect_of_the_model_itself_has_no_smallest_one():
    own = summary({"heads": heads(**NOTHING | {"candidate": 2.0})}, "M4")
    (found,) = worth(own).to_dict("records")
    assert np.isnan(found["spike_found"])


@pytest.mark.parametrize(("number", "asked"), [(4, False), (5, True)])
def test_no_choir_is_put_into_components_too_few_to_be_one(number, asked):
    """Of four that have equal shares, the first two have half, which is no choir."""
    verdicts = answer_verdicts({"override": late(number)}, STRENGTHS, SETTINGS, 2)
    assert {found.claim for _, found in verdicts} == {"M9", *["M10"] * asked}


def test_without_pairs_no_late_cause_can_be_found():
    table = late()
    alone = table[~table["kind"].str.startswith(("destroy", "restore"))]
    (found,) = worth(summary({"override": alone}, "M9")).to_dict("records")
    assert np.isinf(found["spike_found"])


def test_draws_that_are_judged_side_by_side_are_the_same():
    given = TABLES["M4"]() | TABLES["M9"](), STRENGTHS, SETTINGS, 4
    alone, beside = (list(answer_verdicts(*given, threads)) for threads in (1, 2))
    # As text: a missing number is no other one.
    assert list(map(repr, alone)) == list(map(repr, beside))
    assert {found.claim for _, found in alone} == {"M4", "M9", "M10"}


def test_what_a_study_left_out_is_not_asked():
    claims = {found.claim for _, found in answer_verdicts(TABLES["M4"](), STRENGTHS, SETTINGS, 1)}
    assert claims == {"M4"}
    assert set(ASKED) == set(WANTED[ANSWER]) == set(WANTED[BY_WORD])
