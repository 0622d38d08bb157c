"""What a history is used for: to choose components, or to test them."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from nashlens.errors import DataError

PHASES = ("choose", "test")
"""What a history is used for: to choose the candidates, or to test them."""
_WORDING = ["template", "label_set"]


def match_phases(chosen: pd.DataFrame) -> pd.Series:
    """Deal the histories of the prompts to the two phases.

    A quarter of a game's histories chooses, and two at least where there are four: every component
    is ablated on these, but only some groups on the others. Histories of one template and label set
    go to one phase, or two or more of them to each, as far as their numbers allow: an error within
    a wording needs two.

    Parameters
    ----------
    chosen : pandas.DataFrame
        Rows of the prompts table, blocks in the order in which they were chosen.

    Returns
    -------
    pandas.Series
        `choose` or `test`, by the rows' index.

    Raises
    ------
    DataError
        If a game has one history only.
    """
    phase: dict[str, str] = {}
    for game, rows in chosen.groupby("game", sort=False):
        wordings = rows.groupby("match_id", sort=False)[_WORDING].agg(_distinct)
        matches = wordings.groupby(_WORDING, sort=False).ngroup().sort_values(kind="stable")
        if len(matches) < 2:
            raise DataError(
                f"circuits.prompts: the prompts of {game} are of one history, so components cannot"
                " be chosen on one and tested on another; give more prompts, or the game more"
                " histories"
            )
        first = _number_to_choose(matches.to_list())
        phase |= {str(name): PHASES[k >= first] for k, name in enumerate(matches.index)}
    return chosen["match_id"].astype(str).map(phase)


def _distinct(values: pd.Series) -> tuple[str, ...]:
    return tuple(sorted(set(values)))


def _number_to_choose(wordings: list[int]) -> int:
    """Return how many histories choose, of those whose wordings are given, equal ones together."""
    most = len(wordings) // 2
    least = min(max(2, len(wordings) // 4), most)

    def lonely(number: int) -> bool:
        both = Counter(wordings[:number]), Counter(wordings[number:])
        return any(count == 1 for part in both for count in part.values())

    return next((k for k in range(least, most + 1) if not lonely(k)), least)


def everywhere_rows(chosen: pd.DataFrame, per_game: int) -> pd.Series:
    """Say of each prompt whether components are ablated at all its positions.

    Parameters
    ----------
    chosen : pandas.DataFrame
        With its `phase`.
    per_game : int
        Prompts of each game that test, at most: whole blocks, one of each history in turn. Half as
        many choose; a block at least.
    """
    found = pd.Series(False, index=chosen.index)
    for (_, phase), rows in chosen.groupby(["game", "phase"], sort=False):
        blocks = rows.drop_duplicates("block_id")
        turns = blocks.groupby("match_id", sort=False).cumcount()
        order = blocks.loc[turns.sort_values(kind="stable").index, "block_id"]
        size = len(rows) // len(blocks)
        wanted = max(1, per_game // (size if phase == "test" else 2 * size))
        found |= chosen["block_id"].isin(order[:wanted])
    return found
