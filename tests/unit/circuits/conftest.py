"""Planted models with prompts of games with and without a conflict."""

import pytest

from nashlens.games import CATALOG
from nashlens.models.convert import convert_source
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.planted.facts import read_facts
from nashlens.prompts.table import build_prompts

DESIGN = {
    "templates": ["neutral"],
    "label_sets": {"jf": ["J", "F"]},
    "label_maps": ["identity", "swapped"],
    "option_orders": ["forward", "reversed"],
    "opponents": ["RANDOM"],
    "own_cooperation": 0.5,
    "rounds": [3],
    "histories": 8,
    "seed": 3,
}


@pytest.fixture(scope="session")
def planted(tmp_path_factory):
    """Return what gives a planted model's folder, its facts and its prompts table."""
    made = {}

    def make(name):
        if name not in made:
            folder = tmp_path_factory.mktemp("planted") / name
            convert_source(f"planted:{name}", folder)
            prompts = build_prompts(
                [CATALOG["prisoners_dilemma"], CATALOG["deadlock"]],
                ChatTokenizer(folder),
                **DESIGN,
                system=None,
                assistant_prefix="I choose option",
            )
            made[name] = folder, read_facts(folder), prompts
        return made[name]

    return make
