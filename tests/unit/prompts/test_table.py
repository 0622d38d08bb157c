import itertools

import numpy as np
import pandas as pd
import pytest

from nashlens.errors import DataError, LabelError
from nashlens.games import best_response, build_games, nash_action, prosocial_action
from nashlens.prompts.labels import prompt_id
from nashlens.prompts.render import Surface, View, decision_messages, render
from nashlens.prompts.table import build_prompts, draw_history
from nashlens.seeds import stream
from nashlens.strategies import STRATEGIES
from nashlens.tables import read_table, write_table
from tests.unit.prompts.fakes import CharTokenizer, WordTokenizer

LABEL_SETS = {"jf": ["J", "F"], "xy": ["X", "Y"], "pq": ["P", "Q"]}
SPEC = {
    "pd": {"canonical": "prisoners_dilemma", "variants": 2},
    "pennies": {"canonical": "matching_pennies"},
}
GAMES = build_games(SPEC, 1)


def prompts(games=GAMES, tokenizer=None, **changes):
    values = {
        "templates": ["neutral", "named"],
        "label_sets": LABEL_SETS,
        "label_maps": ["identity", "swapped"],
        "option_orders": ["forward", "reversed"],
        "opponents": list(STRATEGIES),
        "own_cooperation": 0.5,
        "rounds": [1, 2, 5],
        "histories": 1,
        "system": "You are playing a game with another player.",
        "assistant_prefix": "I choose option",
        "seed": 1,
    } | changes
    return build_prompts(games, tokenizer or WordTokenizer(bos=True), **values)


@pytest.fixture(scope="module")
def table():
    return prompts()


def game_of(row):
    return next(g for g in GAMES if (g.name, g.variant) == (row["game"], row["variant"]))


def test_one_row_for_each_game_surface_history_and_round(table):
    assert len(table) == 2 * 24 * 3
    keys = ["game", "template", "label_set", "label_map", "option_order", "round"]
    assert not table.duplicated(keys).any()
    assert table["match_id"].nunique() == 48
    assert (table.groupby("match_id")["seat"].nunique() == 1).all()
    assert set(table["variant"][table["game"] == "pd"]) == {0, 1, 2}


def test_columns_are_the_documented_ones(table):
    assert list(table.columns) == [
        *("prompt_id", "match_id", "game", "variant", "seat", "round"),
        *("template", "label_set", "label_map", "option_order", "opponent", "text"),
        *("token_ids", "n_tokens", "decision_position", "label_0", "label_1"),
        *(
            "label_tokens_0",
            "label_tokens_1",
            "prior_id",
            "prior_token_ids",
            "own_last",
            "opponent_last",
        ),
        *("opponent_cooperation", "nash_action", "prosocial_action", "best_response", "dropped"),
    ]
    integers = ["own_last", "opponent_last", "nash_action", "prosocial_action", "best_response"]
    assert {str(table[name].dtype) for name in integers} == {"Int64"}


def test_every_row_is_rebuilt_by_the_builder_that_play_uses(table):
    tokenizer = WordTokenizer(bos=True)
    for _, match in table.groupby("match_id"):
        last = match.iloc[-1]
        own, other = draw_history(last["opponent"], 4, 0.5, stream(1, "history", last["match_id"]))
        surface = Surface(
            last["template"],
            last["label_set"],
            tuple(LABEL_SETS[last["label_set"]]),
            last["label_map"],
            last["option_order"],
        )
        for row in match.to_dict("records"):
            past = own[: row["round"] - 1], other[: row["round"] - 1]
            view = View(game_of(row), row["seat"], surface, *past)
            system = "You are playing a game with another player."
            messages = decision_messages(view, system=system)
            assert row["text"] == render(messages, tokenizer.chat, "I choose option")


def test_targets_are_the_seats_own(table):
    for row in table.to_dict("records"):
        game, seat = game_of(row), row["seat"]
        for column, function in (
            ("nash_action", nash_action),
            ("prosocial_action", prosocial_action),
        ):
            expected = function(game, seat)
            assert pd.isna(row[column]) if expected is None else row[column] == expected
        if row["round"] > 1:
            assert row["best_response"] == best_response(game, seat, row["opponent_last"])
    assert table["nash_action"][table["game"] == "pennies"].isna().all()
    assert (table["nash_action"][table["game"] == "pd"] == 1).all()


def test_last_actions_are_the_ones_that_the_text_shows(table):
    for row in table[table["round"] > 1].to_dict("records"):
        label = (row["label_0"], row["label_1"])
        lines = [line for line in row["text"].splitlines() if ": you chose" in line]
        assert len(lines) == row["round"] - 1
        assert f"you chose option {label[row['own_last']]} " in lines[-1]
        assert f"the other player chose option {label[row['opponent_last']]} " in lines[-1]
        shown = [f"player chose option {label[0]} " in line for line in lines]
        assert row["opponent_cooperation"] == pytest.approx(np.mean(shown))


