import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nashlens.errors import DataError, LabelError
from nashlens.games import best_response, build_games, nash_action, prosocial_action
from nashlens.prompts.labels import prompt_id
from nashlens.prompts.render import Surface, View, decision_messages, render
from nashlens.prompts.table import build_prompts, draw_history, mirror
from nashlens.seeds import stream
from nashlens.strategies import STRATEGIES
from nashlens.tables import read_table, write_table
from nashlens.vocabulary.positions import expand_positions, position_column, round_position
from nashlens.vocabulary.prompts import SURFACE_COLUMNS
from tests.unit.prompts.fakes import CharTokenizer, WordTokenizer

LABEL_SETS = {"jf": ["J", "F"], "xy": ["X", "Y"], "pq": ["P", "Q"]}
SPEC = {
    "pd": {"canonical": "prisoners_dilemma", "variants": 2},
    "pennies": {"canonical": "matching_pennies"},
}
GAMES = build_games(SPEC, 1)
KINDS = ("action", "label", "place")


def prompts(games=GAMES, tokenizer=None, **changes):
    values = {
        "templates": ["neutral", "named"],
        "label_sets": LABEL_SETS,
        "label_maps": ["identity", "swapped"],
        "option_orders": ["forward", "reversed"],
        "opponents": list(STRATEGIES),
        "own_cooperation": 0.5,
        "rounds": [1, 2, 5],
        "histories": 6,
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


def test_one_row_for_each_game_history_form_and_round(table):
    # Three rounds, of which two have a mirror image.
    assert len(table) == 2 * 6 * 4 * (3 + 2)
    keys = ["match_id", *SURFACE_COLUMNS, "round", "mirrored"]
    assert not table.duplicated(keys).any()
    assert table["match_id"].nunique() == 12
    of_match = ["game", "variant", "seat", "opponent"]
    assert (table.groupby("match_id")[of_match].nunique() == 1).all().all()
    assert set(table["variant"][table["game"] == "pd"]) == {0, 1, 2}
    # Templates and label sets: one of each for a history, all of them in a game.
    assert (table.groupby("match_id")[["template", "label_set"]].nunique() == 1).all().all()
    words = table[["game", "template", "label_set"]].drop_duplicates()
    assert (words.groupby("game").size() == 6).all()


grown = st.fixed_dictionaries(
    {
        "crossed": st.sampled_from(
            [[], ["templates"], ["label_sets"], ["templates", "label_sets"]]
        ),
        "histories": st.integers(1, 7),
        "histories_of": st.sampled_from([{}, {"pd": 3}, {"pd": None, "pennies": 2}]),
        "rounds": st.sampled_from([[1], [2, 5]]),
        "label_sets": st.sampled_from(
            [LABEL_SETS, {"jf": ["J", "F"]}, LABEL_SETS | {"words": "actions"}]
        ),
        "seed": st.integers(0, 2**32 - 1),
    }
)


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(grown)
def test_blocks_are_complete_and_differ_in_map_and_order_only(design):
    table = prompts(**design)
    blocks = table.groupby("block_id")
    assert (blocks.size() == 4).all()
    assert not table.duplicated(["block_id", "label_map", "option_order"]).any()
    differ = {
        *("prompt_id", "label_map", "option_order", "text", "token_ids", "n_tokens"),
        *("decision_position", "label_0", "label_1", "label_tokens_0", "label_tokens_1"),
        *("prior_id", "prior_token_ids"),
        *("nash_label", "nash_place", "prosocial_label", "prosocial_place"),
    }
    same = [name for name in table.columns if name not in differ]
    assert (blocks[same].nunique(dropna=False) == 1).all().all()
    identity = table["label_map"] == "identity"
    pairs = table.assign(pair=table["label_0"].where(identity, table["label_1"]))
    assert (pairs.groupby("block_id")["pair"].nunique() == 1).all()
    histories = table.groupby("game")["match_id"].nunique()
    for name, number in histories.items():
        assert number == (design["histories_of"].get(name) or design["histories"])
    # Names say what a row is about.
    number = table["match_id"].str.extract(r"^(.+)/(\d+)$")
    assert (number[0] == table["game"]).all()
    scenario = table["match_id"] + "/" + table["round"].astype(str)
    scenario += np.where(table["mirrored"], "/mirrored", "")
    assert (table["scenario_id"] == scenario).all()
    words = scenario + "/" + table["template"] + "/" + table["label_set"]
    assert (table["block_id"] == words).all()
    of_words = table["label_kind"] == "actions"
    assert (of_words == (table["label_set"] == "words")).all()
    assert set(table.loc[of_words, "label_0"]) <= {"Cooperate", "Defect", "Heads", "Tails"}


def test_all_labels_of_a_kind_are_the_games_own(table):
    words = prompts(label_sets={"words": "actions"})
    swapped = words["label_map"] == "swapped"
    pd_rows = words["game"] == "pd"
    assert set(words.loc[pd_rows & ~swapped, "label_0"]) == {"Cooperate"}
    assert set(words.loc[pd_rows & swapped, "label_0"]) == {"Defect"}
    assert set(words.loc[~pd_rows & ~swapped, "label_0"]) == {"Heads"}
    # The same histories as with letters, in the game's own words.
    letters = table.drop_duplicates("scenario_id").set_index("scenario_id")
    named = words.drop_duplicates("scenario_id").set_index("scenario_id")
    for column in ("variant", "seat", "opponent", "own_last", "opponent_last"):
        assert letters[column].equals(named[column]), column


def test_labels_may_share_their_first_tokens():
    pair = {"plans": ["plan one", "plan two"]}
    table = prompts(label_sets=pair, rounds=[2])
    assert set(table["label_shared"]) == {1}
    assert (table["label_tokens_0"].map(len) == 2).all()
    assert set(prompts(rounds=[2])["label_shared"]) == {0}


def test_columns_are_the_documented_ones(table):
    assert list(table.columns) == [
        *("prompt_id", "match_id", "scenario_id", "block_id"),
        *("game", "variant", "seat", "round", "template", "label_set", "label_kind"),
        *("label_map", "option_order", "opponent", "mirrored", "text"),
        *("token_ids", "n_tokens", "decision_position", "label_0", "label_1"),
        *(
            "label_tokens_0",
            "label_tokens_1",
            "label_shared",
            "prior_id",
            "prior_token_ids",
            "own_last",
            "opponent_last",
        ),
        *("opponent_cooperation", "nash_action", "nash_label", "nash_place"),
        *("prosocial_action", "prosocial_label", "prosocial_place", "best_response"),
        *("own_gain", "other_gain", "opponent_next", "template_note", "dropped"),
    ]
    integers = ["own_last", "opponent_last", "best_response"]
    integers += [f"{who}_{what}" for who in ("nash", "prosocial") for what in KINDS]
    assert {str(table[name].dtype) for name in integers} == {"Int64"}


def test_every_row_is_rebuilt_by_the_builder_that_play_uses(table):
    tokenizer = WordTokenizer(bos=True)
    for _, match in table.groupby(["match_id", "mirrored", *SURFACE_COLUMNS]):
        last = match.iloc[-1]
        moves = draw_history(last["opponent"], 4, 0.5, stream(1, "history", last["match_id"]))
        own, other = mirror(*moves) if last["mirrored"] else moves
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


def test_labels_and_places_are_those_of_the_text(table):
    """The action's own label, found in the pair and in the question's list."""
    for row in table.to_dict("records"):
        pair = LABEL_SETS[row["label_set"]]
        question = row["text"].rpartition("do you choose ")[2]
        for who in ("nash", "prosocial"):
            action, label, place = (row[f"{who}_{what}"] for what in KINDS)
            if pd.isna(action):
                assert pd.isna(label)
                assert pd.isna(place)
                continue
            word = row[f"label_{action}"]
            assert pair[label] == word
            listed = sorted(pair, key=lambda name: question.index(f"option {name}"))
            assert listed[place] == word


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


def test_the_opponent_goes_on_as_its_history_does():
    table = prompts(rounds=[2, 4, 5], opponents=["ALLC", "TFT", "GRIM", "WSLS", "RANDOM"])
    keys = ["match_id", "mirrored", *SURFACE_COLUMNS]
    drawn = table["opponent"] == "RANDOM"
    assert table.loc[drawn, "opponent_next"].isna().all()
    assert table.loc[~drawn, "opponent_next"].notna().all()
    # What it does in round 4 is its last action in round 5.
    now = table[table["round"] == 4].set_index(keys)["opponent_next"].dropna()
    later = table[table["round"] == 5].set_index(keys)["opponent_last"]
    assert (now == later[now.index]).all()
    copies = table[table["opponent"] == "TFT"]
    assert (copies["opponent_next"] == copies["own_last"]).all()
    assert set(now) == {0, 1}


def test_token_columns(table):
    for row in table.head(12).to_dict("records"):
        ids = row["token_ids"]
        assert ids.dtype == row["label_tokens_0"].dtype == np.int32
        assert row["prompt_id"] == prompt_id(ids)
        assert (row["n_tokens"], row["decision_position"]) == (len(ids), len(ids) - 1)
        assert list(ids).count(0) == 1
        assert ids[0] == 0


def test_later_rounds_share_all_but_the_question(table):
    for _, match in table.groupby(["match_id", "mirrored", *SURFACE_COLUMNS]):
        for earlier, later in itertools.combinations(match["token_ids"], 2):
            different = earlier != later[: len(earlier)]
            shared = int(np.argmax(different))
            question_and_answer = 25
            assert len(earlier) - shared <= question_and_answer


def test_equal_prompts_have_equal_ids_and_stay_as_rows():
    again = prompts(rounds=[1], histories=36)
    assert len(again) == 2 * 4 * 36
    assert again["prompt_id"].nunique() < len(again)
    assert (again.groupby("prompt_id")["text"].nunique() == 1).all()


def test_adding_a_game_a_history_or_a_round_changes_no_row(table):
    tokenizer = WordTokenizer(bos=True)
    expected = table["text"].tolist()
    more = build_games(SPEC | {"chicken": {"canonical": "chicken"}}, 1)
    assert prompts(more, tokenizer)["text"].tolist()[: len(table)] == expected
    fewer = prompts(histories=4)
    numbers = table["match_id"].str.rpartition("/")[2].astype(int)
    assert table[numbers < 4]["text"].tolist() == fewer["text"].tolist()
    longer = prompts(rounds=[1, 2, 5, 9])
    assert longer[longer["round"] != 9]["text"].tolist() == expected


def test_a_template_that_is_added_changes_no_scenario(table):
    of_scenario = ["game", "variant", "seat", "opponent", "own_last", "opponent_last"]
    fewer = prompts(templates=["neutral"])
    for column in of_scenario:
        assert fewer[column].equals(table[column]), column
    # Crossed, a template or label set that is added changes no other row.
    crossed = prompts(crossed=["templates"])
    neutral = crossed[crossed["template"] == "neutral"]
    assert neutral["text"].tolist() == fewer["text"].tolist()


def test_the_seed_and_the_seats_cooperation_have_an_effect(table):
    assert prompts(seed=2)["text"].tolist() != table["text"].tolist()
    always = prompts(own_cooperation=1.0, opponents=["TFT"])
    always = always[~always["mirrored"]]
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
        prompts(tokenizer=CharTokenizer("chars"), label_sets={"pair": ["A", "A B"]})


@pytest.mark.parametrize(
    "changes",
    [
        {"system": "Play.<bos>"},
        {"assistant_prefix": "<bos> I choose"},
        {"label_sets": {"pair": ["A", "<bos>"]}},
        {"games": build_games({"pd": {**SPEC["pd"], "title": "a <bos> game"}}, 1)},
    ],
)
def test_texts_that_hold_a_special_token_stop_the_table(changes):
    """Of a model that could not be looked at before, such as one of the hub."""
    with pytest.raises(LabelError, match="holds '<bos>', a special token of the model"):
        prompts(**changes)


def test_no_game_or_round_is_refused():
    with pytest.raises(DataError, match="0 games"):
        prompts(games=[])
    with pytest.raises(DataError, match=r"rounds \[0\]"):
        prompts(rounds=[0])


def test_asked_positions_are_columns_and_change_no_other(table):
    names = expand_positions(["decision", "options", "payoff_2", "rounds"], [1, 2, 5])
    found = prompts(positions=names)
    columns = [position_column(name) for name in names[1:]]
    assert [name for name in found.columns if name not in set(table.columns)] == columns
    pd.testing.assert_frame_equal(found[table.columns], table)
    assert {str(found[name].dtype) for name in columns} == {"Int64"}
    # A history has as many rounds as were played, counted from the end.
    for back in range(4):
        has = found[position_column(round_position(back))].notna()
        assert (has == (found["round"] - 1 > back)).all()
    tokenizer = WordTokenizer(bos=True)
    for row in found.to_dict("records"):
        ids = tokenizer.encode(row["text"])
        first = row["option_first_position"]
        listed_first = row["label_0" if row["option_order"] == "forward" else "label_1"]
        assert tokenizer.decode(ids[first : first + 1]).strip() == listed_first
        last = row["round_last_position"]
        if not pd.isna(last):
            assert (
                tokenizer.decode(ids[: last + 1])
                .rsplit("\n", 1)[-1]
                .startswith(f"Round {row['round'] - 1}: you chose")
            )


def test_equal_prompts_have_equal_positions():
    # A game with its actions exchanged, asked in exchanged labels and order, is the same text.
    same = build_games(
        {
            "one": {"payoffs": [[[3, 3], [0, 5]], [[5, 0], [1, 1]]]},
            "two": {"payoffs": [[[1, 1], [5, 0]], [[0, 5], [3, 3]]]},
        },
        1,
    )
    found = prompts(same, positions=expand_positions(["decision", "options", "payoffs"], [1]),
                    rounds=[1], templates=["neutral"])  # fmt: skip
    columns = [name for name in found.columns if name.endswith("_position")]
    groups = found.groupby("prompt_id")
    assert (groups["game"].nunique() == 2).any()
    assert (groups[columns].nunique() == 1).all(axis=None)
