"""Residuals of all layers at the decision positions of whole matches, against the usual scripts.

Peers run the model's own forward over length-sorted, left-padded batches, at the best of several
batch sizes: once with forward hooks that keep the last position, once with `output_hidden_states`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.common import (
    arguments,
    block_parameters,
    clock,
    match_prompts,
    matrix_peak,
    random_model,
    report,
)
from nashlens.engine.core import Engine
from nashlens.engine.forest import pack
from nashlens.models.load import LoadedModel


def batches(prompts: list[list[int]], size: int) -> list[list[int]]:
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    return [order[k : k + size] for k in range(0, len(order), size)]


def padded(loaded: LoadedModel, prompts: list[list[int]], which: list[int]) -> dict[str, Any]:
    longest = max(len(prompts[i]) for i in which)
    ids = torch.zeros(len(which), longest, dtype=torch.long)
    mask = torch.zeros(len(which), longest, dtype=torch.long)
    for row, i in enumerate(which):
        ids[row, longest - len(prompts[i]) :] = torch.tensor(prompts[i])
        mask[row, longest - len(prompts[i]) :] = 1
    return {"input_ids": ids.to(loaded.device), "attention_mask": mask.to(loaded.device)}


@torch.inference_mode()
def by_hooks(loaded: LoadedModel, prompts: list[list[int]], size: int) -> np.ndarray:
    seen: list[torch.Tensor] = []
    modules = [loaded.model.model.embed_tokens, *loaded.model.model.layers]
    hooks = [m.register_forward_hook(lambda _m, _i, out: seen.append(out[:, -1])) for m in modules]
    result = np.empty((len(prompts), len(modules), loaded.width), dtype=np.float32)
    try:
        for which in batches(prompts, size):
            seen.clear()
            loaded.model.model(**padded(loaded, prompts, which), use_cache=False)
            result[which] = torch.stack(seen, dim=1).float().cpu().numpy()
    finally:
        for hook in hooks:
            hook.remove()
    return result


@torch.inference_mode()
def by_hidden_states(loaded: LoadedModel, prompts: list[list[int]], size: int) -> None:
    for which in batches(prompts, size):
        inputs = padded(loaded, prompts, which)
        out = loaded.model.model(**inputs, use_cache=False, output_hidden_states=True)
        torch.stack([h[:, -1] for h in out.hidden_states], dim=1).float().cpu()


def ours(engine: Engine, prompts: list[list[int]]) -> np.ndarray:
    result = np.empty((len(prompts), engine.n_layers + 1, engine.width), dtype=np.float32)
    for indices, values in engine.residuals(prompts):
        result[indices] = values
    return result


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--games", type=int, default=None, help="1 to 5")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--batch-tokens", type=int, default=None)
    parser.add_argument("--peer-batches", type=int, nargs="+", default=None)
    options = parser.parse_args()
    cuda = options.device == "cuda"
    games = options.games or (1 if options.quick or not cuda else 5)
    rounds = min(options.rounds, 10) if options.quick and not cuda else options.rounds
    loaded = random_model(options)
    prompts = match_prompts(games, rounds)
    engine = Engine(loaded, options.batch_tokens or (8192 if cuda else 4096))
    rows = [len(row) for row, _ in pack(prompts, engine.batch_tokens)]
    warm, _ = clock(lambda: ours(engine, prompts), options.device)
    seconds, result = min(
        (clock(lambda: ours(engine, prompts), options.device) for _ in range(3 if cuda else 1)),
        key=lambda pair: pair[0],
    )
    sizes = options.peer_batches or ([8, 16, 32, 64] if cuda else [8])
    by_hooks(loaded, prompts[:2], 2)
    peers, theirs = {}, np.empty(0)
    for size in sizes:
        peers[f"hooks, batch {size}"], theirs = clock(
            lambda size=size: by_hooks(loaded, prompts, size), options.device
        )
    best = min(peers, key=lambda name: peers[name])
    size = int(best.split()[-1])
    peers[f"output_hidden_states, batch {size}"], _ = clock(
        lambda: by_hidden_states(loaded, prompts, size), options.device
    )
    error = np.abs(result - theirs).max(axis=(0, 2)) / np.abs(theirs).max(axis=(0, 2))
    peak = matrix_peak(options.device, loaded.dtype)
    operations = 2 * block_parameters(loaded) * sum(rows)
    report(
        benchmark="extraction",
        device=torch.cuda.get_device_name() if cuda else "cpu",
        ratio=min(peers.values()) / seconds,
        max_error=float(error.max()),
        seconds=seconds,
        first_call_seconds=warm,
        peers={name: round(value, 3) for name, value in peers.items()},
        prompts=len(prompts),
        tokens=sum(map(len, prompts)),
        unique_tokens=sum(rows),
        rows=rows,
        matrix_peak=peak,
        floor_seconds=operations / peak,
        floor_share=operations / peak / seconds,
    )


if __name__ == "__main__":
    main()
