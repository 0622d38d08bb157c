"""Attribution patching: what every patch would do, estimated by one backward pass a prompt.

The estimate is the gradient of the logit difference times what the source's value is more than the
prompt's own, summed over a group's tokens (Nanda 2023; Kramar et al. 2024, arXiv:2403.00745). It is
exact where the rest of the model is linear in the value, so it is a screen: what it ranks high is
to be patched exactly (`patching.patch_scores`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from nashlens.chunks import each
from nashlens.engine.labels import LabelledPrompt, LabelRun, label_runs
from nashlens.engine.patching import Change, check_changes
from nashlens.engine.plain import plain_blocks, run_plain
from nashlens.engine.recording import Place, Recorded, Site

if TYPE_CHECKING:
    from nashlens.engine.blocks import Blocks
    from nashlens.engine.core import Engine


def attribution_patching(
    engine: Engine,
    prompts: Sequence[LabelledPrompt],
    changes: Sequence[Change],
    *,
    groups: Sequence[Mapping[str, Sequence[int]]],
    sources: Sequence[Sequence[int]] | None = None,
    given: Recorded | None = None,
    what: str | None = None,
) -> np.ndarray:
    """Estimate what changes do to the logit difference.

    Parameters
    ----------
    engine : Engine
    prompts : sequence of LabelledPrompt
    changes : sequence of Change
        Those by the source's values or by zero. Of several sites, the estimates are added up.
    groups, sources, given, what
        As for `patch_scores`.

    Returns
    -------
    numpy.ndarray
        `(n, len(changes))` float64: by how much log P of label 1 less log P of label 0 would grow.

    Raises
    ------
    DataError
        As `patch_scores`; also if devices share the heads, or a change takes means.
    """
    stack = plain_blocks(engine)
    check_changes(engine, prompts, changes, sources if given is None else given, None)
    result = np.zeros((len(prompts), len(changes)))
    runs = label_runs(prompts)

    def estimated(run: LabelRun) -> np.ndarray:
        theirs: Mapping[Place, torch.Tensor] = {}
        if given is not None:
            theirs = _given(given, run.prompt)
        elif sources is not None:
            ids = [*sources[run.prompt], *run.sequence[run.length :]]
            with torch.inference_mode():
                theirs = run_plain(stack, ids).values
        return _estimates(stack, run, theirs, changes, groups[run.prompt])

    found = each(runs, estimated, what or "gradients", shown=what is not None)
    for run, estimates in zip(runs, found, strict=True):
        result[run.prompt] += estimates
    return result


def _given(given: Recorded, prompt: int) -> dict[Place, torch.Tensor]:
    """Return the values of a prompt's tokens, `(t, size)`, or `(t, heads, size)` for heads."""
    rows = torch.from_numpy(given.rows[prompt])
    return {
        place: parts[:, rows.to(parts.device)].transpose(0, 1)
        if place[0] == "head"
        else parts[0, rows.to(parts.device)]
        for place, parts in given.values.items()
    }


@torch.inference_mode(False)
@torch.enable_grad()
def _estimates(
    stack: Blocks,
    run: LabelRun,
    theirs: Mapping[Place, torch.Tensor],
    changes: Sequence[Change],
    groups: Mapping[str, Sequence[int]],
) -> np.ndarray:
    """Return the part of each estimate that comes from the labels that one run scores."""

    def see(kind: str, layer: int, x: torch.Tensor) -> torch.Tensor:
        # Weights want no gradient: the graph begins at the embedding.
        return x.requires_grad_() if (kind, layer) == ("residual", 0) else x

    own = run_plain(stack, run.sequence, see)
    places = list({(s.kind, s.layer) for change in changes for s in change.sites})
    wanted = [own.values[place] for place in places]
    found = torch.autograd.grad(_difference(stack, run, own.final), wanted) if wanted else ()
    gradients = dict(zip(places, found, strict=True))
    # (t, parts): what replacing all of a token's value by the source's, or by zero, would do.
    effects: dict[tuple[str, int, str], np.ndarray] = {}

    def effect(site: Site, replacement: str) -> np.ndarray:
        key = (site.kind, site.layer, replacement)
        if key not in effects:
            place = key[:2]
            before = own.values[place].detach().float()
            after = theirs[place].to(before) if replacement == "source" else 0.0 * before
            # A given value may be that of the prompt's tokens only, and not of the label's.
            product = gradients[place][: len(after)].float() * (after - before[: len(after)])
            parts = product if site.kind == "head" else product[:, None]
            effects[key] = parts.sum(-1).double().cpu().numpy()
        return effects[key]

    estimates = np.zeros(len(changes))
    for k, change in enumerate(changes):
        tokens = np.asarray(groups.get(change.group, ()), dtype=np.int64)
        for site in change.sites:
            estimates[k] += effect(site, change.replacement)[tokens, max(site.head, 0)].sum()
    return estimates


def _difference(stack: Blocks, run: LabelRun, final: torch.Tensor) -> torch.Tensor:
    """Return log P of label 1 less that of label 0, as far as the run scores them."""
    total = final.new_zeros((), dtype=torch.float32)
    for action, label in run.labels.items():
        rows = slice(run.length - 1, run.length - 1 + len(label))
        logprobs = torch.log_softmax(stack.logits(final[rows]), dim=-1)
        tokens = torch.tensor(label, device=logprobs.device)[:, None]
        score = logprobs.gather(1, tokens).sum()
        total = total + (score if action == 1 else -score).to(total.device)
    return total
