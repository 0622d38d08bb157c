"""Patched runs: values of another prompt, a mean or zero, at some sites and tokens of a prompt.

Only what a patch can change is computed: the tokens from the first patched one on, in the blocks
from the first patched one up. All patches of a prompt stand on one run of the prompt itself and
one of its source; those of one group of tokens, of whatever layers, run in one batch (`sweeps`).

Ablation is a patch, too: heads or MLPs at all positions, replaced by means or by zero.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch

from nashlens.chunks import each
from nashlens.engine.block import BlockChange
from nashlens.engine.edits import InterventionBatch
from nashlens.engine.forest import shared_prefix
from nashlens.engine.labels import LabelledPrompt, LabelRun, label_runs
from nashlens.engine.recording import KINDS, Place, Recorded, Site, check_sites, record
from nashlens.engine.sweeps import PROMPTS_AT_ONCE, ForkJob, map_jobs
from nashlens.engine.transfer import copy_to
from nashlens.errors import DataError

if TYPE_CHECKING:
    from nashlens.engine.copies import SteeredFork
    from nashlens.engine.core import Engine
    from nashlens.engine.forks import Fork

__all__ = ["KINDS", "Change", "Means", "Site", "mark_replaced", "patch_scores"]


class Change(NamedTuple):
    """What is replaced together, and by what. Without a site nothing is."""

    sites: tuple[Site, ...]
    group: str
    """The tokens, by the name that they have in each prompt's groups."""
    replacement: Literal["source", "mean", "zero"] = "source"


Sources = Sequence[Sequence[int]] | Recorded
"""Where values come from: aligned prompts, or the values and which of them each token gets."""
Means = Mapping[Site | tuple[Site, str], np.ndarray]
"""Values of the replacement `mean`, by site, or by site and group of tokens, which comes first."""
_SOURCE, _MEAN, _ZERO = 1, 2, 3
_CODES = {"source": _SOURCE, "mean": _MEAN, "zero": _ZERO}


