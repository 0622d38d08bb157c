"""What goes with a model or a game that an overlay drops, and what stays an error."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from nashlens.config import validate
from nashlens.config.overlays import follow_drops, in_order
from nashlens.errors import ConfigError
from tests.configs import merge, plain_merge

from .conftest import load

OTHER = {"tiny": {"source": "planted:random"}}
DROPPED = {
    "models": {"smollm2": None, **OTHER},
    "agents": {"tiny": {"model": "tiny"}},
}


def followed(*overlays: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    configs = [load("config.yaml"), *overlays]
    merged = {}
    for config in configs:
        merged = plain_merge(merged, config)
    before = copy.deepcopy(merged)
    found = follow_drops(merged, configs)
    assert merged == before
    return found


def problems(*overlays: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as error:
        validate(followed(*overlays)[0])
    return error.value.problems


def test_agents_of_a_dropped_model_go():
    found, line = followed(DROPPED)
    agents = validate(found).agents
    assert [name for name, agent in agents.items() if agent.model] == ["tiny"]
    assert "tft" in agents
    assert line == (
        "an overlay drops models.smollm2, and with it go agents.smollm2, agents.smollm2_cot, "
        "agents.smollm2_steered"
    )


def test_an_agent_that_the_overlay_writes_stays_an_error():
    own = {"agents": {"smollm2": {"rounds": 3}, "mine": {"model": "smollm2"}}}
    assert problems(merge(DROPPED, own)) == [
        "agents.smollm2.model: found 'smollm2'; models has no such entry; allowed: tiny",
        "agents.mine.model: found 'smollm2'; models has no such entry; allowed: tiny",
    ]


def test_an_agent_that_a_later_overlay_writes_stays_an_error():
    (line,) = problems(DROPPED, {"agents": {"late": {"model": "smollm2"}}})
    assert line.startswith("agents.late.model: found 'smollm2'; models has no such entry")


def test_agents_of_overlays_before_the_drop_go():
    found, line = followed({"agents": {"early": {"model": "smollm2"}}}, DROPPED)
    assert "early" not in found["agents"]
    assert line is not None
    assert line.endswith(", agents.early")


def test_a_model_that_is_given_again_keeps_its_agents():
    found, line = followed(DROPPED, {"models": {"smollm2": {"source": "planted:random"}}})
    assert line is None
    assert set(validate(found).agents) >= {"tiny", "smollm2", "smollm2_cot"}


def test_agents_that_the_overlay_gives_another_model_stay():
    found, line = followed(merge(DROPPED, {"agents": {"smollm2": {"model": "tiny"}}}))
    assert validate(found).agents["smollm2"].model == "tiny"
    assert line is not None
    assert "agents.smollm2," not in line


def test_a_base_that_is_dropped_is_none():
    trained = {"models": {"trained": {"source": "planted:nash", "base": "smollm2"}}}
    found, line = followed(trained, DROPPED)
    assert validate(found).models["trained"].base is None
    assert line is not None
    assert line.endswith(", models.trained.base")
    assert problems(merge(DROPPED, trained)) == [
        "models.trained.base: found 'smollm2'; models has no such entry; allowed: tiny, trained"
    ]


def test_lists_lose_a_dropped_game():
    found, line = followed({"games": {"battle_of_the_sexes": None}})
    assert validate(found).matches.sequential_games == []
    assert line == (
        "an overlay drops games.battle_of_the_sexes, and with it go battle_of_the_sexes in "
        "matches.sequential_games"
    )


def test_an_agent_loses_a_dropped_game_and_goes_without_any():
    agents = {"agents": {"smollm2_cot": {"games": ["prisoners_dilemma", "chicken"]}}}
    change = {
        "games": {"prisoners_dilemma": None},
        "steering": {"train_games": ["harmony", "deadlock"], "test_games": ["concord"]},
        "attribution": None,
    }
    found, line = followed(agents, change)
    config = validate(found)
    assert config.agents["smollm2_cot"].games == ["chicken"]
    assert "smollm2_steered" not in config.agents
    assert line == (
        "an overlay drops games.prisoners_dilemma, and with it go prisoners_dilemma in "
        "agents.smollm2_cot.games, agents.smollm2_steered"
    )


def test_an_agent_without_games_that_the_overlay_writes_stays_an_error():
    change = {"games": {"prisoners_dilemma": None}, "agents": {"smollm2_steered": {"rounds": 3}}}
    assert any(
        line.startswith("agents.smollm2_steered.games[0]: found 'prisoners_dilemma'; games has no")
        for line in problems(change)
    )


def test_a_stage_whose_only_game_is_dropped_is_an_error():
    found, line = followed({"games": {"prisoners_dilemma": None}, "steering": {"test_games": []}})
    assert found["attribution"]["games"] == ["prisoners_dilemma"]
    assert line is not None
    assert "attribution" not in line
    assert found["steering"]["train_games"] == ["harmony"]


def test_games_that_the_same_overlay_names_stay_an_error():
    change = {"games": {"chicken": None}, "matches": {"sequential_games": ["chicken"]}}
    found, line = followed(change)
    assert line is None
    assert found["matches"]["sequential_games"] == ["chicken"]


def put_first(config: Any, overlay: Any) -> Any:
    """Order a merged config as Snakemake does."""
    if not isinstance(config, dict) or not isinstance(overlay, dict):
        return config
    names = [*(name for name in overlay if name in config), *config]
    return {name: put_first(config[name], overlay.get(name)) for name in names}


@pytest.mark.parametrize(
    ("overlay", "games"),
    [
        ({"games": {"chicken": {"histories": 2}}}, "abc chicken"),
        ({"games": {"new": None, "b": None, "chicken": {}}}, "abc chicken new"),
        ({"games": {"new": {}, "a": {}}}, "abc chicken new"),
    ],
)
def test_an_overlay_changes_no_order(overlay: dict[str, Any], games: str):
    first, *more = games.split()
    base = {"experiment": {"name": "x"}, "games": {name: {"variants": 1} for name in "abc"}}
    base["games"]["chicken"] = {"canonical": "chicken", "variants": 0}
    merged = plain_merge(base, overlay)
    found = in_order(put_first(merged, overlay), [base, overlay])
    assert json.dumps(found) == json.dumps(merged)
    assert list(found["games"]) == [*first, *more]


def test_keys_of_later_overlays_follow_those_of_earlier_ones():
    layers: list[dict[str, Any]] = [
        {"a": {"x": 1}},
        {"c": 3, "a": {"z": 2}},
        {"a": {"y": 5}, "b": 4},
    ]
    merged = {"b": 4, "c": 3, "a": {"y": 5, "z": 2, "x": 1}, "put_in_by_hand": 6}
    found = in_order(merged, layers)
    assert found == merged
    assert list(found) == ["a", "c", "b", "put_in_by_hand"]
    assert list(found["a"]) == ["x", "z", "y"]


@pytest.mark.parametrize("merged", [None, 3, ["b", "a"], {"games": ["b"]}, {"games": None}])
@pytest.mark.parametrize("layer", [None, 3, ["a"], {"games": {"a": 1}}, {"games": None}])
def test_what_is_no_mapping_has_no_order(merged: Any, layer: Any):
    assert in_order(merged, [layer, {}]) == merged


@pytest.mark.parametrize(
    "overlay",
    [
        {"models": None},
        {"games": ["chicken"], "agents": 3},
        {"models": {"smollm2": None}, "agents": {"x": None, "y": 1, "z": {"model": ["smollm2"]}}},
        {"games": {"chicken": None}, "agents": {"x": {"games": [["chicken"], {}, None]}}},
        {"games": {"chicken": None, 3: None}, "steering": {"train_games": "chicken"}},
    ],
)
def test_what_is_no_config_is_left_to_the_checks(overlay: dict[str, Any]):
    assert problems(overlay)
