"""Canonical games. Action 0 is the cooperative one wherever the game has one.

In the symmetric games both get R at (0, 0) and P at (1, 1), and at (0, 1) the one who plays 0 gets
S and the other T. The games differ in the order of R, S, T and P.
"""

from __future__ import annotations

from nashlens.games.game import Game


def _symmetric(
    name: str, title: str, actions: tuple[str, str], *, R: int, S: int, T: int, P: int
) -> Game:
    return Game(name, [[[R, R], [S, T]], [[T, S], [P, P]]], actions, title)  # type: ignore[arg-type]


_GAMES = (
    # T > R > P > S: action 1 is dominant although both prefer (0, 0).
    _symmetric(
        "prisoners_dilemma", "Prisoner's Dilemma", ("cooperate", "defect"), R=3, S=0, T=5, P=1
    ),
    # R > T > P > S: two pure equilibria, the better one riskier.
    _symmetric("stag_hunt", "Stag Hunt", ("stag", "hare"), R=4, S=0, T=3, P=2),
    # T > R > S > P: each would rather not be the one who yields.
    _symmetric("chicken", "Chicken", ("swerve", "straight"), R=3, S=1, T=4, P=0),
    Game(
        "battle_of_the_sexes",
        [[[3, 2], [0, 0]], [[0, 0], [2, 3]]],  # type: ignore[arg-type]
        ("opera", "football"),
        "Battle of the Sexes",
    ),
    # Row wins on a match; the only equilibrium is mixed.
    Game(
        "matching_pennies",
        [[[1, -1], [-1, 1]], [[-1, 1], [1, -1]]],  # type: ignore[arg-type]
        ("heads", "tails"),
        "Matching Pennies",
    ),
    # R > T > S > P: no conflict, action 0 is dominant.
    _symmetric("harmony", "Harmony", ("cooperate", "defect"), R=4, S=2, T=3, P=1),
    # T > P > R > S: action 1 is dominant and both want (1, 1) rather than (0, 0).
    _symmetric("deadlock", "Deadlock", ("cooperate", "defect"), R=1, S=0, T=4, P=3),
    # R > S > T > P: no conflict as in harmony, in another ordinal class.
    _symmetric("concord", "Concord", ("cooperate", "defect"), R=4, S=3, T=2, P=1),
)

CATALOG: dict[str, Game] = {game.name: game for game in _GAMES}
"""The canonical games by name."""
