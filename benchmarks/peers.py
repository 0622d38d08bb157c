"""The usual ways to read the residuals at the last position of every prompt, as peers.

Each runs the model's own forward over left-padded batches of prompts of like length. nnsight and
TransformerLens are optional (`pip install nashlens[peers]`).
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from nashlens.models.loaded import LoadedModel

Inputs = dict[str, torch.Tensor]
States = Callable[[Inputs], Sequence[torch.Tensor]]
"""Of one padded batch: a `(batch, width)` residual for the embedding and after every block."""


def batches(prompts: Sequence[Sequence[int]], size: int) -> list[list[int]]:
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    return [order[k : k + size] for k in range(0, len(order), size)]


def padded(loaded: LoadedModel, prompts: Sequence[Sequence[int]], which: Sequence[int]) -> Inputs:
    longest = max(len(prompts[i]) for i in which)
    ids = torch.zeros(len(which), longest, dtype=torch.long)
    mask = torch.zeros(len(which), longest, dtype=torch.long)
    for row, i in enumerate(which):
        ids[row, longest - len(prompts[i]) :] = torch.tensor(prompts[i])
        mask[row, longest - len(prompts[i]) :] = 1
    return {"input_ids": ids.to(loaded.device), "attention_mask": mask.to(loaded.device)}


@torch.inference_mode()
def collect(
    loaded: LoadedModel, prompts: Sequence[Sequence[int]], size: int, states: States
) -> np.ndarray:
    """Return `(prompts, layers + 1, width)` float32 from batches of a size."""
    result = np.empty((len(prompts), loaded.n_layers + 1, loaded.width), dtype=np.float32)
    for which in batches(prompts, size):
        found = states(padded(loaded, prompts, which))
        result[which] = torch.stack(list(found), dim=1).float().cpu().numpy()
    return result


@contextmanager
def hooks(loaded: LoadedModel) -> Iterator[States]:
    """Keep the last position by forward hooks."""
    backbone, seen = loaded.model.model, []
    modules = [backbone.embed_tokens, *backbone.layers]
    handles = [m.register_forward_hook(lambda _m, _i, h: seen.append(h[:, -1])) for m in modules]

    def states(inputs: Inputs) -> Sequence[torch.Tensor]:
        seen.clear()
        backbone(**inputs, use_cache=False)
        return seen

    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def hidden_states(loaded: LoadedModel) -> Iterator[States]:
    """Take `output_hidden_states`, whose last entry has been through the final norm."""

    def states(inputs: Inputs) -> Sequence[torch.Tensor]:
        out = loaded.model.model(**inputs, use_cache=False, output_hidden_states=True)
        return [h[:, -1] for h in out.hidden_states]

    yield states


@contextmanager
def nnsight(loaded: LoadedModel) -> Iterator[States]:
    """Trace the backbone with nnsight."""
    from nnsight import NNsight

    model = NNsight(loaded.model.model)

    def states(inputs: Inputs) -> Sequence[torch.Tensor]:
        with model.trace(**inputs, use_cache=False):
            found = [model.embed_tokens.output[:, -1]]
            for layer in model.layers:
                found.append(layer.output[:, -1])
            found.save()
        return found

    yield states


@contextmanager
def transformer_lens(loaded: LoadedModel) -> Iterator[States]:
    """Run the TransformerLens bridge with a cache of the residuals at the last position.

    The bridge replaces the model's modules and its attention for good, so it comes last.
    """
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    name = type(loaded.model).__name__
    bridge = build_bridge_from_module(loaded.model, name, hf_config=loaded.model.config)
    names = ["blocks.0.hook_resid_pre"]
    names += [f"blocks.{layer}.hook_resid_post" for layer in range(loaded.n_layers)]

    def states(inputs: Inputs) -> Sequence[torch.Tensor]:
        _, cache = bridge.run_with_cache(
            inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            names_filter=names,
            pos_slice=-1,
            return_type=None,
        )
        return [cache[name].reshape(-1, loaded.width) for name in names]

    yield states


PEERS = {
    "hooks": ("transformers", hooks),
    "hidden_states": ("transformers", hidden_states),
    "nnsight": ("nnsight", nnsight),
    "transformer_lens": ("transformer-lens", transformer_lens),
}
"""Distribution and way of each, in the order that they run."""


def version(peer: str) -> str | None:
    """Return the version of a peer's distribution, None where it is not installed."""
    try:
        return importlib.metadata.version(PEERS[peer][0])
    except importlib.metadata.PackageNotFoundError:
        return None
