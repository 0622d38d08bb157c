"""What a design cannot tell is said before any job starts, with what to change."""

import importlib
from typing import Any

import pytest

from nashlens.config import validate
from nashlens.config.notes import design_notes, design_problems
from nashlens.config.validate import check
from nashlens.errors import DataError
from nashlens.games import build_games
from nashlens.prompts.table import build_prompts
from nashlens.steering.cells import cells_of
from nashlens.steering.training import Training
from tests.configs import merge, plain_merge
from tests.unit.prompts.fakes import WordTokenizer

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


def test_variants_that_cannot_be_found_are_a_problem(monkeypatch: pytest.MonkeyPatch):
    module = importlib.import_module("nashlens.games.variants")
    monkeypatch.setattr(module, "_LARGEST", 3)
    monkeypatch.setattr(module, "_SIZES", 1)
    games = {"prisoners_dilemma": {"variants": 40}}
    (line,) = [one for one in design_problems(config({"games": games})) if "dilemma" in one]
    assert line.startswith("games.prisoners_dilemma.variants: found 40; only ")


def trained_on(histories: int, seed: int, **steering: Any) -> Any:
    """Return the config with so many histories of each training game."""
    unread = ("stag_hunt", "chicken", "battle_of_the_sexes", "matching_pennies")
    games: dict[str, Any] = dict.fromkeys(unread)
    games |= {name: {"histories": histories} for name in ("prisoners_dilemma", "harmony")}
    experiment, prompts = {"seed": seed}, {"templates": ["neutral"]}
    return config(
        {
            "experiment": experiment,
            "prompts": prompts,
            "games": games,
            "steering": steering,
            "attribution": None,
        }
    )


def job_problem(found: Any) -> str | None:
    """Return why rule `fit_directions` would fail: on the prompts that it would read."""
    plain = found.model_dump(mode="json")
    games = build_games(plain["games"], found.experiment.seed)
    prompts = build_prompts(
        games,
        WordTokenizer(bos=True),
        **plain["prompts"],
        histories_of={name: game["histories"] for name, game in plain["games"].items()},
        seed=found.experiment.seed,
    )
    try:
        rows = Training.from_config(prompts, plain["steering"], concepts=True).rows(prompts)
        cells_of(rows.reset_index(drop=True), "abstract")
    except DataError as error:
        return str(error)
    return None


@pytest.mark.parametrize("histories", [1, 2, 3])
@pytest.mark.parametrize(
    "steering", [{}, {"train_label_sets": ["xy"]}, {"train_label_sets": ["jf", "pq", "xy"]}]
)
def test_training_games_that_share_no_words_are_a_problem(histories: int, steering: dict[str, Any]):
    """Of words that directions are fitted on: one label set is kept for their test."""
    for seed in range(4):
        found = trained_on(histories, seed, **steering)
        lines, job = design_problems(found), job_problem(found)
        assert len(lines) == (job is not None), (seed, job)
        for line in lines:
            assert line.startswith("steering.train_games: found ['prisoners_dilemma', 'harmony']; ")


def test_the_line_says_what_directions_are_fitted_on_and_what_to_do():
    (line,) = {line for seed in range(5) for line in design_problems(trained_on(1, seed))}
    assert line == (
        "steering.train_games: found ['prisoners_dilemma', 'harmony']; directions are fitted "
        "within one template and label set (of neutral; jf, pq), and none of these is asked of "
        "both Nash actions; give these games more histories, or add label_sets to prompts.crossed"
    )


@pytest.mark.parametrize(
    ("wrong", "lines"),
    [
        ({"probes": {"fold": 3}}, 1),
        ({"steering": {"alphas": "all"}}, 1),
        ({"games": {"deadlock": {"title": 3, "histories": -1}}}, 1),
        # Which games there are, and what they are asked in, says what directions can know.
        ({"steering": {"train_games": ["mastermind", "harmony"]}}, 0),
        ({"games": {"harmony": {"canonical": "mastermind"}}}, 0),
        ({"experiment": {"seed": -1}}, 0),
        ({"prompts": {"templates": ["none"]}}, 0),
    ],
)
def test_directions_are_looked_at_unless_what_they_read_is_wrong(wrong: dict[str, Any], lines: int):
    seed = next(seed for seed in range(5) if design_problems(trained_on(1, seed)))
    whole = trained_on(1, seed).model_dump()
    part, problems = check(plain_merge(whole, wrong))
    assert problems
    assert len(design_problems(part)) == lines


def test_words_that_directions_cannot_be_fitted_on_are_a_problem():
    found = trained_on(12, 1, train_label_sets=["words"])
    (line,) = design_problems(found)
    assert line == job_problem(found)
    assert line.startswith("steering.train_label_sets: no neutral prompt has the label set words")


@pytest.mark.parametrize("names", [("tiny",), ("published",), ("calibration",), ("shape",)])
def test_directions_can_be_fitted_in_all_experiments(names: tuple[str, ...]):
    assert design_problems(config({}, *names)) == []
