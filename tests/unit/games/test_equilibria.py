"""The exact solver against nashpy, against hand-made degenerate games, and under symmetries."""

import itertools
import random
import warnings
from fractions import Fraction

import nashpy
import numpy as np
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
    gaining_action,
    is_zero_sum,
    nash_action,
    prosocial_action,
    solve,
)

quick = settings(max_examples=200, deadline=None, derandomize=True, database=None)
payoffs = st.integers(-3, 3) | st.fractions(min_value=-5, max_value=5, max_denominator=7)
tables = st.lists(payoffs, min_size=8, max_size=8)


def game_of(values):
    a, b, c, d, e, f, g, h = values
    return Game("g", [[[a, b], [c, d]], [[e, f], [g, h]]])


def relabelled(game, seat):
    """The game with one seat's actions renamed: its action 0 becomes action 1."""
    if seat == "row":
        return Game("g", game.payoffs[::-1])
    return Game("g", [line[::-1] for line in game.payoffs])


def extreme_equilibria(game):
    """nashpy's extreme equilibria as (P(row plays 0), P(column plays 0)).

    Payoffs are moved to be positive first, as the best-response polytopes are bounded only then.
    """
    row = np.array([[float(cell[0]) for cell in line] for line in game.payoffs])
    col = np.array([[float(cell[1]) for cell in line] for line in game.payoffs])
    peer = nashpy.Game(row - row.min() + 1, col - col.min() + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = list(peer.vertex_enumeration())
    return {(round(float(p[0]), 9) + 0.0, round(float(q[0]), 9) + 0.0) for p, q in found}


def assert_agrees_with_nashpy(game):
    ours, theirs = solve(game), extreme_equilibria(game)
    pure = {(p, q) for p, q in theirs if p in (0, 1) and q in (0, 1)}
    assert {(1.0 - i, 1.0 - j) for i, j in ours.pure} == pure
    # Two extreme equilibria that share one player's strategy are joined by a segment of
    # equilibria, and every continuum in a bimatrix game ends in such a pair.
    joined = any(a != b and (a[0] == b[0] or a[1] == b[1]) for a in theirs for b in theirs)
    assert ours.continuum == joined
    for k, seat in enumerate(SEATS):
        shares = {point[k] for point in theirs}
        expected = {frozenset({1.0}): 0, frozenset({0.0}): 1}.get(frozenset(shares))
        assert nash_action(game, seat) == expected
    if not ours.continuum:
        mixed = set() if ours.mixed is None else {tuple(round(float(x), 9) for x in ours.mixed)}
        assert theirs == pure | mixed


def test_agrees_with_nashpy_on_every_game_with_payoffs_0_and_1():
    for values in itertools.product((0, 1), repeat=8):
        assert_agrees_with_nashpy(game_of(values))


# Few levels make ties: most of the first are degenerate, and hardly any of the last.
@pytest.mark.parametrize(("levels", "count"), [(3, 1000), (5, 500), (1000, 500)])
def test_agrees_with_nashpy_on_random_games(levels, count):
    draw = random.Random(levels)
    for _ in range(count):
        assert_agrees_with_nashpy(game_of([draw.randrange(levels) for _ in range(8)]))


@pytest.mark.parametrize("name", CATALOG)
def test_agrees_with_nashpy_on_the_catalogue(name):
    assert_agrees_with_nashpy(CATALOG[name])


def test_prisoners_dilemma():
    found = solve(CATALOG["prisoners_dilemma"])
    assert (found.pure, found.mixed, found.continuum) == (((1, 1),), None, False)


def test_battle_of_the_sexes_mixes_exactly():
    found = solve(CATALOG["battle_of_the_sexes"])
    assert found.pure == ((0, 0), (1, 1))
    assert found.mixed == (Fraction(3, 5), Fraction(2, 5))


def test_matching_pennies_has_only_the_mixed_equilibrium_and_no_nash_action():
    game = CATALOG["matching_pennies"]
    found = solve(game)
    assert (found.pure, found.mixed, found.continuum) == ((), (Fraction(1, 2),) * 2, False)
    assert [nash_action(game, seat) for seat in SEATS] == [None, None]


def test_constant_game_is_all_equilibria():
    found = solve(game_of([1] * 8))
    assert found.pure == ((0, 0), (0, 1), (1, 0), (1, 1))
    assert (found.mixed, found.continuum) == (None, True)


def test_one_indifferent_player_gives_a_continuum_but_the_other_keeps_a_nash_action():
    # Row never cares; column's action 1 is dominant.
    game = Game("g", [[[1, 0], [2, 1]], [[1, 0], [2, 1]]])
    found = solve(game)
    assert (found.pure, found.mixed, found.continuum) == (((0, 1), (1, 1)), None, True)
    assert (nash_action(game, "row"), nash_action(game, "column")) == (None, 1)


def test_continuum_beside_an_isolated_equilibrium():
    # (0, 0) is strict. Against action 1 row does not care, and column keeps to it while row
    # plays 0 with probability 1/3 at most.
    game = Game("g", [[[2, 2], [0, 0]], [[0, 0], [0, 1]]])
    found = solve(game)
    assert found.pure == ((0, 0), (1, 1))
    assert found.continuum
    assert found.mixed is None
    assert_agrees_with_nashpy(game)


def test_weakly_dominated_equilibrium_is_found():
    # Both (0, 0) and the weakly dominated (1, 1) are equilibria, and nothing joins them.
    found = solve(Game("g", [[[1, 1], [0, 0]], [[0, 0], [0, 0]]]))
    assert (found.pure, found.mixed, found.continuum) == (((0, 0), (1, 1)), None, False)


@quick
@given(tables, st.integers(1, 9), st.integers(-9, 9), st.integers(1, 9), st.integers(-9, 9))
def test_equilibria_ignore_affine_changes_of_either_payoff(values, a, b, c, d):
    game = game_of(values)
    changed = game_of([a * x + b if k % 2 == 0 else c * x + d for k, x in enumerate(values)])
    assert solve(game) == solve(changed)
    for seat in SEATS:
        assert nash_action(game, seat) == nash_action(changed, seat)
        assert dominant_action(game, seat) == dominant_action(changed, seat)
        assert best_response(game, seat, 1) == best_response(changed, seat, 1)


@quick
@given(tables)
def test_exchanging_the_seats_exchanges_everything(values):
    game = game_of(values)
    other = game.transpose()
    ours, theirs = solve(game), solve(other)
    assert sorted((j, i) for i, j in ours.pure) == list(theirs.pure)
    assert (ours.mixed and ours.mixed[::-1]) == theirs.mixed
    assert ours.continuum == theirs.continuum
    for function in (nash_action, prosocial_action, dominant_action):
        assert function(game, "row") == function(other, "column")
        assert function(game, "column") == function(other, "row")


@quick
@given(tables, st.sampled_from(SEATS))
def test_relabelling_actions_relabels_everything(values, seat):
    game = game_of(values)
    other = relabelled(game, seat)
    ours, theirs = solve(game), solve(other)
    k = SEATS.index(seat)
    renamed = [tuple(1 - x if n == k else x for n, x in enumerate(cell)) for cell in ours.pure]
    assert sorted(renamed) == list(theirs.pure)
    if ours.mixed is not None:
        assert theirs.mixed == tuple(1 - x if n == k else x for n, x in enumerate(ours.mixed))
    assert (ours.mixed is None, ours.continuum) == (theirs.mixed is None, theirs.continuum)
    for function in (nash_action, prosocial_action, dominant_action):
        action = function(game, seat)
        assert function(other, seat) == (None if action is None else 1 - action)


@quick
@given(tables)
def test_every_game_has_an_equilibrium_and_dominance_implies_nash(values):
    game = game_of(values)
    found = solve(game)
    assert found.pure or found.mixed is not None
    for seat in SEATS:
        dominant = dominant_action(game, seat)
        assert dominant is None or nash_action(game, seat) == dominant


def test_prosocial_action_follows_the_largest_sum():
    game = CATALOG["prisoners_dilemma"]
    assert [prosocial_action(game, seat) for seat in SEATS] == [0, 0]
    deadlock = CATALOG["deadlock"]
    assert [prosocial_action(deadlock, seat) for seat in SEATS] == [1, 1]


def test_prosocial_action_is_missing_on_a_tie_that_disagrees_and_in_zero_sum_games():
    assert prosocial_action(CATALOG["battle_of_the_sexes"], "row") is None
    assert is_zero_sum(CATALOG["matching_pennies"])
    assert prosocial_action(CATALOG["matching_pennies"], "column") is None
    # The tie (0, 0) with (0, 1) asks row for 0 alike, but column for different actions.
    game = Game("g", [[[2, 2], [3, 1]], [[0, 0], [1, 1]]])
    assert (prosocial_action(game, "row"), prosocial_action(game, "column")) == (0, None)


def test_best_response_is_missing_on_a_tie():
    game = Game("g", [[[1, 0], [2, 0]], [[1, 0], [0, 1]]])
    assert best_response(game, "row", 0) is None
    assert best_response(game, "row", 1) == 0
    assert dominant_action(game, "row") is None


def test_unknown_seat_is_refused():
    with pytest.raises(DataError, match="'left'"):
        nash_action(CATALOG["chicken"], "left")


@pytest.mark.parametrize(
    ("game", "seat", "own", "other"),
    [
        ("prisoners_dilemma", "row", 1, 0),
        ("prisoners_dilemma", "column", 1, 0),
        ("battle_of_the_sexes", "row", 0, 1),
        ("battle_of_the_sexes", "column", 1, 0),
        ("matching_pennies", "row", None, None),
    ],
)
def test_the_action_that_gives_one_more(game, seat, own, other):
    assert gaining_action(CATALOG[game], seat, "own") == own
    assert gaining_action(CATALOG[game], seat, "other") == other
