"""The edits of a steering sweep: each direction at each place and dose, and random ones.

A *place* is one layer, or several whose residuals are changed in the same pass (jointly). An added
dose is in mean residual norms of the layer, so that it means the same at every layer, or in the
residual's own units. The dose of a clamp is in standard deviations of the training prompts'
projections, around their mean. Random directions, the control, get the same doses at the same
places: a random clamp takes the largest deviation of any kind's direction there, and the same
random vector is used at all layers of a place. They are given only the smallest and the largest
dose, as their change between these is all that they are compared by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.engine.edits import Edit
from nashlens.vocabulary.edits import EditKind

Place = tuple[int, ...]
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Doses:
    """What is done along each direction."""

    alphas: Sequence[float]
    """Lengths that are added."""
    clamps: Sequence[float] = ()
    """Values at which projections are set, in standard deviations around their mean."""
    ablate: bool = False
    """Whether directions are also removed."""
    units: Literal["norms", "absolute"] = "norms"
    """Of the alphas: mean residual norms, or the residual's own."""

    def extremes(self) -> Doses:
        """Return the smallest and the largest dose of each kind, and 0 to add."""
        alphas = sorted({min(self.alphas), 0.0, max(self.alphas)})
        clamps = sorted({min(self.clamps), max(self.clamps)}) if self.clamps else []
        return replace(self, alphas=alphas, clamps=clamps)


class SteeringEdit(NamedTuple):
    """One intervention of a sweep, and what its table says of it."""

    edits: tuple[Edit, ...]
    """One for each layer of the place; `none` where nothing is changed."""
    kind: EditKind
    """What was asked for."""
    direction: str
    place: Place
    value: float
    """The dose; 0 for an ablation."""


def places_of(layers: Sequence[int], joint: Sequence[Sequence[int]]) -> list[Place]:
    """Return the places of a sweep: single layers, then the joint ones, each in ascending order."""
    several = [tuple(sorted(set(place))) for place in joint]
    return list(dict.fromkeys([*((layer,) for layer in layers), *several]))


def place_name(place: Place) -> str:
    """Return a place as tables write it, such as `1+2+3`."""
    return "+".join(str(layer) for layer in place)


def steering_edits(
    units: Mapping[str, Vectors],
    mean: Vectors,
    scales: pd.DataFrame,
    random: Vectors,
    *,
    places: Sequence[Place],
    doses: Doses,
) -> list[SteeringEdit]:
    """Return every intervention of a sweep.

    Parameters
    ----------
    units : mapping of str to ndarray, shape (layers + 1, width)
        Unit vectors by kind.
    mean : ndarray, shape (layers + 1, width)
        Mean residuals, around which random directions are clamped.
    scales : DataFrame
        The table of `fit_directions`.
    random : ndarray, shape (n, width)
        Random unit vectors.
    places : sequence of tuple of int
    doses : Doses

    Returns
    -------
    list of SteeringEdit
        Those that add 0 share one intervention, which changes nothing.
    """
    known = scales[scales["status"] == "ok"]
    by_layer = known.groupby("layer")
    norms = by_layer["residual_norm"].first().to_dict()
    width = by_layer["projection_std"].max().to_dict()
    kinds = [_along_kind(kind, vectors, known) for kind, vectors in units.items()]
    controls = [
        _Along(f"random_{i:03d}", np.broadcast_to(vector, mean.shape), mean @ vector, width)
        for i, vector in enumerate(random)
    ]
    # At the last layer, where an intervention costs no block.
    nothing = (Edit(len(mean) - 1, "none", mean[-1]),)
    result: list[SteeringEdit] = []
    for place in places:
        for some, given in ((kinds, doses), (controls, doses.extremes())):
            for along in some:
                result += _edits(along, place, given, norms, nothing)
    return result


class _Along(NamedTuple):
    """A direction, and by layer the mean and the deviation that its clamps are around."""

    name: str
    vectors: Vectors
    mean: Any
    deviation: Any


def _along_kind(kind: str, vectors: Vectors, known: pd.DataFrame) -> _Along:
    rows = known[known["direction"] == kind].set_index("layer")
    spread = (rows[name].to_dict() for name in ("projection_mean", "projection_std"))
    return _Along(kind, vectors, *spread)


def _edits(
    along: _Along,
    place: Place,
    doses: Doses,
    norms: Mapping[Any, float],
    nothing: tuple[Edit, ...],
) -> Iterator[SteeringEdit]:
    """Yield what is done along one direction at one place."""

    def edits(kind: EditKind, values: Sequence[float]) -> tuple[Edit, ...]:
        # There is no direction where the vector is zero: nothing is changed.
        vectors = [along.vectors[layer] for layer in place]
        return tuple(
            Edit(layer, kind if vector.any() else "none", vector, float(value))
            for layer, vector, value in zip(place, vectors, values, strict=True)
        )

    for alpha in doses.alphas:
        lengths = [alpha * (norms[k] if doses.units == "norms" else 1.0) for k in place]
        changed = edits("add", lengths) if alpha else nothing
        yield SteeringEdit(changed, "add", along.name, place, float(alpha))
    for value in doses.clamps:
        clamped = [along.mean[k] + value * along.deviation[k] for k in place]
        yield SteeringEdit(edits("clamp", clamped), "clamp", along.name, place, float(value))
    if doses.ablate:
        yield SteeringEdit(edits("ablate", [0.0] * len(place)), "ablate", along.name, place, 0.0)
