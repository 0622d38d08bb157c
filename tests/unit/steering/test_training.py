"""Which levels directions are fitted on."""

import numpy as np
import pytest

from nashlens.errors import DataError
from nashlens.steering.training import Training
from tests.unit.steering.tables import prompts_table


def prompts(**how):
    return prompts_table(np.random.default_rng(0), **{"words": ("own",)} | how)


def test_the_last_label_set_is_held_out_where_there_are_two():
    table = prompts(label_sets=("xy", "jf", "pq"))
    training = Training.choose(table, ["other"])
    assert training.label_sets == ("jf", "pq")
    assert training.templates == ("named", "neutral")
    assert Training.choose(prompts(), ["other"]).label_sets == ("jf",)


def test_a_template_is_held_out_from_three_on():
    table = prompts(templates=("neutral", "named", "table"))
    assert Training.choose(table, ["other"]).templates == ("named", "neutral")


def test_rows_are_those_of_its_levels_and_games_own_words_are_never_held_out():
    table = prompts(label_sets=("jf", "xy"))
    table.loc[table["game"] == "concord", "dropped"] = "too long"
    rows = Training.choose(table, ["other", "concord"]).rows(table)
    assert set(rows["game"]) == {"other"}
    assert set(rows["label_set"]) == {"jf", "own"}
    given = Training.choose(table, ["other"], label_sets=["xy"], templates=["named"]).rows(table)
    assert set(given["label_set"]) == {"xy", "own"}
    assert set(given["template"]) == {"named"}


def test_seen_columns_say_what_directions_know():
    table = prompts(label_sets=("jf", "xy"))
    described = Training.choose(table, ["other"]).describe(table)
    assert described.groupby("label_set")["seen_label_set"].all().to_dict() == {
        "jf": True,
        "own": False,
        "xy": False,
    }
    assert described["seen_template"].all()


def test_levels_that_are_not_there_are_named():
    with pytest.raises(DataError, match=r"train_label_sets: .* pq"):
        Training.choose(prompts(), ["other"], label_sets=["pq"])
    with pytest.raises(DataError, match="train_templates"):
        Training.choose(prompts(), ["other"], templates=["table"])


def test_concepts_are_fitted_on_further_games_where_one_is_asked_for():
    table = prompts()
    games = sorted(table["game"].unique())
    settings = {
        "train_games": ["other"], "train_label_sets": None, "train_templates": None,
        "test_games": ["deadlock"], "concept_games": None, "directions": ["abstract", "other_gain"],
    }  # fmt: skip
    rows = Training.from_config(table, settings, concepts=True).rows(table)
    assert sorted(rows["game"].unique()) == [game for game in games if game != "deadlock"]
    assert (rows["concept_only"] == (rows["game"] != "other")).all()
    none = Training.from_config(table, settings | {"directions": ["abstract"]}, concepts=True)
    assert set(none.rows(table)["game"]) == {"other"}
    assert "concept_only" not in none.rows(table)
    given = Training.from_config(table, settings | {"concept_games": []}, concepts=True)
    assert set(given.rows(table)["game"]) == {"other"}
