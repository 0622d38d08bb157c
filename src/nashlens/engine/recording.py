"""Values at sites within a model: what a block adds, what its heads give, and the residuals."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from nashlens.engine.block import BlockChange
from nashlens.engine.cache import KeyValues
from nashlens.engine.core import move_to
from nashlens.engine.segments import SegmentAttention, path_segments
from nashlens.engine.stack import BlockInput
from nashlens.engine.transfer import copy_to
from nashlens.errors import DataError

if TYPE_CHECKING:
    from nashlens.engine.core import Engine
    from nashlens.engine.forest import PackedSequence, Row

KINDS = ("residual", "attention", "mlp", "head")
Place = tuple[str, int]
"""A site's kind and layer; all heads of a layer are one place."""


class Site(NamedTuple):
    """Where values are read or replaced."""

    kind: str
    """`residual` after a layer; what its `attention` or `mlp` adds; one `head`'s output before the
    output projection."""
    layer: int
    """From 1; the residual has a layer 0 too, the embedding."""
    head: int = -1
    """From 0, for heads."""


def check_sites(engine: Engine, sites: Collection[Site]) -> None:
    """Refuse sites that a model lacks, by a DataError."""
    for site in sites:
        least = 0 if site.kind == "residual" else 1
        if site.kind not in KINDS or not least <= site.layer <= engine.n_layers:
            raise DataError(f"{site}: this model has no such site in {engine.n_layers} layers")
        if site.kind == "head" and not 0 <= site.head < engine.n_heads:
            raise DataError(f"{site}: this model has heads 0 to {engine.n_heads - 1}")


class Recorded(NamedTuple):
    """Values of some tokens of sequences, on the device."""

    values: dict[Place, torch.Tensor]
    """`(parts, n, size)`: a part is a head, and there is one where there are no heads."""
    rows: list[np.ndarray]
    """For each sequence, `(length,)` which of the n a token's values are; -1 for none."""


@torch.inference_mode()
def record(
    engine: Engine,
    sequences: Sequence[Sequence[int]],
    tokens: Sequence[Sequence[int]],
    places: Collection[Place],
) -> Recorded:
    """Record values at some tokens of each sequence.

    Parameters
    ----------
    engine : Engine
    sequences : sequence of sequences of int
        Token ids. What several begin with is computed once.
    tokens : sequence of sequences of int
        Which tokens of each.
    places : collection of (str, int)
        Kinds and layers.
    """
    found: list[dict[Place, torch.Tensor]] = []
    rows: list[np.ndarray] = [np.empty(0, dtype=np.int64)] * len(sequences)
    count = 0

    def work(
        row: Row, packed: list[PackedSequence]
    ) -> tuple[np.ndarray, list[PackedSequence], dict[Place, torch.Tensor]]:
        wanted = [p.path[np.asarray(tokens[p.index], dtype=np.int64)] for p in packed]
        nodes = np.unique(np.concatenate(wanted))
        return nodes, packed, _walk(engine, row, packed, nodes, places)

    for nodes, packed, values in engine.map_rows(sequences, work):
        for p in packed:
            at = np.asarray(tokens[p.index], dtype=np.int64)
            rows[p.index] = np.full(len(p.path), -1)
            rows[p.index][at] = count + np.searchsorted(nodes, p.path[at])
        found.append(values)
        count += len(nodes)
    joined = {
        place: torch.cat([values[place] for values in found], dim=1) if len(found) > 1 else one
        for place, one in (found[0].items() if found else ())
    }
    return Recorded(joined, rows)


def _walk(
    engine: Engine,
    row: Row,
    packed: Sequence[PackedSequence],
    nodes: np.ndarray,
    places: Collection[Place],
) -> dict[Place, torch.Tensor]:
    """Run a row up to the highest place; return the values of some nodes."""
    blocks, positions = engine.blocks, np.array(row.depth)
    recorder = _Recorder(torch.from_numpy(nodes), engine.n_heads)
    device = blocks.device(0)
    attention = SegmentAttention(path_segments(packed, 0), positions, device)
    at = torch.from_numpy(positions)
    h = blocks.embed(torch.from_numpy(np.array(row.tokens)), at)
    rotations = blocks.rotations(at, h)
    if ("residual", 0) in places:
        recorder.add("residual", 0, h)
    for layer in range(1, max((layer for _, layer in places), default=0) + 1):
        device = blocks.device(layer - 1)
        h, rotations, attention = move_to(device, h, rotations, attention)  # type: ignore[assignment]
        change = recorder.change(layer, places)
        h = blocks.forward(
            layer - 1, BlockInput(h, rotations, attention, KeyValues(), change=change)
        )
        if ("residual", layer) in places:
            recorder.add("residual", layer, h)
    return recorder.values


class _Recorder:
    """Keeps values of some tokens as they come by."""

    def __init__(self, nodes: torch.Tensor, heads: int):
        self._nodes, self._heads = nodes, heads
        self.values: dict[Place, torch.Tensor] = {}

    def _nodes_on(self, device: torch.device) -> torch.Tensor:
        self._nodes = copy_to(self._nodes, device)
        return self._nodes

    def add(self, kind: str, layer: int, values: torch.Tensor) -> torch.Tensor:
        if (kind, layer) not in self.values:  # where devices share the heads, each has a copy
            self.values[kind, layer] = values[self._nodes_on(values.device)][None]
        return values

    def _add_heads(self, layer: int, attended: torch.Tensor, first: int) -> torch.Tensor:
        here = attended[:, self._nodes_on(attended.device)]
        if ("head", layer) not in self.values:
            self.values["head", layer] = here.new_empty(self._heads, *here.shape[1:])
        self.values["head", layer][first : first + len(here)] = here
        return attended

    def change(self, layer: int, places: Collection[Place]) -> BlockChange | None:
        """Return what records within a block, and changes nothing."""
        wanted = [kind for kind in ("head", "attention", "mlp") if (kind, layer) in places]
        if not wanted:
            return None
        return BlockChange(
            (lambda x, first: self._add_heads(layer, x, first)) if "head" in wanted else None,
            (lambda x: self.add("attention", layer, x)) if "attention" in wanted else None,
            (lambda x: self.add("mlp", layer, x)) if "mlp" in wanted else None,
        )


def site_outputs(
    engine: Engine,
    sequences: Sequence[Sequence[int]],
    sites: Sequence[Site],
    tokens: Sequence[Sequence[int]],
) -> dict[Site, np.ndarray]:
    """Return the values at sites, for means.

    Parameters
    ----------
    engine : Engine
    sequences : sequence of sequences of int
        Token ids.
    sites : sequence of Site
    tokens : sequence of sequences of int
        Which tokens of each sequence. A mean over the tokens of one group is what replaces values
        at that group: means over all tokens hold what no decision token has.

    Returns
    -------
    dict of Site to numpy.ndarray
        `(n, width)` float32, or `(n, head_dim)` for heads: all tokens of the first sequence, then
        those of the second, and so on.

    Raises
    ------
    DataError
        If the model lacks a site.
    """
    check_sites(engine, sites)
    recorded = record(engine, sequences, tokens, {(site.kind, site.layer) for site in sites})
    wanted = zip(recorded.rows, tokens, strict=True)
    rows = np.concatenate([row[np.asarray(at, dtype=np.int64)] for row, at in wanted])
    result = {}
    for site in sites:
        values = recorded.values[site.kind, site.layer][max(site.head, 0)]
        result[site] = values[torch.from_numpy(rows).to(values.device)].float().cpu().numpy()
    return result
