from fractions import Fraction

import numpy as np
import pytest

from nashlens.errors import DataError
from nashlens.games import CATALOG, Game, ordinal_class, to_fraction


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (3, Fraction(3)),
        (0.1, Fraction(1, 10)),
        (-2.5, Fraction(-5, 2)),
        (1e-5, Fraction(1, 100000)),
        (1e22, Fraction(10**22)),
        (2**60 + 1, Fraction(2**60 + 1)),
        (np.float64(0.3), Fraction(3, 10)),
        (np.int64(7), Fraction(7)),
        (Fraction(1, 3), Fraction(1, 3)),
    ],
)
def test_payoffs_are_the_numbers_that_were_written(written, expected):
    assert to_fraction(written) == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "3", None, [1]])
def test_payoffs_that_are_no_finite_numbers_are_refused(value):
    with pytest.raises(DataError, match="number"):
        to_fraction(value)


@pytest.mark.parametrize("payoffs", [[[[1, 1]]], [[[1, 1, 1], [0, 0]], [[0, 0], [1, 1]]], 3, []])
def test_payoffs_that_are_not_2x2_are_refused_with_the_game_named(payoffs):
    with pytest.raises(DataError, match=r"game mine: .*2x2"):
        Game("mine", payoffs)


def test_both_seats_see_the_same_cell_from_their_own_side():
    game = CATALOG["prisoners_dilemma"]
    # Row cooperates, column defects.
    assert game.payoff(0, 1) == (0.0, 5.0)
    assert game.seat_payoffs("row", 0, 1) == (0.0, 5.0)
    assert game.seat_payoffs("column", 1, 0) == (5.0, 0.0)


def test_asymmetric_cells_are_not_mixed_up():
    game = Game("g", [[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    assert [game.seat_payoffs("column", i, j) for i in (0, 1) for j in (0, 1)] == [
        (2.0, 1.0),
        (6.0, 5.0),
        (4.0, 3.0),
        (8.0, 7.0),
    ]
    assert game.transpose().transpose() == game
    assert game.transpose().payoff(0, 1) == (6.0, 5.0)


def test_defaults_are_made_from_the_name():
    game = Game("my_game", [[[1, 1], [0, 0]], [[0, 0], [1, 1]]])
    assert (game.title, game.base, game.variant) == ("My Game", "my_game", 0)


def test_equal_action_names_are_refused():
    with pytest.raises(DataError, match="two different names"):
        Game("g", [[[1, 1], [0, 0]], [[0, 0], [1, 1]]], ("a", "a"))


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("prisoners_dilemma", "TRPS"),
        ("stag_hunt", "RTPS"),
        ("chicken", "TRSP"),
        ("harmony", "RTSP"),
        ("deadlock", "TPRS"),
        ("concord", "RSTP"),
    ],
)
def test_symmetric_games_have_their_defining_order(name, order):
    game = CATALOG[name]
    values = dict(zip("RSTP", (game.payoff(i, j)[0] for i in (0, 1) for j in (0, 1)), strict=True))
    assert "".join(sorted(values, key=values.get, reverse=True)) == order
    assert len(set(values.values())) == 4
    assert game.transpose().payoffs == game.payoffs


def test_mutual_cooperation_is_efficient_in_the_prisoners_dilemma():
    game = CATALOG["prisoners_dilemma"]
    assert sum(game.payoff(0, 0)) > sum(game.payoff(0, 1))


def test_canonical_games_are_in_different_ordinal_classes():
    assert len({ordinal_class(game) for game in CATALOG.values()}) == len(CATALOG)
