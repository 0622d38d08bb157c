"""What probes decode, and which prompts are held out together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.errors import DataError
from nashlens.kept import at_position, kept, neutral
from nashlens.vocabulary.positions import DECISION
from nashlens.vocabulary.prompts import LABEL_MAPS, OPTION_ORDERS
from nashlens.vocabulary.targets import SHARE_TARGETS, TARGETS


@dataclass(frozen=True)
class ProbeSettings:
    """How every probe of a model is fitted and judged."""

    C: Sequence[float]
    """Inverse strengths of the L2 penalty, from which one is chosen inside each training set."""
    folds: int
    """Number of folds of matches."""
    permutations: int
    """Number of label permutations."""
    confidence: float
    """Coverage of the intervals, and the quantile of the permutations' scores that is reported."""
    resamples: int
    """Number of bootstrap resamples of matches."""
    seed: int
    """The experiment's seed."""
    model: str
    """The model's name, for the tables and the random streams."""
    position: str = DECISION
    """The position that probes read, for the tables."""
    device: str = "cpu"
    """The torch device that fits; `auto` is a GPU where there is one."""


@dataclass(frozen=True)
class ProbeTarget:
    """What a probe decodes, on the prompts where it is defined."""

    name: str
    rows: NDArray[np.intp]
    """(n,): positions among the usable prompts."""
    labels: NDArray[np.float64]
    """(n,): 0 or 1, or a share."""
    n_missing: int
    """Number of usable prompts where it is undefined."""

    @property
    def regression(self) -> bool:
        """Whether it is a share and not an action."""
        return self.name in SHARE_TARGETS


def usable(prompts: pd.DataFrame) -> pd.DataFrame:
    """Return the prompts in neutral labels that were not dropped, renumbered; equal ones stay."""
    return neutral(kept(prompts)).reset_index(drop=True)


def add_choices(prompts: pd.DataFrame, lens: pd.DataFrame) -> pd.DataFrame:
    """Add `chosen_action`, the likelier action at the lens's last layer: the model's own answer.

    Also `chosen_label` and `chosen_place`: which label of the pair that is, and at which place it
    is listed. Missing where the two actions are equally likely, or the prompt was dropped.

    Parameters
    ----------
    prompts : DataFrame
        The prompts table.
    lens : DataFrame
        The lens table of the same model.
    """
    keys = ["prompt_id", "match_id"]
    lens = at_position(lens)
    last = lens[lens["layer"] == lens["layer"].max()].drop_duplicates(keys).set_index(keys)
    p = last["p_action_1"].reindex(pd.MultiIndex.from_frame(prompts[keys])).to_numpy(np.float64)
    chosen = pd.array((p > 0.5).astype(np.int64), dtype="Int64")
    chosen[np.isnan(p) | (p == 0.5)] = pd.NA
    # The second label means action 0 where the map is swapped; so do places where the order is.
    swapped, turned = (
        (prompts[column] == levels[1]).astype("Int64").array
        for column, levels in (("label_map", LABEL_MAPS), ("option_order", OPTION_ORDERS))
    )
    return prompts.assign(
        chosen_action=chosen,
        chosen_label=(chosen + swapped) % 2,
        chosen_place=(chosen + turned) % 2,
    )


def read_target(prompts: pd.DataFrame, name: str) -> ProbeTarget:
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
    target = ProbeTarget(name, rows, values[rows].astype(np.float64), len(values) - len(rows))
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
    # One column for each game and each class of each target: 1 where a prompt belongs to it.
    indicators = [pd.get_dummies(prompts["game"]).to_numpy(dtype=np.float64)]
    for name in columns:
        target = read_target(prompts, name)
        if target.regression:
            continue
        for value in (0.0, 1.0):
            column = np.zeros((len(prompts), 1))
            column[target.rows[target.labels == value], 0] = 1.0
            indicators.append(column)
    # How many prompts of each kind a match has, as shares of all prompts of that kind.
    matches, codes = np.unique(prompts["match_id"].to_numpy(dtype=str), return_inverse=True)
    counts = np.zeros((len(matches), sum(i.shape[1] for i in indicators)))
    np.add.at(counts, codes, np.hstack(indicators))
    totals = counts.sum(axis=0)
    shares = counts / np.where(totals > 0, totals, 1.0)
    # Large matches come first; matches of one size in random order.
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


@dataclass(frozen=True)
class HeldOut:
    """Which rows are tested together, and which are then not trained on."""

    groups: NDArray[np.int64]
    """(n,): the rows of one group are tested together, and none of them is trained on."""
    apart: tuple[NDArray[np.int64], ...] = ()
    """Further groupings, each (n,): rows that share one with a tested row are not trained on."""

    def rows(self, chosen: NDArray[np.intp]) -> HeldOut:
        """Return the same for some of the rows."""
        return HeldOut(self.groups[chosen], tuple(codes[chosen] for codes in self.apart))

    def training(self, group: int) -> NDArray[np.bool_]:
        """Return the rows, (n,), that are trained on when a group is tested."""
        tested = self.groups == group
        train = ~tested
        for codes in self.apart:
            train &= ~np.isin(codes, codes[tested])
        return train


def hold_out(prompts: pd.DataFrame, split: str, fold: NDArray[np.int64]) -> HeldOut:
    """Return what each split holds out of n prompts.

    Where histories are asked in several levels of the split's column (`prompts.crossed`), a level
    is tested one fold of histories at a time: neither the level nor those histories are trained on.

    Parameters
    ----------
    prompts : DataFrame
        Usable prompts.
    split : str
        One of `nashlens.vocabulary.targets.SPLITS`.
    fold : ndarray of int, shape (n,)
        From `grouped_folds`.
    """
    if split == "match":
        return HeldOut(fold)
    level = np.unique(prompts[split].to_numpy(dtype=str), return_inverse=True)[1].astype(np.int64)
    if not (prompts.groupby("match_id")[split].nunique() > 1).any():
        return HeldOut(level)
    return HeldOut(level * (int(fold.max()) + 1) + fold, (level, fold))


def split_problem(
    target: ProbeTarget, held_out: HeldOut, matches: NDArray[np.str_], split: str, folds: int
) -> str:
    """Say why a target cannot be probed in a split; empty where it can.

    Parameters
    ----------
    target : ProbeTarget
        Of n rows.
    held_out : HeldOut
        Of n rows.
    matches : ndarray of str, shape (n,)
    split : str
    folds : int
        Number of folds that were asked for.
    """
    values, groups = np.unique(target.labels), np.unique(held_out.groups)
    if not len(values):
        return "undefined at every prompt"
    if len(values) < 2:
        what = "value" if target.regression else "action"
        return f"constant: {what} {values[0]:g} at every prompt"
    n_matches = len(np.unique(matches))
    if split == "match" and n_matches < folds:
        return f"too few matches for the folds: {n_matches} for {folds}"
    if len(groups) < 2:
        return f"one {split} only: nothing to hold out"
    for group in groups:
        if len(np.unique(target.labels[held_out.training(int(group))])) < 2:
            return f"constant in the training prompts when one {split} is held out"
    return ""
