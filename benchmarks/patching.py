"""Activation patching of pairs: residuals by layer and token group, and every head at the decision.

In the source of a pair two tokens of the prompt are exchanged, the first of them `--differ` of the
way in: what comes before is the same in both, and we patch nothing there, so that the ratio of the
residual part depends on it. Twelve groups of neighbouring tokens cover a prompt evenly. Each peer
does as its patching loops do: the source runs once, its values are kept, and for every patch the
whole prompt runs again with a hook that writes them. A peer's time grows by the same amount for
every patch, so it is measured on `--peer-patches` of them in each of the two parts and scaled to
all; equality is checked on those.

TransformerLens and nnsight are used where they are installed; plain hooks always.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.common import arguments, clock, device_name, match_prompts, random_model, report
from benchmarks.peers import version
from benchmarks.profiling import add_option, profiled
from nashlens.engine.core import Engine
from nashlens.engine.labels import LabelledPrompt
from nashlens.engine.patching import Change, Site, patch_scores
from nashlens.models.loaded import LoadedModel

LABELS = ([5], [6])
N_GROUPS = 12
Loop = Callable[[list[int], list[int], list[tuple[Site, list[int]]]], np.ndarray]
"""From a prompt, its source and patches to `(patches, 2)` log P of the labels."""


def _logprobs(logits: torch.Tensor) -> np.ndarray:
    chosen = torch.log_softmax(logits[0, -1].float(), dim=-1)[[LABELS[0][0], LABELS[1][0]]]
    return chosen.cpu().numpy()


def _replace(x: torch.Tensor, values: torch.Tensor, site: Site, at: list[int], size: int) -> None:
    """Write values `(1, t, width)` of some tokens, or of one head of them, in place."""
    part = slice(site.head * size, (site.head + 1) * size) if site.kind == "head" else slice(None)
    x[:, at, part] = values[:, at, part]


@torch.inference_mode()
def hooks(
    loaded: LoadedModel, prompt: list[int], source: list[int], patches: list[tuple[Site, list[int]]]
) -> np.ndarray:
    """Patch by forward hooks."""
    layers, size = loaded.model.model.layers, Engine(loaded).head_dim
    ids, theirs = (torch.tensor([x], device=loaded.device) for x in (prompt, source))
    kept: dict[tuple[str, int], torch.Tensor] = {}

    def attach(site: Site, work: Callable[[torch.Tensor], None]) -> Any:
        layer = layers[site.layer - 1]
        if site.kind == "head":
            return layer.self_attn.o_proj.register_forward_pre_hook(lambda _m, a: work(a[0]))
        return layer.register_forward_hook(lambda _m, _i, out: work(out))

    def run(tokens: torch.Tensor) -> torch.Tensor:
        return loaded.model(tokens, use_cache=False, logits_to_keep=1).logits

    handles = [
        attach(site, lambda x, key=(site.kind, site.layer): kept.__setitem__(key, x.clone()))
        for site, _ in patches
    ]
    run(theirs)
    for handle in handles:
        handle.remove()
    result = []
    for site, at in patches:
        values = kept[site.kind, site.layer]
        handle = attach(site, partial(_replace, values=values, site=site, at=at, size=size))
        result.append(_logprobs(run(ids)))
        handle.remove()
    return np.stack(result)


@torch.inference_mode()
def nnsight(
    loaded: LoadedModel, prompt: list[int], source: list[int], patches: list[tuple[Site, list[int]]]
) -> np.ndarray:
    """Patch by nnsight's traces."""
    from nnsight import NNsight

    model, size = NNsight(loaded.model), Engine(loaded).head_dim
    ids, theirs = (torch.tensor([x], device=loaded.device) for x in (prompt, source))
    options = {"use_cache": False, "logits_to_keep": 1}
    result = []
    kept: dict[tuple[str, int], Any] = {}
    with model.trace(theirs, **options):
        for kind, number in sorted({(s.kind, s.layer) for s, _ in patches}, key=lambda k: k[1]):
            layer = model.model.layers[number - 1]
            value = layer.self_attn.o_proj.input if kind == "head" else layer.output
            kept[kind, number] = value.clone().save()
    for site, at in patches:
        with model.trace(ids, **options):
            layer = model.model.layers[site.layer - 1]
            x = layer.self_attn.o_proj.input if site.kind == "head" else layer.output
            _replace(x, kept[site.kind, site.layer], site, at, size)
            logits = model.output.logits.save()
        result.append(_logprobs(logits))
    return np.stack(result)


@torch.inference_mode()
def transformer_lens(
    bridge: Any, prompt: list[int], source: list[int], patches: list[tuple[Site, list[int]]]
) -> np.ndarray:
    """Patch by TransformerLens' hooks; heads' outputs are `hook_z`."""
    ids, theirs = (torch.tensor([x], device=bridge.cfg.device) for x in (prompt, source))

    def name(site: Site) -> str:
        end = "attn.hook_z" if site.kind == "head" else "hook_resid_post"
        return f"blocks.{site.layer - 1}.{end}"

    _, kept = bridge.run_with_cache(theirs, names_filter=[name(site) for site, _ in patches])

    def write(x: torch.Tensor, hook: Any, site: Site, at: list[int]) -> torch.Tensor:
        values = kept[hook.name]
        size = x.shape[-1] if x.dim() == 4 else bridge.cfg.d_head
        flat = x.clone().flatten(2)
        _replace(flat, values.flatten(2), site, at, size)
        return flat.view(x.shape)

    result = []
    for site, at in patches:
        hook = (name(site), partial(write, site=site, at=at))
        result.append(_logprobs(bridge.run_with_hooks(ids, fwd_hooks=[hook])))
    return np.stack(result)


