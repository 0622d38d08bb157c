"""What is expected of each decision of a steered player, before it is drawn."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from nashlens.factorial import STRATA, BlockEstimate
from nashlens.games.catalog import CATALOG
from nashlens.play.join import with_doses
from nashlens.play.metrics.steered import steered_matches
from tests.unit.findings.play_tables import PD, TFT, constant, decisions, itself, meeting, noisy

STUDIES = 4000
STAG = CATALOG["stag_hunt"]


def measured(*pairs, games=(PD,), change=lambda table: table, temperature=1.0, parsed=False, **how):
    about = {"player": "s", "direction": "abstract", "kind": "add", "value": 0.0, "layers": [1]}
    table = change(with_doses(decisions(*pairs, games=games, **how), {"s_direct": about}))
    return steered_matches(table, games, temperature=temperature, parsed=parsed)


def test_a_chance_counts_and_not_what_was_drawn():
    found = measured(itself("s", lambda see: 0.8 if see["round"] == 0 else 0.5), rounds=3)
    assert found["expected_cooperation"].to_numpy() == pytest.approx(0.6)
    assert found["first_expected_cooperation"].to_numpy() == pytest.approx(0.8)
    assert found["later_expected_cooperation"].to_numpy() == pytest.approx(0.5)
    assert found["opponent_expected_cooperation"].to_numpy() == pytest.approx(0.6)
    # Of three rounds, both defect in 0.04, 0.25 and 0.25.
    assert found["expected_nash_tv"].to_numpy() == pytest.approx(1.0 - 0.54 / 3)
    assert found["cooperation"].nunique() > 1


def test_temperature_is_part_of_the_chance():
    play = itself("s", constant(0.8))
    assert measured(play, temperature=0.5)["expected_cooperation"].to_numpy() == pytest.approx(
        0.64 / (0.64 + 0.04)
    )
    assert (measured(play, temperature=0.0)["expected_cooperation"] == 1.0).all()


def test_a_script_draws_at_no_temperature():
    found = measured(*meeting("s", constant(0.8), "RANDOM", constant(0.7)), temperature=0.5)
    script = found[found["strategy"].notna()]
    assert len(script)
    assert script["expected_cooperation"].to_numpy() == pytest.approx(0.7)


def test_a_written_answer_that_decides_is_what_it_says():
    def written(table):
        return table.assign(mode="cot")

    found = measured(itself("s", constant(0.6)), change=written, parsed=True)
    assert found["expected_cooperation"].to_numpy() == pytest.approx(found["cooperation"])
    assert found["expected_nash_tv"].to_numpy() == pytest.approx(found["nash_tv"])
    scored = measured(itself("s", constant(0.6)), change=written)
    assert scored["expected_cooperation"].to_numpy() == pytest.approx(0.6)


def test_expected_play_has_the_mean_of_what_is_played_and_a_smaller_spread():
    found = measured(itself("s", noisy(TFT, 0.3)), rounds=6, repetitions=400)
    for expected, drawn in (("cooperation", "cooperation"), ("nash_tv", "nash_tv")):
        gap = found[f"expected_{expected}"] - found[drawn]
        assert abs(gap.mean()) < 3.0 * gap.std() / np.sqrt(len(gap) / 2)
        assert found[f"expected_{expected}"].std() < 0.8 * found[drawn].std()


def test_who_moves_second_has_no_expected_distance():
    found = measured(itself("s", constant(0.6)), orders=("simultaneous", "row_first"))
    known = found["move_order"] == "simultaneous"
    assert found["expected_nash_tv"].notna().equals(known)
    # With several equilibria, the nearest one.
    stag = measured(itself("s", constant(0.9)), games=(STAG,))
    assert stag["expected_nash_tv"].to_numpy() == pytest.approx(1.0 - 0.81)


def changes(blocks, effect, unlike, rng):
    """Change of cooperation in two rounds from one dose to its opposite, by block and study.

    Expected, and drawn. Blocks differ in how likely cooperation is, and by `unlike` logits in how
    a push moves it; labels and places have effects of their own; the other's last action is
    answered.
    """
    of_block = (blocks, STUDIES, 1)
    level, push = rng.normal(size=of_block), effect + unlike * rng.normal(size=of_block)
    word, place = rng.normal(size=of_block), 0.5 * rng.normal(size=of_block)
    forms = np.array([[w, p] for w in (1, -1) for p in (1, -1)])
    own = level + word * forms[:, 0] + place * forms[:, 1]
    draws = rng.uniform(size=(3, blocks, STUDIES, len(forms)))  # the same for both doses
    expected, drawn = 0.0, 0.0
    for dose in (-1.0, 1.0):
        first = expit(own - dose * push)
        second = expit(own - dose * push + np.where(draws[1] < first, 0.7, -0.7))
        taken = (draws[0] < first) * 1.0 + (draws[2] < second)
        expected -= dose * (first + second).mean(axis=-1) / 2.0
        drawn -= dose * taken.mean(axis=-1) / 2.0
    return expected, drawn


@pytest.mark.parametrize("blocks", [2, 4, 12])
@pytest.mark.parametrize(
    ("effect", "unlike", "smaller"), [(0.0, 0.05, 0.5), (0.0, 0.5, 0.9), (0.5, 0.5, 0.9)]
)
def test_intervals_of_expected_play_hold_the_truth_as_often_as_they_say(
    blocks, effect, unlike, smaller
):
    expected, drawn = changes(blocks, effect, unlike, np.random.default_rng(blocks))
    truth = expected.mean()
    assert drawn.mean() == pytest.approx(truth, abs=0.01)
    assert expected.std() < smaller * drawn.std()
    names = [str(number) for number in range(blocks)]
    frame = pd.DataFrame({"block": names, **dict.fromkeys(STRATA, "")})
    low, high = BlockEstimate.of(frame, expected, "block", STRATA).interval(0.95)
    assert 0.93 < np.mean((low <= truth) & (truth <= high)) < 0.97
    assert np.mean(low > truth) < 0.035
