"""Games from their description, and the games table (`docs/reference/results.md`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from nashlens.errors import DataError
from nashlens.games.catalog import CATALOG
from nashlens.games.equilibria import (
    best_response,
    dominant_action,
    is_zero_sum,
    nash_action,
    prosocial_action,
    solve,
)
from nashlens.games.game import COLUMN, ROW, Game
from nashlens.games.variants import ordinal_class, variants
from nashlens.seeds import stream

CELLS = ((0, 0), (0, 1), (1, 0), (1, 1))
_SEATS = {"row": ROW, "col": COLUMN}  # by their names in columns
_INTEGERS = [
    *(f"{what}_{seat}" for what in ("nash", "prosocial", "dominant") for seat in _SEATS),
    *(f"best_{seat}_{action}" for seat in _SEATS for action in (0, 1)),
]


def build_games(spec: Mapping[str, Mapping[str, Any]], seed: int) -> list[Game]:
    """Build the games of an experiment.

    Parameters
    ----------
    spec : mapping of str to mapping
        By game key: `canonical` (a name of the catalogue) or `payoffs` (2x2 cells of
        [row's, column's] payoff), and optionally `actions`, `title` and `variants` (a number).
    seed : int
        The experiment's seed. Each game's variants have a stream of their own, so no game
        depends on the others.

    Returns
    -------
    list of Game
        Each game followed by its variants, in the order of `spec`.

    Raises
    ------
    DataError
        If an entry has neither or both of `canonical` and `payoffs`, or cannot be a 2x2 game.
    """
    games: list[Game] = []
    for name, entry in spec.items():
        game = _build(name, entry)
        count = int(entry.get("variants") or 0)
        games += [game, *variants(game, count, stream(seed, "variants", name))]
    return games


def _build(name: str, entry: Mapping[str, Any]) -> Game:
    canonical, payoffs = entry.get("canonical"), entry.get("payoffs")
    if (canonical is None) == (payoffs is None):
        raise DataError(f"games.{name}: give one of canonical and payoffs")
    if canonical is None:
        game = Game(name, payoffs)  # type: ignore[arg-type]
    elif canonical in CATALOG:
        game = replace(CATALOG[canonical], name=name)
    else:
        raise DataError(f"games.{name}.canonical: {canonical!r}: must be one of {list(CATALOG)}")
    if entry.get("actions"):
        game = replace(game, actions=tuple(entry["actions"]))
    return replace(game, title=entry["title"]) if entry.get("title") else game


def games_table(games: Sequence[Game]) -> pd.DataFrame:
    """Return the games table: payoffs, equilibria and what follows from them.

    Returns
    -------
    pandas.DataFrame
        One row per game and variant, in the order given; columns as documented.
    """
    frame = pd.DataFrame([_row(game) for game in games])
    if not len(frame):
        raise DataError("games: there is none; give at least one")
    types = dict.fromkeys(_INTEGERS, "Int64") | {"mixed_row": "float64", "mixed_col": "float64"}
    return frame.astype(types)


def _row(game: Game) -> dict[str, Any]:
    found = solve(game)
    mixed = found.mixed or (None, None)
    row: dict[str, Any] = {
        "game": game.name,
        "variant": game.variant,
        "base": game.base,
        "title": game.title,
        "action_0": game.actions[0],
        "action_1": game.actions[1],
    }
    for k, short in enumerate(_SEATS):
        row |= {f"{short}_{i}{j}": game.payoff(i, j)[k] for i, j in CELLS}
    row["pure_equilibria"] = ";".join(f"{i},{j}" for i, j in found.pure)
    for k, short in enumerate(_SEATS):
        share = mixed[k]
        row[f"mixed_{short}"] = None if share is None else float(share)
    row["continuum"] = found.continuum
    actions = {"nash": nash_action, "prosocial": prosocial_action, "dominant": dominant_action}
    for what, function in actions.items():
        row |= {f"{what}_{short}": function(game, seat) for short, seat in _SEATS.items()}
    for short, seat in _SEATS.items():
        row |= {f"best_{short}_{other}": best_response(game, seat, other) for other in (0, 1)}
    return row | {"zero_sum": is_zero_sum(game), "ordinal_class": ordinal_class(game)}


def games_from_table(frame: pd.DataFrame, without: Collection[str] = ()) -> list[Game]:
    """Return the games of a games table; the inverse of `games_table`.

    Parameters
    ----------
    frame : pandas.DataFrame
    without : collection of str, optional
        Names of games to leave out, with their variants.

    Raises
    ------
    DataError
        If a column that a game needs is missing.
    """
    needed = ["game", "variant", "base", "title", "action_0", "action_1"]
    needed += [f"{short}_{i}{j}" for short in _SEATS for i, j in CELLS]
    if missing := [name for name in needed if name not in frame.columns]:
        raise DataError(f"games table: columns {missing} are missing: give the whole table")
    return [
        Game(
            name=str(row["game"]),
            payoffs=_payoffs(row),
            actions=(str(row["action_0"]), str(row["action_1"])),
            title=str(row["title"]),
            variant=int(row["variant"]),
            base=str(row["base"]),
        )
        for row in frame[needed].to_dict("records")
        if row["game"] not in without
    ]


def _payoffs(row: Mapping[Any, Any]) -> Any:
    return [[[row[f"{short}_{i}{j}"] for short in _SEATS] for j in (0, 1)] for i in (0, 1)]
