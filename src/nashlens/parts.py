"""Parts of a study's matches, on which a result is looked at again.

A *factor* is something about the data that a result should not hang on: the `template` of the
prompts, their `label_set`, which *half* of the matches happened to be drawn, and the random numbers
of the *bootstrap*. Each of its *levels* is a part of the matches (for the bootstrap: all of them).

Halves are the seed of the histories. Every history is drawn by the experiment's seed under its
match's own name, so two disjoint random halves of the matches are what two experiments of half the
size and with different seeds would have had.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.seeds import stream

FACTORS = ("template", "label_set", "half", "bootstrap")
HALVES = ("half 1", "half 2")
DRAWS = ("draw 1", "draw 2", "draw 3")
"""Levels of the bootstrap: other random numbers for the same data."""
RESAMPLES = 1000
"""Bootstrap resamples of a part, at most: it gives a bound to compare, and no corrected p-value."""
WITHIN = (
    *("game", "template", "label_set", "label_map", "option_order"),
    *("phase", "agent", "opponent", "move_order"),
)
"""Columns over whose values halves are spread evenly, where a table has them and a match has one
value: estimates give these cells equal weight, and a half without one of them would have none. (The
heads table's `phase` is whether heads are chosen or tested; who plays whom is known in play.)"""


def halves(table: pd.DataFrame, seed: int) -> pd.Series:
    """Deal the matches of a table to two halves.

    Matches come in random order, and each goes to the half that has fewer of its kind
    (minimisation, Pocock and Simon 1975). Its kind is first of all its cell, the combination of all
    of `WITHIN`, so that the halves of a cell differ by one match at most; then each pair and each
    single one of `WITHIN`, so that cells of one match do not all fall alike; then the number of
    matches. Of equals, chance decides.

    Parameters
    ----------
    table : DataFrame
        With `match_id` and any of `WITHIN`; rows in any order.
    seed : int
        The experiment's seed.

    Returns
    -------
    Series
        `HALVES` by match id.
    """
    unit = "scenario_id" if "repetition" in table.columns else "match_id"
    columns = [name for name in WITHIN if name in table.columns]
    distinct = table[[unit, *columns]].drop_duplicates().astype(str)
    # A history that is asked in several forms has no kind by them.
    several = distinct.groupby(unit)[columns].nunique().max() > 1
    columns = [name for name in columns if not several[name]]
    kinds = distinct.drop_duplicates(unit).sort_values(unit)
    rng = stream(seed, "parts", "halves")
    kinds = kinds.iloc[rng.permutation(len(kinds))]
    groups = [columns, *map(list, combinations(columns, 2)), *([name] for name in columns), []]
    # The lead of the first half in each group's value, and what a lead there weighs.
    weights = [1000.0] + [1.0] * (len(groups) - 2) + [0.5]
    lead: dict[tuple[int, tuple[str, ...]], int] = {}
    dealt = []
    for row, luck in zip(kinds.to_dict("records"), rng.permutation(len(kinds)) % 2, strict=True):
        keys = [(k, tuple(row[name] for name in group)) for k, group in enumerate(groups)]
        total = sum(weight * lead.get(key, 0) for weight, key in zip(weights, keys, strict=True))
        second = int(total > 0 or (total == 0 and luck))
        for key in keys:
            lead[key] = lead.get(key, 0) + 1 - 2 * second
        dealt.append(HALVES[second])
    found = pd.Series(dealt, index=kinds[unit].to_list(), dtype=object)
    if unit == "match_id":
        return found
    owner = table.drop_duplicates("match_id").set_index("match_id")[unit]
    return owner.astype(str).map(found)


def members(
    table: pd.DataFrame, factor: str, seed: int, *, drawn: pd.DataFrame | None = None
) -> dict[str, NDArray[np.bool_]]:
    """Return each level's rows of a table.

    Parameters
    ----------
    table : DataFrame
        With `match_id`, and the factor as a column where it is one.
    factor : str
        One of `FACTORS`.
    seed : int
    drawn : DataFrame, optional
        The table whose matches are dealt to halves, where `table` is a part of it.

    Returns
    -------
    dict of str to ndarray of bool, shape (len(table),)
        Levels in the order of their names; nothing where the table lacks the column.
    """
    if factor == "bootstrap":
        return {level: np.ones(len(table), dtype=bool) for level in DRAWS}
    if factor == "half":
        known = halves(table if drawn is None else drawn, seed)
        values = table["match_id"].astype(str).map(known).to_numpy(dtype=object)
        return {level: values == level for level in HALVES}
    if factor not in table.columns:
        return {}
    values = table[factor].to_numpy(dtype=object)
    return {str(level): values == level for level in sorted(table[factor].dropna().unique())}
