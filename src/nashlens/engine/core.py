"""The engine: residuals and label scores of packed prompts.

Work is counted in *new* tokens: a shared prefix is computed once a row (`forest`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import torch

from nashlens.chunks import digest_of, resumed, scope
from nashlens.engine.blocks import Blocks
from nashlens.engine.cache import Cache, KeyValues
from nashlens.engine.capture import CapturedBatch, HostCopy, checked_places
from nashlens.engine.forest import PackedSequence, Row, pack
from nashlens.engine.labels import LabelledPrompt, ScoredTokens, label_runs
from nashlens.engine.segments import SegmentAttention, path_segments
from nashlens.engine.stack import AttentionPattern, BlockInput, BlockStack
from nashlens.engine.steered import MarkedRows, Steering
from nashlens.engine.tensor import TensorBlocks
from nashlens.engine.transfer import copy_to
from nashlens.memory import Batch
from nashlens.vocabulary.models import COMPILED_FROM

if TYPE_CHECKING:
    from nashlens.models.loaded import LoadedModel

T = TypeVar("T")
FLEX_TOKENS = 1024  # shorter rows do not repay a block-sparse mask
FLEX_PAD = 512  # rows are padded to multiples of it
COPY_BYTES = 1 << 27
"""Bytes of residuals that go to the host at a time; a few such batches are in its memory at once,
whatever a row holds."""


class Capture(NamedTuple):
    """Which residuals of a row are needed: nodes, counted from the first new one, and layers.

    Layer 0 is the embedding.
    """

    nodes: np.ndarray
    layers: Collection[int]


class PreparedRow(NamedTuple):
    """What the blocks take of a row.

    `tokens` and `positions` are those of the new tokens, with padding behind the first `new` where
    the attention is block-sparse.
    """

    tokens: np.ndarray
    positions: np.ndarray
    new: int
    attention: AttentionPattern


class Engine:
    """Forward passes of one loaded model.

    Parameters
    ----------
    loaded : nashlens.models.loaded.LoadedModel
    batch_tokens : int, default 4096
        Nodes that one packed row holds at most. Halved when the device runs out of memory.
    compiled : bool, optional
        Whether what runs on GPUs is compiled; by default where the model has
        `nashlens.vocabulary.models.COMPILED_FROM` parameters.

    Attributes
    ----------
    n_layers, width : int
        Number of blocks, width of the residual stream.
    n_heads, head_dim : int
        Number of heads in a block, width of one's output.
    steering : Steering or None
        What edits label scores and generation (`steered.steered`).
    """

    def __init__(
        self, loaded: LoadedModel, batch_tokens: int = 4096, *, compiled: bool | None = None
    ):
        self.blocks: BlockStack = _block_stack(loaded, compiled)
        self.n_layers = len(self.blocks)
        self.width = int(loaded.width)
        self.n_heads, self.head_dim = self.blocks.heads, self.blocks.head_dim
        # Halved where memory runs out: a row's tokens, and prompts that grow or are continued.
        self.rows = Batch("tokens of a row", batch_tokens, least=64)
        self.prompts, self.slots = Batch("prompts of a session"), Batch("slots of generation")
        self.steering: Steering | None = None

    @property
    def batch_tokens(self) -> int:
        """Nodes that one packed row holds at most."""
        return self.rows.size

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
        last = np.array([len(sequence) - 1 for sequence in sequences]).reshape(-1, 1)
        for indices, residuals in self.residuals_at(sequences, last):
            yield indices, residuals[:, 0]

    @torch.inference_mode()
    def residuals_at(
        self, sequences: Sequence[Sequence[int]], places: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the residual stream at some tokens of each sequence.

        Parameters
        ----------
        sequences : sequence of sequences of int
            Token ids.
        places : numpy.ndarray
            `(n, k)` which tokens of each sequence, from 0; -1 for none.

        Yields
        ------
        indices : numpy.ndarray
            `(b,)` indices into `sequences`; over all batches, each once.
        residuals : numpy.ndarray
            `(b, k, n_layers + 1, width)` float32, as in `residuals`; NaN where there is no token.

        Raises
        ------
        DataError
            If a sequence ends before one of its tokens.
        """
        places = checked_places(sequences, places)
        each = places.shape[1] * (self.n_layers + 1) * self.width * 4

        def launch(row: Row, packed: list[PackedSequence]) -> CapturedBatch:
            mine = np.array([p.index for p in packed])
            nodes = np.stack([np.append(p.path, -1)[places[p.index]] for p in packed])
            # A token that several sequences share is captured and copied once.
            captured, which = np.unique(nodes[nodes >= 0], return_inverse=True)
            copy = HostCopy(self.n_layers + 1, len(captured), self.width)
            for layer, values in self.run_row(
                row, packed, capture=Capture(captured, range(self.n_layers + 1))
            ):
                copy.add(layer, values)
            return CapturedBatch(mine, nodes >= 0, which, copy)

        # The device works on a batch while the one before it is copied and written.
        waiting: CapturedBatch | None = None
        for launched in self.map_rows(sequences, launch, most=max(1, COPY_BYTES // each)):
            if waiting is not None:
                yield waiting.indices, waiting.residuals()
            waiting = launched
        if waiting is not None:
            yield waiting.indices, waiting.residuals()

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
        runs = label_runs(prompts, self.steering)
        result = np.full((len(prompts), 2), np.nan)

        def score(row: Row, packed: list[PackedSequence]) -> None:
            scored = ScoredTokens.joined([runs[p.index].scored_tokens(p.path) for p in packed])
            nodes, rows = np.unique(scored.rows, return_inverse=True)

            def logprobs() -> np.ndarray:
                final = self.final_residuals(row, packed, nodes)
                return replace(scored, rows=rows).logprobs(final, self.blocks.logits)

            name = digest_of(np.array(row.tokens), scored.rows, scored.tokens, *scored.where)
            scored.add_to(result, resumed(name, logprobs))

        with scope("labels"):
            for _ in self.map_rows([run.sequence for run in runs], score):
                pass
        return result

    def map_rows(
        self,
        sequences: Sequence[Sequence[int]],
        work: Callable[[Row, list[PackedSequence]], T],
        most: int | None = None,
    ) -> Iterator[T]:
        """Yield what `work` makes of each packed row, which holds `most` sequences at most.

        Where memory runs out, the budget of a row is halved and what is left is packed anew.
        """
        pending = list(range(len(sequences)))
        while pending:
            done: set[int] = set()
            with self.rows:
                left = [sequences[i] for i in pending]
                for row, packed in pack(left, self.batch_tokens, self.blocks.short, most):
                    mine = [replace(p, index=pending[p.index]) for p in packed]
                    yield work(row, mine)
                    done.update(p.index for p in mine)
                return
            pending = [i for i in pending if i not in done]

    def final_residuals(
        self,
        row: Row,
        packed: Sequence[PackedSequence],
        nodes: np.ndarray,
        cache: Cache | None = None,
        start: int = 0,
    ) -> torch.Tensor:
        """Return `(m, width)` residuals after the last block; parameters as for `run_row`."""
        wanted = Capture(nodes, [self.n_layers])
        return dict(self.run_row(row, packed, capture=wanted, cache=cache, start=start))[
            self.n_layers
        ]

    def run_row(
        self,
        row: Row,
        packed: Sequence[PackedSequence],
        *,
        capture: Capture,
        cache: Cache | None = None,
        start: int = 0,
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Run all blocks over a row's nodes from `start` on, the earlier ones being in `cache`.

        Parameters
        ----------
        row : Row
        packed : sequence of PackedSequence
            Together they bring every node from `start` on.
        capture : Capture
        cache : Cache, optional
            Keys and values; those of the new nodes are added.
        start : int

        Yields
        ------
        layer : int
            Each captured layer, from below.
        residuals : torch.Tensor
            `(nodes, width)`, as soon as they are launched; the blocks above wait until the next is
            asked for.
        """
        return self._walk(self._prepare(row, packed, start), capture, cache)

    def _prepare(self, row: Row, packed: Sequence[PackedSequence], start: int) -> PreparedRow:
        """Return a row's new tokens and who attends to what."""
        # Lists become arrays once: it takes as long as packing them did.
        tokens, positions = np.array(row.tokens[start:]), np.array(row.depth)
        new, device, pieces = len(tokens), self.blocks.device(0), self.blocks.pieces
        ends = row.ends() if pieces and start == 0 and new > FLEX_TOKENS else None
        if pieces is None or ends is None:
            attention = SegmentAttention(path_segments(packed, start), positions, device)
            return PreparedRow(tokens, positions[start:], new, attention)
        # Few lengths, since each is compiled; a padding token sees only itself.
        spare = -new % FLEX_PAD
        tokens, positions = np.pad(tokens, (0, spare)), np.pad(positions, (0, spare))
        ends = np.concatenate((ends, new + 1 + np.arange(spare)))
        return PreparedRow(tokens, positions, new, pieces.sparse_mask(ends, positions, device))

    def _walk(
        self, prepared: PreparedRow, capture: Capture, cache: Cache | None
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Run a prepared row through the blocks, yielding what is captured on the way."""
        positions, attention = torch.from_numpy(prepared.positions), prepared.attention
        steered = MarkedRows(self.steering, prepared.tokens)
        h = self.blocks.embed(torch.from_numpy(steered.tokens), positions)
        rotations = self.blocks.rotations(positions, h)
        # Moved once: a copy to a GPU in every layer would wait for it each time.
        nodes = copy_to(torch.from_numpy(capture.nodes), h.device)
        if steered.changes(0):
            h = steered.apply(0, h)
        if 0 in capture.layers:
            yield 0, h[nodes]
        projected = None
        for index in range(self.n_layers):
            device = self.blocks.device(index)
            if h.device != device:
                h, rotations, attention = move_to(device, h, rotations, attention)
                nodes = nodes.to(device)
            before = cache[index] if cache else KeyValues()
            # After the last block only the captured nodes are looked at.
            few = index + 1 == self.n_layers and len(nodes) < prepared.new
            given = BlockInput(
                h,
                rotations,
                attention.only(capture.nodes) if few else attention,
                before,
                keep=cache is not None,
                only=nodes if few else None,
            )
            if steered.changes(index + 1):
                # The next block's projections wait for the edit.
                h, projected = self.blocks.forward(index, given), None
                h = steered.apply(index + 1, h, capture.nodes if few else None)
            else:
                h, projected = self.blocks.forward_ahead(index, given, projected)
            if cache is not None and prepared.new < len(positions):
                before.trim(prepared.new)
            if index + 1 in capture.layers:
                yield index + 1, h if few else h[nodes]


def _block_stack(loaded: LoadedModel, compiled: bool | None) -> BlockStack:
    """Return a model's blocks, with compiled pieces where all of them are on GPUs."""
    stack = TensorBlocks(loaded) if loaded.shards else Blocks(loaded)
    if all(device.type == "cuda" for device in stack.devices):
        if compiled is None:
            compiled = bool(loaded.shards) or _parameters(loaded) >= COMPILED_FROM
        if compiled:
            # Importing the compiler takes seconds, which a CPU job need not pay.
            from nashlens.engine.flex import PIECES

            stack.pieces = PIECES
    return stack


def _parameters(loaded: LoadedModel) -> int:
    return sum(weight.numel() for weight in loaded.model.parameters())


def move_to(
    device: torch.device,
    h: torch.Tensor,
    rotations: tuple[torch.Tensor, ...],
    attention: AttentionPattern,
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], AttentionPattern]:
    """Return what a block takes, on its device."""
    return h.to(device), tuple(r.to(device) for r in rotations), attention.to(device)
