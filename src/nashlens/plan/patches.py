"""The work of patching, counted on the forks that the engine would make of the same prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nashlens.circuits.patching import all_patches, can_change
from nashlens.circuits.screen import OTHERS
from nashlens.engine.forest import pack
from nashlens.engine.forks import Fork, forks_of
from nashlens.engine.labels import LabelledPrompt, label_runs
from nashlens.engine.patching import mark_replaced
from nashlens.engine.recording import Recorded
from nashlens.engine.sweeps import PROMPTS_AT_ONCE
from nashlens.models.shapes import Shape
from nashlens.plan.design import Sequences
from nashlens.plan.work import Work
from nashlens.vocabulary.patching import path_parts


def patched_copies(
    into: Sequence[LabelledPrompt],
    source: Sequence[LabelledPrompt],
    groups: Sequence[dict[str, list[int]]],
    settings: Mapping[str, Any],
    layers: Sequence[int],
    shape: Shape,
    batch_tokens: int,
) -> Work:
    """Return the work of all patches of some pairs of prompts, without the prompts' own runs.

    Parameters
    ----------
    into, source : sequence of LabelledPrompt
        The prompts that are patched, and those that values come from.
    groups : sequence of dict of str to list of int
        For each prompt the tokens of each group.
    settings : mapping
        The section `patching` of the config: its `sites`, `groups` and `heads`.
    layers : sequence of int
    shape : Shape
    batch_tokens : int
    """
    ids, theirs = ([list(prompt.ids) for prompt in some] for some in (into, source))
    # The blocks in which a group's tokens run again, for each patch that is computed.
    blocks: dict[str, list[int]] = {}
    sites = (settings[name] for name in ("sites", "groups", "heads"))
    for patch in all_patches(shape.heads, layers, *sites):
        if can_change(patch, groups, ids, theirs):
            through = shape.layers - patch.layer + (patch.site != "residual")
            blocks.setdefault(patch.group, []).append(through)
    total = Work()
    for first in range(0, len(into), PROMPTS_AT_ONCE):
        here = slice(first, first + PROMPTS_AT_ONCE)
        for name, again in blocks.items():
            for fork in _forks(into[here], theirs[here], groups[here], name, batch_tokens):
                total += _copied(fork, again, shape)
    return total


def screened_work(
    copies: Work,
    into: Sequence[LabelledPrompt],
    settings: Mapping[str, Any],
    layers: Sequence[int],
    shape: Shape,
) -> Work:
    """Return the work of a screen and of the patches that it leaves, as if all took the same.

    Parameters
    ----------
    copies : Work
        Of all patches, from `patched_copies`.
    into, settings, layers, shape
        As there; `settings` also has the number of patches that the `screen` chooses.
    """
    sites = (settings[name] for name in ("sites", "groups", "heads"))
    every = list(all_patches(shape.heads, layers, *sites))
    # With the random ones, and the embedding of each group.
    embeddings = sum(patch.site == "residual" and patch.layer == 0 for patch in every)
    exact = settings["screen"] + OTHERS + embeddings
    # Forward and backward of each prompt, and forward of the other one, with nothing shared.
    length = sum(len(run.sequence) for run in label_runs(into))
    return copies.times(min(1.0, exact / len(every))) + Work(rows=4 * length * shape.layers)


def path_passes(
    into: Sequence[LabelledPrompt],
    groups: Sequence[dict[str, list[int]]],
    paths: Sequence[str],
    layers: int,
) -> Work:
    """Return the work of paths, which share nothing but the two prompts' own runs.

    Parameters
    ----------
    into : sequence of LabelledPrompt
        The prompts that are patched.
    groups : sequence of dict of str to list of int
        For each of them the tokens of each group, those of the paths too.
    paths : sequence of str
    layers : int
        Number of the model's blocks.
    """
    total = 0
    for run in label_runs(into) if paths else ():
        length = len(run.sequence)
        total += 2 * length * layers
        for path in paths:
            _, receiver, group = path_parts(path)
            if tokens := groups[run.prompt][group]:
                # The receiver's block by itself, then that and all above with what it gives.
                total += (length - min(tokens)) * (layers - receiver.layer + 2)
    return Work(rows=total)


def _forks(
    into: Sequence[LabelledPrompt],
    source: Sequences,
    groups: Sequence[dict[str, list[int]]],
    name: str,
    batch_tokens: int,
) -> Iterator[Fork]:
    """Yield the forks of prompts in which one group of tokens gets the values of others."""
    runs = label_runs(into)
    sequences = [[*source[run.prompt], *run.sequence[run.length :]] for run in runs]
    # Which of the sources' values each token gets: the same where sources share what is before.
    values: dict[int, np.ndarray] = {}
    count = 0
    for row, packed in pack(sequences, batch_tokens):
        values |= {one.index: count + one.path for one in packed}
        count += len(row)
    theirs = Recorded({}, [values[index] for index in range(len(runs))])
    marks = mark_replaced(runs, groups, name, theirs, source)
    for _, packed in pack([run.sequence for run in runs], batch_tokens):
        mine = [
            (runs[one.index], one.path, edited)
            for one in packed
            if (edited := marks[one.index]) is not None
        ]
        if mine:
            some, paths, edited = zip(*mine, strict=True)
            yield from forks_of(some, paths, edited, batch_tokens)


def _copied(fork: Fork, blocks: Sequence[int], shape: Shape) -> Work:
    """Return the work of a fork's copies, each of which runs through so many last blocks.

    The last block has keys and values of all tokens, and goes on with those that are scored.
    """
    tokens = len(fork)
    scored = len(np.unique(np.concatenate([scored.rows for scored in fork.scored])))
    left_out = (tokens - scored) * (1.0 - shape.projecting_share())
    passes = tokens * sum(blocks) - left_out * sum(again > 0 for again in blocks)
    # Single tokens are copies; several in a row run as those of a later round do, behind others.
    return Work(forks=passes) if tokens == scored else Work(growing=passes)