def loops(loaded: LoadedModel) -> dict[str, Callable[[], Loop]]:
    """Return the loops that can run, each made when asked for: the bridge changes the model."""

    def bridged() -> Loop:
        from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

        name = type(loaded.model).__name__
        bridge = build_bridge_from_module(loaded.model, name, hf_config=loaded.model.config)
        return partial(transformer_lens, bridge)

    found: dict[str, Callable[[], Loop]] = {"hooks": lambda: partial(hooks, loaded)}
    if version("nnsight"):
        found["nnsight"] = lambda: partial(nnsight, loaded)
    if version("transformer_lens"):
        found["transformer_lens"] = bridged
    return found


def pairs(options: argparse.Namespace, count: int) -> tuple[list[list[int]], list[list[int]]]:
    """Return prompts and their sources, in which two tokens are exchanged."""
    now = 5
    prompts = match_prompts(5, now, seeds=-(-count // 5))[now - 1 :: now][:count]
    sources = []
    for ids in prompts:
        first = int(len(ids) * options.differ)
        # The next token that is another one, so that the prompts do differ there.
        second = next(k for k in range(first + 1, len(ids)) if ids[k] != ids[first])
        source = list(ids)
        source[first], source[second] = ids[second], ids[first]
        sources.append(source)
    return prompts, sources


def token_groups(length: int) -> dict[str, list[int]]:
    """Return twelve groups of neighbouring tokens, and the decision."""
    parts = np.array_split(np.arange(length), N_GROUPS)
    return {f"g{k}": part.tolist() for k, part in enumerate(parts)} | {"decision": [length - 1]}


def compare(loaded: LoadedModel, changes: list[Change], options: argparse.Namespace) -> Any:
    """Patch with us, and with every peer on some of the patches; return our and their figures."""
    prompts, sources = pairs(options, 4 if options.quick else options.pairs)
    groups = [token_groups(len(ids)) for ids in prompts]
    cuda = options.device == "cuda"
    engine = Engine(loaded, options.batch_tokens or (8192 if cuda else 4096))
    asked = [LabelledPrompt(ids, LABELS) for ids in prompts]

    def ours() -> np.ndarray:
        return patch_scores(engine, asked, changes, groups=groups, sources=sources)

    # Kernels are compiled for a length, and chosen for a shape.
    warm = clock(ours, options.device)[0] if cuda else None
    seconds, found = clock(ours, options.device)
    some = np.linspace(0, len(changes) - 1, options.peer_patches).astype(int)
    peers = {}
    for name, make in loops(loaded).items():
        # The first call is not counted. The source's run is one more than the patches' own runs.
        loop, took, error, measured = make(), 0.0, 0.0, range(min(options.peer_pairs, len(prompts)))
        for i in measured:
            chosen = [(changes[k].sites[0], groups[i][changes[k].group]) for k in some]
            work = partial(loop, prompts[i], sources[i], chosen)
            if not i:
                work()
            each, theirs = clock(work, options.device)
            took += each
            error = max(error, float(np.abs(theirs - found[i][some]).max()))
        runs = len(measured) * (len(some) + 1)
        whole = took / runs * len(prompts) * (len(changes) + 1)
        peers[name] = {"seconds": whole, "max_error": error}
    return {
        "seconds": seconds,
        "first_call_seconds": warm,
        "peers": peers,
        "patches": len(changes),
        "pairs": len(prompts),
        "tokens": sum(map(len, prompts)),
        "profile": profiled(ours, options),
    }


def patching_arguments() -> argparse.ArgumentParser:
    parser = arguments(__doc__)
    add_option(parser)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--differ", type=float, default=1 / 3, help="where a pair first differs")
    parser.add_argument("--batch-tokens", type=int, default=None)
    parser.add_argument("--peer-patches", type=int, default=6)
    parser.add_argument("--peer-pairs", type=int, default=2)
    return parser


def main() -> None:
    options = patching_arguments().parse_args()
    loaded = random_model(options)
    layers = range(1, loaded.n_layers + 1)
    heads = Engine(loaded).n_heads
    parts = {
        "residual": [
            Change((Site("residual", layer),), f"g{k}") for layer in layers for k in range(N_GROUPS)
        ],
        "heads": [
            Change((Site("head", layer, head),), "decision")
            for layer in layers
            for head in range(heads)
        ],
    }
    figures: dict[str, Any] = {}
    for name, changes in parts.items():
        figures[name] = compare(loaded, changes, options)
    totals = {
        peer: sum(part["peers"][peer]["seconds"] for part in figures.values())
        for peer in figures["residual"]["peers"]
    }
    best = min(totals, key=lambda peer: totals[peer])
    seconds = sum(part["seconds"] for part in figures.values())
    errors = [peer["max_error"] for part in figures.values() for peer in part["peers"].values()]
    report(
        benchmark="patching",
        device=device_name(options),
        ratio=totals[best] / seconds,
        max_error=max(errors),
        best_peer=best,
        differ=options.differ,
        missing_peers=[p for p in ("nnsight", "transformer_lens") if p not in totals],
        seconds=seconds,
        peer_seconds=totals[best],
        ratios={
            name: part["peers"][best]["seconds"] / part["seconds"] for name, part in figures.items()
        },
        parts=figures,
    )


if __name__ == "__main__":
    main()
