"""Two-player 2x2 games, solved exactly.

>>> from nashlens.games import CATALOG, nash_action, solve
>>> solve(CATALOG["prisoners_dilemma"]).pure
((1, 1),)
>>> nash_action(CATALOG["prisoners_dilemma"], "row")
1
"""

from nashlens.games.catalog import CATALOG
from nashlens.games.equilibria import (
    Equilibria,
    best_response,
    dominant_action,
    gaining_action,
    is_zero_sum,
    nash_action,
    prosocial_action,
    solve,
)
from nashlens.games.game import COLUMN, ROW, SEATS, Game, families, to_fraction
from nashlens.games.table import build_games, games_from_table, games_table
from nashlens.games.variants import ordinal_class, variants

__all__ = [
    "CATALOG",
    "COLUMN",
    "ROW",
    "SEATS",
    "Equilibria",
    "Game",
    "best_response",
    "build_games",
    "dominant_action",
    "families",
    "gaining_action",
    "games_from_table",
    "games_table",
    "is_zero_sum",
    "nash_action",
    "ordinal_class",
    "prosocial_action",
    "solve",
    "to_fraction",
    "variants",
]
