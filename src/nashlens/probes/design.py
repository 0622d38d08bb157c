"""What is decoded, who is held out with whom, and what a permutation may exchange."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.errors import DataError
from nashlens.kept import kept
from nashlens.vocabulary.targets import SHARE_TARGETS, TARGETS


@dataclass(frozen=True)
class Settings:
    """How every probe of a model is fitted and judged."""

    C: Sequence[float]
    """Inverse strengths of the L2 penalty to choose from inside each training set."""
    folds: int
    """Folds of matches."""
    permutations: int
    """Label permutations of each control."""
    confidence: float
    """Coverage of the intervals, and the control's upper quantile."""
    resamples: int
    """Bootstrap resamples of matches."""
    seed: int
    """The experiment's seed."""
    model: str
    """Name for the tables, and for the random streams."""
    device: str = "cpu"
    """Of torch."""


@dataclass(frozen=True)
class Target:
    """One thing to decode, on the prompts where it is defined."""

    name: str
    rows: NDArray[np.intp]
    """(n,): positions among the usable prompts."""
    labels: NDArray[np.float64]
    """(n,): 0 or 1, or a share."""
    n_missing: int

    @property
    def regression(self) -> bool:
        """A share and not an action."""
        return self.name in SHARE_TARGETS


def usable(prompts: pd.DataFrame) -> pd.DataFrame:
    """Return the prompts that were not dropped, renumbered; equal prompts stay."""
    return kept(prompts).reset_index(drop=True)


def add_choices(prompts: pd.DataFrame, lens: pd.DataFrame) -> pd.DataFrame:
    """Add `chosen_action`: the likelier action at the lens's last layer, the model's own output.

    Missing where the two are equally likely, or the prompt was dropped.

    Parameters
    ----------
    prompts : DataFrame
        The prompts table.
    lens : DataFrame
        The lens table of the same model.
    """
    keys = ["prompt_id", "match_id"]
    last = lens[lens["layer"] == lens["layer"].max()].drop_duplicates(keys).set_index(keys)
    p = last["p_action_1"].reindex(pd.MultiIndex.from_frame(prompts[keys])).to_numpy(np.float64)
    chosen = pd.array((p > 0.5).astype(np.int64), dtype="Int64")
    chosen[np.isnan(p) | (p == 0.5)] = pd.NA
    return prompts.assign(chosen_action=chosen)


def read_target(prompts: pd.DataFrame, name: str) -> Target:
    """Read one target from usable prompts.

    Raises
    ------
    DataError
        If the column is missing or holds anything but 0, 1 and missing (a share: 0 to 1).
    """
    if name not in prompts.columns:
        raise DataError(
            f"probe target {name!r} is no column of the prompts table;"
            f" choose from {', '.join(c for c in TARGETS if c in prompts.columns)}"
        )
    values = prompts[name].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    rows = np.flatnonzero(~np.isnan(values))
    target = Target(name, rows, values[rows].astype(np.float64), len(values) - len(rows))
    labels = target.labels
    if target.regression and not ((labels >= 0) & (labels <= 1)).all():
        raise DataError(f"probe target {name!r} must lie in 0 to 1, found {labels.min():g}")
    if not target.regression and not np.isin(labels, (0.0, 1.0)).all():
        found = sorted(set(labels.tolist()) - {0.0, 1.0})
        raise DataError(f"probe target {name!r} must be 0 or 1, found {found[:3]}")
    return target


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
        if target.regression:
            continue
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


def held_out_parts(
    prompts: pd.DataFrame, split: str, fold: NDArray[np.int64]
) -> tuple[NDArray[np.int64], list[str]]:
    """Return the part in which each prompt is held out, and the parts' names.

    Parameters
    ----------
    prompts : DataFrame
        Usable prompts.
    split : str
        One of `nashlens.vocabulary.targets.SPLITS`.
    fold : ndarray of int, shape (len(prompts),)
        From `grouped_folds`.
    """
    if split == "match":
        return fold, [f"fold {k}" for k in range(int(fold.max()) + 1)]
    names, parts = np.unique(prompts[split].to_numpy(dtype=str), return_inverse=True)
    return parts.astype(np.int64), names.tolist()


