"""The quiz: who reads gets all right, who does not gets half, and each pair cancels preferences."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from nashlens.errors import LabelError
from nashlens.estimates import Bootstrap
from nashlens.games import Game
from nashlens.games.catalog import CATALOG
from nashlens.games.variants import variants
from nashlens.play.metrics.quiz import ALL, quiz_accuracy
from nashlens.play.quiz import CELLS, ask_quiz, histories_of, questions
from nashlens.prompts.templates import QUIZ, TEMPLATES
from nashlens.seeds import stream

from .fakes import ALL_FORMS, Letters

GAMES = list(CATALOG.values())[:6]
CELL = re.compile(
    r"^(?:If you choose option )?(\w)(?: \| |.* option )(\w)(?: \| |, you \w+ )(-?[\d.]+)"
    r"(?: \| | and the other \w+ \w+ )(-?[\d.]+?)\.?$",
    re.MULTILINE,
)
PLAYED = re.compile(
    r"Round (\d+): you chose option (\w) and \w+ (\S+);"
    r" the other \w+ chose option (\w) and \w+ (\S+)\."
)


class Answers:
    """Scores two answers by a function of the prompt and the two texts."""

    def __init__(self, prefers):
        self.prefers = prefers

    def label_logprobs(self, prompts, kept=None):
        text = Letters().text
        p = [self.prefers(text(q.ids), *(text(a).strip(" .") for a in q.labels)) for q in prompts]
        return np.log(0.5 * np.array([[x, 1 - x] for x in p]))


def histories(games=GAMES, **changes):
    options = {"histories": 2, "cycles": 1, "seed": 5} | changes
    return histories_of(games, lambda game: ALL_FORMS, **options)


def table(prefers, max_length=None, **changes):
    return ask_quiz(
        histories(**changes), Letters(max_length), Answers(prefers), system=None, model="m", seed=5
    )


def accuracy(frame):
    return quiz_accuracy(frame, Bootstrap(0.95, 200, 5))


def truth(text, swap=False):
    """Answer the last question of a prompt from its rules and history alone."""
    lines = text.splitlines()
    question = lines[-2]
    own = ("did you" in question or "do you" in question) != swap
    asked = re.search(r"in round (\d+)", question)
    if asked:
        played = next(p for p in PLAYED.findall(text) if p[0] == asked[1])
        _, mine, my_gain, theirs, their_gain = played
        if "Which option" in question:
            return mine if own else theirs
        return my_gain if own else their_gain
    pair = re.findall(r"option (\w)", question)
    cell = next(c for c in CELL.findall(text) if list(c[:2]) == pair)
    return cell[2] if own else cell[3]


def test_who_reads_gets_everything_right():
    frame = table(lambda text, right, wrong: 0.9 if truth(text) == right else 0.1)
    assert frame["correct"].all()
    assert set(frame["kind"]) == set(QUIZ)
    assert (accuracy(frame)["accuracy"] == 1).all()
    np.testing.assert_allclose(frame["p_right"], 0.9)
    np.testing.assert_allclose(frame["answer_mass"], 0.5)


@pytest.mark.parametrize(
    "likes",
    [lambda answer: answer, lambda answer: answer[::-1], lambda answer: -ord(answer[0])],
    ids=["larger", "odd", "smaller"],
)
def test_a_taste_for_some_answers_is_right_exactly_half_of_the_time(likes):
    frame = table(lambda text, right, wrong: 0.8 if likes(right) > likes(wrong) else 0.2)
    found = accuracy(frame)
    assert (found["accuracy"] == found["chance"]).all()
    assert (found["chance"] == 0.5).all()


def test_who_takes_the_other_for_itself_is_found_out():
    frame = table(lambda text, right, wrong: 0.9 if truth(text, swap=True) == right else 0.1)
    assert not frame.loc[frame["kind"].str.startswith("move"), "correct"].all()
    assert frame["correct"].mean() < 0.8


@pytest.mark.parametrize("where", ["system", "title", "actions"])
def test_texts_with_a_special_token_are_not_asked(where):
    title, system = GAMES[0].title, None
    games = list(GAMES)
    if where == "system":
        system = "You <bos> play."
    elif where == "title":
        games[0] = replace(games[0], title=f"{title} <bos>")
    else:
        games[0] = replace(games[0], actions=("stay", "<bos>"))
    with pytest.raises(LabelError, match="'<bos>', a special token of the model"):
        ask_quiz(histories(games), Letters(None), Answers(truth), system=system, model="m", seed=5)


def test_a_tie_is_not_known():
    assert not table(lambda text, right, wrong: 0.5)["correct"].any()


def test_every_history_holds_each_cell_equally_often_and_both_seats_are_asked():
    found = histories(cycles=2)
    assert len(found) == len(GAMES) * len(TEMPLATES) * 2
    assert len({h.name for h in found}) == len(found)
    for history in found:
        cells = Counter(zip(history.view.own, history.view.other, strict=True))
        assert cells == dict.fromkeys(CELLS, 2)
    assert Counter(h.view.seat for h in found) == {"row": 24, "column": 24}
    two = [h.view for h in found if h.name.startswith("chicken/table/")]
    assert {view.seat for view in two} == {"row", "column"}


def test_each_question_is_asked_twice_with_right_and_wrong_exchanged():
    for history in histories():
        asked = list(questions(history.view, stream(1, "q")))
        for kind in {question.kind for question in asked}:
            first, second = (question for question in asked if question.kind == kind)
            assert (first.right, first.wrong) == (second.wrong, second.right)
            assert first.text != second.text


def test_payoffs_that_are_all_alike_are_not_asked_about():
    flat = Game("flat", [[[1, 2], [1, 3]], [[1, 2], [1, 3]]])
    view = histories([flat])[0].view
    kinds = {question.kind for question in questions(view, stream(1, "q"))}
    gone = "own" if view.seat == "row" else "other"
    assert kinds == set(QUIZ) - {f"rule_{gone}", f"gain_{gone}"}


def test_other_games_and_variants_change_no_question():
    few, many = table(lambda *a: 0.9, games=GAMES[:2]), table(lambda *a: 0.9)
    same = many[many["history_id"].isin(few["history_id"])]
    assert sorted(few["prompt_id"]) == sorted(same["prompt_id"])
    other = variants(GAMES[0], 1, stream(3, "variants"))
    assert [h.view.game.variant for h in histories([GAMES[0], *other])[:2]] == [0, 1]


def test_what_does_not_fit_the_context_is_counted_and_not_asked():
    lengths = table(lambda *a: 0.9)["n_tokens"]
    frame = table(lambda *a: 0.9, max_length=int(lengths.median()))
    gone = frame["dropped"] != ""
    assert 0 < gone.sum() < len(frame)
    assert frame.loc[gone, ["p_right", "correct"]].isna().all().all()
    found = accuracy(frame)
    assert found.loc[found["kind"] == ALL, "n_dropped"].sum() == gone.sum()
    assert (found["n"] + found["n_dropped"] > 0).all()


def test_the_accuracy_has_an_interval_over_histories():
    rng = stream(0, "answers")
    frame = table(lambda *a: 0.9 if rng.random() < 0.7 else 0.1)
    found = accuracy(frame)
    assert set(found["kind"]) == {ALL, *QUIZ}
    assert set(found["template"]) == set(TEMPLATES)
    whole = found[found["kind"] == ALL]
    assert (whole["n_histories"] == len(GAMES) * 2).all()
    assert ((whole["ci_low"] < whole["accuracy"]) & (whole["accuracy"] < whole["ci_high"])).all()
    assert whole["n"].sum() == len(frame)
