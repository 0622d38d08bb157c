"""B7 of made-up tables: play that follows beliefs, play that does not, play that never changes."""

import numpy as np
import pytest

from nashlens.findings import JudgeSettings, claims, judge
from nashlens.findings.claim import ALL_MODELS
from tests.unit.findings.play_tables import beliefs

B7 = next(claim for claim in claims.PLAY_CLAIMS if claim.id == "B7")


def judged(frame):
    found = judge({"beliefs": frame}, JudgeSettings(ALL_MODELS, 0.95, 400, 3), [B7])
    return found.iloc[0]


def test_who_best_responds_is_found():
    found = judged(beliefs(lambda belief, gain, rng: 0.5 + 0.4 * np.sign(gain)))
    assert found["verdict"] == "supported"
    assert found["estimate"] == pytest.approx(0.9)
    # Half of the other histories' beliefs (3 of 5) call for the other action.
    assert found["control"] == pytest.approx(0.9 - 0.8 * 3 / 5)
    assert found["n_matches"] == 24
    assert found["detectable"] >= 0


def test_who_does_not_is_contradicted():
    for act in (
        lambda belief, gain, rng: 0.5 - 0.4 * np.sign(gain),
        lambda belief, gain, rng: rng.uniform(0.4, 0.6),
    ):
        assert judged(beliefs(act))["verdict"] == "contradicted"


def test_one_action_whatever_it_expects_is_not_best_responding_even_where_it_is_often_right():
    """Every belief calls for the action that it always takes: nothing tells that from a habit."""
    frame = beliefs(lambda belief, gain, rng: 0.5 + 0.45 * np.sign(gain), believe=0.9)
    found = judged(frame)
    assert found["verdict"] == "inconclusive"
    assert "one action whatever the history" in found["reason"]


def test_beliefs_that_fit_other_histories_as_well_decide_nothing():
    frame = beliefs(lambda belief, gain, rng: 0.5 + 0.4 * np.sign(gain))
    one = frame[frame["match_id"].str.endswith("/0")]
    assert judged(one)["verdict"] == "not_applicable"


def test_random_play_is_rarely_supported():
    verdicts = [
        judged(beliefs(lambda belief, gain, rng: rng.uniform(0.0, 1.0), seed=seed))["verdict"]
        for seed in range(40)
    ]
    assert verdicts.count("supported") <= 2


def test_without_beliefs_the_claim_is_not_applicable():
    found = judged(beliefs(lambda *_: 0.5)[:0])
    assert (found["verdict"], found["model"]) == ("not_applicable", "all models")
    assert "beliefs" in found["reason"]
