"""Sweeps: label scores under many interventions, computing only what each can change.

The unsteered row is computed once. Then each intervention runs the tokens from its position on
again, in the blocks above the lowest layer that it touches: copies of them (`forks`) stand side by
side in one batch, whatever their layers, and join it at the layer from which they differ.

Three kinds of positions:

- `last`: the decision position alone is edited. Labels' further tokens run again, unedited.
- from a position on, a number for each prompt: it and all later tokens are edited, those of labels
  included.
- `all`: from position 0 on. Nothing but the layers below is shared with the unsteered row, yet
  sequences go on sharing their prefixes, edited alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch.nn import functional

from nashlens.engine.cache import Cache, KeyValues
from nashlens.engine.core import FLEX_PAD, FLEX_TOKENS, moved, parts_of
from nashlens.engine.edits import Batch, EditBatch, Intervention, edits_of
from nashlens.engine.forks import Fork, forks_of
from nashlens.engine.labels import LabelledPrompt, label_runs
from nashlens.engine.segments import Attention
from nashlens.errors import DataError
from nashlens.progress import progress

if TYPE_CHECKING:
    from nashlens.engine.core import Engine
    from nashlens.engine.flex import TreeMask
    from nashlens.engine.forest import PackedSequence, Row

_FORK_TOKENS = 1024  # fork tokens that a CPU runs at once
_PROMPTS_AT_ONCE = 8

Positions = Literal["last", "all"] | Sequence[int]
"""Which positions are edited; a sequence has for each prompt the first."""


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
        Each is applied alone; the edits of a tuple are applied together.
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
    batch = EditBatch(interventions, engine.width)
    return score_under(engine, prompts, batch, positions, what=what)


@torch.inference_mode()
def score_under(
    engine: Engine,
    prompts: Sequence[LabelledPrompt],
    interventions: Batch,
    positions: Positions,
    *,
    what: str | None = None,
) -> np.ndarray:
    """Score both labels under each of a batch of interventions of any kind.

    Parameters
    ----------
    engine : Engine
    prompts : sequence of LabelledPrompt
    interventions : Batch
    positions : {"last", "all"} or sequence of int
        As for `sweep`.
    what : str, optional
        Name for a progress display. With one, a few prompts run at once, so that progress shows and
        memory holds only their forks; otherwise all run at once.

    Returns
    -------
    numpy.ndarray
        `(n, interventions, 2)` float64 log P of the whole label sequences.
    """
    if what is not None:
        starts = range(0, len(prompts), _PROMPTS_AT_ONCE)
        steps = [slice(start, start + _PROMPTS_AT_ONCE) for start in starts]
        found = []
        for some in progress(steps, what, unit="steps"):
            here = positions if isinstance(positions, str) else positions[some]
            found.append(score_under(engine, prompts[some], interventions, here))
        return np.concatenate(found)
    result = np.full((len(prompts), len(interventions.first), 2), np.nan)

    def work(fork: Fork, steered: Steered) -> None:
        for which in steered.chunks():
            fork.scored_under(which).add_to(result, steered.run(which), engine.blocks.logits)

    over_forks(engine, prompts, interventions, positions, work)
    return result


def over_forks(
    engine: Engine,
    prompts: Sequence[LabelledPrompt],
    edits: Batch,
    positions: Positions,
    work: Callable[[Fork, Steered], None],
) -> None:
    """Run the unsteered rows, and let `work` run each of their forks; once more if memory ends.

    Raises
    ------
    DataError
        If a position is not in its prompt.
    """
    runs = label_runs(prompts)
    starts = _starts(prompts, positions)

    def row_work(row: Row, packed: list[PackedSequence]) -> None:
        mine = [runs[p.index] for p in packed]
        first = [starts[run.prompt] for run in mine]
        forks = list(forks_of(mine, [p.path for p in packed], first, engine.batch_tokens))
        nodes = np.unique(np.concatenate([fork.source.tokens for fork in forks]))
        cache = Cache([KeyValues() for _ in range(engine.n_layers)]) if any(first) else None
        wanted = (nodes, np.unique(edits.first).tolist())
        base = engine.run_row(row, parts_of(packed), capture=wanted, cache=cache)
        above = np.array(row.depth if cache else [], dtype=np.int64)
        for fork in forks:
            states = torch.from_numpy(np.searchsorted(nodes, fork.source.tokens))
            edited = torch.from_numpy(fork.roots()) if positions == "last" else None
            work(fork, Steered(engine, fork, states, base, cache, above, edits, edited))

    for _ in engine.over_rows([run.sequence for run in runs], row_work):
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


class Steered:
    """A fork under interventions.

    Parameters
    ----------
    engine : Engine
    fork : Fork
    states : torch.Tensor
        `(f,)` the row of `base` that each of the fork's tokens starts as.
    base : dict of int to torch.Tensor
        Unsteered states after each layer at which an intervention begins.
    cache : Cache or None
        Keys and values of the unsteered row; None where no fork sees them.
    above : numpy.ndarray
        Positions of the tokens in `cache`.
    edits : Batch
    edited : torch.Tensor or None
        Which of the fork's tokens are edited; None for all.
    """

    def __init__(
        self,
        engine: Engine,
        fork: Fork,
        states: torch.Tensor,
        base: dict[int, torch.Tensor],
        cache: Cache | None,
        above: np.ndarray,
        edits: Batch,
        edited: torch.Tensor | None,
    ):
        self.blocks, self.fork, self.states = engine.blocks, fork, states
        self.base, self.cache, self.above = base, cache, above
        self.edits, self.edited = edits, edited
        budget = engine.batch_tokens
        if not self.blocks.flex:
            budget = min(budget, _FORK_TOKENS)
        self.copies = min(len(edits.first), max(1, budget // len(fork)))
        self.tokens = self.copies * len(fork)
        # The mask of one copy, where it is block-sparse.
        sparse = self.blocks.flex and self.tokens > FLEX_TOKENS and not edits.inside
        self._ends = fork.ends() if sparse else None
        if self._ends is not None:
            # One length for all chunks, since each length is compiled; padding sees itself alone.
            self.tokens += -self.tokens % FLEX_PAD

    def chunks(self) -> Iterator[np.ndarray]:
        """Yield indices of interventions that run together, the lowest layers first."""
        order = np.argsort(self.edits.first, kind="stable")
        for start in range(0, len(order), self.copies):
            yield order[start : start + self.copies]

    def run(self, which: np.ndarray) -> torch.Tensor:
        """Return `(copies * f, width)` residuals after the last block.

        Parameters
        ----------
        which : numpy.ndarray
            `(copies,)` indices of interventions, in order of their lowest layers.
        """
        blocks, first, size = self.blocks, self.edits.first[which], len(self.fork)
        h, n = self.base[int(first[0])][:0], 0
        depth = np.resize(self.fork.depth, self.tokens)
        rotations = blocks.rotations(torch.from_numpy(depth), h)
        attention: Attention | TreeMask = Attention([], depth[:0], h.device)
        for layer in range(int(first[0]), len(blocks) + 1):
            copies = int(np.searchsorted(first, layer, side="right"))
            joined = n < copies * size
            if joined:
                new = self.base[layer]
                new = new[self.states.to(new.device)].repeat(copies - n // size, 1)
                h, n = torch.cat((h[:n].to(new.device), new)), copies * size
            if layer in self.edits.layers:
                self._edit(layer, h[:n], which[:copies])
            if layer == len(blocks):
                break
            device = blocks.device(layer)
            if joined:
                attention = self._attention(copies, device)
                if self._ends is not None:
                    h = functional.pad(h, (0, 0, 0, self.tokens - n))
            if joined or h.device != device:
                h, rotations, attention = moved(device, h, rotations, attention)
            part = tuple(r[: len(h)] for r in rotations)
            before = self.cache.layers[layer] if self.cache else KeyValues()
            change = None
            if layer in self.edits.inside:
                change = self.edits.change(layer, which[:copies], self._edited_tokens(), size)
            h = blocks.forward(layer, h, part, attention, before, keep=False, change=change)
        return h[:n]

    def _edit(self, layer: int, h: torch.Tensor, which: np.ndarray) -> None:
        """Edit, in place, the residuals `h` of copies."""
        copies = h.view(len(which), len(self.fork), -1)
        if self.edited is None:
            copies.copy_(self.edits.apply(layer, copies, which))
        else:
            edited = self.edited.to(h.device)
            copies[:, edited] = self.edits.apply(layer, copies[:, edited], which)

    def _edited_tokens(self) -> np.ndarray:
        return np.arange(len(self.fork)) if self.edited is None else self.edited.numpy()

    def _attention(self, copies: int, device: torch.device) -> Attention | TreeMask:
        """Return who attends to what."""
        size = len(self.fork)
        if self._ends is None:
            segments = self.fork.segments(copies, len(self.above))
            depth = np.concatenate((self.above, np.resize(self.fork.depth, copies * size)))
            return Attention(segments, depth, device)
        from nashlens.engine.flex import TreeMask

        ends = (np.arange(copies)[:, None] * size + self._ends).ravel()
        ends = np.concatenate((ends, np.arange(copies * size, self.tokens) + 1))
        return TreeMask(ends, np.resize(self.fork.depth, self.tokens), device)
