"""What a design cannot tell is said before any job starts, with what to change."""

import importlib
from typing import Any

import pytest

from nashlens.config import validate
from nashlens.config.notes import design_notes, design_problems, wordings
from tests.configs import merge

from .conftest import load


def config(overlay: dict[str, Any], *names: str) -> Any:
    raw = load("config.yaml")
    for name in names:
        raw = merge(raw, load(f"experiments/{name}.yaml"))
    return validate(merge(raw, overlay))


def notes(overlay: dict[str, Any], *names: str) -> list[str]:
    return design_notes(config(overlay, *names))


@pytest.mark.parametrize("names", [(), ("paper",)])
def test_the_experiments_are_balanced(names: tuple[str, ...]):
    assert notes({}, *names) == []
    assert design_problems(config({}, *names)) == []


def test_a_single_label_map_or_order_leaves_no_blocks():
    one = {"label_maps": ["identity"], "option_orders": ["reversed"]}
    fewer = {stage: {"prompts": 24} for stage in ("steering", "circuits", "attribution")}
    lines = notes({"prompts": one, **fewer})
    assert len(lines) == 2
    assert lines[0].startswith("prompts.label_maps: found ['identity']; an action's label is then")
    assert "M4 to M8 are not applicable; add swapped" in lines[0]
    assert lines[1].startswith("prompts.option_orders: found ['reversed']; an action's place")
    assert lines[1].endswith("add forward")


def test_too_few_histories_for_the_words_name_their_claims():
    (line,) = notes({"games": {"prisoners_dilemma": {"histories": 8}}})
    assert line == (
        "games.prisoners_dilemma.histories: found 8; the 8 pairs of template and label set, over "
        "which histories are spread, need two each, or the intervals of M5 and M6 also hold how "
        "far templates and label sets differ; give 16 or more"
    )
    (line,) = notes({"prompts": {"histories": 20}})
    assert line == (
        "prompts.histories: found 20; the 8 pairs of template and label set, over which histories "
        "are spread, do not have equally many for M4, M5, M6, M7 and M8; give 16 or 24"
    )
    # Games without a Nash action are read by none of these claims.
    assert notes({"games": {"stag_hunt": {"histories": 1}}}) == []


def test_crossed_words_need_no_histories_of_their_own():
    crossed = {"crossed": ["templates", "label_sets"], "histories": 2}
    games = {"prisoners_dilemma": {"histories": 1}}
    assert notes({"prompts": crossed}) == []
    (line,) = notes({"prompts": crossed, "games": games, "attribution": None})
    assert line == (
        "games.prisoners_dilemma.histories: found 1; with one history there is no interval for M5 "
        "and M6; give 2 or more"
    )


def test_words_of_one_kind_carry_nowhere():
    sets = {"label_sets": {"xy": None, "pq": None}, "templates": ["neutral"]}
    lines = notes({"prompts": sets})
    assert [line.partition(":")[0] for line in lines] == ["prompts.label_sets", "prompts.templates"]


def test_games_without_a_conflict_cannot_be_overridden():
    games = {"prisoners_dilemma": None}
    changes = {"steering": {"train_games": ["harmony", "deadlock"], "test_games": ["concord"]}}
    changes |= {"agents": {"smollm2_steered": None}}  # it plays the game that is dropped
    (line,) = notes({"games": games, "attribution": None} | changes)
    assert line.startswith("games: found ['stag_hunt', ")
    assert "M6 is not applicable" in line


def test_prompts_that_are_no_whole_blocks_are_rounded_down():
    lines = notes({"steering": {"prompts": 27}, "circuits": {"prompts": 17}})
    assert lines == [
        "steering.prompts: found 27; prompts are taken 8 at a time, a history's and its mirror "
        "image's, so 24 of a game are used",
        "circuits.prompts: found 17; prompts are taken 8 at a time, a history's and its mirror "
        "image's, so 16 of a game are used",
        "circuits.prompts: found 17; histories of a game: 2; an interval needs two in each half or "
        "more; give 32 or more",
    ]


def test_components_need_two_histories_to_be_tested_on():
    (line,) = notes({"attribution": {"prompts": 16}})
    assert line == (
        "attribution.prompts: found 16; an interval of M9 and M10 needs two histories to test on, "
        "beside one that chooses components; give 24 or more"
    )
    assert notes({"attribution": None}) == []


def test_wordings_of_a_game_are_those_of_its_prompts():
    found = wordings(config({}), "harmony")
    assert {label_set for _, label_set in found} == {"jf", "xy", "pq"}
    assert sum(found.values()) == 12


def test_variants_that_cannot_be_found_are_a_problem(monkeypatch: pytest.MonkeyPatch):
    module = importlib.import_module("nashlens.games.variants")
    monkeypatch.setattr(module, "_LARGEST", 3)
    monkeypatch.setattr(module, "_SIZES", 1)
    games = {"prisoners_dilemma": {"variants": 40}}
    (line,) = [one for one in design_problems(config({"games": games})) if "dilemma" in one]
    assert line.startswith("games.prisoners_dilemma.variants: found 40; only ")


def test_training_games_that_share_no_words_are_a_problem():
    games = {"prisoners_dilemma": {"histories": 1}, "harmony": {"histories": 1}}
    overlay = {"games": games, "attribution": None}
    lines = {
        tuple(design_problems(config({**overlay, "experiment": {"seed": seed}})))
        for seed in range(6)
    }
    found = [line for (line,) in lines - {()}]
    assert found
    assert all(line.startswith("steering.train_games: found [") for line in found)
