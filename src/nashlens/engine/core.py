"""The engine: residuals and label scores of packed prompts.

Work is counted in *new* tokens: a shared prefix is computed once a row (`forest`).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from nashlens.engine.cache import Cache, KeyValues
from nashlens.engine.forest import PackedSequence, Row, pack
from nashlens.engine.labels import LabelledPrompt, ScoredTokens, label_runs
from nashlens.engine.segments import Attention, path_segments
from nashlens.engine.tensor import blocks_of
from nashlens.engine.transfer import sent

if TYPE_CHECKING:
    from nashlens.engine.flex import TreeMask
    from nashlens.models.load import LoadedModel

log = logging.getLogger(__name__)

T = TypeVar("T")
FLEX_TOKENS = 1024  # shorter rows do not repay a block-sparse mask
FLEX_PAD = 512  # rows are padded to multiples of it


class Engine:
    """Forward passes of one loaded model.

    Parameters
    ----------
    loaded : nashlens.models.load.LoadedModel
    batch_tokens : int, default 4096
        Nodes that one packed row holds at most. Halved, with a warning, when the device runs out
        of memory.

    Attributes
    ----------
    n_layers, width : int
        Number of blocks, width of the residual stream.
    n_heads, head_dim : int
        Number of heads in a block, width of one's output.
    """

    def __init__(self, loaded: LoadedModel, batch_tokens: int = 4096):
        self.blocks = blocks_of(loaded)
        self.n_layers = len(self.blocks)
        self.width = int(loaded.width)
        self.n_heads, self.head_dim = self.blocks.heads, self.blocks.head_dim
        self.batch_tokens = batch_tokens

    @torch.inference_mode()
    def residuals(
        self, sequences: Sequence[Sequence[int]]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the residual stream at the last token of each sequence.

        Parameters
        ----------
        sequences : sequence of sequences of int
            Token ids.

        Yields
        ------
        indices : numpy.ndarray
            `(b,)` indices into `sequences`; over all batches, each once.
        residuals : numpy.ndarray
            `(b, n_layers + 1, width)` float32; 0 is the embedding, `l` the raw residual after
            block `l`, before the final norm.
        """

        def work(row: Row, packed: list[PackedSequence]) -> tuple[np.ndarray, Fetched]:
            last = np.array([p.path[-1] for p in packed])
            fetched = Fetched(self.n_layers + 1, len(last), self.width)
            self.run_row(
                row, parts_of(packed), capture=(last, range(self.n_layers + 1)), sink=fetched.put
            )
            return np.array([p.index for p in packed]), fetched

        # The device works on a batch while the one before it is copied and written.
        waiting: tuple[np.ndarray, Fetched] | None = None
        for launched in self.over_rows(sequences, work):
            if waiting is not None:
                yield waiting[0], waiting[1].numpy()
            waiting = launched
        if waiting is not None:
            yield waiting[0], waiting[1].numpy()

    @torch.inference_mode()
    def label_logprobs(self, prompts: Sequence[LabelledPrompt]) -> np.ndarray:
        """Score both labels after each prompt.

        Parameters
        ----------
        prompts : sequence of LabelledPrompt

        Returns
        -------
        numpy.ndarray
            `(n, 2)` float64: log P(whole label sequence | prompt), for actions 0 and 1.
        """
        runs = label_runs(prompts)
        result = np.full((len(prompts), 2), np.nan)

        def work(row: Row, packed: list[PackedSequence]) -> None:
            scored = ScoredTokens.joined([runs[p.index].scored_tokens(p.path) for p in packed])
            nodes, rows = np.unique(scored.rows, return_inverse=True)
            final = self.run_row(row, parts_of(packed), capture=(nodes, [self.n_layers]))[
                self.n_layers
            ]
            replace(scored, rows=rows).add_to(result, final, self.blocks.logits)

        for _ in self.over_rows([run.sequence for run in runs], work):
            pass
        return result

    def over_rows(
        self,
        sequences: Sequence[Sequence[int]],
        work: Callable[[Row, list[PackedSequence]], T],
    ) -> Iterator[T]:
        """Apply `work` to packed rows, halving the budget where memory runs out."""
        pending = list(range(len(sequences)))
        while pending:
            done: set[int] = set()
            try:
                rows = pack([sequences[i] for i in pending], self.batch_tokens, self.blocks.short)
                for row, packed in rows:
                    mine = [replace(p, index=pending[p.index]) for p in packed]
                    yield work(row, mine)
                    done.update(p.index for p in mine)
                return
            except torch.OutOfMemoryError:
                if self.batch_tokens <= 64:
                    raise
                self.batch_tokens //= 2
                log.warning("out of memory; packing %d tokens a row from now on", self.batch_tokens)
                torch.cuda.empty_cache()
            pending = [i for i in pending if i not in done]

    def run_row(
        self,
        row: Row,
        parts: Sequence[tuple[np.ndarray, int]],
        *,
        capture: tuple[np.ndarray, Sequence[int] | range],
        cache: Cache | None = None,
        start: int = 0,
        sink: Callable[[int, torch.Tensor], None] | None = None,
    ) -> dict[int, torch.Tensor]:
        """Run all blocks over a row's nodes from `start` on, the earlier ones being in `cache`.

        Parameters
        ----------
        row : Row
        parts : sequence of (numpy.ndarray, int)
            Paths that together bring every node from `start` on, each with how many of its leading
            nodes were there before.
        capture : (numpy.ndarray, sequence of int)
            Nodes, counted from `start`, and the layers after which their residuals are wanted.
        cache : Cache, optional
            Keys and values; those of the new nodes are added.
        start : int
        sink : callable, optional
            Takes each wanted layer and its residuals as soon as they are launched, in place of the
            result, which is then empty.

        Returns
        -------
        dict of int to torch.Tensor
            `(nodes, width)` for each wanted layer.
        """
        wanted = set(capture[1])
        # Lists become arrays once: it takes as long as packing them did.
        tokens, depth = np.array(row.tokens[start:]), np.array(row.depth)
        flexible = self.blocks.flex and start == 0 and len(row) > FLEX_TOKENS
        ends = row.ends() if flexible else None
        attention: Attention | TreeMask
        if ends is None:
            segments = path_segments(parts, start)
            attention = Attention(segments, depth, self.blocks.device(0))
        else:
            from nashlens.engine.flex import TreeMask

            # Few lengths, since each is compiled; padding sees itself alone.
            spare = -len(row) % FLEX_PAD
            tokens, depth = np.pad(tokens, (0, spare)), np.pad(depth, (0, spare))
            ends = np.concatenate((ends, len(row) + 1 + np.arange(spare)))
            attention = TreeMask(ends, depth, self.blocks.device(0))
        positions = torch.from_numpy(depth[start:])
        h = self.blocks.embed(torch.from_numpy(tokens), positions)
        rotations = self.blocks.rotations(positions, h)
        # Moved once: a copy to a GPU in every layer would wait for it each time.
        nodes = sent(torch.from_numpy(capture[0]), h.device)
        captured: dict[int, torch.Tensor] = {}
        keep_layer = sink or captured.__setitem__
        if 0 in wanted:
            keep_layer(0, h[nodes])
        projected = None
        for index in range(self.n_layers):
            device = self.blocks.device(index)
            if h.device != device:
                h, rotations, attention = moved(device, h, rotations, attention)
                nodes = nodes.to(device)
            before = cache.layers[index] if cache else KeyValues()
            # After the last block nothing else is looked at.
            few = index + 1 == self.n_layers and len(nodes) < len(row) - start
            h, projected = self.blocks.onward(
                index,
                h,
                rotations,
                attention.only(capture[0]) if few else attention,
                before,
                projected,
                keep=cache is not None,
                only=nodes if few else None,
            )
            if cache is not None and ends is not None:
                before.trim(len(row))
            if index + 1 in wanted:
                keep_layer(index + 1, h if few else h[nodes])
        return captured


