"""Who is held out with whom, and what a permutation may exchange."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.errors import DataError

TARGETS = ("own_last", "opponent_last", "nash_action", "prosocial_action", "best_response")
"""Columns of the prompts table that probes decode: actions, 0 or 1, missing where undefined."""


@dataclass(frozen=True)
class Target:
    """One thing to decode, on the prompts where it is defined."""

    name: str
    rows: NDArray[np.intp]
    """(n,): positions among the usable prompts."""
    labels: NDArray[np.float64]
    """(n,): 0 or 1."""
    n_missing: int


def usable(prompts: pd.DataFrame) -> pd.DataFrame:
    """Return the prompts that were not dropped, renumbered; equal prompts stay."""
    return prompts.loc[prompts["dropped"].fillna("") == ""].reset_index(drop=True)


def read_target(prompts: pd.DataFrame, name: str) -> Target:
    """Read one target from usable prompts.

    Raises
    ------
    DataError
        If the column is missing or holds anything but 0, 1 and missing.
    """
    if name not in prompts.columns:
        raise DataError(
            f"probe target {name!r} is no column of the prompts table;"
            f" choose from {', '.join(c for c in TARGETS if c in prompts.columns)}"
        )
    values = prompts[name].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    rows = np.flatnonzero(~np.isnan(values))
    labels = values[rows].astype(np.float64)
    if not np.isin(labels, (0.0, 1.0)).all():
        found = sorted(set(labels.tolist()) - {0.0, 1.0})
        raise DataError(f"probe target {name!r} must be 0 or 1, found {found[:3]}")
    return Target(name, rows, labels, len(values) - len(rows))


def grouped_folds(
    prompts: pd.DataFrame, columns: list[str], folds: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Assign matches to folds so that games and classes are spread evenly.

    One assignment serves all targets, so that targets with the same rows share their features.
    Matches come in random order, larger ones first; each goes where the counts of games and of
    every target's classes stay most even (as StratifiedGroupKFold does for one target).

    Parameters
    ----------
    prompts : DataFrame
        Usable prompts with `match_id`, `game` and the columns to balance.
    columns : list of str
        Targets.
    folds : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int, shape (len(prompts),)
        Fold of each prompt; all prompts of a match share it.
    """
    indicators = [pd.get_dummies(prompts["game"]).to_numpy(dtype=np.float64)]
    for name in columns:
        target = read_target(prompts, name)
        for value in (0.0, 1.0):
            column = np.zeros((len(prompts), 1))
            column[target.rows[target.labels == value], 0] = 1.0
            indicators.append(column)
    matches, codes = np.unique(prompts["match_id"].to_numpy(dtype=str), return_inverse=True)
    counts = np.zeros((len(matches), sum(i.shape[1] for i in indicators)))
    np.add.at(counts, codes, np.hstack(indicators))
    totals = counts.sum(axis=0)
    shares = counts / np.where(totals > 0, totals, 1.0)
    order = rng.permutation(len(matches))
    size = np.bincount(codes, minlength=len(matches))
    order = order[np.argsort(-size[order], kind="stable")]
    filled = np.zeros((folds, counts.shape[1]))
    assigned = np.zeros(len(matches), dtype=np.int64)
    for match in order:
        # Putting x into fold k changes the spread's sum of squares by 2 x.filled[k] + x.x.
        cost = filled @ shares[match]
        ties = np.flatnonzero(np.isclose(cost, cost.min()))
        best = ties[np.argmin(filled[ties].sum(axis=1))]
        filled[best] += shares[match]
        assigned[match] = best
    return assigned[codes]


def permuted_labels(
    prompts: pd.DataFrame, target: Target, permutations: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return label vectors for the control, (n, permutations).

    Whole matches exchange their labels, round by round, so the dependence of labels within a
    match survives. Matches exchange within their game where the target varies within any game:
    what a probe can do by telling games apart then stays in the control. A target that is
    constant within every game leaves nothing to exchange there, so matches of all games do, and
    the control no longer holds game identity. Only matches with the same rounds exchange.

    Parameters
    ----------
    prompts : DataFrame
        Usable prompts with `match_id`, `game` and `round`.
    target : Target
    permutations : int
    rng : numpy.random.Generator
    """
    frame = prompts.loc[target.rows, ["match_id", "game", "round"]].reset_index(drop=True)
    frame["label"] = target.labels
    within_game = bool((frame.groupby("game")["label"].nunique() > 1).any())
    units: dict[tuple[str, tuple[int, ...]], list[list[int]]] = {}
    for _, part in frame.sort_values(["match_id", "round"], kind="stable").groupby("match_id"):
        game = str(part["game"].iloc[0]) if within_game else ""
        shape = tuple(int(r) for r in part["round"])
        units.setdefault((game, shape), []).append(part.index.to_list())
    blocks = [np.array(members) for members in units.values()]
    result = np.repeat(target.labels[:, None], permutations, axis=1)
    for k in range(permutations):
        for block in blocks:
            result[block, k] = target.labels[block[rng.permutation(len(block))]]
    return result
