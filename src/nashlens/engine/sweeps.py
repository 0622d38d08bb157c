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

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch

from nashlens.chunks import each
from nashlens.engine.cache import empty_cache
from nashlens.engine.copies import SteeredFork, UnsteeredRow
from nashlens.engine.core import Capture
from nashlens.engine.edits import EditBatch, Intervention, InterventionBatch, edits_of
from nashlens.engine.forks import Fork, first_edited, forks_of
from nashlens.engine.labels import LabelledPrompt, LabelRun, label_runs
from nashlens.errors import DataError

if TYPE_CHECKING:
    from nashlens.engine.core import Engine
    from nashlens.engine.forest import PackedSequence, Row

PROMPTS_AT_ONCE = 8
"""Prompts whose rows are packed together, for sweeps and for patching."""

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
        starts = range(0, len(prompts), PROMPTS_AT_ONCE)
        steps = [slice(start, start + PROMPTS_AT_ONCE) for start in starts]

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
    map_jobs(engine, runs, [ForkJob(interventions, marks)], work)


class ForkJob(NamedTuple):
    """Interventions at the tokens that `marks` says of each run (see `forks_of`), or None there."""

    interventions: InterventionBatch
    marks: Sequence[np.ndarray | None]


def map_jobs(
    engine: Engine,
    runs: Sequence[LabelRun],
    jobs: Sequence[ForkJob],
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
