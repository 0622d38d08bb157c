"""Patched runs: values of another prompt, or zero, at some sites and tokens of a prompt.

Only what a patch can change is computed: the tokens from the first patched one on, in the blocks
from the first patched one up. Everything before comes from one run of the prompt itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch

from nashlens.engine.blocks import Blocks
from nashlens.engine.labels import LabelledPrompt, LabelRun, label_runs, token_logprobs
from nashlens.errors import DataError
from nashlens.progress import progress

if TYPE_CHECKING:
    from nashlens.engine.block import TransformerBlock
    from nashlens.engine.core import Engine

KINDS = ("residual", "attention", "mlp", "head")
Edit = Callable[[str, int, torch.Tensor], torch.Tensor]
"""From a site's kind, its layer and the values there to changed ones."""


class Site(NamedTuple):
    """Where values are replaced."""

    kind: str
    """`residual` after a layer; what its `attention` or `mlp` adds; one `head`'s output before the
    output projection."""
    layer: int
    """From 1; the residual has a layer 0 too, the embedding."""
    head: int = -1
    """From 0, for heads."""


class Change(NamedTuple):
    """What is replaced together, and by what. Without a site nothing is."""

    sites: tuple[Site, ...]
    group: str
    """The tokens, by the name that they have in each prompt's groups."""
    replacement: Literal["source", "mean", "zero"] = "source"


class _Run(NamedTuple):
    """What a run of a whole sequence leaves behind."""

    values: dict[tuple[str, int], torch.Tensor]
    """(kind, layer) -> `(n, width)`, or `(n, heads, head)` for heads."""
    keys: list[tuple[torch.Tensor, torch.Tensor]]


@torch.inference_mode()
def patch_scores(
    engine: Engine,
    prompts: Sequence[LabelledPrompt],
    changes: Sequence[Change],
    *,
    groups: Sequence[Mapping[str, Sequence[int]]],
    sources: Sequence[Sequence[int]] | None = None,
    means: Mapping[Site, np.ndarray] | None = None,
    what: str | None = None,
) -> np.ndarray:
    """Score both labels of prompts under changes.

    Parameters
    ----------
    engine : Engine
    prompts : sequence of LabelledPrompt
    changes : sequence of Change
    groups : sequence of mapping of str to sequence of int
        For each prompt the tokens of each group; a group without tokens changes nothing.
    sources : sequence of sequence of int, optional
        For each prompt the token ids, as many, that values come from.
    means : mapping of Site to ndarray, optional
        `(width,)`, or `(head_dim,)` for heads: values of the replacement `mean`.
    what : str, optional
        What is counted in the progress bar.

    Returns
    -------
    numpy.ndarray
        `(n, len(changes), 2)` float64 log P of the whole label sequences.

    Raises
    ------
    DataError
        If a prompt and its source differ in length, a site does not exist, or values are missing.
    """
    stack = engine.blocks
    if not isinstance(stack, Blocks):
        raise DataError("patching needs all heads of a block on one device; use parallel: none")
    _check(engine, prompts, changes, sources, means)
    result = np.full((len(prompts), len(changes), 2), np.nan)
    runs = label_runs(prompts)
    for run in progress(runs, what) if what else runs:
        tokens = torch.tensor(run.sequence)
        base = _whole(stack, tokens)
        source = None
        if sources is not None:
            ids = [*sources[run.prompt], *run.sequence[run.length :]]
            source = _whole(stack, torch.tensor(ids), base, tokens)
        for k, change in enumerate(changes):
            where = list(groups[run.prompt].get(change.group, ()))
            final, start = _changed(stack, base, source, change, where, means)
            result[run.prompt, k] = _scores(stack, run, final, start, result[run.prompt, k])
    return result


def _check(
    engine: Engine,
    prompts: Sequence[LabelledPrompt],
    changes: Sequence[Change],
    sources: Sequence[Sequence[int]] | None,
    means: Mapping[Site, np.ndarray] | None,
) -> None:
    for index, prompt in enumerate(prompts if sources is not None else ()):
        if sources is not None and len(sources[index]) != len(prompt.ids):
            raise DataError(
                f"prompt {index} has {len(prompt.ids)} tokens and its source"
                f" {len(sources[index])}; give sources that are aligned"
            )
    for change in changes:
        for site in change.sites:
            least = 0 if site.kind == "residual" else 1
            if site.kind not in KINDS or not least <= site.layer <= engine.n_layers:
                raise DataError(f"{site}: this model has no such site in {engine.n_layers} layers")
            if site.kind == "head" and not 0 <= site.head < engine.n_heads:
                raise DataError(f"{site}: this model has heads 0 to {engine.n_heads - 1}")
            if change.replacement == "mean" and site not in (means or {}):
                raise DataError(f"{site}: no mean was given to replace it by")
        if change.replacement == "source" and change.sites and sources is None:
            raise DataError("values of other prompts are asked for, and no sources were given")


