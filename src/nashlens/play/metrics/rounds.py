"""The play table as arrays: one line for each match and seat, one column a round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.errors import DataError
from nashlens.games.game import ROW, Game
from nashlens.play.metrics.rows import Array

KEYS = (
    "match_id", "block_id", "scenario_id", "game", "variant", "repetition", "pairing", "move_order",
    "horizon", "match_rounds", "seat", "agent", "opponent", "model", "mode", "strategy", "template",
    "label_set", "label_kind", "label_map", "option_order",
)  # fmt: skip
_OTHERS = ("model", "mode", "strategy")
DROPPED_KEYS = ("agent", "opponent", "pairing", "game", "move_order")


@dataclass(frozen=True)
class Rounds:
    """Decisions of n matches and seats over at most t rounds, (n, t); NaN where none was made.

    Only *whole* rounds count, in which both seats acted: of a match that an invalid answer ended,
    the rounds before it.
    """

    keys: pd.DataFrame
    """One row a match and seat: `KEYS`, the opponent's, `turn` and counts of invalid answers."""
    own: Array
    """Own action, 0 or 1."""
    other: Array
    """The other's action in the same round."""
    own_p: Array
    """Own recorded P(action 0), before temperature."""
    other_p: Array
    """The other's recorded P(action 0)."""
    games: list[Game]
    """The game of each line as its own seat sees it: own action first, own payoff first."""
    dropped: pd.DataFrame
    """`DROPPED_KEYS` of the matches without a second seat, from each seat's view: the first mover's
    first answer was invalid, so that the other one was never asked."""

    @property
    def length(self) -> NDArray[Any]:
        """Number of whole rounds of each line, (n,)."""
        return (~np.isnan(self.own)).sum(axis=1)


def rounds_of(play: pd.DataFrame, games: Sequence[Game]) -> Rounds:
    """Arrange a play table by match and seat.

    Parameters
    ----------
    play : pandas.DataFrame
        The play table; the order of its rows does not matter.
    games : sequence of Game
        With their variants.

    Raises
    ------
    DataError
        If a column or a game is missing, if there is a decision twice, or if recorded payoffs or
        the other's moves do not follow from the actions.
    """
    needed = [*KEYS, "round", "action", "opponent_action", "payoff", "p_action_0", "label_mass"]
    if missing := [name for name in needed if name not in play.columns]:
        raise DataError(f"play table: columns {missing} are missing: give the whole table")
    if not len(play):
        raise DataError("play table: it holds no decision; let at least one pair of agents play")
    seats = ["match_id", "seat"]
    play = play.sort_values([*seats, "round"], ignore_index=True)
    if play.duplicated([*seats, "round"]).any():
        twice = play[play.duplicated([*seats, "round"])].iloc[0]
        raise DataError(
            f"play table: {twice['match_id']}, {twice['seat']}, round {twice['round']} stands"
            " twice: give each once"
        )
    play, dropped = _with_both_seats(play)
    line = play.groupby(seats, sort=False).ngroup().to_numpy()
    keys = play.loc[~play.duplicated(seats), list(KEYS)].reset_index(drop=True)
    grid = _grid(play, line, len(keys))
    partner = partners(keys)
    keys = _describe(keys, partner, play, line)
    own, recorded = grid["action"], grid["opponent_action"]
    other = own[partner]
    whole = ~np.isnan(own) & ~np.isnan(other)
    own, other = np.where(whole, own, np.nan), np.where(whole, other, np.nan)
    by_name = {(game.name, game.variant): game for game in games}
    views = [
        _view(by_name, *key)
        for key in zip(keys["game"], keys["variant"], keys["seat"], strict=True)
    ]
    _check(keys, own, other, recorded, grid["payoff"], views)
    p = np.where(whole, grid["p_action_0"], np.nan)
    return Rounds(keys, own, other, p, p[partner], views, dropped)


