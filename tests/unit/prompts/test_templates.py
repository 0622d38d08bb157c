import itertools
import re

import pytest

from nashlens.games import CATALOG, build_games
from nashlens.prompts import templates as words
from nashlens.prompts.render import (
    Surface,
    View,
    action_question,
    decision_messages,
    question_messages,
)
from nashlens.prompts.templates import TEMPLATES, vocabulary
from nashlens.vocabulary.prompts import MOVE_ORDERS


def test_the_vocabulary_covers_every_prompt_of_the_catalogue():
    known = set(vocabulary())
    games = build_games({name: {"canonical": name, "variants": 2} for name in CATALOG}, 1)
    for game, template, total in itertools.product(games, TEMPLATES, (None, 1, 12)):
        surface = Surface(template, "jf", ("J", "F"))
        past = [0, 1][: 0 if total == 1 else 2]
        view = View(game, "row", surface, past, past, total)
        messages = decision_messages(view, system=words.SYSTEM)
        text = " ".join(message["content"] for message in messages) + words.ASSISTANT_PREFIX
        assert set(re.findall(r"[A-Za-z]+|\d|[^\sA-Za-z\d]", text)) <= known


def test_the_vocabulary_covers_all_that_play_and_the_quiz_ask():
    known = set(vocabulary())
    for template, order in itertools.product(TEMPLATES, MOVE_ORDERS):
        surface = Surface(template, "jf", ("J", "F"))
        seen = 1 if order == "column_first" else None
        past = [0, 1], [1, 1]
        view = View(
            CATALOG["chicken"], "row", surface, *past, None, order, seen,
            talk=[("", "A"), ("B", ""), ("A", "B")], notes="C",
        )  # fmt: skip
        player = view.template.other
        fields = {"round": 1, "player": player, "Player": player.capitalize(), "own": "J"}
        fields |= {"other": "F", "unit": view.template.unit}
        asked = [text.format(**fields) for pair in words.QUIZ.values() for text in pair]
        asked += [action_question(view, words.ANCHOR), words.NOTES_PREFIX, words.MESSAGE_PREFIX]
        asked += [words.WRITE_NOTES.format(**fields), words.WRITE_MESSAGE.format(**fields)]
        text = question_messages(view, " ".join(asked), system=None)[0]["content"]
        assert set(re.findall(r"[A-Za-z]+|\d|[^\sA-Za-z\d]", text)) <= known


def test_the_vocabulary_holds_letters_digits_and_no_field_names():
    known = vocabulary()
    assert known == sorted(set(known))
    assert {*"ABCXYZ", *"0123456789", "-", "."} <= set(known)
    assert not {"{", "}", "_", "payoff", "anchor", "title"} & set(known)


def test_the_texts_are_the_configs_defaults():
    sections = pytest.importorskip("nashlens.config.playing")
    defaults = sections.PromptsConfig()
    assert (defaults.system, defaults.assistant_prefix) == (words.SYSTEM, words.ASSISTANT_PREFIX)
    assert set(defaults.templates) <= set(TEMPLATES)


@pytest.mark.parametrize("template", TEMPLATES)
def test_prompts_are_short(template):
    def count(text):
        return len(re.findall(r"\w+|[^\w\s]", text))

    surface = Surface(template, "jf", ("J", "F"))
    lengths = [
        count(
            decision_messages(
                View(CATALOG["chicken"], "row", surface, [0] * n, [1] * n), system=None
            )[0]["content"]
        )
        for n in range(3)
    ]
    assert lengths[0] <= 170
    assert lengths[2] - lengths[1] == lengths[1] - lengths[0] <= 25
