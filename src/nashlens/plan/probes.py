"""What `fit_probes` computes: the training sets of each layer, and what is fitted on each of them.

Features are turned once for each training set (`nashlens.probes.basis`), and everything that is
fitted there is fitted jointly: all targets that are defined on the same prompts, with their control
tasks and permutations in the split by match. So most of the time is that of turning features, and a
further permutation costs little. Four prices describe what whole jobs take (`python -m
benchmarks.probes --plan`, docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.activations.plan import draw_matches
from nashlens.probes.baselines import words_of
from nashlens.probes.basis import worth_a_guide
from nashlens.probes.design import (
    HeldOut,
    ProbeSettings,
    ProbeTarget,
    add_choices,
    read_target,
    split_problem,
    usable,
)
from nashlens.probes.fits import INNER_FOLDS, inner_splits
from nashlens.probes.questions import (
    TASKS,
    ProbeQuestion,
    asked_together,
    match_folds,
    prepare_questions,
)
from nashlens.seeds import stream
from nashlens.vocabulary.positions import DECISION, position_column

TURNED = 5.8
"""Operations that would take as long as one of those that turn features, which are in float64."""
CALLS = 4.9e8
"""The same for the calls that one training set takes, however small it is."""
ELEMENT = 3.0e4
"""The same for one row or coefficient of one column that is fitted roughly: of all its steps."""
CHOSEN = 1.1e3
"""The same for one value of the features and one column, where C is chosen: the largest C needs the
most steps."""


@dataclass(frozen=True)
class Fit:
    """What is fitted jointly on one training set."""

    trained: int
    """Prompts that it has."""
    exact: int = 0
    """Columns of labels that are fitted to the solver's own tolerance: the truth. They take few
    steps of few columns, so that nothing is counted for them."""
    rough: int = 0
    """Those of control tasks and permutations, and of the choice of C."""
    shares: int = 0
    """Columns of a regression, which are solved at once; nothing is counted for them."""

    def operations(self, side: int) -> float:
        """Return the operations that would take as long, on features of so many dimensions."""
        total = ELEMENT * self.rough * (self.trained + side)
        if not self.exact:
            total += CHOSEN * self.rough * self.trained * side
        return total


@dataclass(frozen=True)
class Turned:
    """Features of some prompts, and the training sets for each of which they are turned."""

    rows: int
    fits: Sequence[Fit]
    few: bool = False
    """As in `nashlens.probes.fits.Features`."""

    def guided(self, width: int) -> bool:
        """Say whether they share one rotation."""
        return not self.few and worth_a_guide(self.rows, width)

    def operations(self, width: int, *, varies: bool) -> float:
        """Return the operations that would take as long, with features of a width.

        Where none varies, as the embedding of a token that all prompts share, nothing is fitted.
        """
        guided = self.guided(width)
        turned = 2.0 * self.rows * width**2 if guided else 0.0
        total = CALLS * len(self.fits)
        for fit in self.fits if varies else ():
            side = width if guided else min(fit.trained, width)
            turned += 2.0 * self.rows * width * side
            if not guided:
                turned += 2.0 * self.rows * fit.trained * side
            total += fit.operations(side)
        return total + TURNED * turned


@dataclass(frozen=True)
class ProbeCounts:
    """What the probes of one position ask of each layer, and what they ask once."""

    probes: Sequence[Turned]
    """With control tasks and permutations."""
    baselines: Sequence[Turned]
    """The same questions without: of the embedding, and of the prompts' words."""
    untrained: Sequence[Turned]
    """Those of the model with random weights, of fewer prompts."""
    transfer: Sequence[Turned]
    words: int
    """Distinct words and signs of the prompts."""
    embeddings: int
    """Distinct tokens at the position: with one, no feature of layer 0 varies."""

    def operations(self, width: int, layers: Collection[int]) -> float:
        """Return the operations that would take as long as all of them.

        Parameters
        ----------
        width : int
            Of the model.
        layers : collection of int
            0 is the embedding.
        """
        total = _all(self.baselines, self.words)
        total += _all(self.baselines, width, varies=self.embeddings > 1)
        for layer in layers:
            varies = layer > 0 or self.embeddings > 1
            for features in (self.probes, self.untrained, self.transfer):
                total += _all(features, width, varies=varies)
        return total


def _all(features: Sequence[Turned], width: int, *, varies: bool = True) -> float:
    return sum(one.operations(width, varies=varies) for one in features)