def _grid(play: pd.DataFrame, line: NDArray[Any], lines: int) -> dict[str, Array]:
    """Return columns of the play table as arrays of lines and rounds."""
    place = play["round"].to_numpy() - 1
    found = {}
    for name in ("action", "opponent_action", "payoff", "p_action_0"):
        found[name] = np.full((lines, int(place.max()) + 1), np.nan)
        found[name][line, place] = play[name].to_numpy(float, na_value=np.nan)
    return found


def _with_both_seats(play: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the decisions of matches that both seats played, and the keys of the others."""
    alone = play.groupby("match_id")["seat"].transform("nunique") != 2
    lost = play[alone]
    # Only an invalid first answer, in turn, may leave a seat without a decision.
    wrong = lost[lost["action"].notna() | (lost["move_order"] == "simultaneous")]
    if len(wrong):
        raise DataError(
            f"play table: match {wrong['match_id'].iloc[0]} has one seat only: give both"
        )
    own = lost.drop_duplicates("match_id")[list(DROPPED_KEYS)]
    other = own.rename(columns={"agent": "opponent", "opponent": "agent"})
    return play[~alone].reset_index(drop=True), pd.concat([own, other], ignore_index=True)


def partners(keys: pd.DataFrame) -> NDArray[Any]:
    """Return the line of each line's opponent, `(n,)`, from the `keys` of `Rounds`."""
    # Lines are sorted by match and seat, so the opponent of an even line is the next one.
    return np.arange(len(keys)) ^ 1


def _describe(
    keys: pd.DataFrame, partner: NDArray[Any], play: pd.DataFrame, line: NDArray[Any]
) -> pd.DataFrame:
    others = keys.iloc[partner].reset_index(drop=True)
    first = (keys["seat"] + "_first").where(keys["move_order"] != "simultaneous")
    turn = (keys["move_order"] == first).map({True: "first", False: "second"})
    by_line = pd.DataFrame(
        {
            "line": line,
            "n_invalid": play["action"].isna().to_numpy(),
            "label_mass": play["label_mass"].to_numpy(float, na_value=np.nan),
        }
    ).groupby("line")
    invalid = by_line["n_invalid"].sum().to_numpy()
    return keys.assign(
        **{f"opponent_{name}": others[name] for name in _OTHERS},
        turn=turn.where(first.notna()),
        n_invalid=invalid,
        opponent_n_invalid=invalid[partner],
        label_mass=by_line["label_mass"].mean().to_numpy(),
    )


def _view(games: dict[tuple[str, int], Game], name: str, variant: int, seat: str) -> Game:
    game = games.get((name, int(variant)))
    if game is None:
        raise DataError(
            f"play table: game {name}, variant {variant} is not in the games table: give that"
            " of the same experiment"
        )
    return game if seat == ROW else game.transpose()


def _check(
    keys: pd.DataFrame,
    own: Array,
    other: Array,
    recorded: Array,
    payoff: Array,
    views: Sequence[Game],
) -> None:
    """Compare the recorded moves and payoffs with those that follow from the actions."""
    # Own payoff of each line's game by own and the other's action, (n, 2, 2).
    table = np.array([[[view.payoff(i, j)[0] for j in (0, 1)] for i in (0, 1)] for view in views])
    whole = ~np.isnan(own)
    n, t = np.nonzero(whole)
    expected = table[n, own[n, t].astype(int), other[n, t].astype(int)]
    for name, seen, right in (
        ("opponent_action", recorded[n, t], other[n, t]),
        ("payoff", payoff[n, t], expected),
    ):
        wrong = ~np.isclose(seen, right, rtol=1e-9, atol=1e-9)
        if wrong.any():
            k = int(np.flatnonzero(wrong)[0])
            raise DataError(
                f"play table: {keys['match_id'].iloc[n[k]]}, round {t[k] + 1}: {name} is"
                f" {seen[k]:g} and the actions say {right[k]:g}:"
                " give the games table of the same experiment"
            )
