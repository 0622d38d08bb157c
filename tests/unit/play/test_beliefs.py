"""Beliefs: what a scorer expects is what the table says, free of labels and places."""

import numpy as np
import pandas as pd
import pytest

from nashlens.errors import LabelError
from nashlens.games.catalog import CATALOG
from nashlens.games.equilibria import best_response, dominant_action
from nashlens.play.beliefs import ask_beliefs, belief_histories
from nashlens.play.responses import COLUMNS
from nashlens.prompts.render import belief_question, decision_messages, question_messages, render
from nashlens.prompts.templates import vocabulary

from .fakes import ALL_FORMS, Letters
from .test_quiz import Answers

GAMES = [CATALOG[name] for name in ("prisoners_dilemma", "stag_hunt", "chicken")]


def histories(count=4, games=GAMES):
    return list(belief_histories(games, lambda game: ALL_FORMS, histories=count, seed=5))


def ask(prefers, max_length=None, count=4):
    return ask_beliefs(
        histories(count),
        Letters(max_length),
        Answers(prefers),
        system=None,
        assistant_prefix="I choose option",
        model="m",
    )


def test_only_games_whose_best_response_depends_on_the_other_are_asked_about():
    found = histories()
    assert {h.view.game.name for h in found} == {"stag_hunt", "chicken"}
    assert all(dominant_action(h.view.game, h.view.seat) is None for h in found)
    blocks = pd.Series([h.block_id for h in found]).value_counts()
    assert (blocks == 4).all()
    assert len(blocks) == 8
    forms = {(h.block_id, h.view.surface.code) for h in found}
    assert len(forms) == len(found)


def test_each_seat_meets_both_opponents_and_a_history_does_not_depend_on_how_many_there_are():
    found = [(h.view.seat, h.opponent) for h in histories() if h.view.game.name == "chicken"]
    assert len(set(found)) == 4
    few = {h.name: (h.view.own, h.view.other) for h in histories(2)}
    many = {h.name: (h.view.own, h.view.other) for h in histories(4)}
    assert few.items() <= many.items()


def test_a_liking_for_a_label_or_a_place_is_no_belief():
    frame = ask(lambda text, first, second: 0.9 if first < second else 0.1)
    np.testing.assert_allclose(frame["belief"], 0.5)
    assert set(frame["p_expected_1"].round(6)) == {0.1, 0.9}
    np.testing.assert_allclose(frame["belief_mass"], 0.5)


@pytest.mark.parametrize("rational", [True, False])
def test_who_best_responds_to_its_belief_loses_nothing_and_who_does_the_opposite_all(rational):
    by_text = {}

    def prefers(text, first, second):
        return by_text[text]

    # The scorer expects what the other always did, and (does not) best-respond to that.
    letters = Letters()
    for h in histories():
        view = h.view
        question, start = belief_question(view)
        asked = render(question_messages(view, question, system=None), letters.chat, start)
        acts = render(decision_messages(view, system=None), letters.chat, "I choose option")
        by_text[asked] = 0.999 if view.other[-1] == 0 else 0.001
        best = best_response(view.game, view.seat, view.other[-1])
        by_text[acts] = 1.0 - 1e-9 if (best == 0) == rational else 1e-9
    frame = ask(prefers)
    other = frame["opponent"].eq("ALLD").to_numpy()
    np.testing.assert_allclose(frame["belief"], np.where(other, 0.999, 0.001), rtol=1e-6)
    agrees = frame["best_response"].to_numpy(dtype=int) == (frame["p_action_1"] > 0.5)
    assert agrees.all() if rational else not agrees.any()
    assert (frame["loss"] < 1e-6).all() if rational else (frame["loss"] > 0.05).all()
    assert list(frame.columns) == list(COLUMNS)


def test_what_does_not_fit_is_not_asked_and_says_so():
    frame = ask(lambda text, first, second: 0.7, max_length=10)
    assert frame["dropped"].str.contains("the model takes 10").all()
    assert frame[["belief", "p_action_1", "loss"]].isna().all(axis=None)
    assert frame["best_response"].isna().all()


def test_texts_with_a_special_token_are_not_asked():
    for texts in ({"system": "<bos>"}, {"assistant_prefix": "I choose <bos>"}):
        given = {"system": None, "assistant_prefix": "I choose option"} | texts
        with pytest.raises(LabelError, match="'<bos>', a special token of the model"):
            ask_beliefs(histories(), Letters(None), Answers(None), model="m", **given)


def test_no_histories_give_an_empty_table_of_the_same_columns():
    frame = ask(lambda *_: 0.5, count=0)
    assert frame.empty
    assert list(frame.columns) == list(COLUMNS)


def test_the_question_is_of_words_that_planted_models_know():
    assert {"chooses", "Which", "does"} <= set(vocabulary())
