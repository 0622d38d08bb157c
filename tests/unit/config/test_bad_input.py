"""Every slip that we thought of, and exactly what the user reads about it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from nashlens.config import validate
from nashlens.errors import ConfigError

from .conftest import load, merge

FILES = ("bad_values", "bad_sections")
CASES = {
    slip: case for name in FILES for slip, case in load(f"tests/unit/config/{name}.yaml").items()
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_slip_gives_its_lines_and_no_others(raw: dict[str, Any], case: dict[str, Any]):
    with pytest.raises(ConfigError) as caught:
        validate(merge(raw, yaml.safe_load(case["overlay"])))
    assert caught.value.problems == case["lines"]


def test_there_are_enough_cases():
    assert len(CASES) >= 30


@pytest.mark.parametrize("text", [None, [], "config", 3])
def test_a_config_that_is_no_map(text: Any):
    with pytest.raises(ConfigError, match=r"the configuration: found .*; allowed: sections"):
        validate(text)


def test_an_empty_config_names_what_is_missing():
    with pytest.raises(ConfigError) as caught:
        validate({})
    assert [line.split(":")[0] for line in caught.value.problems] == ["models", "games", "agents"]


def test_all_problems_at_once(raw: dict[str, Any]):
    """What pydantic finds and what the sections together show come in one go."""
    together = [
        "models.smollm2.gpus: found -1; allowed: at least 0",
        "probes.fold: unknown key; did you mean 'folds'?",
        "agents.other.model: found 'smolm2'; models has no such entry; did you mean 'smollm2'?",
        "steering.alphas: found [1.0]; 0 must be one of them, as the baseline",
    ]
    overlay = {
        "models": {"smollm2": {"gpus": -1}},
        "probes": {"fold": 3},
        "agents": {"other": {"model": "smolm2"}},
        "steering": {"alphas": [1.0]},
    }
    with pytest.raises(ConfigError) as caught:
        validate(merge(raw, overlay))
    assert caught.value.problems == together
    assert str(caught.value) == "\n".join(together)


def test_no_problem_that_only_follows_from_another(raw: dict[str, Any]):
    """A refused game or model is there, so who names it is not told that it is not."""
    overlay = {
        "games": {"deadlock": {"canonical": 3}},
        "models": {"a b": {"source": "planted:random"}},
        "agents": {"other": {"model": "a b"}},
    }
    with pytest.raises(ConfigError) as caught:
        validate(merge(raw, overlay))
    starts = [line.split(";")[0] for line in caught.value.problems]
    assert starts == [
        "models: found 'a b'",
        "games.deadlock.canonical: found 3",
        "agents.other.model: found 'a b'",
    ]


def test_problems_do_not_hide_one_another(raw: dict[str, Any]):
    """Two names, two labels of different sets, an entry that is none: each has its line."""
    overlay = {
        "models": {"a b": {"source": "planted:random"}, "c d": {"source": "planted:random"}},
        "prompts": {"label_sets": {"jf": ["J"], "xy": ["X", "x"]}},
        "agents": {"tft": {"p": 0.3, "rounds": 0}},
        "games": {"chicken": 3, "mine": {}},
    }
    with pytest.raises(ConfigError) as caught:
        validate(merge(raw, overlay))
    assert sorted(line.split(";")[0] for line in caught.value.problems) == [
        "agents.tft.p: found 0.3",
        "agents.tft.rounds: found 0",
        "games.chicken: found 3",
        "games.mine: has neither canonical nor payoffs",
        "models: found 'a b'",
        "models: found 'c d'",
        "prompts.label_sets.jf: found ['J']",
        "prompts.label_sets.xy: found ['X', 'x']",
    ]


def test_values_are_shortened(raw: dict[str, Any]):
    with pytest.raises(ConfigError) as caught:
        validate(merge(raw, {"experiment": {"name": "x" * 10000}}))
    (line,) = caught.value.problems
    assert line.startswith("experiment.name: found 'xxxx")
    assert len(line) < 300


# Names of agents, each with what its line says.
NAMES: dict[str, tuple[list[str], str]] = {
    "joined": (["a--b"], "'--' joins the names of two agents that meet; choose a name without it"),
    "joined at the end": (["a--"], "'--' joins the names"),
    "joined twice": (["a----b"], "'--' joins the names"),
    "a mode": (["cot"], "this is the name of a mode or a kind of match"),
    "another mode": (["Direct"], "this is the name of a mode or a kind of match"),
    "a kind of match": (["self_play"], "this is the name of a mode or a kind of match"),
    "a dot for a dash": (["x.y", "x-y"], "differs from 'x.y' only in '.', '-' and '_'"),
    "a dash for a line": (["x_y", "x-y"], "differs from 'x_y' only in '.', '-' and '_'"),
    "long": (["abc" * 16 + "d"], "it has 49 characters, and two agents' names become one file's"),
    "of 64 characters": (["abcd" * 16], "it has 64 characters"),
    "periodic": (["ab" * 20], "it repeats itself 20 times; choose another name"),
    "periodic within": (["x" + "0" * 20 + "y"], "it repeats itself 20 times"),
}


@pytest.mark.parametrize(("names", "words"), NAMES.values(), ids=NAMES)
def test_names_that_files_cannot_have(raw: dict[str, Any], names: list[str], words: str):
    with pytest.raises(ConfigError) as caught:
        validate(merge(raw, {"agents": {name: {"model": "smollm2"} for name in names}}))
    (line,) = caught.value.problems
    assert line.startswith(f"agents.{names[-1]}: ") or "'" in line.split(": ")[0]
    assert words in line


@pytest.mark.parametrize("name", ["a-b", "a.b", "a_b", "abc" * 16, "0" * 19, "cot2", "A", "a-"])
def test_names_that_files_can_have(raw: dict[str, Any], name: str):
    validate(merge(raw, {"agents": {name: {"model": "smollm2"}}}))
