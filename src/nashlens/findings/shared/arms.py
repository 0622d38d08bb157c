"""Arms of a contrast: matches that may be compared with one another.

Frequencies of few rounds are farther from any mixed equilibrium, play drifts over rounds, and a
game's payoff variants and surface forms are not alike. So the arms of a contrast are cut to one
number of rounds, played to the end, and to the repetitions and payoff variants that all of them
have.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.findings.claim import Missing

SHORT_LIMIT = 0.1
"""Share of an arm's matches that may have ended early. Which ones are left depends on their
answers: were the others' distances 0.5 off, the mean would move by 0.05, which is what counts as a
difference."""

GameKey = tuple[str, int]
"""A game's name and variant."""


class ComparableArms(NamedTuple):
    """Matches that may be compared."""

    rows: dict[str, pd.DataFrame]
    """By name of the arm."""
    left_out: str
    """How many matches ended early and do not count; empty where none did."""

    @property
    def games(self) -> set[GameKey]:
        """The games that enter."""
        return set().union(*(game_keys(rows) for rows in self.rows.values()))


def game_keys(rows: pd.DataFrame) -> list[GameKey]:
    """Return each match's (game, variant)."""
    return [(str(g), int(v)) for g, v in zip(rows["game"], rows["variant"], strict=True)]


def rows_of_games(rows: pd.DataFrame, wanted: Iterable[GameKey]) -> pd.DataFrame:
    """Return the matches of some (game, variant)."""
    return rows[_is_in(set(wanted), game_keys(rows))]


def comparable_arms(
    arms: Mapping[str, pd.DataFrame], cell: str = "game"
) -> ComparableArms | Missing:
    """Cut selections of matches down to one length and to the design that all of them have.

    Parameters
    ----------
    arms : mapping of str to DataFrame
        By name, for messages.
    cell : str
        The column whose values weigh the same.

    Returns
    -------
    ComparableArms or Missing
        The matches of the greatest length that all arms have. Those that an invalid answer ended
        early are left out; where these are more than `SHORT_LIMIT` of an arm, nothing is concluded.
    """
    empty = [name for name, rows in arms.items() if rows.empty]
    if empty:
        return Missing(f"no matches: {', '.join(empty)}")
    lengths = {name: set(rows["match_rounds"].astype(int)) for name, rows in arms.items()}
    common = set.intersection(*lengths.values())
    if not common:
        listed = "; ".join(
            f"{name}: {', '.join(map(str, sorted(found)))} rounds"
            for name, found in lengths.items()
        )
        return Missing(
            f"matches of different lengths are not compared: {listed}; give the agents the same"
        )
    for length in sorted(common, reverse=True):
        cut = {name: rows[rows["match_rounds"] == length] for name, rows in arms.items()}
        cut = _same_design(cut, cell)
        if not any(rows.empty for rows in cut.values()):
            return _played_to_the_end(cut)
    return Missing(f"no game was played by all of: {', '.join(arms)}")


def _same_design(arms: Mapping[str, pd.DataFrame], cell: str) -> dict[str, pd.DataFrame]:
    """Keep the repetitions and the payoff variants of each cell that all arms have.

    An agent's bound on repetitions keeps the first blocks. The same block has the same variant and
    surface forms in all pairings, so the blocks that all arms have are balanced alike.
    """
    reached = [rows.groupby(cell)["repetition"].max() for rows in arms.values()]
    last = pd.concat(reached, axis=1, join="inner").min(axis=1)
    # A cell that an arm lacks has no last repetition: nothing compares as less than NaN.
    cut = {
        name: rows[rows["repetition"].to_numpy(float) <= rows[cell].map(last).to_numpy(float)]
        for name, rows in arms.items()
    }
    keys = {name: list(zip(rows[cell], rows["variant"], strict=True)) for name, rows in cut.items()}
    shared = set.intersection(*(set(found) for found in keys.values()))
    return {name: rows[_is_in(shared, keys[name])] for name, rows in cut.items()}


def _is_in(wanted: Container[Hashable], keys: Sequence[Hashable]) -> NDArray[np.bool_]:
    # An array, as an empty list would choose columns of a table and not rows.
    return np.array([key in wanted for key in keys], dtype=bool)


def _played_to_the_end(arms: Mapping[str, pd.DataFrame]) -> ComparableArms | Missing:
    """Leave out the matches that ended early."""
    whole = {
        name: rows[rows["n_rounds"].astype(int) == rows["match_rounds"].astype(int)]
        for name, rows in arms.items()
    }
    short = {name: len(rows) - len(whole[name]) for name, rows in arms.items()}
    counts = [f"{n} of {len(arms[name])} ({name})" for name, n in short.items() if n]
    ended = f"an invalid answer ended early {', '.join(counts)} matches" if counts else ""
    if any(n > SHORT_LIMIT * len(arms[name]) for name, n in short.items()):
        return Missing(
            f"{ended}: too many, as what is left was chosen by its answers; raise"
            " modes.cot.retries",
            "inconclusive",
        )
    left_out = f"{ended}: their blocks do not count" if ended else ""
    return ComparableArms(whole, left_out)
