import numpy as np
import pandas as pd
import pytest

from nashlens.errors import DataError
from nashlens.interventions import choose_prompts, prompts_by_interventions
from tests.unit.steering.tables import prompts_table


def choose(games, per_game, stream_name="a study's", table=None, **options):
    table = prompts_table(np.random.default_rng(3), histories=4) if table is None else table
    options = {"key": "steering.test_games"} | options
    return choose_prompts(table, games, per_game, 1, stream_name, **options)


@pytest.mark.parametrize("per_game", [4, 7, 8, 16, 23, 32, 100])
def test_whole_blocks_as_many_of_each_game(per_game):
    chosen = choose(["deadlock", "concord"], per_game)
    blocks = chosen.groupby(["game", "block_id"], sort=False)
    assert (blocks.size() == 4).all()
    assert (blocks[["label_map", "option_order"]].value_counts() == 1).all()
    assert (blocks.size().groupby("game").size() == min(per_game // 4, 8)).all()


def test_histories_are_taken_by_twos_or_more_from_a_wording():
    chosen = choose(["deadlock"], 16)
    assert chosen["match_id"].nunique() == 4
    assert chosen.groupby("template")["match_id"].nunique().tolist() == [2, 2]
    assert choose(["deadlock"], 8)["template"].nunique() == 1


def twice(table, suffix):
    """Return rows and the same ones as another scenario of the same histories."""
    names = ("prompt_id", "scenario_id", "block_id")
    return table.assign(**{name: table[name] + suffix for name in names})


def test_a_history_gives_a_second_round_after_all_others_gave_one():
    table = prompts_table(np.random.default_rng(3), histories=2)
    later = twice(table, "/later").assign(round=3)
    both = pd.concat([table, later], ignore_index=True)
    assert choose(["deadlock"], 16, table=both)["match_id"].nunique() == 4
    assert choose(["deadlock"], 32, table=both)["block_id"].nunique() == 8


def test_mirror_images_are_taken_together():
    table = prompts_table(np.random.default_rng(3), histories=4)
    both = pd.concat([table, twice(table, "/mirrored")], ignore_index=True)
    for per_game, histories in ((8, 1), (15, 1), (16, 2), (32, 4)):
        chosen = choose(["deadlock"], per_game, table=both)
        assert chosen["match_id"].nunique() == histories
        assert (chosen.groupby("match_id")["block_id"].nunique() == 2).all()
    with pytest.raises(DataError, match="7 prompts of deadlock: a history and its mirror image"):
        choose(["deadlock"], 7, table=both)


def test_templates_and_label_sets_are_spread():
    table = prompts_table(np.random.default_rng(3), histories=4)
    other = table.assign(
        label_set="xy",
        **{name: table[name] + "/xy" for name in ("prompt_id", "match_id", "block_id")},
    )
    chosen = choose(["deadlock"], 16, table=pd.concat([table, other], ignore_index=True))
    assert chosen["template"].nunique() == chosen["label_set"].nunique() == 2


def test_words_with_a_meaning_and_broken_blocks_are_left_out():
    table = prompts_table(np.random.default_rng(3), histories=4)
    table["label_kind"] = np.where(table["template"] == "named", "actions", "neutral")
    table.loc[(table["game"] == "deadlock").idxmax(), "dropped"] = "too long"
    chosen = choose(["deadlock"], 100, table=table)
    assert set(chosen["template"]) == {"neutral"}
    assert (chosen.groupby("block_id").size() == 4).all()
    assert chosen["block_id"].nunique() == 3


def test_less_than_a_block_is_refused():
    with pytest.raises(DataError, match=r"3 prompts of deadlock: .* have 4; give that"):
        choose(["deadlock"], 3)


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
