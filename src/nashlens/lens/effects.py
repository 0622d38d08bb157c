"""What moves the decision, and from which layer on: the parts of a lens's logits by layer.

Within blocks, a logit that points to an action is parted into what follows the action, what follows
the word (the pair's first label, whatever it means), what follows the place (the option listed
first) and how far the action part depends on both (`nashlens.factorial`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.contrasts import Array
from nashlens.estimates import collect, frame
from nashlens.factorial import PARTS, BlockEstimate
from nashlens.kept import kept
from nashlens.lens.readings import PREFERENCE, Readings, conflicting, defined

QUANTITIES: dict[str, tuple[str, Callable[[pd.DataFrame], pd.DataFrame]]] = {
    "prosocial over Nash": ("prosocial_action", conflicting),
    "Nash over other": ("nash_action", lambda prompts: defined(prompts, "nash_action")),
}
"""Quantity -> the column with the action it points to, and the prompts that it is about."""
_KEYS = {
    "model": "str",
    "lens": "str",
    "quantity": "str",
    "part": "str",
    "game": "str",
    "layer": "int64",
}
_FURTHER = {
    "error": "float64",
    "spread_label_sets": "float64",
    "spread_templates": "float64",
    "lasting": "bool",
}


def effect_estimates(
    lens: pd.DataFrame, prompts: pd.DataFrame, *, model: str, name: str, confidence: float
) -> pd.DataFrame:
    """Return the parts of one lens's logits, layer by layer.

    Parameters
    ----------
    lens : DataFrame
        Of `lens_table`: through the logit lens or the tuned lens.
    prompts : DataFrame
        The model's prompts.
    model, name : str
        Of the model and of the lens (`logit`, `tuned`), for the table.
    confidence : float
        Coverage of the intervals.

    Returns
    -------
    DataFrame
        One row per quantity, part, game and layer: `model`, `lens`, `quantity` (of `QUANTITIES`),
        `part` (of `factorial.PARTS`), `game` (missing: all games with equal weight), `layer`; then
        `estimates.COLUMNS`, in logits, with Student's bounds for each layer by itself; `error` (its
        standard error); `spread_label_sets` and `spread_templates` (standard deviation of the part
        over them, missing with one); and `lasting`: from this layer to the last one the part is
        larger in size than `PREFERENCE` and has one sign, with its bounds.
    """
    tables = []
    for quantity, (column, chosen) in QUANTITIES.items():
        readings = Readings(lens, chosen(kept(prompts)))
        if not len(readings):
            continue
        # The parts' layers stand side by side: (blocks, parts x layers).
        parts = np.hstack(list(readings.parts(column).values()))
        games = readings.blocks.frame["game"]
        for game in (None, *dict.fromkeys(games)):
            here = None if game is None else (games == game).to_numpy()
            found = readings.blocks.estimate(parts, here)
            rows = _rows(found, confidence).assign(
                part=np.repeat(PARTS, len(readings.layers)),
                layer=np.tile(readings.layers, len(PARTS)),
            )
            tables.append(rows.assign(model=model, lens=name, quantity=quantity, game=game))
    return collect(tables, _KEYS, _FURTHER)


def _rows(found: BlockEstimate, confidence: float) -> pd.DataFrame:
    low, high = found.interval(confidence)
    rows = frame(found.estimate, low, high, "student", found.n, found.n_clusters)
    return rows.assign(
        error=found.error,
        spread_label_sets=found.over("label_set")[2],
        spread_templates=found.over("template")[2],
        lasting=_lasting(low, high),
    )


def _lasting(low: Array, high: Array) -> NDArray[np.bool_]:
    """Return from which layer on each part is large up to the last layer, (parts x layers,).

    Layers are looked at from the last one on, up to the first that fails: in such a fixed sequence
    each may have bounds of its own (Maurer, Hothorn and Lehmacher 1995).
    """
    side = np.where(low > PREFERENCE, 1, np.where(high < -PREFERENCE, -1, 0))
    by_part = side.reshape(len(PARTS), -1)
    beyond = (by_part == by_part[:, -1:]) & (by_part != 0)
    # True from where on every later one is.
    after: NDArray[np.bool_] = np.logical_and.accumulate(beyond[:, ::-1], axis=1)[:, ::-1]
    return after.ravel()
