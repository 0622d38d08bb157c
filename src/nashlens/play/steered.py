"""Steered players: from an agent's intervention and a model's directions to edits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from nashlens.config.layers import resolve_layers
from nashlens.engine.edits import Edit
from nashlens.errors import DataError
from nashlens.seeds import stream
from nashlens.tables import read_table
from nashlens.vocabulary.edits import EditKind, PlayerDirection, SteeredTokens

if TYPE_CHECKING:
    from nashlens.play.schedule import Agent


@dataclass(frozen=True)
class PlayerIntervention:
    """What is done to a player's residuals whenever it decides or writes."""

    direction: PlayerDirection
    """Which of the model's directions; or `random`, one of the same length."""
    layers: tuple[float, ...]
    """Blocks after each of which the residual is edited, as the config has them: negative ones
    count from the last, and those between 0 and 1 are shares of the depth."""
    kind: EditKind
    """`add`, `clamp` or `ablate`."""
    value: float
    """The dose, as in the steering sweep."""
    positions: SteeredTokens
    """At which tokens (`nashlens.engine.steered.Steering`)."""
    units: str = "norms"
    """Of an added dose: mean residual norms of the layer, or the residual's own (`absolute`)."""
    player: str = ""
    """What all doses of an agent are called together."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> PlayerIntervention:
        """Make one from a dose's section in the config (`nashlens.config.doses`)."""
        return cls(**{**config, "layers": tuple(config["layers"])})


@dataclass(frozen=True, eq=False)
class ModelDirections:
    """A model's directions, and the sizes by which doses are measured."""

    units: Mapping[str, np.ndarray]
    """Unit vectors by kind, `(layers + 1, width)` each."""
    mean: np.ndarray
    """Mean residuals, `(layers + 1, width)`, around which random directions are clamped."""
    table: pd.DataFrame
    """The directions table: one row a kind and layer."""

    @classmethod
    def read(cls, path: Path) -> ModelDirections:
        """Read `directions/{model}.npz` and the table beside it."""
        with np.load(path, allow_pickle=False) as arrays:
            units = {name: arrays[name] for name in arrays.files}
        return cls(units, units.pop("mean"), read_table(path.with_suffix(".parquet")))

    def edits(
        self, agent: str, intervention: PlayerIntervention, *, seed: int = 0
    ) -> tuple[Edit, ...]:
        """Return an agent's edits, one a layer.

        A random direction is drawn from `seed` and the player's name: all its doses share it, at
        all layers. It is clamped as in the sweep, by the largest deviation of any direction there.

        Raises
        ------
        DataError
            If the model has no such direction at a layer.
        ConfigError
            If it has no such layer.
        """
        key, kind = f"agents.{agent}.intervention", intervention.direction
        if kind == "random":
            vectors, rows = self._random(intervention.player, seed)
        elif kind in self.units:
            vectors = self.units[kind]
            rows = self.table[self.table["direction"] == kind].set_index("layer")
        else:
            raise DataError(f"{key}.direction: found {kind!r}; fitted: {', '.join(self.units)}")
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

    def _random(self, player: str, seed: int) -> tuple[np.ndarray, pd.DataFrame]:
        """Return a random direction at all layers, and the sizes of doses along it."""
        rng = stream(seed, "random direction of a player", player)
        draws: np.ndarray = rng.standard_normal(size=(self.mean.shape[1],))
        vector = (draws / np.linalg.norm(draws)).astype(np.float32)
        by_layer = self.table.groupby("layer")
        rows = by_layer[["residual_norm", "projection_std"]].max()
        along = self.mean @ vector
        rows["projection_mean"] = [float(along[layer]) for layer in rows.index]
        return np.broadcast_to(vector, self.mean.shape), rows


def _own_units(intervention: PlayerIntervention, row: Any) -> float:
    """Return a dose in the residual's own units."""
    value = intervention.value
    if intervention.kind == "add" and intervention.units == "norms":
        return float(value * row["residual_norm"])
    if intervention.kind == "clamp":
        return float(row["projection_mean"] + value * row["projection_std"])
    return float(value)


class SteeredAgent(NamedTuple):
    """A steered agent's model, its edits, and the tokens at which they are made."""

    model: str
    edits: tuple[Edit, ...]
    positions: SteeredTokens


def steered_agents(
    agents: Sequence[Agent], directions: Sequence[Path], *, seed: int
) -> dict[str, SteeredAgent]:
    """Return the steered ones of some agents by name; `directions` as for `play_group`."""
    files = {path.stem: path for path in directions}
    result = {}
    for agent in agents:
        how = agent.intervention
        if how is None or agent.model is None:
            continue
        if agent.model not in files:
            raise DataError(f"agents.{agent.name}: no directions of {agent.model} were given")
        found = ModelDirections.read(files[agent.model])
        edits = found.edits(agent.name, how, seed=seed)
        result[agent.name] = SteeredAgent(agent.model, edits, how.positions)
    return result


def edits_hash(edits: Mapping[str, Sequence[Edit]]) -> str:
    """Return a hash of all agents' edits: what was played under others is played again."""
    digest = hashlib.sha256()
    for agent, some in edits.items():
        for edit in some:
            digest.update(f"{agent} {edit.layer} {edit.kind} {edit.value!r} ".encode())
            digest.update(np.ascontiguousarray(edit.vector, dtype="<f4").tobytes())
    return digest.hexdigest()[:16]
