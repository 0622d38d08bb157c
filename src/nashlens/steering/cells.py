"""The two sides of each kind of direction: which prompts are held against which.

They are compared within cells that are alike in all else, and cells are averaged.

- `abstract`: Nash action 1 minus 0, within each surface form (template, label set, label map,
  option order). A label or a place that is more frequent in one class adds nothing: adding the
  direction pushes towards *action 1 is the Nash action*, and knows no word.
- `label`: the Nash action's label is the pair's first minus it is the second, within a label set,
  template and option order. Both Nash actions weigh the same, so that what follows the label map
  only cancels. Adding it pushes towards the pair's first label.
- `published`: Nash action 1 minus 0 as a naive study fits it, on prompts with each game's own
  words, one label map, one order, one template: action and word are one. It is there where the
  design has such prompts.

Concepts beside Nash may be fitted on further games, which need no Nash action: where one action
dominates, the gains are the Nash action, or the same in all games.

- `cooperation`: prosocial action 1 minus 0, within each surface form.
- `own_gain`, `other_gain`: action 1 gives the seat, or the other, more than action 0 (on average
  over the other's two actions) minus it gives less, within each surface form.
- `expected`: the opponent's next action 1 minus 0, within each game and surface form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.contrasts import Array
from nashlens.errors import DataError
from nashlens.kept import neutral
from nashlens.steering.training import CONCEPT_ONLY
from nashlens.vocabulary.edits import CONCEPT_KINDS, DirectionKind
from nashlens.vocabulary.prompts import LABEL_MAPS, OPTION_ORDERS, SURFACE_COLUMNS

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Cell:
    """Prompts that differ in what a direction separates, and in little else."""

    minus: Rows
    plus: Rows
    weight: float
    """Of all cells together: 1."""


def cells_of(prompts: pd.DataFrame, kind: DirectionKind) -> list[Cell]:
    """Return the cells of a contrast.

    Parameters
    ----------
    prompts : DataFrame
        Training prompts, numbered from 0. Those of further games, where `concept_only` is true,
        serve concepts alone.
    kind : str

    Raises
    ------
    DataError
        If the prompts do not hold both sides.
    """
    if kind in CONCEPT_KINDS or CONCEPT_ONLY not in prompts.columns:
        return _CELLS[kind](prompts)
    where = np.flatnonzero(~prompts[CONCEPT_ONLY].to_numpy(bool))
    cells = _CELLS[kind](prompts.iloc[where].reset_index(drop=True))
    return [Cell(where[one.minus], where[one.plus], one.weight) for one in cells]


def nash_actions(prompts: pd.DataFrame) -> Array:
    """Return each prompt's Nash action, NaN where there is none, (n,)."""
    return np.asarray(
        prompts["nash_action"].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    )


def numbers_of(prompts: pd.DataFrame, rows: pd.DataFrame) -> Rows:
    """Return the numbers, from 0, that some of the prompts have among all."""
    return prompts.index.get_indexer(rows.index)


def _abstract(prompts: pd.DataFrame) -> list[Cell]:
    nash = nash_actions(prompts)
    rows = neutral(prompts)
    used = numbers_of(prompts, rows)
    for action in (0, 1):
        if not (nash[used] == action).any():
            games = ", ".join(sorted(set(prompts["game"].astype(str)))) or "none"
            raise DataError(
                f"no training prompt has Nash action {action} (training games: {games});"
                " choose steering.train_games whose Nash actions differ"
            )
    pairs = []
    for _, inside in sorted(rows.groupby(list(SURFACE_COLUMNS)).indices.items()):
        here = used[inside]
        zero, one = here[nash[here] == 0], here[nash[here] == 1]
        if len(zero) and len(one):
            pairs.append((zero, one))
    if not pairs:
        raise DataError(
            "no surface form holds training prompts of both Nash actions;"
            " give every training game the same templates, labels and orders"
        )
    return [Cell(zero, one, 1.0 / len(pairs)) for zero, one in pairs]