def parts_of(packed: Sequence[PackedSequence]) -> list[tuple[np.ndarray, int]]:
    """Return each sequence's path, and how many of its leading nodes another one brings."""
    return [(p.path, p.shared) for p in packed]


class Fetched:
    """Residuals on their way to the host, each layer as soon as it is computed.

    Parameters
    ----------
    layers, n, width : int
    """

    def __init__(self, layers: int, n: int, width: int):
        self._size = (layers, n, width)
        self._host: torch.Tensor | None = None
        self._copied: dict[torch.device, torch.cuda.Stream] = {}

    def put(self, layer: int, values: torch.Tensor) -> None:
        """Fetch `(n, width)`; a GPU goes on working while they are copied to pinned memory."""
        device = values.device
        cuda = device.type == "cuda"
        if self._host is None:
            self._host = torch.empty(self._size, dtype=torch.float32, pin_memory=cuda)
        if not cuda:
            self._host[layer] = values
            return
        stream = self._copied.setdefault(device, _copying(device))
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            self._host[layer].copy_(values.float(), non_blocking=True)
        values.record_stream(stream)

    def numpy(self) -> np.ndarray:
        """Wait for the copies and return `(n, layers, width)` float32."""
        for stream in self._copied.values():
            stream.synchronize()
        assert self._host is not None
        result: np.ndarray = self._host.numpy().transpose(1, 0, 2)
        return result


@functools.cache
def _copying(device: torch.device) -> torch.cuda.Stream:
    """Return a device's stream for copies to the host."""
    return torch.cuda.Stream(device)


def moved(
    device: torch.device, h: torch.Tensor, rotations: tuple[torch.Tensor, ...], attention: Any
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], Any]:
    """Return what a block takes, on its device."""
    return h.to(device), tuple(r.to(device) for r in rotations), attention.to(device)
