"""Path patching: a component's output is changed only as one later component reads it.

The sender's output at some tokens is replaced by the source's on its way to the receiver: the
residual that the receiver reads gets what the source's output is more. Everything else reads the
prompt's own values, until the receiver's changed output, at all tokens, goes on to all that
follows (Wang et al. 2022, arXiv:2211.00593, with the direct path between the two).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from nashlens.chunks import each
from nashlens.engine.labels import LabelledPrompt, LabelRun, label_runs, token_logprobs
from nashlens.engine.patching import Change, check_changes
from nashlens.engine.plain import (
    PlainRun,
    attention_output,
    plain_blocks,
    rerun,
    run_block,
    run_plain,
)
from nashlens.engine.recording import Site, check_sites
from nashlens.errors import DataError

if TYPE_CHECKING:
    from nashlens.engine.blocks import Blocks
    from nashlens.engine.core import Engine


class Path(NamedTuple):
    """From one component to a later one."""

    sender: Site
    """The embedding (the residual of layer 0), an attention, an MLP, or a head."""
    receiver: Site
    """An attention, an MLP or a head."""
    group: str
    """The tokens at which the sender's output is changed."""


@torch.inference_mode()
def path_scores(
    engine: Engine,
    prompts: Sequence[LabelledPrompt],
    paths: Sequence[Path],
    *,
    groups: Sequence[Mapping[str, Sequence[int]]],
    sources: Sequence[Sequence[int]],
    what: str | None = None,
) -> np.ndarray:
    """Score both labels of prompts with paths patched, each by itself.

    Parameters
    ----------
    engine : Engine
    prompts : sequence of LabelledPrompt
    paths : sequence of Path
    groups, sources, what
        As for `patch_scores`.

    Returns
    -------
    numpy.ndarray
        `(n, len(paths), 2)` float64 log P of the whole label sequences.

    Raises
    ------
    DataError
        As `patch_scores`; also if a receiver cannot read its sender, or devices share the heads.
    """
    check_paths(engine, paths)
    stack = plain_blocks(engine)
    senders = [Change((path.sender,), path.group) for path in paths]
    check_changes(engine, prompts, senders, sources, None)
    result = np.full((len(prompts), len(paths), 2), np.nan)
    runs = label_runs(prompts)

    def scored(run: LabelRun) -> np.ndarray:
        found = np.empty((len(paths), len(run.labels)))
        base = run_plain(stack, run.sequence)
        theirs = run_plain(stack, [*sources[run.prompt], *run.sequence[run.length :]])
        for k, path in enumerate(paths):
            tokens = list(groups[run.prompt].get(path.group, ()))
            final, start = _patched(stack, base, theirs, path, tokens)
            for column, label in enumerate(run.labels.values()):
                rows = run.length - 1 + np.arange(len(label)) - start
                scores = token_logprobs(final, rows, np.array(label), stack.logits)
                found[k, column] = scores.sum()
        return found

    every = each(runs, scored, what or "paths", shown=what is not None)
    for run, found in zip(runs, every, strict=True):
        result[run.prompt][:, list(run.labels)] = found
    return result


def check_paths(engine: Engine, paths: Sequence[Path]) -> None:
    """Refuse paths that a model does not have, by a DataError."""
    stack = plain_blocks(engine)
    check_sites(engine, [site for path in paths for site in (path.sender, path.receiver)])
    for path in paths:
        _check_path(stack, path)


def _check_path(stack: Blocks, path: Path) -> None:
    sender, receiver = path.sender, path.receiver
    if (sender.kind == "residual" and sender.layer > 0) or receiver.kind == "residual":
        raise DataError(
            f"{path}: a path goes from the embedding, an attention, an MLP or a head to an"
            " attention, an MLP or a head"
        )
    within = sender.layer == receiver.layer and receiver.kind == "mlp"
    within = within and sender.kind in ("attention", "head")
    if sender.layer >= receiver.layer and not (
        within and not stack.blocks[receiver.layer - 1].parallel
    ):
        raise DataError(f"{path}: the receiver does not read what the sender writes")


def _patched(
    stack: Blocks, base: PlainRun, theirs: PlainRun, path: Path, tokens: list[int]
) -> tuple[torch.Tensor, int]:
    """Return last-layer residuals from the first changed token on, and which it is."""
    if not tokens:
        return base.final, 0
    start, receiver = min(tokens), path.receiver
    read = "mlp_input" if receiver.kind == "mlp" else "attention_input"
    more = torch.zeros_like(base.final)
    more[tokens] = _more(stack, base, theirs, path.sender)[tokens].to(more.device)
    changed: list[torch.Tensor] = []

    def hear(kind: str, _layer: int, x: torch.Tensor) -> torch.Tensor:
        if kind == receiver.kind:
            changed.append(x)
        return x + more[start:].to(x.device) if kind == read else x

    # The receiver's block by itself, for the output that it would have.
    index = receiver.layer - 1
    block = stack.blocks[index]
    h = base.values["residual", index][start:].to(block.device)
    rotations = stack.rotations(torch.arange(len(base.final)), base.final)
    here = [r[start:].to(h.device) for r in rotations]
    run_block(block, index + 1, h, here, tuple(x[:, :start] for x in base.keys[index]), hear)

    def replace(kind: str, layer: int, x: torch.Tensor) -> torch.Tensor:
        if (kind, layer) != (receiver.kind, receiver.layer):
            return x
        if kind != "head":
            return changed[0]
        x = x.clone()
        x[:, receiver.head] = changed[0][:, receiver.head]
        return x

    return rerun(stack, base, start, index, replace), start


def _more(stack: Blocks, base: PlainRun, theirs: PlainRun, sender: Site) -> torch.Tensor:
    """Return how much more than the prompt's own the source's sender adds, `(t, width)`."""
    place = sender.kind, sender.layer
    own, other = base.values[place], theirs.values[place]
    if sender.kind != "head":
        return other - own
    heads = own.clone()
    heads[:, sender.head] = other[:, sender.head]
    added = attention_output(stack.blocks[sender.layer - 1], heads)
    return added - base.values["attention", sender.layer]