def count_probes(
    prompts: pd.DataFrame, position: str, config: Mapping[str, Any], *, untrained: bool
) -> ProbeCounts:
    """Count what the probes of one position ask.

    What a model would choose is not known: its choices are counted as if they were a coin's.

    Parameters
    ----------
    prompts : DataFrame
        The prompts table, with a column for each position but the decision.
    position : str
    config : mapping
        The checked config.
    untrained : bool
        Whether there is a model with random weights.
    """
    options, seed = config["probes"], config["experiment"]["seed"]
    settings = ProbeSettings(
        **{name: options[name] for name in ("C", "folds", "permutations", "device")},
        confidence=config["findings"]["confidence"],
        resamples=0,
        seed=seed,
        model="",
    )
    used = _with_choices(usable(prompts), seed)
    column, targets = position_column(position), options["targets"]
    some = draw_matches(used, options["random_weights"] if untrained else 0, seed)
    if position != DECISION:
        used, some = (t[t[column].notna()].reset_index(drop=True) for t in (used, some))
    questions = prepare_questions(used, targets, settings, controls=False)
    own = []
    if len(some):
        own = prepare_questions(some, targets, settings, splits=("match",), controls=False)
    tokens = {ids[int(at)] for ids, at in zip(used["token_ids"], used[column], strict=True)}
    return ProbeCounts(
        probes=list(_cross_fitted(questions, settings, TASKS + settings.permutations)),
        baselines=list(_cross_fitted(questions, settings, 0)),
        untrained=list(_cross_fitted(own, settings, 0)),
        transfer=list(_transferred(used, targets, settings)),
        words=len(set().union(*map(words_of, used["text"]))),
        embeddings=len(tokens),
    )


def _with_choices(prompts: pd.DataFrame, seed: int) -> pd.DataFrame:
    coins = stream(seed, "plan", "choices").integers(0, 2, size=len(prompts))
    lens = prompts[["prompt_id", "match_id"]].assign(layer=0, p_action_1=coins.astype(np.float64))
    return add_choices(prompts, lens)


def _cross_fitted(
    questions: Sequence[ProbeQuestion], settings: ProbeSettings, controls: int
) -> Iterator[Turned]:
    """Yield what `nashlens.probes.questions.fit_questions` fits."""
    for by_split in asked_together(questions):
        fits: list[Fit] = []
        for same in by_split:
            first, targets = questions[same[0]], [questions[i].target for i in same]
            inner = INNER_FOLDS[first.split]
            how = (settings.C, inner, controls if first.split == "match" else 0)
            fits += _held_out(targets, first.held_out, first.fold, *how)
        yield Turned(len(first.fold), fits)


def _held_out(
    targets: Sequence[ProbeTarget],
    held_out: HeldOut,
    fold: NDArray[np.int64],
    grid: Sequence[float],
    inner: int,
    controls: int = 0,
) -> Iterator[Fit]:
    """Yield what `nashlens.probes.fits.cross_fit` fits to some targets, which share their rows."""
    for first, group in enumerate(np.unique(held_out.groups)):
        train = held_out.training(int(group))
        yield from _fitted(targets, train, fold, grid, inner, first, controls)


def _fitted(
    targets: Sequence[ProbeTarget],
    train: NDArray[np.bool_],
    fold: NDArray[np.int64],
    grid: Sequence[float],
    inner: int,
    first: int = 0,
    controls: int = 0,
) -> Iterator[Fit]:
    """Yield what one training set is fitted for: the choice of C, and then all columns."""
    splits = inner_splits(train, fold, inner, first) if len(grid) > 1 else ()
    for rest, _ in splits:
        varying = [one for one in targets if len(np.unique(one.labels[rest])) > 1]
        shares = sum(one.regression for one in varying)
        yield Fit(
            trained=int(rest.sum()),
            rough=len(grid) * (len(varying) - shares),
            shares=len(grid) * shares,
        )
    shares = sum(one.regression for one in targets)
    yield Fit(
        trained=int(train.sum()),
        exact=len(targets) - shares,
        rough=controls * (len(targets) - shares),
        shares=(1 + controls) * shares,
    )


def _transferred(
    used: pd.DataFrame, names: Sequence[str], settings: ProbeSettings
) -> Iterator[Turned]:
    """Yield what `nashlens.probes.transfer.fit_transfer` fits: in each game, and in its folds."""
    fold = match_folds(used, names, settings)
    games, matches = (used[name].to_numpy(dtype=str) for name in ("game", "match_id"))
    by_rows: dict[bytes, list[ProbeTarget]] = {}
    for target in (read_target(used, name) for name in names):
        if not target.regression:
            by_rows.setdefault(target.rows.tobytes(), []).append(target)
    for group in by_rows.values():
        rows, fits = group[0].rows, list[Fit]()
        for game in np.unique(games):
            train = games[rows] == game
            varying = [one for one in group if len(np.unique(one.labels[train])) > 1]
            if not varying:
                continue
            fits += _fitted(varying, train, fold[rows], settings.C, 1)
            there = HeldOut(fold[rows][train])
            folds, inside = len(np.unique(there.groups)), list[ProbeTarget]()
            for one in varying:
                here = ProbeTarget(one.name, one.rows[train], one.labels[train], 0)
                if not split_problem(here, there, matches[rows][train], "match", folds):
                    inside.append(here)
            if inside:
                own = _held_out(inside, there, there.groups, settings.C, 1)
                yield Turned(int(train.sum()), list(own))
        yield Turned(len(rows), fits, few=True)
