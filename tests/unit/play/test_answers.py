"""The grammar of final answers; the names say which bug of a public peer a test keeps out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nashlens.play.answers import ABSENT, BOTH, NEGATED, NONE, VALID, Answer
from nashlens.play.answers import before_answer as before
from nashlens.play.answers import final_answer as parse

ANCHOR = "Final answer: option"
WORDS = ("cooperate", "defect")
STATUSES = (VALID, NONE, BOTH, NEGATED, ABSENT)


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("Final answer: option J", 0),
        ("I think.\nFinal answer: option F.", 1),
        ("**Final answer:** option **J**", 0),
        ("  final  answer is F\n\nThat is all.", 1),
        ("First J looked good, not F.\nFinal answer: F", 1),
        ("Final answer: J\nFinal answer: option J", 0),
    ],
)
def test_an_anchored_line_with_one_label_is_the_answer(text, action):
    assert parse(text, ("J", "F"), ANCHOR) == Answer(VALID, action)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", ABSENT),
        ("I choose option J.", ABSENT),
        ("So my final answer: option J", ABSENT),
        ("Final answer", ABSENT),
        ("Final answers: option J", ABSENT),
        ("Final answer: option", NONE),
        ("Final answer: option K", NONE),
        ("Final answer: option Jam", NONE),
        ("Final answer: option f", NONE),
        ("Final answer: option J or option F", BOTH),
        ("Final answer: option J\nFinal answer: option F", BOTH),
        ("Final answer: not option J", NEGATED),
        ("Final answer: option J, not F", NEGATED),
        ("Final answer: neither", NEGATED),
        ("Final answer: option J\nFinal answer: I don't know", NEGATED),
    ],
)
def test_everything_else_is_invalid_and_says_why(text, status):
    assert parse(text, ("J", "F"), ANCHOR) == Answer(status, None)


def test_an_answer_naming_both_options_does_not_count_as_the_first_one():
    """A public tool took the first substring that matched."""
    for text in ("Final answer: cooperate or defect", "Final answer: defect or cooperate"):
        assert parse(text, WORDS, ANCHOR) == Answer(BOTH, None)


@pytest.mark.parametrize(
    "text",
    ["I will not defect", "I won't defect", "I won\u2019t defect", "never defect", "do NOT defect"],
)
def test_i_will_not_defect_is_not_read_as_defect(text):
    assert parse(f"Final answer: {text}", WORDS, ANCHOR) == Answer(NEGATED, None)


def test_a_label_inside_a_word_is_no_mention():
    assert parse("Final answer: cooperated", WORDS, ANCHOR) == Answer(NONE, None)
    assert parse("Final answer: option A, a good one", ("A", "B"), ANCHOR) == Answer(VALID, 0)


def test_labels_that_are_negations_or_hold_marks():
    assert parse("Final answer: No", ("Yes", "No"), ANCHOR) == Answer(VALID, 1)
    assert parse("Final answer: option C++.", ("C++", "D"), ANCHOR) == Answer(VALID, 0)


def test_an_anchor_without_a_colon_counts_whole():
    assert parse("I choose option J", ("J", "F"), "I choose option") == Answer(VALID, 0)
    assert parse("I choose J", ("J", "F"), "I choose option") == Answer(ABSENT, None)


def test_what_stands_before_the_answer():
    assert before("a J\n**Final answer: J\nb", ANCHOR) == "a J\n"
    assert before("no answer: J", ANCHOR) == "no answer: J"


@given(st.text(), st.sampled_from([("J", "F"), WORDS, ("Yes", "No")]))
def test_any_text_has_one_status_and_an_action_only_if_valid(text, labels):
    for whole in (text, f"{ANCHOR} {text}"):
        answer = parse(whole, labels, ANCHOR)
        assert answer.status in STATUSES
        assert (answer.action is not None) == (answer.status == VALID)
        swapped = parse(whole, labels[::-1], ANCHOR)
        assert swapped.status == answer.status
        if answer.action is not None:
            assert swapped.action == 1 - answer.action
