"""Labels that say nothing of the features: permutations and control tasks.

A permutation is a draw from what a target would look like if the features had nothing to do with
it, so it keeps whatever makes rows alike. Prompts of one history share its past, and those in one
surface form share their words, from round to round. So rows are never exchanged one by one: either
whole surface forms within a history, or whole histories.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.contrasts import Array
from nashlens.probes.design import ProbeTarget

_FORM = ["label_map", "option_order"]
_WORDING = ["round", "template", "label_set"]


def varies_within_blocks(prompts: pd.DataFrame, target: ProbeTarget) -> bool:
    """Tell whether a target differs within at least half of the blocks.

    Parameters
    ----------
    prompts : DataFrame
        Usable prompts with `block_id`: a scenario in all its surface forms.
    target : ProbeTarget
    """
    blocks = prompts["block_id"].to_numpy()[target.rows]
    return bool((pd.Series(target.labels).groupby(blocks).nunique() > 1).mean() >= 0.5)


def permuted_labels(
    prompts: pd.DataFrame,
    target: ProbeTarget,
    permutations: int,
    rng: np.random.Generator,
    within: NDArray[np.int64] | None = None,
) -> Array:
    """Return permuted labels, (n, permutations).

    A target that differs within blocks (which label, which place) is exchanged within blocks only:
    the surface forms of a history exchange their labels, in the same way at all of its rounds. What
    a probe can do by telling games, histories or words apart is then in the permutations too.

    Other targets are the same in all forms of a prompt, so whole histories exchange their labels,
    round by round and form by form. If such a target varies within any game, histories exchange
    labels only within their game. If it is constant within every game, there is nothing to exchange
    within games, so histories of all games exchange labels, and the permutations lose the games.

    Parameters
    ----------
    prompts : DataFrame
        Usable prompts with `match_id` (a history), `block_id`, `game`, `round` and their surface
        form.
    target : ProbeTarget
    permutations : int
    rng : numpy.random.Generator
    within : ndarray of int, shape (n,), optional
        Groups within which histories exchange.
    """
    frame = prompts.loc[target.rows, ["match_id", "game", *_FORM, *_WORDING]]
    # A history and its mirror image are one match, and each keeps to its kind.
    mirrored = (
        prompts["mirrored"] if "mirrored" in prompts.columns else pd.Series(False, prompts.index)
    )
    frame = frame.assign(mirrored=mirrored.iloc[target.rows].to_numpy())
    if varies_within_blocks(prompts, target):
        units = _forms(frame)
    else:
        units = _histories(frame, target.labels, within)
    result = np.repeat(target.labels[:, None], permutations, axis=1)
    for rows in units:
        # `rows` is (sets, units, rows of a unit): in each set, units exchange their labels.
        labels = target.labels[rows]
        for k in range(permutations):
            order = rng.random(rows.shape[:2]).argsort(axis=1)
            result[rows, k] = np.take_along_axis(labels, order[:, :, None], axis=1)
    return result


def _forms(frame: pd.DataFrame) -> list[NDArray[np.intp]]:
    """Return the surface forms of each history as sets of units; see `permuted_labels`."""
    wording = frame.groupby([*_WORDING, "mirrored"], sort=True).ngroup().to_numpy()
    form = frame.groupby(_FORM, sort=True).ngroup().to_numpy()
    match = pd.factorize(frame["match_id"])[0]
    order = np.lexsort((wording, form, match))
    # Forms of a history exchange where they are asked at the same rounds, in the same wordings.
    sets: dict[Hashable, list[NDArray[np.intp]]] = {}
    for rows in _runs(order, match * (form.max(initial=0) + 1) + form):
        sets.setdefault((match[rows[0]], *wording[rows].tolist()), []).append(rows)
    return _stacked(list(sets.values()))


def _histories(
    frame: pd.DataFrame, labels: Array, within: NDArray[np.int64] | None
) -> list[NDArray[np.intp]]:
    """Return histories as sets of units that may exchange; see `permuted_labels`."""
    game = pd.factorize(frame["game"])[0]
    varies = bool((pd.Series(labels).groupby(game).nunique() > 1).any())
    # A history has a wording of its own, so rows meet by round and form.
    kind = frame.groupby(["round", "mirrored", *_FORM], sort=True).ngroup().to_numpy()
    wording = frame.groupby([*_WORDING, "mirrored"], sort=True).ngroup().to_numpy()
    match = np.unique(frame["match_id"].to_numpy(dtype=str), return_inverse=True)[1]
    order = np.lexsort((wording, kind, match))
    sets: dict[Hashable, list[NDArray[np.intp]]] = {}
    for rows in _runs(order, match):
        group = 0 if within is None else int(within[rows[0]])
        key = (group, int(game[rows[0]]) if varies else 0, *kind[rows].tolist())
        sets.setdefault(key, []).append(rows)
    return _stacked(list(sets.values()))


def _runs(order: NDArray[np.intp], code: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Split ordered rows where their code changes."""
    if not len(order):
        return []
    return np.split(order, np.flatnonzero(np.diff(code[order])) + 1)


def _stacked(sets: list[list[NDArray[np.intp]]]) -> list[NDArray[np.intp]]:
    """Stack sets of the same shape, so that they are permuted in one go."""
    by_shape: dict[tuple[int, ...], list[NDArray[np.intp]]] = {}
    for units in sets:
        rows = np.stack(units)
        if len(rows) > 1:
            by_shape.setdefault(rows.shape, []).append(rows)
    return [np.stack(same) for same in by_shape.values()]


def control_tasks(
    prompts: pd.DataFrame, target: ProbeTarget, tasks: int, rng: np.random.Generator
) -> Array:
    """Return labels that have nothing to do with the target, (n, tasks) (Hewitt and Liang 2019).

    Every *type* of prompt gets one random label, so a probe can learn a control task only by
    telling types apart and remembering the label of each: the task measures what the probe can do
    by itself. A type is what fixes the target: a game and a seat, and for a label or a place the
    label map or the option order as well. Where these do not fix it, it is a game, a seat and a
    round, and if the target differs within blocks the surface form too. The share of types with
    each label follows the target.

    Parameters
    ----------
    prompts : DataFrame
        Usable prompts with `game`, `seat`, `round` and their surface form.
    target : ProbeTarget
    tasks : int
        Number of control tasks.
    rng : numpy.random.Generator
    """
    frame = prompts.loc[target.rows]
    labels, coarse = pd.Series(target.labels), ["game", "seat"]

    def types_by(columns: list[str]) -> NDArray[np.intp]:
        return np.asarray(frame.groupby(columns, sort=True).ngroup(), dtype=np.intp)

    for columns in (coarse, *([*coarse, name] for name in _FORM)):
        types = types_by(columns)
        if (labels.groupby(types).nunique() <= 1).all():
            break
    else:
        form = _FORM if varies_within_blocks(prompts, target) else []
        types = types_by([*coarse, "round", *form])
    size = int(types.max()) + 1
    ranked = np.sort(target.labels)
    # Evenly spaced order statistics: as many types have each label as its share of the prompts.
    deal = ranked[((np.arange(size) + 0.5) / size * len(ranked)).astype(int)]
    return np.stack([rng.permutation(deal)[types] for _ in range(tasks)], axis=1)