def _whole(
    stack: Blocks,
    tokens: torch.Tensor,
    known: _Run | None = None,
    known_tokens: torch.Tensor | None = None,
) -> _Run:
    """Run a whole sequence and keep everything; what it shares with a known one is not run."""
    run, start = _Run({}, []), 0
    if known is not None and known_tokens is not None:
        differs = torch.nonzero(tokens != known_tokens)
        if not len(differs):
            return known
        start = int(differs[0])
    positions = torch.arange(len(tokens))
    embedded = stack.embed(tokens, positions)
    run.values["residual", 0] = embedded

    def keep(kind: str, layer: int, values: torch.Tensor) -> torch.Tensor:
        whole = values
        if known is not None and start:
            whole = torch.cat([known.values[kind, layer][:start], values])
        run.values[kind, layer] = whole
        return values

    h = embedded[start:]
    rotations = stack.rotations(positions, h)
    for index, block in enumerate(stack.blocks):
        h = h.to(block.device)
        here = [r[start:].to(h.device) for r in rotations]
        before = None
        if known is not None and start:
            before = tuple(part[:, :start] for part in known.keys[index])
        h, k, v = _block(block, index + 1, h, here, before, keep)
        run.keys.append((k, v))
    return run


def _changed(
    stack: Blocks,
    base: _Run,
    source: _Run | None,
    change: Change,
    where: list[int],
    means: Mapping[Site, np.ndarray] | None,
) -> tuple[torch.Tensor, int]:
    """Return last-layer residuals under a change, from the first changed token on."""
    if not change.sites or not where:
        return base.values["residual", len(stack)], 0
    start = min(where)
    rows = torch.tensor([k - start for k in where])

    def edit(kind: str, layer: int, values: torch.Tensor) -> torch.Tensor:
        for site in change.sites:
            if (site.kind, site.layer) != (kind, layer):
                continue
            values = values.clone()
            at = (rows, site.head) if kind == "head" else (rows,)
            if change.replacement == "source" and source is not None:
                theirs = source.values[kind, layer][start:]
                values[at] = theirs[at]
            elif change.replacement == "mean" and means is not None:
                values[at] = torch.from_numpy(means[site]).to(values)
            else:
                values[at] = 0.0
        return values

    # Residuals change after their block, everything else within it.
    first = min(site.layer - (site.kind != "residual") for site in change.sites)
    h = edit("residual", first, base.values["residual", first][start:])
    positions = torch.arange(len(base.values["residual", 0]))
    rotations = stack.rotations(positions, h)
    for index in range(first, len(stack)):
        block = stack.blocks[index]
        h = h.to(block.device)
        here = [r[start:].to(h.device) for r in rotations]
        before = tuple(part[:, :start] for part in base.keys[index])
        h, _, _ = _block(block, index + 1, h, here, before, edit)
    return h, start


def _block(
    block: TransformerBlock,
    layer: int,
    h: torch.Tensor,
    rotations: Sequence[torch.Tensor],
    before: tuple[torch.Tensor, ...] | None,
    edit: Edit,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Run one block step by step; return its output, and keys and values of all tokens."""
    q, k, v = block.project(h, *rotations)
    if before is not None:
        k, v = torch.cat([before[0], k], dim=1), torch.cat([before[1], v], dim=1)
    attended = _attention(block, q, k, v).transpose(0, 1)
    attended = edit("head", layer, attended)
    a = edit("attention", layer, block.attention_out_norm(block.o(attended.flatten(1))))
    inner = h if block.parallel else h + a
    m = edit("mlp", layer, block.mlp_out_norm(block.mlp(block.mlp_norm(inner))))
    return edit("residual", layer, h + a + m), k, v


def _attention(
    block: TransformerBlock, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
) -> torch.Tensor:
    """Return `(heads, t, head)` for the last t of n tokens."""
    t, n, shared = q.shape[1], k.shape[1], block.heads // block.kv_heads
    k, v = k.repeat_interleave(shared, dim=0), v.repeat_interleave(shared, dim=0)
    scores = q @ k.transpose(1, 2) * block.scale
    if block.softcap is not None:
        scores = block.softcap * torch.tanh(scores / block.softcap)
    # How many tokens back each key is; negative ones are yet to come.
    back = torch.arange(n - t, n)[:, None] - torch.arange(n)
    seen = (back >= 0) & (back < (block.window or n))
    scores = scores.masked_fill(~seen.to(scores.device), float("-inf"))
    return torch.softmax(scores.float(), dim=-1).to(v.dtype) @ v


def _scores(
    stack: Blocks, run: LabelRun, final: torch.Tensor, start: int, known: np.ndarray
) -> np.ndarray:
    """Return both labels' scores, those of the labels that the run scores filled in."""
    scores = known.copy()
    for action, label in run.labels.items():
        rows = run.length - 1 + np.arange(len(label)) - start
        scores[action] = token_logprobs(final, rows, np.array(label), stack.logits).sum()
    return scores
