"""Activation patching of pairs: residuals by layer and token group, and every head at the decision.

The pairs are the study's own, of its two default kinds in equal parts: the seat's payoffs exchanged
(they differ from a quarter of the prompt on) and the opponent's last move (from nine tenths on).
Before the first token in which a pair differs nothing can change, and we compute nothing there, so
the ratio depends on the kind; `ratios` has each kind's, and `operations_ratio` what follows from
counting alone. The twelve groups of tokens are the study's own too.

Peers run whole prompts again for every patch (`benchmarks.patching_peers`). Each patch adds the
same time, so they are measured on `--peer-patches` of each part and `--peer-pairs` pairs, and
scaled to all; equality is checked on those. Ours and all peers run in turn, `--repeats` times. On a
CPU, `cpu_ratio` is of the seconds of the process, which do not depend on what else a machine does.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from benchmarks.common import (
    arguments,
    block_parameters,
    clock,
    device_name,
    matrix_peak,
    random_model,
    report,
    word_tokenizer,
)
from benchmarks.patching_peers import Loop, loops
from benchmarks.profiling import add_option, profiled
from nashlens.circuits.patching import choose_pairs
from nashlens.engine.core import Engine
from nashlens.engine.forest import pack, shared_prefix
from nashlens.engine.labels import LabelledPrompt, labelled_prompts
from nashlens.engine.patching import Change, Site, patch_scores
from nashlens.games.catalog import CATALOG
from nashlens.models.loaded import LoadedModel
from nashlens.prompts.groups import group_indices
from nashlens.prompts.pairs import build_pairs
from nashlens.prompts.table import Asked, planned_decisions
from nashlens.prompts.templates import SYSTEM

KINDS = ("payoffs", "history")
GROUPS = (
    *("system", "opening", "payoff_1", "payoff_2", "payoff_3", "payoff_4", "round_last"),
    *("question", "option_first", "option_second", "answer", "decision"),
)
GAME = "deadlock"


class Pairs(NamedTuple):
    """Prompts, their sources, and the tokens of each group, the same in all of them."""

    kinds: list[str]
    prompts: list[LabelledPrompt]
    sources: list[list[int]]
    groups: dict[str, list[int]]

    def of(self, kind: str) -> list[int]:
        return [k for k, name in enumerate(self.kinds) if name == kind]


class Spent(NamedTuple):
    """Seconds of the clock and of the process."""

    wall: float
    cpu: float

    def times(self, factor: float) -> Spent:
        return Spent(self.wall * factor, self.cpu * factor)


def study_pairs(count: int) -> Pairs:
    """Return pairs of the default study's kinds, half of each, with four played rounds."""
    decisions = planned_decisions(
        [CATALOG[GAME]],
        templates=["neutral"],
        label_sets={"jf": ("J", "F"), "xy": ("X", "Y")},
        label_maps=["identity", "swapped"],
        option_orders=["forward", "reversed"],
        opponents=["RANDOM"],
        own_cooperation=0.5,
        rounds=[5],
        histories=max(2, -(-count // 8)),
        seed=0,
    )
    asked = Asked(word_tokenizer(), SYSTEM, "I choose option")
    table = build_pairs(decisions, asked, kinds=KINDS, games=[GAME])
    chosen = [
        choose_pairs(table, kind, KINDS, [GAME], max(8, count // 2), 0).head(count // 2)
        for kind in KINDS
    ]
    rows = pd.concat(chosen, ignore_index=True)
    groups = [group_indices(list(names), GROUPS) for names in rows["groups"]]
    if any(other != groups[0] for other in groups):
        raise ValueError("the pairs' groups have other tokens: peers could not batch them")
    sources = [ids.tolist() for ids in rows["source_ids"]]
    return Pairs(rows["kind"].tolist(), labelled_prompts(rows, "ids"), sources, groups[0])


def spent(work: Callable[[], Any], device: str) -> tuple[Spent, Any]:
    before = time.process_time()
    wall, result = clock(work, device)
    return Spent(wall, time.process_time() - before), result


def run_peer(
    loop: Loop, pairs: Pairs, which: Sequence[int], some: Sequence[Change], size: int, device: str
) -> tuple[Spent, np.ndarray]:
    """Patch some pairs, `size` at once; return `(pairs, patches, 2)` log P of the labels."""
    patches = [(change.sites[0], pairs.groups[change.group]) for change in some]

    def work() -> list[list[torch.Tensor]]:
        result = []
        for start in range(0, len(which), size):
            here = which[start : start + size]
            prompts = torch.tensor([pairs.prompts[k].ids for k in here], device=device)
            sources = torch.tensor([pairs.sources[k] for k in here], device=device)
            result.append(loop(prompts, sources, patches))
        return result

    took, found = spent(work, device)
    logits = torch.cat([torch.stack(batch, dim=1) for batch in found])
    labels = torch.tensor([[label[0] for label in pairs.prompts[k].labels] for k in which])
    logprobs = torch.log_softmax(logits.float(), dim=-1).cpu()
    return took, logprobs.gather(2, labels[:, None].expand(-1, len(some), -1)).numpy()


def operations(pairs: Pairs, changes: Sequence[Change], loaded: LoadedModel) -> tuple[int, int]:
    """Return the products' operations of what patches change, and of the peers' whole runs.

    After the last block only the decision is needed. Runs of the prompts and their sources count.
    """
    n_layers, unembed = loaded.n_layers, loaded.vocab * loaded.width
    ours = theirs = 0
    for prompt, source in zip(pairs.prompts, pairs.sources, strict=True):
        length = len(prompt.ids)
        differ = shared_prefix(np.array(prompt.ids), np.array(source))
        theirs += length * n_layers * (len(changes) + 1)
        for change in changes:
            site, tokens = change.sites[0], pairs.groups[change.group]
            changed = [k for k in tokens if k >= differ]
            above = n_layers - site.layer + (site.kind != "residual")
            if changed and above:
                ours += (length - changed[0]) * (above - 1) + 1
    rows = [prompt.ids for prompt in pairs.prompts], pairs.sources
    ours += n_layers * sum(len(row) for ids in rows for row, _ in pack(ids, sum(map(len, ids))))
    a_layer = block_parameters(loaded) // n_layers
    scored = len(pairs.prompts) * len(changes) * unembed
    return 2 * (ours * a_layer + scored), 2 * (theirs * a_layer + scored)


def compare(
    engine: Engine,
    pairs: Pairs,
    changes: Sequence[Change],
    peers: dict[str, Loop],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Patch with us and with every peer once; return seconds of all pairs and largest errors."""
    device = options.device
    seconds, found = {}, np.empty((len(pairs.prompts), len(changes), 2))
    for kind in KINDS:
        mine = pairs.of(kind)
        seconds[kind], found[mine] = spent(
            lambda mine=mine: patch_scores(
                engine,
                [pairs.prompts[k] for k in mine],
                changes,
                groups=[pairs.groups] * len(mine),
                sources=[pairs.sources[k] for k in mine],
            ),
            device,
        )
    columns = np.linspace(0, len(changes) - 1, options.peer_patches).astype(int)
    which = np.linspace(0, len(pairs.prompts) - 1, options.peer_pairs).astype(int).tolist()
    some, theirs, errors = [changes[k] for k in columns], {}, {}
    scale = len(pairs.prompts) * (len(changes) + 1) / (len(which) * (len(some) + 1))
    for name, loop in peers.items():
        for size in options.peer_batches or ([1, 8] if device == "cuda" else [1]):
            took, values = run_peer(loop, pairs, which, some, size, device)
            theirs[f"{name}, {size} at once"] = took.times(scale)
            error = np.abs(values - found[np.ix_(which, columns)]).max()
            errors[name] = max(errors.get(name, 0.0), float(error))
    return {"ours": seconds, "peers": theirs, "errors": errors}


def patching_arguments() -> argparse.ArgumentParser:
    parser = arguments(__doc__)
    add_option(parser)
    parser.add_argument("--pairs", type=int, default=16, help="half of each kind")
    parser.add_argument("--batch-tokens", type=int, default=None)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer-patches", type=int, default=4, help="measured in each part")
    parser.add_argument("--peer-pairs", type=int, default=2, help="measured")
    parser.add_argument("--peer-batches", type=int, nargs="+", help="pairs at once; best counts")
    return parser


def summary(runs: Sequence[dict[str, dict[str, Any]]], of: str) -> dict[str, Any]:
    """Return medians over repeats of the seconds `of` a clock, and the ratios that follow."""

    def median(part: str, side: str, name: str) -> float:
        return float(np.median([getattr(run[part][side][name], of) for run in runs]))

    parts, names = list(runs[0]), list(runs[0]["residual"]["peers"])
    ours = {(part, kind): median(part, "ours", kind) for part in parts for kind in KINDS}
    peers = {name: sum(median(part, "peers", name) for part in parts) for name in names}
    best = min(peers, key=lambda name: peers[name])
    here = {part: median(part, "peers", best) for part in parts}
    by_kind = {
        kind: peers[best] / len(KINDS) / sum(ours[part, kind] for part in parts) for kind in KINDS
    }
    each = [
        sum(getattr(part["peers"][best], of) for part in run.values())
        / sum(getattr(part["ours"][kind], of) for part in run.values() for kind in KINDS)
        for run in runs
    ]
    return {
        "ratio": float(np.median(each)),
        "each_ratio": each,
        "best_peer": best,
        "seconds": sum(ours.values()),
        "peer_seconds": peers,
        "ratios": by_kind
        | {part: here[part] / sum(ours[part, kind] for kind in KINDS) for part in parts},
    }


def main() -> None:
    options = patching_arguments().parse_args()
    loaded, pairs = random_model(options), study_pairs(2 if options.quick else options.pairs)
    cuda, layers = options.device == "cuda", range(1, loaded.n_layers + 1)
    engine = Engine(loaded, options.batch_tokens or (8192 if cuda else 4096), compiled=True)
    heads = [Site("head", layer, head) for layer in layers for head in range(engine.n_heads)]
    parts = {
        "residual": [Change((Site("residual", k),), group) for k in layers for group in GROUPS],
        "heads": [Change((site,), "decision") for site in heads],
    }
    peers = loops(loaded, lambda: random_model(options))

    def run() -> dict[str, dict[str, Any]]:
        return {name: compare(engine, pairs, some, peers, options) for name, some in parts.items()}

    # The first calls make what later ones use: on a GPU kernels are compiled and chosen.
    warm = clock(run, options.device)[0] if cuda else None
    runs = [run() for _ in range(1 if options.quick else options.repeats)]
    counted = np.sum([operations(pairs, some, loaded) for some in parts.values()], axis=0)
    peak = matrix_peak(options.device, loaded.dtype)
    figures = summary(runs, "wall")
    errors = [part["errors"] for each in runs for part in each.values()]
    report(
        benchmark="patching",
        device=device_name(options),
        **figures,
        **({} if cuda else {f"cpu_{k}": v for k, v in summary(runs, "cpu").items()}),
        max_error=max(max(some.values()) for some in errors),
        max_errors={name: max(some[name] for some in errors) for name in peers},
        missing_peers=[name for name in ("nnsight", "transformer_lens") if name not in peers],
        first_call_seconds=warm,
        patches={name: len(some) for name, some in parts.items()},
        pairs=len(pairs.prompts),
        tokens=sum(len(prompt.ids) for prompt in pairs.prompts),
        threads=torch.get_num_threads(),
        operations_ratio=float(counted[1] / counted[0]),
        matrix_peak=peak,
        floor_seconds=float(counted[0] / peak),
        floor_share=float(counted[0] / peak / figures["seconds"]),
        profile=profiled(
            lambda: patch_scores(
                engine,
                pairs.prompts,
                parts["residual"],
                groups=[pairs.groups] * len(pairs.prompts),
                sources=pairs.sources,
            ),
            options,
        ),
    )


if __name__ == "__main__":
    main()
