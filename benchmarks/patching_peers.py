"""Activation patching by plain hooks, nnsight and TransformerLens, as peers.

Each does what its users' loops do: the sources run once, the values of the patched places are kept,
and for every patch the whole prompts run again with a hook that writes them. Prompts of one call
have the same length, and a patch the same tokens in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from benchmarks.peers import version
from nashlens.engine.core import Engine
from nashlens.engine.recording import Place, Site
from nashlens.models.loaded import LoadedModel

Patch = tuple[Site, list[int]]
"""A site and the tokens at which its values are replaced."""
Loop = Callable[[torch.Tensor, torch.Tensor, Sequence[Patch]], list[torch.Tensor]]
"""From `(n, t)` tokens of prompts and of their sources to each patch's logits, `(n, vocabulary)`,
at the last token."""


def _places(patches: Sequence[Patch]) -> list[Place]:
    """Return kinds and layers, from below: nnsight takes values in the order of the pass."""
    return sorted({(site.kind, site.layer) for site, _ in patches}, key=lambda place: place[1])


def _write(x: torch.Tensor, values: torch.Tensor, site: Site, at: list[int], size: int) -> None:
    """Replace values `(n, t, width)` of some tokens, or one head's part of them, in place."""
    part = slice(site.head * size, (site.head + 1) * size) if site.kind == "head" else slice(None)
    x[:, at, part] = values[:, at, part]


@torch.inference_mode()
def hooks(
    loaded: LoadedModel, prompts: torch.Tensor, sources: torch.Tensor, patches: Sequence[Patch]
) -> list[torch.Tensor]:
    """Patch by PyTorch's own hooks."""
    layers, size = loaded.model.model.layers, Engine(loaded).head_dim
    kept: dict[Place, torch.Tensor] = {}

    def attach(place: Place, work: Callable[[torch.Tensor], None]) -> Any:
        kind, number = place
        layer = layers[number - 1]
        if kind == "head":
            return layer.self_attn.o_proj.register_forward_pre_hook(lambda _m, args: work(args[0]))
        return layer.register_forward_hook(lambda _m, _i, out: work(out))

    def run(tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = loaded.model(tokens, use_cache=False, logits_to_keep=1).logits
        return logits[:, -1]

    def keep(x: torch.Tensor, place: Place) -> None:
        kept[place] = x.clone()

    handles = [attach(place, partial(keep, place=place)) for place in _places(patches)]
    run(sources)
    for handle in handles:
        handle.remove()
    result = []
    for site, at in patches:
        place = (site.kind, site.layer)
        handle = attach(place, partial(_write, values=kept[place], site=site, at=at, size=size))
        result.append(run(prompts))
        handle.remove()
    return result


@torch.inference_mode()
def nnsight(
    loaded: LoadedModel, prompts: torch.Tensor, sources: torch.Tensor, patches: Sequence[Patch]
) -> list[torch.Tensor]:
    """Patch in nnsight's traces."""
    from nnsight import NNsight

    model, size = NNsight(loaded.model), Engine(loaded).head_dim
    options = {"use_cache": False, "logits_to_keep": 1}
    result = []
    kept: dict[Place, Any] = {}
    with model.trace(sources, **options):
        for kind, number in _places(patches):
            layer = model.model.layers[number - 1]
            value = layer.self_attn.o_proj.input if kind == "head" else layer.output
            kept[kind, number] = value.clone().save()
    for site, at in patches:
        with model.trace(prompts, **options):
            layer = model.model.layers[site.layer - 1]
            x = layer.self_attn.o_proj.input if site.kind == "head" else layer.output
            _write(x, kept[site.kind, site.layer], site, at, size)
            logits = model.output.logits.save()
        result.append(logits[:, -1])
    return result


@torch.inference_mode()
def transformer_lens(
    bridge: Any, prompts: torch.Tensor, sources: torch.Tensor, patches: Sequence[Patch]
) -> list[torch.Tensor]:
    """Patch by TransformerLens' hooks; heads' outputs are its `hook_z`."""

    def name(site: Site) -> str:
        end = "attn.hook_z" if site.kind == "head" else "hook_resid_post"
        return f"blocks.{site.layer - 1}.{end}"

    names = [name(site) for site, _ in patches]
    _, kept = bridge.run_with_cache(sources, names_filter=names, return_type=None)

    def written(x: torch.Tensor, hook: Any, site: Site, at: list[int]) -> torch.Tensor:
        flat = x.clone().flatten(2)
        _write(flat, kept[hook.name].flatten(2), site, at, bridge.cfg.d_head)
        return flat.view(x.shape)

    result = []
    for site, at in patches:
        hook = (name(site), partial(written, site=site, at=at))
        logits: torch.Tensor = bridge.run_with_hooks(prompts, fwd_hooks=[hook])
        result.append(logits[:, -1])
    return result


def loops(loaded: LoadedModel, again: Callable[[], LoadedModel]) -> dict[str, Loop]:
    """Return the loops of the peers that are installed.

    TransformerLens replaces a model's modules for good, so it has one of its own: `again` makes it.
    """
    found: dict[str, Loop] = {"hooks": partial(hooks, loaded)}
    if version("nnsight"):
        found["nnsight"] = partial(nnsight, loaded)
    if version("transformer_lens"):
        from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

        own = again()
        name = type(own.model).__name__
        bridge = build_bridge_from_module(own.model, name, hf_config=own.model.config)
        found["transformer_lens"] = partial(transformer_lens, bridge)
    return found
