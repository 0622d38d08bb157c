"""What is played of a config: its numbers, and none that the library makes up."""

from dataclasses import MISSING, fields
from functools import partial

import pytest

from nashlens.config.playing import MatchesConfig, ModesConfig, PromptsConfig, QuizConfig
from nashlens.errors import LabelError
from nashlens.games import build_games, games_table
from nashlens.play.experiment import matches_of_group, play_group, settings_of_play
from nashlens.play.player import Cot, PlaySettings, Scratchpad
from nashlens.play.quiz import histories_of
from nashlens.play.schedule import forms_of_play, games_of_play
from tests.configs import merge

GAMES = games_table(build_games({"chicken": {"canonical": "chicken"}}, 1))
AGENTS = {
    "a": {"model": "m", "mode": "cot", "repetitions": 12},
    "t": {"strategy": "TFT"},
}


def config(**matches):
    return {
        "experiment": {"seed": 1},
        "agents": AGENTS,
        "prompts": PromptsConfig().model_dump(),
        "matches": MatchesConfig(**{"skip_games": []} | matches).model_dump(),
        "modes": ModesConfig().model_dump(),
        "quiz": QuizConfig().model_dump(),
    }


@pytest.mark.parametrize("kind", [Cot, Scratchpad, PlaySettings])
def test_the_library_has_no_numbers_of_its_own(kind):
    assert all(f.default is f.default_factory is MISSING for f in fields(kind))


def test_the_settings_are_the_configs():
    settings, modes = settings_of_play(config(history_window=2)), ModesConfig()
    assert settings.cot == Cot(**modes.cot.model_dump())
    assert settings.scratchpad == Scratchpad(**modes.scratchpad.model_dump())
    assert (settings.cot.tokens, settings.scratchpad.tokens) == (16, 48)
    assert (settings.rounds, settings.window, settings.horizon_known) == (6, 2, False)


def test_a_mode_that_no_agent_of_the_group_plays_has_no_settings():
    """The slice of a group holds only its agents' modes."""
    scored = {key: value for key, value in config().items() if key != "modes"}
    assert settings_of_play(scored).cot is settings_of_play(scored).scratchpad is None
    only = config() | {"modes": {"cot": ModesConfig().cot.model_dump()}}
    assert settings_of_play(only).scratchpad is None


def test_a_groups_matches_follow_the_config():
    options = {"sequential_games": "all", "scripted_repetitions": 4}
    matches = matches_of_group(GAMES, config(**options), ["a", "t"])
    kinds = [(match.pairing, match.move_order) for match in matches]
    assert kinds.count(("scripted", "simultaneous")) == len(kinds) - 36 == 8
    assert kinds.count(("self_play", "simultaneous")) == 12
    assert kinds.count(("self_play", "row_first")) == 12
    none = matches_of_group(GAMES, config(self_play=False), ["a", "t"])
    assert {match.pairing for match in none} == {"scripted"}


def test_skipped_games_are_neither_played_nor_asked_about():
    skipping = config(skip_games=["chicken"])
    assert matches_of_group(GAMES, skipping, ["a"]) == []
    sizes = {key: skipping["quiz"][key] for key in ("histories", "cycles")}
    found = histories_of(
        games_of_play(GAMES, skipping), partial(forms_of_play, skipping), **sizes, seed=1
    )
    assert found == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompts": {"system": "Play.<eos>"}},
        {"prompts": {"label_sets": {"odd": ["A", "<eos>"]}}},
        {"modes": {"cot": {"anchor": "<eos> Answer:"}}},
    ],
)
def test_texts_that_hold_a_special_token_are_not_played(tiny_model, tmp_path, wrong):
    """Of a model that could not be looked at before, such as one of the hub."""
    name = tiny_model.name
    given = merge(config(), wrong) | {
        "agents": {"a": {"model": name, "mode": "direct"}},
        "models": {name: {"dtype": "float32", "device": "cpu"}},
    }
    with pytest.raises(LabelError, match="holds '<eos>', a special token of the model"):
        play_group(
            *(GAMES, [tiny_model], given, ["a"]),
            **{"job": 1, "jobs": 1, "folder": tmp_path, "fingerprint": "f"},
            **{"threads": 1, "batch_tokens": 512},
        )