@torch.inference_mode()
def patch_scores(
    engine: Engine,
    prompts: Sequence[LabelledPrompt],
    changes: Sequence[Change],
    *,
    groups: Sequence[Mapping[str, Sequence[int]]],
    sources: Sequence[Sequence[int]] | None = None,
    given: Recorded | None = None,
    means: Means | None = None,
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
    given : Recorded, optional
        In place of sources: the values themselves, and which of them each token of each prompt
        gets.
    means : mapping, optional
        `(width,)`, or `(head_dim,)` for heads: values of the replacement `mean`, by `Site` or by
        `(Site, group)`. Those of a group are to be preferred (see `recording.site_outputs`).
    what : str, optional
        What is counted in the progress display.

    Returns
    -------
    numpy.ndarray
        `(n, len(changes), 2)` float64 log P of the whole label sequences.

    Raises
    ------
    DataError
        If a prompt and its source differ in length, a site does not exist, or values are missing.
    """
    check_changes(engine, prompts, changes, sources if given is None else given, means)
    starts = range(0, len(prompts), PROMPTS_AT_ONCE)
    steps = [slice(start, start + PROMPTS_AT_ONCE) for start in starts]

    def score(some: slice) -> np.ndarray:
        theirs: Sequence[Sequence[int]] | Recorded | None = sources
        if given is not None:
            theirs = Recorded(given.values, given.rows[some])
        elif sources is not None:
            theirs = sources[some]
        return _score(engine, prompts[some], changes, groups[some], theirs, means)

    found = each(steps, score, what or "patches", unit="steps", shown=what is not None)
    return np.concatenate([np.empty((0, len(changes), 2)), *found])


def check_changes(
    engine: Engine,
    prompts: Sequence[LabelledPrompt],
    changes: Sequence[Change],
    sources: Sources | None,
    means: Means | None,
) -> None:
    """Refuse what cannot be patched, by a DataError; arguments are those of `patch_scores`."""
    theirs = sources.rows if isinstance(sources, Recorded) else sources
    for index, prompt in enumerate(prompts if theirs is not None else ()):
        if theirs is not None and len(theirs[index]) != len(prompt.ids):
            raise DataError(
                f"prompt {index} has {len(prompt.ids)} tokens and its source"
                f" {len(theirs[index])}; give sources that are aligned"
            )
    for change in changes:
        check_sites(engine, change.sites)
        for site in change.sites if change.replacement == "mean" else ():
            if _mean(means, site, change.group) is None:
                raise DataError(f"{site}: no mean was given to replace it by")
        if change.replacement != "source" or not change.sites:
            continue
        if sources is None:
            raise DataError("values of other prompts are asked for, and no sources were given")
        if isinstance(sources, Recorded):
            for site in change.sites:
                if (site.kind, site.layer) not in sources.values:
                    raise DataError(f"{site}: no value was given to replace it by")


def _mean(means: Means | None, site: Site, group: str) -> np.ndarray | None:
    found = means or {}
    return found.get((site, group), found.get(site))


def _score(
    engine: Engine,
    prompts: Sequence[LabelledPrompt],
    changes: Sequence[Change],
    groups: Sequence[Mapping[str, Sequence[int]]],
    sources: Sources | None,
    means: Means | None,
) -> np.ndarray:
    """Return the scores of a few prompts."""
    runs = label_runs(prompts)
    # Other tokens may change where values are the source's than where they are constants.
    changed: dict[tuple[str, bool], list[int]] = {}
    for k, change in enumerate(changes):
        if change.sites:
            by_source = change.replacement == "source"
            changed.setdefault((change.group, by_source), []).append(k)
    theirs = _source_values(engine, runs, changes, groups, sources)
    # A copy of the decision token that joins after the last block is what no patch changes.
    whole = [np.where(np.arange(len(r.sequence)) == r.length - 1, 0, -1) for r in runs]
    jobs = [ForkJob(_Patches(engine, [Change((), "")], np.array([-1]), theirs, means), whole)]
    for (group, by_source), columns in changed.items():
        mine = [changes[k] for k in columns]
        values, aligned = (theirs, sources) if by_source else (None, None)
        patches = _Patches(engine, mine, np.array(columns), values, means)
        jobs.append(ForkJob(patches, mark_replaced(runs, groups, group, values, aligned)))
    # The last column is that of no change.
    scores = np.full((len(prompts), len(changes) + 1, 2), np.nan)

    def work(fork: Fork, steered: SteeredFork) -> None:
        patches = steered.interventions
        assert isinstance(patches, _Patches)
        for which in steered.chunks():
            steered.score(which, patches.columns[which], scores)

    map_jobs(engine, runs, jobs, work)
    unchanged = np.isnan(scores)
    return np.where(unchanged, scores[:, -1:], scores)[:, :-1]


def _source_values(
    engine: Engine,
    runs: Sequence[LabelRun],
    changes: Sequence[Change],
    groups: Sequence[Mapping[str, Sequence[int]]],
    sources: Sources | None,
) -> Recorded | None:
    """Return the sources' values wherever a change takes them from."""
    if isinstance(sources, Recorded):
        return Recorded(sources.values, [sources.rows[run.prompt] for run in runs])
    taking = [change for change in changes if change.sites and change.replacement == "source"]
    if sources is None or not taking:
        return None
    names = {change.group for change in taking}
    tokens = [sorted({k for g in names for k in groups[run.prompt].get(g, ())}) for run in runs]
    # With the label's tokens behind them: a sequence's length may set its rotations (longrope).
    sequences = [[*sources[run.prompt], *run.sequence[run.length :]] for run in runs]
    places = {(site.kind, site.layer) for change in taking for site in change.sites}
    return record(engine, sequences, tokens, places)


def mark_replaced(
    runs: Sequence[LabelRun],
    groups: Sequence[Mapping[str, Sequence[int]]],
    group: str,
    theirs: Recorded | None,
    sources: Sources | None,
) -> list[np.ndarray | None]:
    """Return for each run which of the sources' values replace those of its tokens.

    Up to the first token in which the two differ, values are the same: nothing is replaced there.
    """
    marks: list[np.ndarray | None] = []
    for index, run in enumerate(runs):
        tokens = np.asarray(groups[run.prompt].get(group, ()), dtype=np.int64)
        edited = np.full(len(run.sequence), -1)
        if theirs is None or sources is None:
            edited[tokens] = 0
        else:
            if not isinstance(sources, Recorded):
                source = np.asarray(sources[run.prompt])
                same = shared_prefix(source, np.array(run.sequence[: run.length]))
                tokens = tokens[tokens >= same]
            edited[tokens] = theirs.rows[index][tokens]
        marks.append(edited if len(tokens) else None)
    return marks


class _Patches(InterventionBatch):
    """Changes at one group of tokens; `columns` says which of all changes each is."""

    def __init__(
        self,
        engine: Engine,
        changes: Sequence[Change],
        columns: np.ndarray,
        theirs: Recorded | None,
        means: Means | None,
    ):
        self.columns = columns
        # Residuals change after their block, everything else within it.
        self.first_layers = np.array(
            [
                min((s.layer - (s.kind != "residual") for s in c.sites), default=engine.n_layers)
                for c in changes
            ]
        )
        sites = {(site.kind, site.layer) for change in changes for site in change.sites}
        self.edited_layers = {layer for kind, layer in sites if kind == "residual"}
        self.changed_blocks = {layer - 1 for kind, layer in sites if kind != "residual"}
        self._values = {} if theirs is None else theirs.values
        self._rows = torch.empty(0, dtype=torch.int64)
        # What replaces each part: (changes, parts) codes, and (parts, size) means.
        self._codes: dict[Place, np.ndarray] = {}
        self._means: dict[Place, torch.Tensor] = {}
        for i, change in enumerate(changes):
            for site in change.sites:
                place, part = (site.kind, site.layer), max(site.head, 0)
                parts, size = 1, engine.width
                if site.kind == "head":
                    parts, size = engine.n_heads, engine.head_dim
                codes = self._codes.setdefault(place, np.zeros((len(changes), parts), np.int64))
                codes[i, part] = _CODES[change.replacement]
                mean = _mean(means, site, change.group)
                if change.replacement == "mean" and mean is not None:
                    held = self._means.setdefault(place, torch.zeros(parts, size))
                    held[part] = torch.from_numpy(np.asarray(mean, dtype=np.float32))

    def on(self, fork: Fork) -> _Patches:
        """Return the patches with the values of a fork's tokens."""
        mine = copy.copy(self)
        mine._rows = torch.tensor([mark for mark in fork.marks if mark >= 0])
        return mine

    def apply(self, layer: int, residual: torch.Tensor, which: np.ndarray) -> torch.Tensor:
        """Return residuals after what patches do at one layer."""
        tokens = np.arange(residual.shape[1])
        return self._replaced(("residual", layer), residual[None], which, tokens)[0]

    def block_change(
        self, block: int, which: np.ndarray, tokens: np.ndarray, size: int
    ) -> BlockChange | None:
        """Return what patches do within a block, if anything."""

        def change(kind: str, x: torch.Tensor, first: int) -> torch.Tensor:
            copies = x.unflatten(1, (len(which), size))
            return self._replaced((kind, block + 1), copies, which, tokens, first).flatten(1, 2)

        here = {
            kind: (kind, block + 1) in self._codes and self._codes[kind, block + 1][which].any()
            for kind in ("head", "attention", "mlp")
        }
        if not any(here.values()):
            return None
        return BlockChange(
            (lambda x, first: change("head", x, first)) if here["head"] else None,
            (lambda x: change("attention", x[None], 0)[0]) if here["attention"] else None,
            (lambda x: change("mlp", x[None], 0)[0]) if here["mlp"] else None,
        )

    def _replaced(
        self, place: Place, x: torch.Tensor, which: np.ndarray, tokens: np.ndarray, first: int = 0
    ) -> torch.Tensor:
        """Return values `(parts, copies, t, size)` with those of some tokens replaced.

        `first` is the number of the first part, where devices share the heads.
        """
        codes = self._codes[place][which][:, first : first + len(x)]
        x, at = x.clone(), copy_to(torch.from_numpy(tokens), x.device)
        for code in np.unique(codes[codes > 0]).tolist():
            copies, parts = np.nonzero(codes == code)
            part, copy_ = (copy_to(torch.from_numpy(k), x.device)[:, None] for k in (parts, copies))
            new: torch.Tensor | float = 0.0
            if code == _SOURCE:
                values = self._values[place].to(x.device, x.dtype)
                new = values[part + first, copy_to(self._rows, x.device)]
            elif code == _MEAN:
                new = (
                    copy_to(self._means[place], x.device)
                    .to(x.dtype)[part + first]
                    .expand(-1, len(tokens), -1)
                )
            x[part, copy_, at] = new
        return x
