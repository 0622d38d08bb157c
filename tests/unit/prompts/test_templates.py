import itertools
import re

import pytest

from nashlens.games import CATALOG, build_games
from nashlens.prompts import TEMPLATES, Surface, decision_messages, vocabulary
from nashlens.prompts import templates as words


def test_the_vocabulary_covers_every_prompt_of_the_catalogue():
    known = set(vocabulary())
    games = build_games({name: {"canonical": name, "variants": 2} for name in CATALOG}, 1)
    for game, template, total in itertools.product(games, TEMPLATES, (None, 1, 12)):
        surface = Surface(template, "jf", ("J", "F"))
        past = [0, 1][: 0 if total == 1 else 2]
        messages = decision_messages(
            game, "row", surface, past, past, system=words.SYSTEM, rounds_total=total
        )
        text = " ".join(message["content"] for message in messages) + words.ASSISTANT_PREFIX
        assert set(re.findall(r"[A-Za-z]+|\d|[^\sA-Za-z\d]", text)) <= known


def test_the_vocabulary_holds_letters_digits_and_no_field_names():
    known = vocabulary()
    assert known == sorted(set(known))
    assert {*"ABCXYZ", *"0123456789", "-", "."} <= set(known)
    assert not {"{", "}", "_", "payoff", "first", "title"} & set(known)


def test_the_texts_are_the_configs_defaults():
    sections = pytest.importorskip("nashlens.config.sections")
    defaults = sections.Prompts()
    assert (defaults.system, defaults.assistant_prefix) == (words.SYSTEM, words.ASSISTANT_PREFIX)
    assert tuple(defaults.templates) == TEMPLATES


def test_prompts_are_short():
    def count(text):
        return len(re.findall(r"\w+|[^\w\s]", text))

    surface = Surface("neutral", "jf", ("J", "F"))
    lengths = [
        count(
            decision_messages(
                CATALOG["chicken"], "row", surface, [0] * n, [1] * n, system=None, rounds_total=None
            )[0]["content"]
        )
        for n in range(3)
    ]
    assert lengths[0] <= 170
    assert lengths[2] - lengths[1] == lengths[1] - lengths[0] <= 25
