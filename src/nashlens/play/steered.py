"""Steered players: from an agent's intervention and a model's directions to edits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nashlens.config.layers import resolve_layers
from nashlens.engine.edits import Edit
from nashlens.errors import DataError
from nashlens.tables import read_table
from nashlens.vocabulary.edits import DirectionKind, EditKind, SteeredTokens


@dataclass(frozen=True)
class PlayerIntervention:
    """What is done to a player's residuals whenever it decides or writes."""

    direction: DirectionKind
    """Which of the model's directions."""
    layers: tuple[int, ...]
    """Blocks after each of which the residual is edited; negative ones count from the last."""
    kind: EditKind
    """`add`, `clamp` or `ablate`."""
    value: float
    """The dose, as in the steering sweep."""
    positions: SteeredTokens
    """At which tokens (`nashlens.engine.steered.Steering`)."""
    units: str = "norms"
    """Of an added dose: mean residual norms of the layer, or the residual's own (`absolute`)."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> PlayerIntervention:
        """Make one from a dose's section in the config (`nashlens.config.doses`)."""
        return cls(**{**config, "layers": tuple(config["layers"])})


@dataclass(frozen=True, eq=False)
class ModelDirections:
    """A model's directions, and the sizes by which doses are measured."""

    units: Mapping[str, np.ndarray]
    """Unit vectors by kind, `(layers + 1, width)` each."""
    table: pd.DataFrame
    """The directions table: one row a kind and layer."""

    @classmethod
    def read(cls, path: Path) -> ModelDirections:
        """Read `directions/{model}.npz` and the table beside it."""
        with np.load(path, allow_pickle=False) as arrays:
            units = {name: arrays[name] for name in arrays.files if name != "mean"}
        return cls(units, read_table(path.with_suffix(".parquet")))

    def edits(self, agent: str, intervention: PlayerIntervention) -> tuple[Edit, ...]:
        """Return an agent's edits, one a layer.

        Raises
        ------
        DataError
            If the model has no such direction at a layer.
        ConfigError
            If it has no such layer.
        """
        key, kind = f"agents.{agent}.intervention", intervention.direction
        vectors = self.units.get(kind)
        if vectors is None:
            raise DataError(f"{key}.direction: found {kind!r}; fitted: {', '.join(self.units)}")
        rows = self.table[self.table["direction"] == kind].set_index("layer")
        layers = resolve_layers(intervention.layers, len(vectors) - 1, first=1, key=f"{key}.layers")
        result = []
        for layer in layers:
            if layer not in rows.index or not vectors[layer].any():
                raise DataError(
                    f"{key}.direction: {kind!r} is no direction at layer {layer}, as its two "
                    "sides do not differ there; choose other layers or another direction"
                )
            value = _own_units(intervention, rows.loc[layer])
            result.append(Edit(layer, intervention.kind, vectors[layer], value))
        return tuple(result)


def _own_units(intervention: PlayerIntervention, row: Any) -> float:
    """Return a dose in the residual's own units."""
    value = intervention.value
    if intervention.kind == "add" and intervention.units == "norms":
        return float(value * row["residual_norm"])
    if intervention.kind == "clamp":
        return float(row["projection_mean"] + value * row["projection_std"])
    return float(value)


def edits_hash(edits: Mapping[str, Sequence[Edit]]) -> str:
    """Return a hash of all agents' edits: what was played under others is played again."""
    digest = hashlib.sha256()
    for agent, some in edits.items():
        for edit in some:
            digest.update(f"{agent} {edit.layer} {edit.kind} {edit.value!r} ".encode())
            digest.update(np.ascontiguousarray(edit.vector, dtype="<f4").tobytes())
    return digest.hexdigest()[:16]