def test_the_first_round_has_no_last_action(table):
    first = table[table["round"] == 1]
    columns = ["own_last", "opponent_last", "opponent_cooperation", "best_response"]
    assert first[columns].isna().all().all()
    assert table[table["round"] > 1][columns[:3]].notna().all().all()


def test_token_columns(table):
    for row in table.head(12).to_dict("records"):
        ids = row["token_ids"]
        assert ids.dtype == row["label_tokens_0"].dtype == np.int32
        assert row["prompt_id"] == prompt_id(ids)
        assert (row["n_tokens"], row["decision_position"]) == (len(ids), len(ids) - 1)
        assert list(ids).count(0) == 1
        assert ids[0] == 0


def test_later_rounds_share_all_but_the_question(table):
    for _, match in table.groupby("match_id"):
        for earlier, later in itertools.combinations(match["token_ids"], 2):
            different = earlier != later[: len(earlier)]
            shared = int(np.argmax(different))
            question_and_answer = 25
            assert len(earlier) - shared <= question_and_answer


def test_equal_prompts_have_equal_ids_and_stay_as_rows():
    again = prompts(rounds=[1], histories=3)
    assert len(again) == 2 * 24 * 3
    assert again["prompt_id"].nunique() < len(again)
    assert (again.groupby("prompt_id")["text"].nunique() == 1).all()


def test_adding_a_game_a_template_or_a_round_changes_no_row(table):
    tokenizer = WordTokenizer(bos=True)
    expected = table["text"].tolist()
    more = build_games(SPEC | {"chicken": {"canonical": "chicken"}}, 1)
    assert prompts(more, tokenizer)["text"].tolist()[: len(table)] == expected
    neutral = table[table["template"] == "neutral"]["text"].tolist()
    assert prompts(templates=["neutral"])["text"].tolist() == neutral
    longer = prompts(rounds=[1, 2, 5, 9])
    assert longer[longer["round"] != 9]["text"].tolist() == expected


def test_the_seed_and_the_seats_cooperation_have_an_effect(table):
    assert prompts(seed=2)["text"].tolist() != table["text"].tolist()
    always = prompts(own_cooperation=1.0, opponents=["TFT"])
    assert (always["own_last"].dropna() == 0).all()
    assert (always["opponent_cooperation"].dropna() == 1).all()


def test_prompts_that_do_not_fit_are_marked_and_kept():
    longest = int(prompts()["n_tokens"].max())
    exact = prompts(tokenizer=WordTokenizer(bos=True, max_length=longest + 1))
    assert (exact["dropped"] == "").all()
    short = prompts(tokenizer=WordTokenizer(bos=True, max_length=longest))
    dropped = short[short["dropped"] != ""]
    assert 0 < len(dropped) < len(short)
    assert set(dropped["dropped"]) == {
        f"{longest + 1} tokens with the label, the model takes {longest}"
    }


def test_the_table_survives_the_file(table, tmp_path):
    write_table(table, tmp_path / "p.parquet", config={}, fingerprint="x")
    back = read_table(tmp_path / "p.parquet")
    lists = ["token_ids", "label_tokens_0", "label_tokens_1"]
    pd.testing.assert_frame_equal(back.drop(columns=lists), table.drop(columns=lists))
    for name in lists:
        assert all(np.array_equal(a, b) for a, b in zip(back[name], table[name], strict=True))
        assert back[name][0].dtype == np.int32


def test_labels_that_cannot_be_scored_stop_the_table():
    with pytest.raises(LabelError, match="chars"):
        prompts(tokenizer=CharTokenizer("chars"))


def test_no_game_or_round_is_refused():
    with pytest.raises(DataError, match="0 games"):
        prompts(games=[])
    with pytest.raises(DataError, match=r"rounds \[0\]"):
        prompts(rounds=[0])


@pytest.mark.parametrize("opponent", STRATEGIES)
def test_a_longer_history_starts_with_the_shorter_one(opponent):
    long = draw_history(opponent, 20, 0.5, stream(3, "h"))
    short = draw_history(opponent, 8, 0.5, stream(3, "h"))
    assert (long[0][:8], long[1][:8]) == short


def test_the_opponent_in_a_history_answers_the_seat_and_not_itself():
    own, other = draw_history("TFT", 30, 0.5, stream(1, "h"))
    assert other == [0, *own[:-1]]
    assert set(own) == {0, 1}
