r"""Directions of several kinds, one for each layer: what a push could move.

Each is a contrast: the mean residual of some prompts minus that of others, taken within cells that
are alike in all else, and averaged over these (`nashlens.steering.cells` has the kinds).

With `fit: probe` the direction is instead the normal of an L2 logistic regression that separates
the two sides, after each cell's mean was taken away.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.activations.store import LoadLayer
from nashlens.errors import DataError
from nashlens.kept import neutral
from nashlens.steering.cells import Array, Cell, cells_of, nash_actions, numbers_of
from nashlens.steering.training import CONCEPT_ONLY
from nashlens.vocabulary.edits import DirectionKind

PROBE_C = 0.003
"""Inverse strength of the penalty where the direction is a probe's normal."""
_FLAT = 1e-6
"""A gap below this share of the residual's length is rounding: there is no direction."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Directions:
    """Directions by kind, and what random ones need.

    Attributes
    ----------
    units : dict of str to ndarray of float32, shape (layers + 1, width)
        Unit vectors by kind; zeros where the two sides do not differ at all.
    mean : ndarray of float32, shape (layers + 1, width)
        Mean residual of the neutral training prompts.
    table : DataFrame
        One row per kind and layer, as in docs/reference/results.md.
    """

    units: dict[str, NDArray[np.float32]]
    mean: NDArray[np.float32]
    table: pd.DataFrame

    @classmethod
    def read(cls, path: str | Path, table: pd.DataFrame) -> Directions:
        """Read the arrays of `directions/{model}.npz`."""
        with np.load(path, allow_pickle=False) as arrays:
            units = {name: arrays[name] for name in arrays.files}
        return cls(units, units.pop("mean"), table)


def fit_directions(
    load_layer: LoadLayer,
    n_layers: int,
    prompts: pd.DataFrame,
    kinds: Sequence[DirectionKind],
    *,
    fit: Literal["means", "probe"] = "means",
    model: str = "",
) -> Directions:
    """Fit one unit direction of each kind for each layer.

    Parameters
    ----------
    load_layer : callable
        Layer to residuals, (n, width): one row for each row of `prompts`, in that order.
    n_layers : int
        Blocks; layers 0 to n_layers are fitted.
    prompts : DataFrame
        Training prompts (`Training.rows`).
    kinds : sequence of str
    fit : {"means", "probe"}
        Difference of means, or normal of a logistic probe.
    model : str
        Name for the table.

    Raises
    ------
    DataError
        If the prompts cannot give the abstract direction, or activations do not fit. A further
        kind that they cannot give is left out; its rows of the table say why.
    """
    prompts = prompts.reset_index(drop=True)
    cells, reasons = _possible_cells(prompts, kinds)
    trained = neutral(prompts)
    if CONCEPT_ONLY in prompts.columns:
        trained = trained[~trained[CONCEPT_ONLY].astype(bool)]
    usual = numbers_of(prompts, trained)
    usual = usual[~np.isnan(nash_actions(prompts)[usual])]
    units: dict[str, list[NDArray[np.float32]]] = {kind: [] for kind in cells}
    means: list[NDArray[np.float32]] = []
    records: list[dict[str, object]] = []
    for layer in range(n_layers + 1):
        x = np.asarray(load_layer(layer), dtype=np.float64)
        if x.ndim != 2 or len(x) != len(prompts):
            raise DataError(
                f"activations of layer {layer}: found shape {x.shape}, need ({len(prompts)},"
                " width), one row for each training prompt that is not dropped"
            )
        means.append(x[usual].mean(axis=0).astype(np.float32))
        norm = float(np.linalg.norm(x[usual], axis=1).mean())
        for kind, some in cells.items():
            unit, gap = _unit(x, some, fit, norm)
            units[kind].append(unit.astype(np.float32))
            described = _described(x, some, unit, gap, x[usual] @ unit)
            records.append({"direction": kind, "layer": layer, "residual_norm": norm, **described})
        records += [
            {"direction": kind, "layer": layer, "residual_norm": norm, "reason": reason}
            for kind, reason in reasons.items()
        ]
    table = pd.DataFrame.from_records(records).reindex(columns=COLUMNS).assign(model=model)
    table["reason"] = table["reason"].astype(object).fillna("").astype(str)
    table["status"] = np.where(table["reason"] == "", "ok", "not_applicable")
    table[["n_0", "n_1"]] = table[["n_0", "n_1"]].fillna(0).astype("int64")
    stacked = {kind: np.stack(layers) for kind, layers in units.items()}
    return Directions(stacked, np.stack(means), table.assign(**_cosines(table, stacked)))


def _cosines(table: pd.DataFrame, units: dict[str, NDArray[np.float32]]) -> dict[str, list[float]]:
    """Return by column `cos_KIND` the cosine of each row's direction with one of that kind."""
    places = list(zip(table["direction"], table["layer"], strict=True))
    return {
        f"cos_{kind}": [
            float(units[name][layer] @ one[layer]) if name in units else np.nan
            for name, layer in places
        ]
        for kind, one in units.items()
    }


