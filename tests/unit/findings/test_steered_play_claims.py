"""S1, S2 and S3 of made-up matches: players that a dose moves, and players that it does not."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from nashlens.estimates import Bootstrap
from nashlens.findings import PLAY_CLAIMS, judge
from nashlens.findings.steered_summary import QUANTITIES, steered_estimates
from nashlens.games.table import games_table
from tests.unit.findings.play_tables import (
    ALLC,
    PD,
    SETTINGS,
    STAG,
    TFT,
    checks,
    constant,
    models,
    noisy,
    steered,
)

KNOWN = models(m=("f", 1))
SOFT_TFT = noisy(TFT, 0.05)


def slope(size):
    """Cooperates less the larger the dose."""
    return lambda dose: constant(0.5 - size * dose)


def judged(claim, matches, games=(PD,), **tables):
    tables = {
        "steered_matches": matches,
        "games": games_table(list(games)),
        "models": KNOWN,
    } | tables
    claims = [one for one in PLAY_CLAIMS if one.id == claim]
    rows = judge(tables, SETTINGS, claims).set_index("model")
    assert len(rows) == 1
    return rows.iloc[0], json.loads(rows.iloc[0]["detail"])


def test_without_steered_agents_the_key_is_named():
    for claim in ("S1", "S2", "S3"):
        claims = [one for one in PLAY_CLAIMS if one.id == claim]
        (row,) = judge({"games": games_table([PD])}, SETTINGS, claims).to_dict("records")
        assert row["verdict"] == "not_applicable"
        assert "agents.NAME.intervention" in row["reason"]


# ---- S1 ----


def test_a_dose_that_moves_play_both_ways():
    row, detail = judged("S1", steered(slope(0.3), random=slope(0.0), rounds=6))
    assert row["verdict"] == "supported", row["reason"]
    assert row["estimate"] == pytest.approx(0.6, abs=0.15)
    assert detail["pushes"] == [-1, 0, 1]
    assert detail["nearer"] > 0.3


def test_without_a_control_any_direction_might_do():
    row, _ = judged("S1", steered(slope(0.3), rounds=6))
    assert row["verdict"] == "inconclusive"
    assert "no player is steered along a random direction" in row["reason"]


def test_a_random_direction_is_the_control():
    row, detail = judged("S1", steered(slope(0.3), random=slope(0.0), rounds=6))
    assert row["verdict"] == "supported", row["reason"]
    assert abs(row["control"]) < 0.15
    assert detail["beyond_low"] > 0
    for other in (slope(0.3), slope(-0.3)):
        row, _ = judged("S1", steered(slope(0.3), random=other, rounds=6))
        assert row["verdict"] == "inconclusive"
        assert "a random direction" in row["reason"]


def test_a_random_direction_at_other_layers_is_no_control():
    matches = steered(slope(0.3), random=slope(0.3), layers={"r": [1]}, rounds=6)
    row, detail = judged("S1", matches)
    assert (row["verdict"], detail["n_random"]) == ("inconclusive", 0)


def test_a_dose_that_moves_nothing_or_the_wrong_way():
    for policy in (slope(0.0), slope(-0.3)):
        row, _ = judged("S1", steered(policy, rounds=12, repetitions=32))
        assert row["verdict"] == "contradicted", row["reason"]


def test_one_way_is_not_both():
    row, _ = judged("S1", steered(lambda dose: constant(0.9 - 0.6 * max(dose, 0.0)), rounds=6))
    assert row["verdict"] == "inconclusive"
    assert "both ways" in row["reason"]


def test_a_larger_dose_that_moves_back_is_seen():
    chance = {-1.0: 0.95, -0.5: 0.55, 0.0: 0.7, 0.5: 0.1, 1.0: 0.3}
    row, detail = judged(
        "S1", steered(lambda dose: constant(chance[dose]), doses=tuple(chance), rounds=12)
    )
    assert row["verdict"] == "inconclusive"
    assert detail["backwards"]


def test_what_a_dose_needs():
    row, _ = judged("S1", steered(slope(0.3), doses=(0.0, 1.0)))
    assert (row["verdict"], "agents.s.intervention.values" in row["reason"]) == (
        "not_applicable",
        True,
    )
    row, _ = judged("S1", steered(slope(0.3), doses=(-1.0, 1.0)))
    assert "needs 0" in row["reason"]
    row, _ = judged("S1", steered(slope(0.3), ALLC))
    assert "matches.self_play" in row["reason"]
    row, _ = judged("S1", steered(slope(0.3)), games=[STAG])
    assert row["verdict"] == "not_applicable"


def test_noise_is_rarely_supported():
    rng = np.random.default_rng(8)
    level, push = rng.normal(size=20), 0.2 * rng.normal(size=20)

    def unlike(dose):
        """In each block another liking, and a push that moves it by chance."""
        return lambda see: expit((level + dose * push)[see["repetition"] // 4])

    many = steered(unlike, rounds=2, repetitions=80)
    study = many["repetition"].astype(int) // 8
    verdicts = [judged("S1", many[study == k])[0]["verdict"] for k in range(10)]
    assert verdicts.count("supported") == 0


# ---- S2 ----


def whole(size=0.3, **changes):
    return judged("S2", steered(slope(size), rounds=6), **checks(**changes))


@pytest.mark.parametrize(
    ("table", "kept", "lacks"),
    [
        ("steered_quiz", [0.0, 1.0], "no question of the quiz was asked of s at dose 0 and at -1"),
        ("steered_quiz", [-1.0, 1.0], "of s at dose 0 and at -1, 1"),
        ("steered_quiz", [], "the steered_quiz table has no row"),
        ("steered_text", [0.0, 1.0], "s read no plain text at dose -1"),
        ("steered_text", [], "the steered_text table has no row"),
    ],
)
def test_damage_that_was_not_looked_for_is_not_ruled_out(table, kept, lacks):
    tables = checks()
    tables[table] = tables[table][tables[table]["dose"].isin(kept)]
    row, _ = judged("S2", steered(slope(0.3), rounds=6), **tables)
    assert row["verdict"] == "not_applicable"
    assert lacks in row["reason"]


def test_the_text_of_another_player_says_nothing():
    tables = checks()
    tables["steered_text"] = tables["steered_text"].assign(player="r")
    row, _ = judged("S2", steered(slope(0.3), rounds=6), **tables)
    assert row["verdict"] == "not_applicable"
    assert "s read no plain text at dose -1, 1" in row["reason"]


def test_a_player_that_stays_whole():
    row, detail = whole()
    assert row["verdict"] == "supported", row["reason"]
    assert row["control"] == pytest.approx(0.8, abs=0.1)
    assert (detail["broken"], detail["open"]) == ([], [])
    assert set(detail["worst"]) == {"quiz", "label mass", "KL divergence", "perplexity"}


def test_each_measure_can_break_it():
    row, detail = whole(right=lambda dose: 0.8 if dose <= 0 else 0.5)
    assert (row["verdict"], detail["broken"], detail["dose"]) == ("contradicted", ["quiz"], 1.0)
    assert row["estimate"] == pytest.approx(-0.3, abs=0.1)
    row, detail = whole(kl=lambda dose: 2.0 * abs(dose))
    assert detail["broken"] == ["KL divergence", "perplexity"]
    matches = steered(slope(0.3), rounds=6)
    faint = matches.assign(label_mass=matches["label_mass"].where(matches["dose"] < 1, 0.01))
    row, detail = judged("S2", faint, **checks())
    assert (row["verdict"], detail["broken"]) == ("contradicted", ["label mass"])
    invalid = matches.assign(n_invalid=6 * (matches["dose"] == 1).astype("Int64"))
    row, detail = judged("S2", invalid, **checks())
    assert (row["verdict"], detail["broken"]) == ("contradicted", ["invalid answers"])


def test_a_dose_that_moves_nothing_shows_nothing():
    row, _ = whole(0.0)
    assert row["verdict"] == "inconclusive"
    assert "no dose clearly moves" in row["reason"]


def test_what_is_unclear_is_named():
    row, _ = whole(right=lambda dose: 0.8 if dose <= 0 else 0.69)
    assert row["verdict"] == "inconclusive"
    assert "quiz may be beyond" in row["reason"]


# ---- S3 ----


def test_a_partner_that_answers_is_unravelled():
    row, detail = judged("S3", steered(lambda dose: constant(0.6 - 0.4 * dose), SOFT_TFT, rounds=8))
    assert row.name == "s--p_direct"
    assert row["verdict"] == "supported", row["reason"]
    assert row["estimate"] == pytest.approx(0.36, abs=0.12)
    assert abs(row["control"]) < 0.1
    assert detail["seat"] > 0.25


def test_a_partner_that_does_not_answer_goes_on():
    row, _ = judged("S3", steered(slope(0.4), noisy(ALLC, 0.1), rounds=8))
    assert row["verdict"] == "contradicted", row["reason"]


def test_a_seat_that_is_not_moved_tells_nothing():
    row, _ = judged("S3", steered(slope(0.0), SOFT_TFT, rounds=8))
    assert row["verdict"] == "inconclusive"
    assert "does not clearly defect more itself" in row["reason"]


def test_a_partner_that_never_cooperates_cannot_be_unravelled():
    row, _ = judged("S3", steered(slope(0.4), constant(0.02), rounds=8))
    assert row["verdict"] == "inconclusive"


def test_without_a_partner_or_a_second_round():
    row, _ = judged("S3", steered(slope(0.4)))
    assert (row.name, row["verdict"]) == ("s", "not_applicable")
    assert "matches.cross_play" in row["reason"]
    row, _ = judged("S3", steered(slope(0.4), SOFT_TFT, rounds=1))
    assert "fewer than two rounds" in row["reason"]


# ---- the figure's table ----


def test_dose_and_response():
    how = Bootstrap(SETTINGS.confidence, SETTINGS.resamples, SETTINGS.seed)
    both = pd.concat(
        [steered(slope(0.3), rounds=6), steered(slope(0.3), SOFT_TFT, rounds=6, seed=1)]
    )
    tables = {"steered_matches": both, "games": games_table([PD]), "models": KNOWN, **checks()}
    found = steered_estimates(tables, how)
    assert set(found["quantity"]) == set(QUANTITIES)
    play = found[found["quantity"] == "cooperation"].set_index("dose")
    assert play["estimate"].tolist() == pytest.approx([0.8, 0.5, 0.2], abs=0.12)
    assert (play["ci_low"] < play["estimate"]).all()
    (change,) = found[found["quantity"] == "cooperation_change"].to_dict("records")
    assert change["dose"] == 1.0
    assert change["estimate"] == pytest.approx(play["estimate"][1.0] - play["estimate"][-1.0])
    assert change["ci_high"] < 0.0
    partner = found[found["quantity"] == "partner_cooperation"]
    assert set(partner["partner"]) == {"p_direct"}
    assert partner["estimate"].is_monotonic_decreasing
    ratio = found[found["quantity"] == "perplexity"].set_index("dose")["estimate"]
    assert ratio[0.0] == 1
    assert ratio[1.0] == pytest.approx(1.1, abs=0.05)
    empty = steered_estimates(tables | {"steered_matches": pd.DataFrame()}, how)
    assert list(empty.columns) == list(found.columns)
