import pandas as pd
import pytest

from nashlens.errors import DataError
from nashlens.games import CATALOG, build_games, games_from_table, games_table
from nashlens.tables import read_table, write_table

MINE = {"payoffs": [[[0.1, 0.2], [-3, 4]], [[1e-5, 2.5], [1, 1]]], "actions": ["go", "stay"]}


def everything(seed=1):
    spec = {name: {"canonical": name, "variants": 2} for name in CATALOG}
    return build_games(spec | {"mine": MINE | {"title": "My game"}}, seed)


def test_each_game_is_followed_by_its_variants():
    games = everything()
    assert [(game.name, game.variant) for game in games[:4]] == [
        ("prisoners_dilemma", 0),
        ("prisoners_dilemma", 1),
        ("prisoners_dilemma", 2),
        ("stag_hunt", 0),
    ]
    assert (games[-1].title, games[-1].actions) == ("My game", ("go", "stay"))
    assert games[-1].base == "mine"


def test_another_game_changes_no_variant():
    alone = build_games({"chicken": {"canonical": "chicken", "variants": 2}}, 1)
    assert [game for game in everything() if game.name == "chicken"] == alone


def test_games_of_one_kind_draw_different_variants():
    entry = {"canonical": "chicken", "variants": 2}
    first, second = (build_games({name: entry}, 1)[1:] for name in ("a", "b"))
    assert [game.payoffs for game in first] != [game.payoffs for game in second]


def test_the_seed_has_an_effect():
    assert everything(1) != everything(2)


def test_a_renamed_canonical_game_keeps_its_base():
    (game,) = build_games({"pd": {"canonical": "prisoners_dilemma", "payoffs": None}}, 1)
    assert (game.name, game.base, game.title) == ("pd", "prisoners_dilemma", "Prisoner's Dilemma")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "one of canonical and payoffs"),
        (MINE | {"canonical": "chicken"}, "one of canonical and payoffs"),
        ({"canonical": "chess"}, "games.g.canonical: 'chess'"),
        ({"payoffs": [[1, 2], [3, 4]]}, "2x2"),
        ({"payoffs": [[[float("nan"), 2], [1, 1]], [[1, 1], [1, 1]]]}, "finite"),
    ],
)
def test_bad_entries_are_refused_by_key(entry, message):
    with pytest.raises(DataError, match=message):
        build_games({"g": entry}, 1)


def test_round_trip_is_exact_through_the_file(tmp_path):
    games = everything()
    table = games_table(games)
    assert games_from_table(table) == games
    write_table(table, tmp_path / "games.parquet", config={}, fingerprint="x")
    back = read_table(tmp_path / "games.parquet")
    pd.testing.assert_frame_equal(back, table)
    assert games_from_table(back) == games


def test_columns_are_the_documented_ones():
    table = games_table(everything())
    cells = [f"{seat}_{cell}" for seat in ("row", "col") for cell in ("00", "01", "10", "11")]
    assert list(table.columns) == [
        *("game", "variant", "base", "title", "action_0", "action_1"),
        *cells,
        *("pure_equilibria", "mixed_row", "mixed_col", "continuum"),
        *("nash_row", "nash_col", "prosocial_row", "prosocial_col"),
        *("dominant_row", "dominant_col"),
        *("best_row_0", "best_row_1", "best_col_0", "best_col_1"),
        *("zero_sum", "ordinal_class"),
    ]


def test_values_of_known_games():
    table = games_table([CATALOG[name] for name in CATALOG]).set_index("game")
    dilemma, pennies = table.loc["prisoners_dilemma"], table.loc["matching_pennies"]
    assert dilemma["pure_equilibria"] == "1,1"
    assert (dilemma["row_01"], dilemma["col_01"]) == (0.0, 5.0)
    assert (dilemma["nash_row"], dilemma["prosocial_row"], dilemma["dominant_col"]) == (1, 0, 1)
    assert pennies["pure_equilibria"] == ""
    assert (pennies["mixed_row"], pennies["zero_sum"]) == (0.5, True)
    assert table["nash_row"].isna()["matching_pennies"]
    assert (pennies["best_row_0"], pennies["best_col_0"]) == (0, 1)
    assert table.loc["chicken", "pure_equilibria"] == "0,1;1,0"
    assert str(table["nash_row"].dtype) == "Int64"
    assert table["continuum"].dtype == bool


def test_missing_columns_and_an_empty_list_are_named():
    with pytest.raises(DataError, match="row_11"):
        games_from_table(games_table(everything()).drop(columns="row_11"))
    with pytest.raises(DataError, match="at least one"):
        games_table([])


def test_games_can_be_left_out_with_their_variants():
    games = games_from_table(games_table(everything()), without=["chicken", "mine"])
    assert games == [game for game in everything() if game.name not in ("chicken", "mine")]
