"""Every slip that we thought of, and exactly what the user reads about it."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
import yaml

from nashlens.config import validate
from nashlens.errors import ConfigError
from tests.configs import merge

from .conftest import load

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


def many(count: int, entry: Any) -> dict[str, Any]:
    return {f"n{i}": entry for i in range(count)}


# Overlays of sizes that make no sense, each with the key of its line and words of it.
SIZES: dict[str, tuple[dict[str, Any], str, str]] = {
    "10,000 games": (
        *({"games": many(10_000, {"canonical": "chicken"})}, "games"),
        "allowed: at most 200 entries, not 10",
    ),
    "10,000 models": (
        {"models": many(10_000, {"source": "planted:random"})},
        "models",
        "at most 200 entries",
    ),
    "1,000 agents": ({"agents": many(1000, {"model": "smollm2"})}, "agents", "at most 200 entries"),
    "150 agents": ({"agents": many(150, {"model": "smollm2"})}, "resources.parts", "5000: fewer"),
    "1,000 label sets": (
        *({"prompts": {"label_sets": {f"n{i}": [f"{i}a", f"{i}b"] for i in range(1000)}}},),
        *("prompts.label_sets", "at most 200 entries"),
    ),
    "100,000 alphas": (
        {"steering": {"alphas": [float(i) for i in range(100_000)]}},
        "steering.alphas",
        "allowed: at most 1000 values, not 100000",
    ),
    "100,000 clamps": (
        *({"steering": {"clamps": [float(i) for i in range(100_000)]}}, "steering.clamps"),
        "at most 1000 values",
    ),
    "100,000 layers": (
        *({"probes": {"layers": list(range(100_000))}}, "probes.layers", "at most 1000 values"),
    ),
    "100,000 strengths": (
        *({"probes": {"C": [i + 1.0 for i in range(100_000)]}}, "probes.C", "at most 1000 values"),
    ),
    "a system message of 1 MB": (
        {"prompts": {"system": "a " * 500_000}},
        "prompts.system",
        "allowed: at most 20000 characters, not 1000000",
    ),
    "a title of 1 MB": (
        {"games": {"chicken": {"canonical": "chicken", "title": "a" * 1_000_000}}},
        *("games.chicken.title", "allowed: at most"),
    ),
    "a title of a page": (
        {"games": {"chicken": {"canonical": "chicken", "title": "a" * 2000}}},
        *("games.chicken.title", "allowed: at most 200 characters, not 2000"),
    ),
    "a long label": (
        {"prompts": {"label_sets": {"odd": ["a" * 500, "b"]}}},
        *("prompts.label_sets.odd[0]", "at most 200 characters"),
    ),
    "tokens beyond any memory": (
        *({"resources": {"batch_tokens": 10**30}}, "resources.batch_tokens", "at most 10000000"),
    ),
    "memory beyond any machine": (
        *({"resources": {"model_mem_mb": 10**30}}, "resources.model_mem_mb", "at most 100000000"),
    ),
    "minutes beyond any life": (
        *({"resources": {"light_runtime": 10**30}}, "resources.light_runtime", "at most 1000000"),
    ),
    "1,000 parts": ({"resources": {"parts": 1000}}, "resources.parts", "allowed: at most 100"),
}


@pytest.mark.parametrize(("overlay", "key", "words"), SIZES.values(), ids=SIZES)
def test_sizes_that_make_no_sense(raw: dict[str, Any], overlay: Any, key: str, words: str):
    started = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        validate(merge(raw, overlay))
    assert time.monotonic() - started < 10
    (line,) = caught.value.problems
    assert line.startswith(f"{key}: found ")
    assert words in line
    assert len(line) < 300


@pytest.mark.parametrize(
    "overlay",
    [
        {"games": {"chicken": {"title": "\ud800"}}},
        {"prompts": {"system": "a\udfff"}},
        {"prompts": {"label_sets": {"odd": ["\ud800", "B"]}}},
    ],
)
def test_half_a_character_is_no_text(raw: dict[str, Any], overlay: dict[str, Any]):
    """JSON can write one; no tokenizer and no file takes it."""
    with pytest.raises(ConfigError) as caught:
        validate(merge(raw, overlay))
    assert re.search(r"character U\+D[8F]\w\w shows nothing", caught.value.problems[0])


def test_what_scripts_need_is_a_text(raw: dict[str, Any]):
    persian = "\u0645\u06cc\u200c\u0631\u0648\u062f"
    validate(merge(raw, {"prompts": {"system": persian}}))


def test_many_unknown_keys_are_answered_soon(raw: dict[str, Any]):
    started = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        validate({**raw, **many(30_000, 1)})
    assert time.monotonic() - started < 5
    assert len(caught.value.problems) == 30_000


PAYOFFS = [1e308, -1e308, 1e-300, 1 + 1e-12, 1e-7, 1e10, -1e-320, 3.1415926535]


@pytest.mark.parametrize("payoff", PAYOFFS)
def test_payoffs_that_nobody_could_read(raw: dict[str, Any], payoff: float):
    own = {"payoffs": [[[payoff, 3.0], [0.0, 5.0]], [[5.0, 0.0], [1.0, 1.0]]]}
    with pytest.raises(ConfigError) as caught:
        validate(merge(raw, {"games": {"mine": own}}))
    (line,) = caught.value.problems
    assert line.startswith("games.mine.payoffs[0][0][0]: found ")
    assert "from -1000000000 to 1000000000 with at most 6 decimals" in line


@pytest.mark.parametrize("payoff", [3.5, -2.0, 0.1, 1e9, 0.333333, 1234567.654321])
def test_payoffs_that_people_write(raw: dict[str, Any], payoff: float):
    own = {"payoffs": [[[3.0, 3.0], [0.0, 5.0]], [[payoff, 0.0], [1.0, 1.0]]]}
    validate(merge(raw, {"games": {"mine": own}}))
