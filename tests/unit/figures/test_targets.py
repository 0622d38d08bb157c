"""Panels of targets: what belongs together shares a row, and every target is shown once."""

from hypothesis import given
from hypothesis import strategies as st

from nashlens.figures.targets import panel_rows, target_words
from nashlens.vocabulary.targets import TARGETS


def test_an_action_its_label_and_its_place_share_a_row():
    rows = panel_rows(TARGETS, 3)
    assert ["nash_action", "nash_label", "nash_place"] in rows
    assert ["chosen_action", "chosen_label", "chosen_place"] in rows
    assert rows[-1] == ["best_response", "opponent_next"]
    two = panel_rows([name for name in TARGETS if name != "nash_action"], 2)
    assert ["nash_label", "nash_place"] in two
    assert ["chosen_label", "chosen_place"] in two


@given(st.lists(st.sampled_from([*TARGETS, "something_else"]), unique=True), st.integers(1, 4))
def test_every_target_has_one_panel(targets, across):
    rows = panel_rows(targets, across)
    assert sorted(name for row in rows for name in row) == sorted(targets)
    assert all(1 <= len(row) <= across for row in rows)


def test_headings_say_what_is_asked():
    assert target_words("nash_action") == "Nash action: which kind of game"
    assert target_words("nash_label") == "Nash action: which label"
    assert target_words("chosen_place") == "chosen action: which place"
    assert target_words("own_last") == "own last"
    assert len({target_words(name) for name in TARGETS}) == len(TARGETS)
