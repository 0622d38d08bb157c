from __future__ import annotations

import copy
import itertools
import subprocess
import sys
import textwrap
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from snakemake.utils import update_config

from nashlens.config import Config, resolve_layers, used_models, validate
from nashlens.config.notes import design_notes
from nashlens.config.overlays import follow_drops
from nashlens.errors import ConfigError
from nashlens.play.schedule import Agent, pairing, pairs_of
from nashlens.vocabulary.stages import NULLABLE
from tests.configs import merge, plain_merge
from workflow.groups import play_groups

from .conftest import ROOT, load

OVERLAYS = sorted(path.name for path in (ROOT / "experiments").glob("*.yaml"))


def test_the_default_config_is_the_models_defaults(raw: dict[str, Any]):
    config = validate(raw)
    named = {"models": config.models, "games": config.games, "agents": config.agents}
    assert config == Config(**named)


def test_the_default_config_shows_every_key(raw: dict[str, Any]):
    full = Config.model_validate(raw).model_dump()
    for section, values in full.items():
        if section not in ("models", "games", "agents"):
            assert list(raw[section]) == list(values), section
    assert list(raw) == list(full)
    assert set(raw["models"]["smollm2"]) == set(full["models"]["smollm2"])


def test_the_default_config_names_its_schema():
    first = (ROOT / "config.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=workflow/schemas/config.schema.json"
    assert (ROOT / "workflow/schemas/config.schema.json").is_file()


@pytest.mark.parametrize("name", OVERLAYS)
def test_overlays_are_valid_on_the_default(raw: dict[str, Any], name: str):
    """Merged as Snakemake merges them."""
    overlay = load(f"experiments/{name}")
    merged = copy.deepcopy(raw)
    update_config(merged, copy.deepcopy(overlay))
    config = validate(follow_drops(merged, [raw, overlay])[0])
    assert config.experiment.name == name.removesuffix(".yaml")


def test_games_of_one_round_need_no_other_key(raw: dict[str, Any]):
    """The default patches all rounds that a history has, which may be none."""
    assert validate(merge(raw, {"prompts": {"rounds": [1]}})).patching.groups[1] == "rounds"


def test_the_tests_merge_is_snakemakes(raw: dict[str, Any]):
    overlay = load("experiments/tiny.yaml")
    merged = plain_merge(raw, overlay)
    update_config(raw, overlay)
    assert merged == raw


def test_paper_has_twelve_ordered_pairings_in_three_modes_of_fifty_rounds(raw: dict[str, Any]):
    config = validate(merge(raw, load("experiments/paper.yaml")))
    models = used_models(config)
    assert all(config.models[name].source.startswith("hub:") for name in models)
    agents = {(agent.model, agent.mode) for agent in config.agents.values() if agent.model}
    assert agents == set(itertools.product(models, ("direct", "cot", "scratchpad")))
    plain = config.model_dump()
    # Steered players are ours.
    unsteered = {n: a for n, a in plain["agents"].items() if a["intervention"] is None}
    groups = play_groups(unsteered, plain["matches"])
    players = {name: Agent(name, **agent) for name, agent in unsteered.items()}
    pairs = [
        tuple(agent.model for agent in pair)
        for group in groups.values()
        for pair in pairs_of(players, group, self_play=True)
        if pairing(*pair) == "cross_play"
    ]
    assert Counter(pairs) == dict.fromkeys(itertools.permutations(models, 2), 3)
    assert len(models) * (len(models) - 1) == 12
    assert config.matches.rounds == 50


def test_null_entries_are_dropped_and_the_input_is_kept(raw: dict[str, Any]):
    overlay = {
        "models": {"gone": None},
        "games": {"chicken": None},
        "agents": {"random": None},
        "prompts": {"label_sets": {"pq": None}, "system": None},
        "figures": {"styles": {"lens": None}},
    }
    merged = merge(raw, overlay)
    before = copy.deepcopy(merged)
    config = validate(merged)
    assert merged == before
    assert list(config.models) == ["smollm2"]
    assert "chicken" not in config.games
    assert "random" not in config.agents
    assert list(config.prompts.label_sets) == ["jf", "xy", "words"]
    assert config.figures.styles == {}
    assert config.prompts.system is None


def test_texts_that_are_numbers_are_read(raw: dict[str, Any]):
    """YAML 1.1 reads `1e-3` as a text, and Snakemake all that stands within --config."""
    overlay = {
        "probes": {"C": ["1e-3"], "layers": ["0", "0.5", "-1"], "folds": "3"},
        "matches": {"cross_play": "False"},
        "games": {"mine": {"payoffs": [[["1", "2.5"], [3, 4]], [[5, 6], [7, 8]]]}},
    }
    config = validate(merge(raw, overlay))
    assert config.probes.C == [0.001]
    assert config.probes.layers == [0, 0.5, -1]
    assert config.probes.folds == 3
    assert config.matches.cross_play is False
    assert config.games["mine"].payoffs == [[[1, 2.5], [3, 4]], [[5, 6], [7, 8]]]
    assert overlay["probes"]["folds"] == "3"


def test_only_models_of_agents_are_used(raw: dict[str, Any]):
    overlay = {
        "models": {"b": {"source": "planted:random"}, "idle": {"source": "planted:random"}},
        "agents": {"b": {"model": "b"}, "b_again": {"model": "b"}},
    }
    assert used_models(validate(merge(raw, overlay))) == ["smollm2", "b"]


@pytest.mark.parametrize(
    ("spec", "first", "layers"),
    [
        ("all", 0, [0, 1, 2, 3, 4]),
        ("all", 1, [1, 2, 3, 4]),
        ([4, 1], 1, [1, 4]),
        ([-1, 1, 4], 1, [1, 4]),
        ([-4], 1, [1]),
        ([-5, 0], 0, [0]),
        ([0.5, 0.25, 0.9, -1], 1, [1, 2, 4]),
        ([0.01], 1, [1]),
        ([0.01], 0, [0]),
    ],
)
def test_layers_resolve(spec: Any, first: int, layers: list[int]):
    assert resolve_layers(spec, 4, first=first) == layers


def test_layers_out_of_range_are_all_named():
    with pytest.raises(ConfigError) as caught:
        resolve_layers([0, 2, 5, -6], 4, first=1, key="steering.layers")
    allowed = "allowed: 1 to 4, or -1 (the last block) down to -4"
    assert caught.value.problems == [
        f"steering.layers: found layer {layer}; {allowed}" for layer in (0, 5, -6)
    ]


def test_reading_the_config_imports_nothing_heavy():
    code = """
        import sys, yaml
        from nashlens.config import validate
        validate(yaml.safe_load(open("config.yaml")))
        heavy = {"torch", "transformers", "matplotlib", "sklearn", "scipy"} & set(sys.modules)
        sys.exit(f"imported: {heavy}" if heavy else 0)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def _key_paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if not isinstance(value, dict):
        return [path]
    return [path, *(p for k, v in value.items() for p in _key_paths(v, (*path, k)))]


DEFAULT = load("config.yaml")
PATHS = [path for path in _key_paths(DEFAULT) if path]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**300, max_value=10**400)
    | st.floats()
    | st.text(max_size=12)
    | st.dates()
    | st.sampled_from(["all", "direct", "TFT", "chicken", "../x", "1e5", "cuda:0"])
)
KEYS = st.text(max_size=8) | st.integers() | st.none() | st.booleans() | st.dates()
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def _only_config_errors(raw: Any) -> None:
    problems: list[str] = []
    try:
        assert isinstance(validate(raw), Config)
        return
    except ConfigError as error:
        problems = error.problems
    assert problems
    for line in problems:
        assert line.isprintable(), line
        assert "pydantic" not in line
        assert "http" not in line


@given(JUNK)
@settings(max_examples=150, deadline=None)
def test_junk_raises_nothing_else(junk: Any):
    _only_config_errors(junk)


@given(st.lists(st.tuples(st.sampled_from(PATHS), JUNK), min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
def test_junk_within_a_config_raises_nothing_else(edits: list[tuple[tuple[Any, ...], Any]]):
    raw = copy.deepcopy(DEFAULT)
    for path, junk in edits:
        here = raw
        for part in path[:-1]:
            here = here.get(part) if isinstance(here, dict) else None
        if isinstance(here, dict):
            here[path[-1]] = junk
    _only_config_errors(raw)


@given(st.sampled_from(PATHS), st.dictionaries(KEYS, JUNK, min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_junk_keys_raise_nothing_else(path: tuple[Any, ...], junk: dict[Any, Any]):
    raw = copy.deepcopy(DEFAULT)
    here = raw
    for part in path:
        here = here[part]
    if isinstance(here, dict):
        here.update(junk)
    _only_config_errors(raw)


def test_a_value_that_contains_itself(raw: dict[str, Any]):
    loop: dict[str, Any] = {}
    loop["again"] = loop
    nest: list[Any] = []
    nest.append(nest)
    raw["games"]["mine"] = loop
    raw["steering"]["alphas"] = nest
    raw["lens"] = loop
    _only_config_errors(raw)


@pytest.mark.parametrize("section", NULLABLE)
def test_a_section_that_is_null_leaves_its_stage_out(raw: dict[str, Any], section: str):
    config = validate(merge(raw, {section: None}))
    assert getattr(config, section) is None
    assert config.model_dump(mode="json")[section] is None
    # Nor do notes speak of it.
    assert not [line for line in design_notes(config) if line.startswith(f"{section}.")]


def test_an_overlay_brings_a_stage_back(raw: dict[str, Any]):
    without = merge(raw, {"patching": None})
    assert validate(merge(without, {"patching": {"pairs": 8}})).patching.pairs == 8


def test_what_is_wrong_in_a_section_that_may_be_null_is_named_by_its_key(raw: dict[str, Any]):
    with pytest.raises(ConfigError) as caught:
        validate(merge(raw, {"patching": {"pairs": "many", "kind": "payoffs"}}))
    assert [line.partition(":")[0] for line in caught.value.problems] == [
        "patching.pairs",
        "patching.kind",
    ]
