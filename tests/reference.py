"""The oracle: the same results from the model's own forward, one prompt at a time.

Nothing is shared, packed or reused here; residuals and interventions are plain forward hooks. It
is slow on purpose and exists for the tests and the benchmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
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


def component_outputs(
    loaded: LoadedModel, sequence: Sequence[int]
) -> dict[tuple[str, int], np.ndarray]:
    """Return `(t, width)` for each MLP, and the output projection's input where heads are."""
    seen: dict[tuple[str, int], np.ndarray] = {}

    def keep(place: tuple[str, int], side: str) -> Any:
        def hook(_module: Any, given: tuple[torch.Tensor, ...], out: Any = None) -> None:
            seen[place] = (given[0] if side == "head" else out)[0].float().cpu().numpy()

        return hook

    hooks = [
        module.register_forward_pre_hook(keep(("head", k + 1), "head"))
        for k, module in enumerate(_projections(loaded))
    ]
    hooks += [
        m.register_forward_hook(keep(("mlp", k + 1), "mlp")) for k, m in enumerate(_mlps(loaded))
    ]
    with torch.inference_mode():
        loaded.model(torch.tensor([list(sequence)], device=loaded.device), use_cache=False)
    for hook in hooks:
        hook.remove()
    return seen


def ablated_label_logprobs(
    loaded: LoadedModel,
    prompt: LabelledPrompt,
    sites: Sequence[tuple[str, int, int]],
    values: Mapping[tuple[str, int], np.ndarray],
    first: int,
) -> np.ndarray:
    """Return `(2,)` float64 log P of each whole label with components ablated from a token on.

    `values` holds `(2, width)`: what replaces outputs before the decision, and at it.
    """
    decision = len(prompt.ids) - 1
    size = loaded.width // loaded.model.config.num_attention_heads

    def replaced(kind: str, layer: int, head: int) -> Any:
        part = slice(head * size, (head + 1) * size) if kind == "head" else slice(None)
        early, last = (torch.from_numpy(np.asarray(v[part])) for v in values[kind, layer])

        def change(x: torch.Tensor) -> torch.Tensor:
            x = x.clone()
            x[0, first:decision, part], x[0, decision, part] = early, last
            return x

        if kind == "head":
            return lambda _m, given: (change(given[0]), *given[1:])
        return lambda _m, _given, out: change(out)

    def hooks(_i: int) -> list[Any]:
        return [
            _projections(loaded)[layer - 1].register_forward_pre_hook(replaced(kind, layer, head))
            if kind == "head"
            else _mlps(loaded)[layer - 1].register_forward_hook(replaced(kind, layer, head))
            for kind, layer, head in sites
        ]

    return _scored(loaded, [prompt], hooks)[0]


def _mlps(loaded: LoadedModel) -> list[Any]:
    names = loaded.architecture
    return [
        attrgetter(names.mlp_out_norm or names.mlp)(layer)
        for layer in attrgetter(names.layers)(loaded.model)
    ]


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
