"""Keys and values of a fixed number of slots, and how prompts come into them.

Each slot holds one sequence. New prompts are prefilled together as a prefix forest, so what they
share is computed once; and what they share with a prompt that is still in a slot is copied from
there, so a late prompt computes only its own tokens.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from nashlens.engine.block import TransformerBlock
from nashlens.engine.cache import Cache, KeyValues, empty_cache
from nashlens.engine.core import Engine
from nashlens.engine.forest import PackedSequence, Row, pack, shared_prefix, sort_key
from nashlens.engine.session import Session
from nashlens.engine.transfer import copy_to

_LEAST_PREFIX = 16  # a shorter prefix costs more to copy than to compute


class Slots:
    """Static keys and values, one sequence a slot.

    For each shard of the model and each block, keys and values are `(count, kv heads, capacity,
    head)`, where it computes. With a session, prompts are computed there: what it knows of them is
    not computed anew.
    """

    def __init__(self, engine: Engine, count: int, capacity: int, session: Session | None = None):
        self.engine = engine
        self.capacity = capacity
        self._session = session
        dtype = engine.blocks.dtype

        def buffer(block: TransformerBlock) -> torch.Tensor:
            # Zeros: a masked kernel multiplies what it does not see by 0, and NaN stays NaN.
            size = (count, block.kv_heads, capacity, block.head_dim)
            return torch.zeros(size, dtype=dtype, device=block.device)

        self.keys = [[buffer(block) for block in shard] for shard in engine.blocks.shards]
        self.values = [[buffer(block) for block in shard] for shard in engine.blocks.shards]
        self._prompts: dict[int, np.ndarray] = {}

    def prefill(
        self, slots: Sequence[int], prompts: Sequence[np.ndarray], kept: Sequence[int] = ()
    ) -> torch.Tensor:
        """Put a prompt into each of some slots, overwriting what was in them.

        Parameters
        ----------
        slots : sequence of int
        prompts : sequence of numpy.ndarray
            Token ids.
        kept : sequence of int, optional
            How many leading tokens of each the session keeps, where there is one.

        Returns
        -------
        torch.Tensor
            `(n, width)` residual after the last block at each prompt's last token.
        """
        finals: list[torch.Tensor] = []
        order: list[int] = []
        if self._session is not None:
            ids = [prompt.tolist() for prompt in prompts]
            for indices, paths, final, cache in self._session.prefilled(ids, kept):
                self._copy(cache, [slots[i] for i in indices], paths)
                finals.append(final)
                order += indices
            return _in_order(finals, order)
        for row, packed in pack([prompt.tolist() for prompt in prompts], self.engine.batch_tokens):
            chosen = [prompts[p.index] for p in packed]
            known = self._find_prefixes(chosen)
            if known:
                finals.append(
                    self._run_from_prefixes(known, [slots[p.index] for p in packed], chosen)
                )
            else:
                finals.append(self._run(row, packed, [slots[p.index] for p in packed]))
            order += [p.index for p in packed]
            self._prompts.update({slots[p.index]: prompts[p.index] for p in packed})
        return _in_order(finals, order)

    def _find_prefixes(self, prompts: Sequence[np.ndarray]) -> dict[int, tuple[int, int]]:
        """Return, for each prompt whose beginning is in some slot, which slot and how many tokens.

        At least the last token is left out, since its residual is needed.
        """
        sorted_prompts = sorted((sort_key(prompt), slot) for slot, prompt in self._prompts.items())
        found = {}
        for index, prompt in enumerate(prompts):
            # In lexicographic order, a neighbour shares the longest prefix.
            at = bisect.bisect(sorted_prompts, (sort_key(prompt), -1))
            near = [slot for _, slot in sorted_prompts[max(at - 1, 0) : at + 1]]
            shared = [(shared_prefix(self._prompts[s], prompt[:-1]), s) for s in near]
            if shared and max(shared)[0] >= _LEAST_PREFIX:
                found[index] = max(shared)[::-1]
        return found

    def _by_shard(
        self, layer: KeyValues, index: int
    ) -> Iterator[tuple[KeyValues, torch.Tensor, torch.Tensor]]:
        """Yield each shard's kept keys and values of a block, with the slots' own."""
        shards = len(self.keys)
        kept = [layer] if shards == 1 else layer.split(shards)
        for shard in range(shards):
            yield kept[shard], self.keys[shard][index], self.values[shard][index]

    def _on_devices(self, *indices: np.ndarray) -> dict[torch.device, list[torch.Tensor]]:
        """Return indices on each device that has slots: copied once, and not in every block."""
        devices = {keys.device for shard in self.keys for keys in shard}
        return {
            device: [copy_to(torch.from_numpy(i), device) for i in indices] for device in devices
        }

    def _run_from_prefixes(
        self,
        known: dict[int, tuple[int, int]],
        slots: Sequence[int],
        prompts: Sequence[np.ndarray],
    ) -> torch.Tensor:
        """Prefill prompts of which slots hold some beginnings; return their last residuals."""
        row = Row()
        source: list[np.ndarray] = []
        for index, (slot, n) in known.items():
            before = len(row)
            row.insert(prompts[index][:n].tolist())
            fresh = len(row) - before
            source.append(np.stack((np.full(fresh, slot), np.arange(n - fresh, n))))
        start, (of_slot, position) = len(row), np.concatenate(source, axis=1)
        packed = []
        for index, prompt in enumerate(prompts):
            before = len(row)
            path = row.insert(prompt.tolist())
            if path[-1] < start:
                # Another prompt's beginning continues where it ends; its last residual is needed.
                path = row.append(path[:-1], prompt[-1:].tolist())
            packed.append(PackedSequence(index, path, int(np.searchsorted(path, before))))
        cache, here = empty_cache(self.engine.n_layers), self._on_devices(of_slot, position)
        for index, layer in enumerate(cache):
            for kept, keys, values in self._by_shard(layer, index):
                rows, at = here[keys.device]
                kept.keep(keys[rows, :, at].transpose(0, 1), values[rows, :, at].transpose(0, 1))
            layer.length = start
        return self._run(row, packed, slots, cache, start)

    def _run(
        self,
        row: Row,
        packed: Sequence[PackedSequence],
        slots: Sequence[int],
        cache: Cache | None = None,
        start: int = 0,
    ) -> torch.Tensor:
        """Run a row and copy each sequence's keys and values to its slot."""
        cache = cache or empty_cache(self.engine.n_layers)
        last = np.array([p.path[-1] for p in packed]) - start
        final = self.engine.final_residuals(row, packed, last, cache, start)
        self._copy(cache, slots, [p.path for p in packed], forget=True)
        return final

    def _copy(
        self,
        cache: Cache,
        slots: Sequence[int],
        paths: Sequence[np.ndarray],
        *,
        forget: bool = False,
    ) -> None:
        """Copy each sequence's keys and values to its slot; a cache may be forgotten on the way."""
        lengths = [len(path) for path in paths]
        node = np.concatenate(paths)
        of_slot = np.repeat(np.array(slots), lengths)
        position = np.concatenate([np.arange(n) for n in lengths])
        here = self._on_devices(of_slot, position, node)
        for index, layer in enumerate(cache):
            for kept, keys, values in self._by_shard(layer, index):
                assert kept.keys is not None
                assert kept.values is not None
                rows, at, nodes = here[keys.device]
                keys[rows, :, at] = kept.keys[:, nodes].transpose(0, 1)
                values[rows, :, at] = kept.values[:, nodes].transpose(0, 1)
            if forget:
                # This block's are copied; the room is for what copying the next one's takes.
                cache[index] = KeyValues()


def _in_order(finals: Sequence[torch.Tensor], order: Sequence[int]) -> torch.Tensor:
    """Return the rows of all `finals` in the order that `order` numbers them in."""
    return torch.cat(list(finals))[torch.from_numpy(np.argsort(order)).to(finals[0].device)]