COLUMNS = (
    *("model", "direction", "layer", "status", "reason", "n_0", "n_1", "gap", "residual_norm"),
    *("projection_mean", "projection_std", "separation"),
)


def _possible_cells(
    prompts: pd.DataFrame, kinds: Sequence[DirectionKind]
) -> tuple[dict[DirectionKind, list[Cell]], dict[DirectionKind, str]]:
    """Return the cells of each kind, and why kinds have none."""
    cells: dict[DirectionKind, list[Cell]] = {}
    reasons: dict[DirectionKind, str] = {}
    for kind in kinds:
        try:
            cells[kind] = cells_of(prompts, kind)
        except DataError as error:
            if kind == "abstract":
                raise
            reasons[kind] = str(error)
            _log.warning("no %s direction: %s", kind, error)
    return cells, reasons


def contrast(x: Array, cells: Sequence[Cell]) -> Array:
    """Return the weighted sum over cells of what separates their sides, (width,)."""
    differences = [c.weight * (x[c.plus].mean(axis=0) - x[c.minus].mean(axis=0)) for c in cells]
    return np.asarray(np.sum(differences, axis=0))


def _unit(x: Array, cells: Sequence[Cell], fit: str, norm: float) -> tuple[Array, float]:
    """Return the unit direction and how far apart the sides are along it; zeros and 0 for none."""
    difference = contrast(x, cells)
    length = float(np.linalg.norm(difference))
    if length <= _FLAT * norm:
        return np.zeros_like(difference), 0.0
    if fit == "means":
        return difference / length, length
    normal = _probe_normal(x, cells)
    unit = normal / np.linalg.norm(normal)
    return unit, float(difference @ unit)


def _probe_normal(x: Array, cells: Sequence[Cell]) -> Array:
    """Return the normal, in the residual's own coordinates, of a probe for a cell's two sides."""
    import torch

    from nashlens.probes.basis import Basis
    from nashlens.probes.solver import solve_logistic

    sides = list(_centred(x, cells))
    features = np.concatenate([rows for rows, _ in sides])
    classes = np.concatenate([np.full(len(rows), side) for rows, side in sides])
    # One scale for all: with one for each feature, the normal would lie along those that hardly
    # vary, as going back to the residual's own coordinates divides by it.
    scale = np.sqrt((features**2).mean())
    left, lengths, right = np.linalg.svd(features / scale, full_matrices=False)
    # Coordinates along the right singular vectors, in which the Hessian is nearly diagonal.
    rows = torch.from_numpy(np.hstack([np.ones((len(features), 1)), left * lengths]))
    ridge = torch.ones(rows.shape[1], dtype=torch.float64)
    ridge[0] = 0.0
    basis = Basis(rows, rows, (rows * rows).sum(dim=0), ridge)
    labels = torch.from_numpy(classes)[:, None]
    found = solve_logistic(basis, labels, torch.tensor([PROBE_C], dtype=torch.float64))
    return np.asarray(right.T @ found.coefficients[1:, 0].numpy())


def _centred(x: Array, cells: Sequence[Cell]) -> Iterator[tuple[Array, float]]:
    """Yield the rows of each cell's sides, less the middle between the sides' means."""
    for cell in cells:
        middle = (x[cell.minus].mean(axis=0) + x[cell.plus].mean(axis=0)) / 2.0
        yield x[cell.minus] - middle, 0.0
        yield x[cell.plus] - middle, 1.0


def _described(
    x: Array, cells: Sequence[Cell], unit: Array, gap: float, usual: Array
) -> dict[str, float]:
    """Describe a direction by the projections of its two sides, and of neutral prompts."""
    squares, count, sizes = 0.0, 0, [0, 0]
    for rows, side in _centred(x, cells):
        along = rows @ unit
        squares += float(((along - along.mean()) ** 2).sum())
        count += len(along) - 1
        sizes[int(side)] += len(along)
    within = float(np.sqrt(squares / count)) if count > 0 else np.nan
    return {
        "n_0": sizes[0],
        "n_1": sizes[1],
        "gap": gap,
        "projection_mean": float(usual.mean()),
        "projection_std": float(usual.std(ddof=1)),
        "separation": gap / within if within > 0 else np.nan,
    }


def random_unit_vectors(width: int, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw unit vectors uniformly from the sphere, (count, width) float32."""
    draws = rng.standard_normal((count, width))
    return (draws / np.linalg.norm(draws, axis=1, keepdims=True)).astype(np.float32)
