"""The oracle: the same results from the model's own forward, one prompt at a time.

Nothing is shared, packed or reused here; residuals and interventions are plain forward hooks. It
is slow on purpose and exists for the tests and the benchmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nashlens.engine.edits import Edit, Intervention, edits_of
from nashlens.engine.generation import Generated, Request
from nashlens.engine.generation.sampling import uniforms
from nashlens.engine.labels import LabelledPrompt
from nashlens.engine.sweeps import Positions

if TYPE_CHECKING:
    from nashlens.models.loaded import LoadedModel


def _modules(loaded: LoadedModel) -> list[Any]:
    names = loaded.architecture
    model: Any = loaded.model
    return [attrgetter(names.embedded or names.embed)(model), *attrgetter(names.layers)(model)]


@torch.inference_mode()
def residuals_at(
    loaded: LoadedModel, sequences: Sequence[Sequence[int]], places: np.ndarray
) -> np.ndarray:
    """Return `(n, k, layers + 1, width)` float32 residuals at tokens, by forward hooks.

    NaN where a place is -1.
    """
    result = []
    for sequence, mine in zip(sequences, places, strict=True):
        seen: list[torch.Tensor] = []
        hooks = [
            module.register_forward_hook(lambda _m, _i, out, to=seen: to.append(out[0].float()))
            for module in _modules(loaded)
        ]
        try:
            loaded.model(torch.tensor([list(sequence)], device=loaded.device), use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        tokens = torch.stack(seen).cpu().numpy().swapaxes(0, 1)
        result.append(np.where(mine[:, None, None] >= 0, tokens[mine], np.nan))
    return np.stack(result)


def residuals(loaded: LoadedModel, sequences: Sequence[Sequence[int]]) -> np.ndarray:
    """Return `(n, layers + 1, width)` float32 residuals at the last tokens, by forward hooks."""
    last = np.array([[len(sequence) - 1] for sequence in sequences])
    return residuals_at(loaded, sequences, last)[:, 0]


EDITS: dict[str, Callable[..., torch.Tensor]] = {
    "none": lambda h, _value: h,
    "add": lambda h, u, value: h + value * u,
    "clamp": lambda h, u, value: h + (value - (h @ u)[:, None]) * u,
    "ablate": lambda h, u, _value: h - (h @ u)[:, None] * u,
}
"""For each kind of edit: from residuals `(t, width)`, unit vectors and a value to residuals."""


def _edited(edit: Edit, where: slice) -> Any:
    def hook(_module: Any, _inputs: Any, out: torch.Tensor) -> torch.Tensor:
        if edit.kind == "none":
            return out
        units = torch.from_numpy(edit.units()).to(out.device)
        h = EDITS[edit.kind](out[0, where].float(), *units, edit.value)
        changed = out.clone()
        changed[0, where] = h.to(out.dtype)
        return changed

    return hook


def label_logprobs(
    loaded: LoadedModel,
    prompts: Sequence[LabelledPrompt],
    intervention: Intervention | None = None,
    positions: Positions = "last",
) -> np.ndarray:
    """Return `(n, 2)` float64 log P of each whole label, one forward a prompt and label.

    `intervention` and `positions` are as for `nashlens.engine.sweeps.sweep`.
    """
    edits = [] if intervention is None else edits_of(intervention)

    def hooks(i: int) -> list[Any]:
        ids = prompts[i].ids
        if isinstance(positions, str):
            where = slice(len(ids) - 1, len(ids)) if positions == "last" else slice(None)
        else:
            where = slice(positions[i], None)
        return [
            _modules(loaded)[edit.layer].register_forward_hook(_edited(edit, where))
            for edit in edits
        ]

    return _scored(loaded, prompts, hooks)


def head_outputs(loaded: LoadedModel, sequences: Sequence[Sequence[int]]) -> np.ndarray:
    """Return `(n, layers, heads, head)`, the output projections' input at the last tokens."""
    heads = loaded.model.config.num_attention_heads
    result = []
    for sequence in sequences:
        seen: list[torch.Tensor] = []
        hooks = [
            module.register_forward_pre_hook(lambda _m, given, to=seen: to.append(given[0][0, -1]))
            for module in _projections(loaded)
        ]
        with torch.inference_mode():
            loaded.model(torch.tensor([list(sequence)], device=loaded.device), use_cache=False)
        for hook in hooks:
            hook.remove()
        result.append([out.float().cpu().numpy().reshape(heads, -1) for out in seen])
    return np.array(result)


def ablated_label_logprobs(
    loaded: LoadedModel,
    prompts: Sequence[LabelledPrompt],
    group: Sequence[tuple[int, int]],
    replacement: np.ndarray,
) -> np.ndarray:
    """Return `(n, 2)` float64 log P of each whole label with a group of heads ablated.

    `group` and `replacement` are as for `nashlens.engine.heads.ablate_heads`.
    """
    size = replacement.shape[-1]

    def replaced(head: int, value: np.ndarray, position: int) -> Any:
        def hook(_module: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            changed = given[0].clone()
            changed[0, position, head * size : (head + 1) * size] = torch.from_numpy(value)
            return (changed, *given[1:])

        return hook

    def hooks(i: int) -> list[Any]:
        return [
            _projections(loaded)[layer - 1].register_forward_pre_hook(
                replaced(head, replacement[layer - 1, head], len(prompts[i].ids) - 1)
            )
            for layer, head in group
        ]

    return _scored(loaded, prompts, hooks)


def _projections(loaded: LoadedModel) -> list[Any]:
    names = loaded.architecture
    return [attrgetter(names.o)(layer) for layer in attrgetter(names.layers)(loaded.model)]


@torch.inference_mode()
def _scored(
    loaded: LoadedModel, prompts: Sequence[LabelledPrompt], hooks: Callable[[int], list[Any]]
) -> np.ndarray:
    """Score labels, one forward a prompt and label, while a prompt's hooks are on."""
    result = np.zeros((len(prompts), 2))
    for i, (ids, labels, _) in enumerate(prompts):
        for action, label in enumerate(labels):
            # The label's last token is predicted, never run.
            tokens = torch.tensor([[*ids, *label[:-1]]], device=loaded.device)
            handles = hooks(i)
            try:
                logits = loaded.model(tokens, use_cache=False).logits[0].float()
            finally:
                for handle in handles:
                    handle.remove()
            logprobs = torch.log_softmax(logits, dim=-1)
            for k, token in enumerate(label):
                result[i, action] += float(logprobs[len(ids) - 1 + k, int(token)])
    return result


@torch.inference_mode()
def generate(
    loaded: LoadedModel,
    requests: Sequence[Request],
    *,
    temperature: float,
    stop: Collection[int],
) -> list[Generated]:
    """Continue one prompt after another, with one full forward a token."""
    result = []
    for request in requests:
        new: list[int] = []
        stopped = False
        for uniform in uniforms(request.seed, request.max_new_tokens):
            tokens = torch.tensor([[*request.ids, *new]], device=loaded.device)
            logits = loaded.model(tokens, use_cache=False).logits[0, -1].float().cpu().numpy()
            token = _choice(logits, float(uniform), temperature)
            if token in stop:
                stopped = True
                break
            new.append(token)
        result.append(Generated(new, stopped))
    return result


def _choice(logits: np.ndarray, uniform: float, temperature: float) -> int:
    if temperature == 0.0:
        return int(logits.argmax())
    scaled = logits / np.float32(temperature)
    cumulative = np.exp(scaled - scaled.max()).cumsum()
    return int(np.argmax(cumulative > uniform * cumulative[-1]))
