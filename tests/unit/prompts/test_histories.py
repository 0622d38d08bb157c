"""Histories that prompts show: their opponents, and their mirror images."""

import re

import pytest

from nashlens.prompts.table import draw_history
from nashlens.seeds import stream
from nashlens.strategies import STRATEGIES

from .test_table import prompts


@pytest.mark.parametrize("opponent", STRATEGIES)
def test_a_longer_history_starts_with_the_shorter_one(opponent):
    long = draw_history(opponent, 20, 0.5, stream(3, "h"))
    short = draw_history(opponent, 8, 0.5, stream(3, "h"))
    assert (long[0][:8], long[1][:8]) == short


def test_the_opponent_in_a_history_answers_the_seat_and_not_itself():
    own, other = draw_history("TFT", 30, 0.5, stream(1, "h"))
    assert other == [0, *own[:-1]]
    assert set(own) == {0, 1}


def test_a_mirror_image_shows_the_same_labels_with_the_other_meaning():
    """Its history under the swapped map reads as the history itself under identity."""
    table = prompts(rounds=[5], option_orders=["forward"])
    keys = ["match_id", "template", "label_set"]
    identity, swapped = (table["label_map"] == name for name in ("identity", "swapped"))
    one = table[identity & ~table["mirrored"]].set_index(keys)
    other = table[swapped & table["mirrored"]].set_index(keys)
    assert (one["own_last"] == 1 - other["own_last"]).all()
    assert (one["opponent_cooperation"] == 1 - other["opponent_cooperation"]).all()
    for key, row in one.iterrows():
        shown = [
            re.findall(r"chose option (\w+)", text)
            for text in (row["text"], other.loc[key, "text"])
        ]
        assert shown[0] == shown[1]
