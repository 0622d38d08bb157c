"""Layer lists: from what the config says to the layers of one model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from nashlens.errors import ConfigError


def resolve_layers(
    spec: Literal["all"] | Sequence[float], n_layers: int, *, first: int, key: str = "layers"
) -> list[int]:
    """Turn a layer list of the config into layers of a model.

    Parameters
    ----------
    spec : "all" or sequence of number
        Layers as configured; negative ones count from the last block, which is -1, and those
        between 0 and 1 are shares of the depth, rounded to the nearest layer.
    n_layers : int
        Blocks of the model.
    first : int
        The smallest layer that makes sense: 0 where the embedding counts, else 1.
    key : str
        The key's path, for the error.

    Returns
    -------
    list of int
        Ascending and distinct, each in `first` to `n_layers`. Two spellings of one layer
        (28 and -1 in a model of 28) are one layer, as one list serves models of any depth.

    Raises
    ------
    ConfigError
        One line for each layer that the model does not have.
    """
    if isinstance(spec, str):
        if spec != "all":
            raise ConfigError([f"{key}: found {spec!r}; allowed: all, or a list of layers"])
        return list(range(first, n_layers + 1))
    layers = [_resolve(found, n_layers, first) for found in spec]
    wrong = [
        found for found, layer in zip(spec, layers, strict=True) if not first <= layer <= n_layers
    ]
    if wrong:
        raise ConfigError(
            [
                f"{key}: found layer {layer}; allowed: {first} to {n_layers}, "
                f"or -1 (the last block) down to {first - n_layers - 1}"
                for layer in wrong
            ]
        )
    return sorted(set(layers))


def _resolve(found: float, n_layers: int, first: int) -> int:
    """Return one layer, which the model need not have."""
    if 0.0 < found < 1.0:
        return max(first, round(found * n_layers))
    return int(n_layers + 1 + found if found < 0 else found)