def problem(
    target: Target, parts: NDArray[np.int64], matches: NDArray[np.str_], split: str, folds: int
) -> str:
    """Say why a target cannot be probed in a split; empty where it can.

    Parameters
    ----------
    target : Target
    parts : ndarray of int, shape (n,)
        Held-out part of each of its rows.
    matches : ndarray of str, shape (n,)
    split : str
    folds : int
        Folds that were asked for.
    """
    values, present = np.unique(target.labels), np.unique(parts)
    if not len(values):
        return "undefined at every prompt"
    if len(values) < 2:
        what = "value" if target.regression else "action"
        return f"constant: {what} {values[0]:g} at every prompt"
    n_matches = len(np.unique(matches))
    if split == "match" and n_matches < folds:
        return f"too few matches for the folds: {n_matches} for {folds}"
    if len(present) < 2:
        return f"one {split} only: nothing to hold out"
    for part in present:
        if len(np.unique(target.labels[parts != part])) < 2:
            return f"constant in the training prompts when one {split} is held out"
    return ""


def permuted_labels(
    prompts: pd.DataFrame,
    target: Target,
    permutations: int,
    rng: np.random.Generator,
    parts: NDArray[np.int64] | None = None,
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
    parts : ndarray of int, shape (n,), optional
        Matches exchange within these alone.
    """
    frame = prompts.loc[target.rows, ["match_id", "game", "round"]]
    games, rounds = frame["game"].to_numpy(dtype=str), frame["round"].to_numpy(dtype=np.int64)
    codes, of_game = np.unique(games, return_inverse=True)
    spread = [np.ptp(target.labels[of_game == k]) > 0 for k in range(len(codes))]
    matches = np.unique(frame["match_id"].to_numpy(dtype=str), return_inverse=True)[1]
    order = np.lexsort((rounds, matches))
    units: dict[tuple[int, int, tuple[int, ...]], list[NDArray[np.intp]]] = {}
    for rows in np.split(order, np.flatnonzero(np.diff(matches[order])) + 1):
        part = 0 if parts is None else int(parts[rows[0]])
        game = int(of_game[rows[0]]) if any(spread) else 0
        units.setdefault((part, game, tuple(rounds[rows].tolist())), []).append(rows)
    blocks = [np.array(members) for members in units.values()]
    result = np.repeat(target.labels[:, None], permutations, axis=1)
    for k in range(permutations):
        for block in blocks:
            result[block, k] = target.labels[block[rng.permutation(len(block))]]
    return result


def control_tasks(
    prompts: pd.DataFrame, target: Target, tasks: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return labels that have nothing to do with the target, (n, tasks) (Hewitt and Liang 2019).

    Every *type* of prompt gets a label at random, once and for all, so a control task can be
    learned only by telling types apart and remembering each one's label: it measures what the
    probe can do by itself. A type is a game, a seat and a round; for a target that game and seat
    fix, it is a game and a seat. Class sizes over types follow the target's.

    Parameters
    ----------
    prompts : DataFrame
        Usable prompts with `game`, `seat` and `round`.
    target : Target
    tasks : int
    rng : numpy.random.Generator
    """
    frame = prompts.loc[target.rows, ["game", "seat", "round"]]
    coarse = frame.groupby(["game", "seat"], sort=True).ngroup().to_numpy()
    fixed = bool((pd.Series(target.labels).groupby(coarse).nunique() <= 1).all())
    types = coarse if fixed else frame.groupby(["game", "seat", "round"]).ngroup().to_numpy()
    size = int(types.max()) + 1
    ranked = np.sort(target.labels)
    # Evenly spaced order statistics: as many types have each label as its share of the prompts.
    deal = ranked[((np.arange(size) + 0.5) / size * len(ranked)).astype(int)]
    return np.stack([rng.permutation(deal)[types] for _ in range(tasks)], axis=1)
