"""Groups of heads and MLPs: those whose ablation costs the most, and random ones like them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from nashlens.engine.recording import Site
from nashlens.errors import DataError

Head = tuple[int, int]
"""A head: its block, 1 to the number of blocks, and which it is there, from 0."""
T = TypeVar("T")
LEAST_NEAR = 4
"""MLPs, at least, of the nearest layers among which a random one is drawn."""


def site_name(site: Site) -> str:
    """Return a component in one word, as the attribution table has it: `11.3`, `12.mlp`."""
    return f"{site.layer}.{site.head if site.kind == 'head' else site.kind}"


def components(n_layers: int, n_heads: int) -> dict[str, list[Site]]:
    """Return all heads and all MLPs of a model, by kind, the first layer's first."""
    layers = range(1, n_layers + 1)
    return {
        "head": [Site("head", layer, head) for layer in layers for head in range(n_heads)],
        "mlp": [Site("mlp", layer) for layer in layers],
    }


def candidate_group(drops: np.ndarray, n_heads: int, size: int) -> list[Head]:
    """Choose the heads whose ablation costs the Nash action the most.

    Parameters
    ----------
    drops : numpy.ndarray
        `(n_layers * n_heads,)` mean drops, the first layer's heads first.
    n_heads : int
        Number of heads in a layer; at most half of them are chosen, so that the control finds as
        many others.
    size : int

    Returns
    -------
    list of (int, int)
        Layer (from 1) and head (from 0), the largest drop first.

    Raises
    ------
    DataError
        If the model has too few heads.
    """
    group: list[Head] = []
    taken: Counter[int] = Counter()
    for index in np.argsort(-drops, kind="stable").tolist():
        layer, head = index // n_heads + 1, index % n_heads
        if len(group) < size and taken[layer] < n_heads // 2:
            group.append((layer, head))
            taken[layer] += 1
    if len(group) < size:
        raise DataError(
            f"circuits.group: found {size}; this model has {len(drops) // n_heads} layers of"
            f" {n_heads} heads, at most half of which can be compared with the other half:"
            f" allowed: at most {len(group)}"
        )
    return group


def control_groups(
    group: Sequence[Head], n_heads: int, count: int, rng: np.random.Generator
) -> list[list[Head]]:
    """Draw groups of other heads, as many from each layer as the candidate group has.

    Parameters
    ----------
    group : sequence of (int, int)
    n_heads : int
        Number of heads in a layer.
    count : int
        Number of groups, all different; fewer are returned if no more are found.
    rng : numpy.random.Generator
    """
    sizes = Counter(layer for layer, _ in group)
    others = {
        layer: [head for head in range(n_heads) if (layer, head) not in group] for layer in sizes
    }

    def draw() -> tuple[Head, ...]:
        return tuple(
            (layer, int(head))
            for layer, size in sorted(sizes.items())
            for head in sorted(rng.choice(others[layer], size, replace=False))
        )

    return _different(draw, count)


def candidate_mlps(drops: np.ndarray, size: int) -> list[int]:
    """Choose the layers whose MLPs' ablation costs the Nash action the most.

    Parameters
    ----------
    drops : numpy.ndarray
        `(n_layers,)` mean drops.
    size : int

    Raises
    ------
    DataError
        If more than half of the MLPs would be in the group.
    """
    most = len(drops) // 2
    if size > most:
        raise DataError(
            f"circuits.mlps: found {size}; this model has {len(drops)} MLPs, at most half of which"
            f" can be compared with the other half: allowed: at most {most}"
        )
    return [int(k) + 1 for k in np.argsort(-drops, kind="stable")[:size]]


def control_mlps(
    group: Sequence[int], n_layers: int, count: int, rng: np.random.Generator
) -> list[list[int]]:
    """Draw groups of other layers, each in place of one of the candidates' and near it.

    What an MLP's ablation costs differs with depth, and a layer has one only. So the other is drawn
    among those of a quarter of the layers, the nearest.

    Parameters
    ----------
    group : sequence of int
        Layers, from 1.
    n_layers : int
    count : int
        Number of groups, all different; fewer are returned if no more are found.
    rng : numpy.random.Generator
    """
    others = [layer for layer in range(1, n_layers + 1) if layer not in group]
    near = max(LEAST_NEAR, n_layers // 4, len(group))

    def draw() -> tuple[int, ...]:
        drawn: list[int] = []
        for layer in group:
            free = [other for other in others if other not in drawn]
            free.sort(key=lambda other: abs(other - layer))
            drawn.append(int(rng.choice(free[:near])))
        return tuple(sorted(drawn))

    return _different(draw, count)


def _different(draw: Callable[[], tuple[T, ...]], count: int) -> list[list[T]]:
    """Return different draws, as many as are wanted or found."""
    found: dict[tuple[T, ...], None] = {}
    for _ in range(20 * count):
        found[draw()] = None
        if len(found) == count:
            break
    return [list(drawn) for drawn in found]
