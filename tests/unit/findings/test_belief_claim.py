"""B7 of made-up tables: play that follows beliefs, play that does not, play that never changes."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from nashlens.findings import claims, judge_play
from nashlens.play.responses import hold_against_beliefs

B7 = next(claim for claim in claims.PLAY_CLAIMS if claim.id == "B7")
GAMES = {"stag": (-0.5, 0.5), "chicken": (0.5, -0.5), "hens": (-0.4, 0.6), "sexes": (-0.6, 0.4)}


def table(act, believe=None, histories=6, seed=3):
    """Rows of a model whose P(action 1) is `act(belief, gain)`; beliefs differ by history."""
    rng, rows = np.random.default_rng(seed), []
    for (game, gains), h in product(GAMES.items(), range(histories)):
        belief = rng.uniform(0.75, 0.95) if h % 2 else rng.uniform(0.05, 0.25)
        belief = belief if believe is None else believe
        gain = (1 - belief) * gains[0] + belief * gains[1]
        p = np.clip(act(belief, gain, rng), 0.01, 0.99)
        for form in product(("identity", "swapped"), ("forward", "reversed")):
            # A liking for the first label, in belief and in action, which the block cancels.
            sign = -1 if form[0] == "identity" else 1
            odds = np.log(belief / (1 - belief)) + 2 * sign
            rows.append(
                {"model": "m", "match_id": f"{game}/{h}", "block_id": f"{game}/{h}/b"}
                | {"game": game, "variant": 0, "seat": "row", "opponent": "ALLC"}
                | {"template": "neutral", "label_set": "jf", "label_kind": "neutral"}
                | {"label_map": form[0], "option_order": form[1], "dropped": "", "n_tokens": 9}
                | {"gain_0": gains[0], "gain_1": gains[1], "belief_mass": 0.9, "label_mass": 0.9}
                | {"p_expected_1": 1 / (1 + np.exp(-odds)), "belief_prompt_id": "", "prompt_id": ""}
                | {"p_action_1": p, "belief": np.nan, "loss": np.nan, "best_response": pd.NA}
            )
    return hold_against_beliefs(pd.DataFrame(rows))


def judged(frame):
    found = judge_play({"beliefs": frame}, confidence=0.95, bootstrap=400, seed=3, claims=[B7])
    return found.iloc[0]


def test_who_best_responds_is_found():
    found = judged(table(lambda belief, gain, rng: 0.5 + 0.4 * np.sign(gain)))
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
        assert judged(table(act))["verdict"] == "contradicted"


def test_one_action_whatever_it_expects_is_not_best_responding_even_where_it_is_often_right():
    """Every belief calls for the action that it always takes: nothing tells that from a habit."""
    frame = table(lambda belief, gain, rng: 0.5 + 0.45 * np.sign(gain), believe=0.9)
    found = judged(frame)
    assert found["verdict"] == "inconclusive"
    assert "one action whatever the history" in found["reason"]


def test_beliefs_that_fit_other_histories_as_well_decide_nothing():
    frame = table(lambda belief, gain, rng: 0.5 + 0.4 * np.sign(gain))
    one = frame[frame["match_id"].str.endswith("/0")]
    assert judged(one)["verdict"] == "not_applicable"


def test_random_play_is_rarely_supported():
    verdicts = [
        judged(table(lambda belief, gain, rng: rng.uniform(0.0, 1.0), seed=seed))["verdict"]
        for seed in range(40)
    ]
    assert verdicts.count("supported") <= 2


def test_without_beliefs_the_claim_is_not_applicable():
    found = judged(table(lambda *_: 0.5)[:0])
    assert (found["verdict"], found["model"]) == ("not_applicable", "all models")
    assert "beliefs" in found["reason"]
