"""The Nash direction of each layer: a difference of means that surface form cannot enter.

Per layer, the mean residual of prompts whose Nash action is 1 minus that of prompts whose Nash
action is 0, taken within each surface form (template, label set, label map, option order) and
averaged over the forms that hold both classes. A label or an order that is more frequent in one
class therefore adds nothing. Adding the direction pushes towards *action 1 is the Nash action*.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.activations.store import LoadLayer
from nashlens.errors import DataError
from nashlens.kept import kept, neutral
from nashlens.vocabulary.prompts import SURFACE_COLUMNS

_FLAT = 1e-6
"""A gap below this share of the residual's length is rounding: there is no direction."""


def _rows_by_form(prompts: pd.DataFrame) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Return, for each surface form with both Nash actions, the rows of action 0 and of 1."""
    nash = prompts["nash_action"].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    for action in (0, 1):
        if not (nash == action).any():
            games = ", ".join(sorted(set(prompts["game"].astype(str)))) or "none"
            raise DataError(
                f"no training prompt has Nash action {action} (training games: {games});"
                " choose steering.train_games whose Nash actions differ"
            )
    pairs = []
    for _, rows in sorted(prompts.groupby(list(SURFACE_COLUMNS)).indices.items()):
        zero, one = rows[nash[rows] == 0], rows[nash[rows] == 1]
        if len(zero) and len(one):
            pairs.append((zero, one))
    if not pairs:
        raise DataError(
            "no surface form holds training prompts of both Nash actions;"
            " give every training game the same templates, labels and orders"
        )
    return pairs


def fit_directions(
    load_layer: LoadLayer, n_layers: int, prompts: pd.DataFrame, *, model: str = ""
) -> tuple[NDArray[np.float32], pd.DataFrame]:
    """Fit one unit direction per layer.

    Parameters
    ----------
    load_layer : callable
        Layer to residuals, (n, width): one row for each row of `prompts` whose `dropped` is
        empty, in that order.
    n_layers : int
        Blocks; layers 0 to n_layers are fitted.
    prompts : DataFrame
        Training prompts; those without a Nash action are left out.
    model : str
        Name for the table.

    Returns
    -------
    directions : ndarray of float32, shape (n_layers + 1, width)
        Unit vectors; all zeros where the classes do not differ at all (the embedding, where
        every prompt ends in the same token).
    table : DataFrame
        One row per layer, columns as in docs/reference/results.md.

    Raises
    ------
    DataError
        If a Nash action is absent, in all or in every surface form, or activations do not fit.
    """
    used = neutral(kept(prompts)).reset_index(drop=True)
    pairs = _rows_by_form(used)
    zero, one = (np.concatenate(rows) for rows in zip(*pairs, strict=True))
    directions, records = [], []
    for layer in range(n_layers + 1):
        x = np.asarray(load_layer(layer), dtype=np.float64)
        if x.ndim != 2 or len(x) != len(used):
            raise DataError(
                f"activations of layer {layer}: found shape {x.shape}, need ({len(used)}, width),"
                " one row for each training prompt that is not dropped"
            )
        # The mean over surface forms of what separates the two actions within a form.
        difference = np.mean([x[b].mean(axis=0) - x[a].mean(axis=0) for a, b in pairs], axis=0)
        gap = float(np.linalg.norm(difference))
        norm = float(np.linalg.norm(x[np.concatenate([zero, one])], axis=1).mean())
        flat = gap <= _FLAT * norm
        unit = np.zeros_like(difference) if flat else difference / gap
        directions.append(unit.astype(np.float32))
        records.append(
            {
                "model": model,
                "layer": layer,
                "n_0": len(zero),
                "n_1": len(one),
                "gap": gap,
                "residual_norm": norm,
                **_spread(x[zero] @ unit, x[one] @ unit, gap),
            }
        )
    return np.stack(directions), pd.DataFrame.from_records(records)


def _spread(zero: NDArray[np.float64], one: NDArray[np.float64], gap: float) -> dict[str, float]:
    """Describe the training projections of the two classes."""
    both = np.concatenate([zero, one])
    freedom = len(both) - 2
    squares = ((zero - zero.mean()) ** 2).sum() + ((one - one.mean()) ** 2).sum()
    within = float(np.sqrt(squares / freedom)) if freedom > 0 else np.nan
    return {
        "projection_mean": float(both.mean()),
        "projection_std": float(both.std(ddof=1)),
        "separation": gap / within if within > 0 else np.nan,
    }


def random_unit_vectors(width: int, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw unit vectors uniformly from the sphere, (count, width) float32."""
    draws = rng.standard_normal((count, width))
    return (draws / np.linalg.norm(draws, axis=1, keepdims=True)).astype(np.float32)