def _label(prompts: pd.DataFrame) -> list[Cell]:
    nash, rows = nash_actions(prompts), neutral(prompts)
    used = numbers_of(prompts, rows)
    # The first label means action 0 under the first map, action 1 under the second.
    first = nash == (prompts["label_map"] == LABEL_MAPS[1]).to_numpy(dtype=float)
    found: list[tuple[str, list[tuple[Rows, Rows]]]] = []
    forms = rows.groupby(["label_set", "template", "option_order"]).indices
    for _, inside in sorted(forms.items()):
        pairs = []
        for action in (0, 1):
            here = used[inside][nash[used[inside]] == action]
            pairs.append((here[~first[here]], here[first[here]]))
        if all(len(side) for pair in pairs for side in pair):
            found.append((str(rows["label_set"].iloc[inside[0]]), pairs))
    if not found:
        raise DataError(
            "no label set holds, within one template and order, training prompts of both Nash"
            " actions under both label maps"
        )
    sets = [name for name, _ in found]
    share = {name: 1.0 / (len(set(sets)) * sets.count(name)) for name in sets}
    return [Cell(minus, plus, share[name] / 2.0) for name, pairs in found for minus, plus in pairs]


def _published(prompts: pd.DataFrame) -> list[Cell]:
    chosen = prompts.index.isin(neutral(prompts).index)
    rows = prompts[
        ~chosen
        & (prompts["label_map"] == LABEL_MAPS[0]).to_numpy()
        & (prompts["option_order"] == OPTION_ORDERS[0]).to_numpy()
    ]
    nash = nash_actions(prompts)
    for _, inside in sorted(rows.groupby("template").indices.items()):
        here = numbers_of(prompts, rows)[inside]
        zero, one = here[nash[here] == 0], here[nash[here] == 1]
        if len(zero) and len(one):
            return [Cell(zero, one, 1.0)]
    raise DataError("the design has no label set of the games' own words (words: actions)")


def _within(prompts: pd.DataFrame, target: str, columns: Sequence[str]) -> list[Cell]:
    """Return the cells of a target, 1 minus 0, of neutral prompts that agree in some columns."""
    if target not in prompts.columns:
        raise DataError(f"the prompts table has no column {target}, which makes its conflicts")
    rows = neutral(prompts)
    rows = rows[rows[target].notna()]
    used, side = numbers_of(prompts, rows), rows[target].to_numpy(dtype=np.float64)
    pairs = []
    for _, inside in sorted(rows.groupby(list(columns)).indices.items()):
        zero, one = (used[inside[side[inside] == value]] for value in (0, 1))
        if len(zero) and len(one):
            pairs.append((zero, one))
    if not pairs:
        raise DataError(
            f"no training prompts that agree in {', '.join(columns)} differ in {target}"
        )
    return [Cell(zero, one, 1.0 / len(pairs)) for zero, one in pairs]


def _cooperation(prompts: pd.DataFrame) -> list[Cell]:
    return _within(prompts, "prosocial_action", SURFACE_COLUMNS)


def _own_gain(prompts: pd.DataFrame) -> list[Cell]:
    return _within(prompts, "own_gain", SURFACE_COLUMNS)


def _other_gain(prompts: pd.DataFrame) -> list[Cell]:
    return _within(prompts, "other_gain", SURFACE_COLUMNS)


def _expected(prompts: pd.DataFrame) -> list[Cell]:
    return _within(prompts, "opponent_next", ("game", *SURFACE_COLUMNS))


_CELLS: dict[DirectionKind, Callable[[pd.DataFrame], list[Cell]]] = {
    "abstract": _abstract,
    "label": _label,
    "published": _published,
    "cooperation": _cooperation,
    "own_gain": _own_gain,
    "other_gain": _other_gain,
    "expected": _expected,
}
