"""Mode predict: what the other does is asked first, and the action after the answer to that."""

import numpy as np
import pytest

from nashlens.play.run import decisions_table, play_rounds
from nashlens.play.schedule import Agent

from .fakes import MODEL, matches_of, players, settings

PREDICTS = Agent("p", model="m", mode="predict")
ALLD = Agent("d", strategy="ALLD")
ASKS, ACTS = "player chooses option", "I choose option"


def play(pair, p_action_0, **more):
    player = players(p_action_0)
    frame = decisions_table(play_rounds(matches_of(pair, **more), lambda: player, settings()))
    return frame, [text for texts, _ in player["m"].scorer.calls for text in texts]


def foresees(text, labels):
    """Expects action 1 (P 0.2), and plays 0.9 on action 0 where it says so, else 0.1."""
    if text.endswith(ASKS):
        return 0.2
    return 0.9 if f"{ASKS} {labels[1]}. {ACTS}" in text else 0.1


def test_the_prediction_stands_in_the_transcript_of_the_action():
    frame, asked = play((PREDICTS, ALLD), foresees)
    mine = frame[frame["agent"] == "p"]
    np.testing.assert_allclose(mine["p_expected_0"], 0.2)
    np.testing.assert_allclose(mine["p_action_0"], 0.9)
    assert set(mine["mode"]) == {"predict"}
    assert len(asked) == 2 * len(mine)
    assert sum(text.endswith(ASKS) for text in asked) == len(mine)
    assert frame.loc[frame["agent"] == "d", "p_expected_0"].isna().all()


@pytest.mark.parametrize("p", [0.3, 0.7])
def test_it_says_the_likelier_action_by_the_label_that_its_match_has(p):
    _, asked = play(
        (PREDICTS, ALLD),
        lambda text, labels: p if text.endswith(ASKS) else 0.5,
        repetitions=4,
    )
    acted = [text for text in asked if text.endswith(ACTS)]
    said = {text.split(f"{ASKS} ")[-1][0] for text in acted}
    # Under both label maps: the same action has either label.
    assert said == {"J", "F"}


def test_who_acts_directly_is_asked_nothing_more():
    frame, asked = play((MODEL, ALLD), foresees)
    assert frame["p_expected_0"].isna().all()
    assert not any(text.endswith(ASKS) for text in asked)


def test_who_has_seen_the_move_predicts_nothing():
    pair = (PREDICTS, PREDICTS)
    frame, _ = play(pair, foresees, move_orders=["simultaneous", "row_first"], repetitions=8)
    turns = frame[frame["move_order"] == "row_first"]
    first, second = (turns[turns["seat"] == seat] for seat in ("row", "column"))
    assert len(first) > 0
    assert first["p_expected_0"].notna().all()
    assert second["p_expected_0"].isna().all()
