"""Play in whole blocks: which numbers of matches a config may ask for."""

from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from nashlens.config.validate import validate
from nashlens.errors import ConfigError

DEFAULT = yaml.safe_load(Path("config.yaml").read_text(encoding="utf-8"))


def problems(key, value, **prompts):
    config = deepcopy(DEFAULT)
    config["prompts"] |= prompts
    *path, last = key.split(".")
    here = config
    for name in path:
        here = here.setdefault(name, {})
    here[last] = value
    try:
        validate(config)
    except ConfigError as error:
        return list(error.problems)
    return []


@pytest.mark.parametrize(
    "key",
    [
        "matches.repetitions",
        "matches.scripted_repetitions",
        "matches.sequential_repetitions",
        "agents.smollm2.repetitions",
        "agents.smollm2_cot.self_play.repetitions",
    ],
)
def test_matches_come_in_whole_blocks(key):
    assert problems(key, 8) == []
    (problem,) = problems(key, 6)
    assert key in problem
    assert "allowed: multiples of 4" in problem
    one = {"option_orders": ["forward"]}
    assert not any(key in line for line in problems(key, 6, **one))


def test_one_kind_of_matches_can_be_left_out():
    assert problems("agents.smollm2.scripted.repetitions", 0) == []


def test_label_sets_of_play_are_the_prompts():
    assert problems("matches.label_sets", ["jf"]) == []
    (problem,) = problems("matches.label_sets", ["fj"])
    assert "prompts.label_sets has no such entry" in problem
