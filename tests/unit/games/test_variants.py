import importlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nashlens.errors import DataError
from nashlens.games import (
    CATALOG,
    SEATS,
    Game,
    best_response,
    dominant_action,
    nash_action,
    ordinal_class,
    prosocial_action,
    solve,
    variants,
)
from nashlens.seeds import stream

quick = settings(max_examples=100, deadline=None, derandomize=True, database=None)


@quick
@given(st.lists(st.integers(-4, 4), min_size=8, max_size=8), st.integers(0, 10**6))
def test_variants_keep_the_class_and_what_follows_from_it(values, seed):
    a, b, c, d, e, f, g, h = values
    game = Game("g", [[[a, b], [c, d]], [[e, f], [g, h]]])
    for drawn in variants(game, 3, stream(seed, "v")):
        assert ordinal_class(drawn) == ordinal_class(game)
        assert solve(drawn).pure == solve(game).pure
        for seat in SEATS:
            assert dominant_action(drawn, seat) == dominant_action(game, seat)
            assert nash_action(drawn, seat) == nash_action(game, seat)
            prosocial = prosocial_action(game, seat)
            assert prosocial in (None, prosocial_action(drawn, seat))
            assert best_response(drawn, seat, 0) == best_response(game, seat, 0)


@pytest.mark.parametrize("name", CATALOG)
def test_variants_are_distinct_small_whole_and_numbered(name):
    drawn = variants(CATALOG[name], 12, stream(1, "variants", name))
    assert [game.variant for game in drawn] == list(range(1, 13))
    assert len({game.payoffs for game in [CATALOG[name], *drawn]}) == 13
    payoffs = {x for game in drawn for line in game.payoffs for cell in line for x in cell}
    assert all(x.denominator == 1 and 0 <= x <= 9 for x in payoffs)


def test_a_lone_defector_never_raises_the_sum():
    drawn = variants(CATALOG["prisoners_dilemma"], 30, stream(1, "variants", "pd"))
    for game in drawn:
        sums = [[sum(cell) for cell in line] for line in game.payoffs]
        assert sums[0][0] > max(sums[0][1], sums[1][0], sums[1][1])
        for seat in SEATS:
            assert (nash_action(game, seat), prosocial_action(game, seat)) == (1, 0)


def test_a_game_of_ones_own_keeps_its_conflict():
    # A largest sum in a corner of its own: few draws have it.
    mine = Game("mine", [[[8, 2], [1, 3]], [[9, 0], [2, 1]]])
    for game in variants(mine, 8, stream(2, "v")):
        for seat in SEATS:
            assert prosocial_action(game, seat) == prosocial_action(mine, seat) == 0
            assert nash_action(game, seat) == nash_action(mine, seat)


def test_a_game_whose_variants_cannot_be_found_is_named(monkeypatch):
    module = importlib.import_module("nashlens.games.variants")
    monkeypatch.setattr(module, "_LARGEST", 3)
    monkeypatch.setattr(module, "_SIZES", 1)
    with pytest.raises(DataError, match=r"games\.prisoners_dilemma\.variants: found 40"):
        variants(CATALOG["prisoners_dilemma"], 40, stream(1, "v"))


def test_row_and_column_are_drawn_independently():
    drawn = variants(CATALOG["prisoners_dilemma"], 10, stream(1, "v"))
    assert any(game.transpose().payoffs != game.payoffs for game in drawn)


def test_drawing_more_variants_keeps_the_first():
    game = CATALOG["chicken"]
    assert variants(game, 9, stream(5, "v"))[:4] == variants(game, 4, stream(5, "v"))


def test_a_game_of_ties_gets_as_many_variants_as_asked_for():
    constant = Game("flat", [[[1, 1], [1, 1]], [[1, 1], [1, 1]]])
    drawn = variants(constant, 100, stream(1, "v"))
    assert len({game.payoffs for game in drawn}) == 100
    assert {ordinal_class(game) for game in drawn} == {"0000/0000"}
