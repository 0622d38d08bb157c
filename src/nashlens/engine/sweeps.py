"""Sweeps: label scores under many interventions, computing only what each can change.

The unsteered row is computed once. Then each intervention runs the tokens from its position on
again, in the blocks above the lowest layer that it touches: copies of them (`forks`) run in one
batch, whatever their layers, and join it at the layer from which they differ.

Three kinds of positions:

- `last`: only the decision position is edited. Labels' further tokens run again, unedited.
- from a position on, a number for each prompt: it and all later tokens are edited, those of labels
  included.
- `all`: from position 0 on. Nothing but the layers below is shared with the unsteered row, yet
  sequences go on sharing their prefixes, edited alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from nashlens.chunks import digest_of, each, kept
from nashlens.engine.cache import Cache, KeyValues, empty_cache
from nashlens.engine.copies import CopiesAttention
from nashlens.engine.core import FLEX_PAD, FLEX_TOKENS, Capture, move_to
from nashlens.engine.edits import EditBatch, Intervention, InterventionBatch, edits_of
from nashlens.engine.forks import Fork, first_edited, forks_of
from nashlens.engine.labels import LabelledPrompt, LabelRun, label_runs
from nashlens.engine.stack import AttentionPattern, BlockInput
from nashlens.engine.transfer import copy_to
from nashlens.errors import DataError

if TYPE_CHECKING:
    from nashlens.engine.core import Engine
    from nashlens.engine.forest import PackedSequence, Row

_FORK_TOKENS = 1024  # fork tokens that a CPU runs at once
_PROMPTS_AT_ONCE = 8

Positions = Literal["last", "all"] | Sequence[int]
"""Which positions are edited; a sequence has for each prompt the first."""
Watch = Callable[[int, torch.Tensor], None]
"""What is shown residuals after a layer."""


@torch.inference_mode()
def sweep(
    engine: Engine,
    prompts: Sequence[LabelledPrompt],
    interventions: Sequence[Intervention],
    positions: Positions = "last",
    *,
    what: str | None = None,
) -> np.ndarray:
    """Score both labels under each intervention.

    Parameters
    ----------
    engine : Engine
    prompts : sequence of LabelledPrompt
    interventions : sequence of Edit or of tuples of Edit
        Each is applied by itself; the edits of a tuple are applied together.
    positions : {"last", "all"} or sequence of int, default "last"
        Which positions are edited: the prompt's last token, all of prompt and label, or those from
        a position on, counted from 0, one for each prompt.
    what : str, optional
        As for `score_under`.

    Returns
    -------
    numpy.ndarray
        `(n, len(interventions), 2)` float64 log P of the whole label sequences.

    Raises
    ------
    DataError
        If there is no edit, one names a layer that the model lacks, or a position is not in its
        prompt.
    """
    interventions = list(interventions)
    _check(engine, interventions)
    batch = EditBatch(interventions)
    return score_under(engine, prompts, batch, positions, what=what)


@torch.inference_mode()
def score_under(
    engine: Engine,
    prompts: Sequence[LabelledPrompt],
    interventions: InterventionBatch,
    positions: Positions,
    *,
    what: str | None = None,
) -> np.ndarray:
    """Score both labels under each of a batch of interventions of any kind.

    With a name `what` for a progress display, a few prompts run at once, so that progress shows and
    memory holds only their forks; otherwise all run at once.

    Returns
    -------
    numpy.ndarray
        `(n, interventions, 2)` float64 log P of the whole label sequences.
    """
    if what is not None:
        starts = range(0, len(prompts), _PROMPTS_AT_ONCE)
        steps = [slice(start, start + _PROMPTS_AT_ONCE) for start in starts]

        def score(some: slice) -> np.ndarray:
            here = positions if isinstance(positions, str) else positions[some]
            return score_under(engine, prompts[some], interventions, here)

        return np.concatenate(each(steps, score, what, unit="steps"))
    result = np.full((len(prompts), len(interventions.first_layers), 2), np.nan)

    def work(fork: Fork, steered: SteeredFork) -> None:
        for which in steered.chunks():
            steered.score(which, which, result)

    map_forks(engine, prompts, interventions, positions, work)
    return result


def map_forks(
    engine: Engine,
    prompts: Sequence[LabelledPrompt],
    interventions: InterventionBatch,
    positions: Positions,
    work: Callable[[Fork, SteeredFork], None],
) -> None:
    """Run the unsteered rows, and let `work` run each of their forks.

    Raises
    ------
    DataError
        If a position is not in its prompt.
    """
    runs = label_runs(prompts)
    starts = _starts(prompts, positions)
    marks: list[np.ndarray | None] = []
    for run in runs:
        start, last = starts[run.prompt], positions == "last"
        edited = np.full(len(run.sequence), -1)
        edited[start : start + 1 if last else None] = 0
        marks.append(edited)
    map_jobs(engine, runs, [Job(interventions, marks)], work)


class Job(NamedTuple):
    """Interventions at the tokens that `marks` says of each run (see `forks_of`), or None there."""

    interventions: InterventionBatch
    marks: Sequence[np.ndarray | None]


def map_jobs(
    engine: Engine,
    runs: Sequence[LabelRun],
    jobs: Sequence[Job],
    work: Callable[[Fork, SteeredFork], None],
) -> None:
    """Run the unsteered rows once, and let `work` run the forks of each job.

    Where memory runs out, what is left is repeated in smaller rows (`Engine.map_rows`).
    """

    def fork_row(row: Row, packed: list[PackedSequence]) -> None:
        forks: list[tuple[InterventionBatch, Fork]] = []
        layers: set[int] = set()
        later = False
        for interventions, marks in jobs:
            mine = [(runs[p.index], p.path, m) for p in packed if (m := marks[p.index]) is not None]
            if mine:
                some, paths, edited = zip(*mine, strict=True)
                made = forks_of(some, paths, edited, engine.batch_tokens)
                forks += [(interventions, fork) for fork in made]
                layers.update(interventions.first_layers.tolist())
                later = later or any(map(first_edited, edited))
        if not forks:
            return
        nodes = np.unique(np.concatenate([fork.source.tokens for _, fork in forks]))
        cache = empty_cache(engine.n_layers) if later else None
        wanted = Capture(nodes, sorted(layers))

        def run() -> dict[int, torch.Tensor]:
            return dict(engine.run_row(row, packed, capture=wanted, cache=cache))

        positions_before = np.array(row.depth if cache else [], dtype=np.int64)
        base = UnsteeredRow(nodes, run, cache, positions_before)
        for interventions, fork in forks:
            work(fork, SteeredFork(engine, fork, base, interventions))

    for _ in engine.map_rows([run.sequence for run in runs], fork_row):
        pass


def _check(engine: Engine, interventions: Sequence[Intervention]) -> None:
    if not interventions:
        raise DataError("a sweep needs at least one edit")
    for edit in (edit for intervention in interventions for edit in edits_of(intervention)):
        if not 0 <= edit.layer <= engine.n_layers:
            raise DataError(
                f"an edit names layer {edit.layer}; this model has layers 0 to {engine.n_layers}"
            )


def _starts(prompts: Sequence[LabelledPrompt], positions: Positions) -> list[int]:
    """Return the first edited position of each prompt."""
    if isinstance(positions, str):
        if positions not in ("last", "all"):
            raise DataError(f"positions: found {positions!r}; allowed: 'last', 'all' or numbers")
        return [len(prompt.ids) - 1 if positions == "last" else 0 for prompt in prompts]
    starts = [int(start) for start in positions]
    if len(starts) != len(prompts):
        raise DataError(f"found {len(starts)} positions for {len(prompts)} prompts; give one each")
    for index, (start, prompt) in enumerate(zip(starts, prompts, strict=True)):
        if not 0 <= start < len(prompt.ids):
            raise DataError(
                f"prompt {index} has positions 0 to {len(prompt.ids) - 1}; it cannot be edited"
                f" from position {start} on"
            )
    return starts


@dataclass
class UnsteeredRow:
    """What a row left behind for its forks; it runs for the first of them that does.

    `cache` and `positions` are of all its tokens where forks attend to them.
    """

    nodes: np.ndarray
    run: Callable[[], dict[int, torch.Tensor]]
    cache: Cache | None
    positions: np.ndarray

    @cached_property
    def states(self) -> dict[int, torch.Tensor]:
        """Residuals `(m, width)` of `nodes`, ascending, after each layer where some join."""
        return self.run()


class SteeredFork:
    """A fork under interventions, several at once."""

    def __init__(
        self,
        engine: Engine,
        fork: Fork,
        base: UnsteeredRow,
        interventions: InterventionBatch,
    ):
        self.blocks, self.fork, self.base = engine.blocks, fork, base
        self.interventions, self.edited = interventions.on(fork), fork.edited()
        self._states = torch.from_numpy(np.searchsorted(base.nodes, fork.source.tokens))
        self.scored = np.unique(np.concatenate([scored.rows for scored in fork.scored]))
        pieces, budget = self.blocks.pieces, engine.batch_tokens
        if pieces is None:
            budget = min(budget, _FORK_TOKENS)
        self.copies = min(len(interventions.first_layers), max(1, budget // len(fork)))
        self.tokens = self.copies * len(fork)
        # The ends of one copy's subtrees, where copies have a block-sparse mask.
        sparse = pieces and self.tokens > FLEX_TOKENS and not interventions.changed_blocks
        self.ends = fork.ends() if sparse else None
        if self.ends is not None:
            # One length for all chunks, since each length is compiled; padding sees only itself.
            self.tokens += -self.tokens % FLEX_PAD

    def joining(self, layer: int) -> torch.Tensor:
        """Return the unsteered row's residuals `(f, width)` of the fork's tokens after a layer."""
        states = self.base.states[layer]
        self._states = copy_to(self._states, states.device)
        return states[self._states]

    @cached_property
    def segments(self) -> CopiesAttention:
        """Who attends to what in any number of copies."""
        return CopiesAttention(self.fork, self.copies, self.base.positions)

    def chunks(self) -> Iterator[np.ndarray]:
        """Yield indices of interventions that run together, the lowest layers first."""
        order = np.argsort(self.interventions.first_layers, kind="stable")
        for start in range(0, len(order), self.copies):
            yield order[start : start + self.copies]

    def score(self, which: np.ndarray, columns: np.ndarray, scores: np.ndarray) -> None:
        """Write label scores under some interventions, as `ScoredTokens.add_to`.

        `columns` are the places of these interventions in `scores`, and theirs alone.
        """
        scored = self.fork.scored_under(columns)
        name = digest_of(np.array(self.fork.depth), scored.rows, scored.tokens, *scored.where)
        scored.add_to(
            scores, kept(name, lambda: scored.logprobs(self.run(which), self.blocks.logits))
        )

    def run(self, which: np.ndarray, watch: Watch | None = None) -> torch.Tensor:
        """Return `(copies * f, width)` residuals after the last block, of scored tokens at least.

        `which` are indices of interventions, in order of their lowest layers. `watch` is shown what
        has joined after each layer: the layer, and `(copies, f, width)` residuals of all tokens.
        """
        copies = _Copies(self, which)
        last = len(self.blocks)
        for layer in range(copies.first_layer, last + 1):
            copies.join(layer)
            copies.edit(layer)
            if watch is not None:
                seen = copies.residuals()
                watch(layer, seen.view(-1, len(self.fork), seen.shape[-1]))
            if layer < last:
                # After the last block only what is scored is looked at.
                few = watch is None and layer + 1 == last
                copies.step(layer, self.scored if few else None)
        return copies.residuals()

    def attention(self, copies: int, device: torch.device) -> AttentionPattern:
        """Return who attends to what where this many copies run, one after the other."""
        size, depth = len(self.fork), self.fork.depth
        if self.ends is None:
            return self.segments.first(copies, device)
        assert self.blocks.pieces is not None
        # Each copy's ends lie in that copy; those of padding tokens are right after them.
        ends = (np.arange(copies)[:, None] * size + self.ends).ravel()
        ends = np.concatenate((ends, np.arange(copies * size, self.tokens) + 1))
        return self.blocks.pieces.sparse_mask(ends, np.resize(depth, self.tokens), device)


class _Copies:
    """Copies of a fork on their way through the blocks, one for each intervention.

    A copy joins at the lowest layer that its intervention touches; below, it is the unsteered row.
    """

    def __init__(self, steered: SteeredFork, which: np.ndarray):
        self._steered, self._which = steered, which
        layers, counts = np.unique(steered.interventions.first_layers[which], return_counts=True)
        # How many copies begin at each layer.
        self._beginning = dict(zip(layers.tolist(), counts.tolist(), strict=True))
        self.first_layer = int(layers[0])
        states = steered.base.states[self.first_layer]
        self._h = states[:0]  # residuals of all copies' tokens, perhaps with padding behind them
        self._copies = 0  # how many copies have joined
        depth = np.resize(steered.fork.depth, steered.tokens)
        self._rotations = steered.blocks.rotations(torch.from_numpy(depth), states)
        self._attention: AttentionPattern | None = None

    def residuals(self) -> torch.Tensor:
        """Return `(copies * f, width)` residuals of the copies that have joined."""
        return self._h[: self._copies * len(self._steered.fork)]

    def join(self, layer: int) -> None:
        """Add the copies that begin at a layer, as the unsteered row has their tokens there."""
        copies = self._beginning.get(layer, 0)
        if not copies:
            return
        new = self._steered.joining(layer).repeat(copies, 1)
        # Behind the copies so far, in place of padding.
        self._h = torch.cat((self.residuals().to(new.device), new))
        self._copies += copies
        self._attention = None

    def edit(self, layer: int) -> None:
        """Change, in place, the residuals after a layer."""
        interventions, edited = self._steered.interventions, self._steered.edited
        if layer not in interventions.edited_layers:
            return
        which, h = self._which[: self._copies], self.residuals()
        copies = h.view(len(which), len(self._steered.fork), -1)
        if len(edited) == copies.shape[1]:
            copies.copy_(interventions.apply(layer, copies, which))
        else:
            tokens = copy_to(torch.from_numpy(edited), h.device)
            copies[:, tokens] = interventions.apply(layer, copies[:, tokens], which)

    def step(self, layer: int, few: np.ndarray | None = None) -> None:
        """Run the block after a layer, for all tokens or for `few` of each copy's.

        The residuals of the others then stay what they were before the block.
        """
        steered = self._steered
        blocks, interventions, fork = steered.blocks, steered.interventions, steered.fork
        device = blocks.device(layer)
        attention = self._attention
        if attention is None:
            attention = steered.attention(self._copies, device)
            if steered.ends is not None:
                padding = steered.tokens - len(self._h)
                self._h = functional.pad(self._h, (0, 0, 0, padding))
        self._h, self._rotations, self._attention = move_to(
            device, self._h, self._rotations, attention
        )
        change = None
        if layer in interventions.changed_blocks:
            which = self._which[: self._copies]
            change = interventions.block_change(layer, which, steered.edited, len(fork))
        # Rotations are those of as many copies as there may be.
        rotations = tuple(r[: len(self._h)] for r in self._rotations)
        before = steered.base.cache[layer] if steered.base.cache else KeyValues()
        given = BlockInput(self._h, rotations, self._attention, before, change=change)
        added = change is not None and (change.attention or change.mlp)
        if few is None or added or len(few) == len(fork):
            self._h = blocks.forward(layer, given)
            return
        at = (np.arange(self._copies)[:, None] * len(fork) + few).ravel()
        only = copy_to(torch.from_numpy(at), device)
        given = given._replace(attention=self._attention.only(at), only=only)
        self._h[only] = blocks.forward(layer, given)
