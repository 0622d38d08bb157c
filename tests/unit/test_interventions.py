import numpy as np
import pandas as pd
import pytest

from nashlens.errors import DataError
from nashlens.interventions import choose_prompts, prompts_by_interventions
from tests.unit.steering.tables import prompts_table


def choose(games, per_game, stream_name="a study's"):
    table = prompts_table(np.random.default_rng(3))
    return choose_prompts(table, games, per_game, 1, stream_name, key="steering.test_games")


def test_chosen_prompts_balance_label_maps_and_games():
    chosen = choose(["deadlock", "concord"], 4)
    assert chosen.groupby(["game", "label_map"]).size().tolist() == [2] * 4
    stems = chosen.groupby(["game", "template", "option_order"])["label_map"].nunique()
    assert (stems == 2).all()


def test_forms_are_used_up_before_any_comes_again():
    chosen = choose(["deadlock"], 8)
    assert not chosen.duplicated(["template", "label_map", "option_order"]).any()


def test_a_game_without_prompts_is_named():
    with pytest.raises(DataError, match="chicken"):
        choose(["chicken"], 4)


def test_each_study_draws_from_the_stream_that_it_names():
    drawn = {name: tuple(choose(["deadlock"], 4, name)["prompt_id"]) for name in "abcdef"}
    assert len(set(drawn.values())) > 1
    assert drawn["a"] == tuple(choose(["deadlock"], 4, "a")["prompt_id"])


def test_a_prompt_has_one_row_for_each_intervention():
    prompts = pd.DataFrame({"prompt_id": ["p", "q"]}, index=[7, 3])
    interventions = pd.DataFrame({"layer": pd.array([1, pd.NA, 3], dtype="Int64")})
    scores = np.arange(6.0).reshape(2, 3)
    table = prompts_by_interventions(prompts, interventions, {"score": scores})
    assert table["prompt_id"].tolist() == ["p"] * 3 + ["q"] * 3
    assert table["layer"].tolist() == [1, pd.NA, 3] * 2
    assert table["score"].tolist() == [0, 1, 2, 3, 4, 5]
