"""Distances to the set of equilibria, against grids and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nashlens.games.catalog import CATALOG
from nashlens.games.equilibria import equilibrium_set
from nashlens.games.game import Game
from nashlens.play.metrics import distances as d

small = st.integers(-2, 2)
games = st.lists(small, min_size=8, max_size=8).map(
    lambda v: Game("g", np.array(v).reshape(2, 2, 2).tolist())
)
joints = (
    st.lists(st.integers(0, 6), min_size=4, max_size=4)
    .filter(any)
    .map(lambda v: np.array(v) / sum(v))
)


def grid_distances(joint, game, points=241):
    """The least distances over a grid of profiles, of those in an equilibrium rectangle."""
    tv, l2 = np.inf, np.inf
    p, q = d.marginals(joint)
    for (a, b), (c, e) in equilibrium_set(game):
        for x in np.linspace(float(a), float(b), points if a < b else 1):
            for y in np.linspace(float(c), float(e), points if c < e else 1):
                cell = np.array([x * y, x * (1 - y), (1 - x) * y, (1 - x) * (1 - y)])
                tv = min(tv, np.abs(joint - cell).sum() / 2)
                l2 = min(l2, np.sqrt(((p - x) ** 2 + (q - y) ** 2) / 2))
    return tv, l2


@given(games, joints)
@settings(max_examples=60, deadline=None)
def test_distances_are_the_least_over_a_grid_of_the_set(game, joint):
    equilibria = d.equilibria_of(game)
    tv, l2 = grid_distances(joint, game, 61)
    found = d.total_variation(joint[None], equilibria)[0], d.euclidean(joint[None], equilibria)[0]
    assert found[0] <= tv + 1e-9
    assert found[1] <= l2 + 1e-9
    assert found[0] >= tv - 1 / 30
    assert found[1] >= l2 - 1 / 30


@given(games, joints)
@settings(max_examples=60, deadline=None)
def test_regret_is_the_largest_gain_over_both_seats_and_actions(game, joint):
    p, q = d.marginals(joint)
    mixes, worst = [(p, 1 - p), (q, 1 - q)], 0.0
    for seat in (0, 1):
        pay = [[float(game.payoffs[i][j][seat]) for j in (0, 1)] for i in (0, 1)]
        mean = sum(mixes[0][i] * mixes[1][j] * pay[i][j] for i in (0, 1) for j in (0, 1))
        spread = max(map(max, pay)) - min(map(min, pay))
        for action in (0, 1):
            own = [mixes[0], mixes[1]]
            own[seat] = (1 - action, action)
            gain = sum(own[0][i] * own[1][j] * pay[i][j] for i in (0, 1) for j in (0, 1)) - mean
            worst = max(worst, gain / spread if spread else 0.0)
    assert d.regret(joint[None], game)[0] == pytest.approx(worst, abs=1e-12)


@given(games, joints)
@settings(max_examples=40, deadline=None)
def test_seats_actions_and_units_do_not_matter(game, joint):
    swapped = joint.reshape(2, 2).T.ravel()
    turned = Game("g", [line[::-1] for line in game.payoffs[::-1]])
    scaled = Game("g", [[(3 * a + 1, b / 2 - 4) for a, b in line] for line in game.payoffs])

    def all_of(game, joint):
        equilibria = d.equilibria_of(game)
        joint = joint[None]
        return np.concatenate(
            [d.total_variation(joint, equilibria), d.euclidean(joint, equilibria),
             d.regret(joint, game)]
        )  # fmt: skip

    plain = all_of(game, joint)
    for other, moved in ((game.transpose(), swapped), (turned, joint[::-1]), (scaled, joint)):
        np.testing.assert_allclose(all_of(other, moved), plain, atol=2e-4)


def test_play_at_an_equilibrium_has_no_distance():
    for game in CATALOG.values():
        equilibria = d.equilibria_of(game)
        points = equilibria.segments[:, 0]
        np.testing.assert_allclose(d.total_variation(points, equilibria), 0, atol=1e-12)
        np.testing.assert_allclose(d.regret(points, game), 0, atol=1e-12)


def test_by_hand():
    pennies, dilemma = CATALOG["matching_pennies"], CATALOG["prisoners_dilemma"]
    lock = np.array([[1.0, 0, 0, 0]])
    assert d.total_variation(lock, d.equilibria_of(pennies))[0] == 0.75
    assert d.euclidean(lock, d.equilibria_of(pennies))[0] == 0.5
    assert d.regret(lock, pennies)[0] == 1
    assert d.total_variation(lock, d.equilibria_of(dilemma))[0] == 1
    assert d.regret(lock, dilemma)[0] == pytest.approx(2 / 5)
    # Two coins that always agree: the mixes are the equilibrium's, the joint play is not.
    agree = np.array([[0.5, 0, 0, 0.5]])
    assert d.total_variation(agree, d.equilibria_of(pennies))[0] == 0.5
    assert d.euclidean(agree, d.equilibria_of(pennies))[0] == 0
    # Everything is an equilibrium: the nearest product distribution is not that of the marginals.
    idle = Game("idle", [[[1, 1], [1, 1]], [[1, 1], [1, 1]]])
    assert d.total_variation(agree, d.equilibria_of(idle))[0] == pytest.approx(np.sqrt(2) - 1)


@pytest.mark.parametrize("name", ["matching_pennies", "stag_hunt", "prisoners_dilemma"])
def test_the_control_is_the_mean_of_simulated_equilibrium_play(name):
    game = CATALOG[name]
    equilibria, rng = d.equilibria_of(game), np.random.default_rng(0)
    means = []
    for (p, _), (q, _) in equilibria.rectangles:
        cells = d.product(np.array(p), np.array(q))
        joint = rng.multinomial(7, cells, size=20_000) / 7
        means.append(
            [d.total_variation(joint, equilibria).mean(), d.euclidean(joint, equilibria).mean(),
             d.regret(joint, game).mean()]
        )  # fmt: skip
    np.testing.assert_allclose(d.finite_sample(game, 7), np.max(means, axis=0), atol=0.004)
    np.testing.assert_allclose(
        d.finite_sample(game, d.EXACT_ROUNDS), d.finite_sample(game, d.EXACT_ROUNDS + 1), atol=0.01
    )


def test_subgame_perfect_outcomes():
    sexes, pennies = CATALOG["battle_of_the_sexes"], CATALOG["matching_pennies"]
    np.testing.assert_array_equal(d.subgame_perfect(sexes, "first")[0], [[1, 0, 0, 0]] * 2)
    np.testing.assert_array_equal(d.subgame_perfect(sexes, "second")[0], [[0, 0, 0, 1]] * 2)
    # The second mover wins, so the first is indifferent: both outcomes and all between.
    np.testing.assert_array_equal(
        d.subgame_perfect(pennies, "first")[0], [[0, 1, 0, 0], [0, 0, 1, 0]]
    )
    chicken = CATALOG["chicken"]
    np.testing.assert_array_equal(d.subgame_perfect(chicken, "second")[0], [[0, 1, 0, 0]] * 2)
    assert d.subgame_perfect(Game("t", [[[1, 0], [0, 0]], [[0, 1], [1, 0]]]), "first") is None


def test_random_play_is_what_coins_show():
    rng = np.random.default_rng(0)
    game = CATALOG["stag_hunt"]
    joint = rng.multinomial(6, [0.25] * 4, size=20000) / 6
    expected = [
        d.total_variation(joint, d.equilibria_of(game)).mean(),
        d.euclidean(joint, d.equilibria_of(game)).mean(),
        d.regret(joint, game).mean(),
    ]
    np.testing.assert_allclose(d.random_play(game, 6), expected, atol=0.006)
    # Coins are the equilibrium of Matching Pennies, so nothing but the bias is left.
    pennies = CATALOG["matching_pennies"]
    np.testing.assert_allclose(d.random_play(pennies, 6), d.finite_sample(pennies, 6))


def test_the_norm_of_both_gaps_gives_the_papers_figure():
    """0.063 where one seat defects in 98% of rounds and the other in 94%; 1.414 at cooperation."""
    dilemma = d.equilibria_of(CATALOG["prisoners_dilemma"])
    joint = np.stack([d.product(0.02, 0.06), d.product(1.0, 1.0)])
    l2 = d.euclidean(joint, dilemma)
    np.testing.assert_allclose(d.GAPS_NORM * l2, [np.hypot(0.02, 0.06), np.sqrt(2)])
    assert round(float(d.GAPS_NORM * l2[0]), 3) == 0.063
    assert round(float(l2[0]), 3) == 0.045
