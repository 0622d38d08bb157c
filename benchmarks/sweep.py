"""A steering sweep over layers and alphas at the last position, against one hooked forward each.

The peer does as steering scripts do: for every layer and alpha, a hook on that layer adds a vector
at the last position of a left-padded batch, and the whole model runs again. Its time grows by the
same amount for every pair, so it is measured on `--peer-pairs` of them and scaled to all; the
error is checked on those pairs.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch

from benchmarks.common import (
    arguments,
    block_parameters,
    clock,
    device_name,
    match_prompts,
    matrix_peak,
    random_model,
    report,
)
from benchmarks.peers import padded
from benchmarks.profiling import add_option, profiled
from nashlens.engine.core import Engine
from nashlens.engine.edits import Edit
from nashlens.engine.forest import pack
from nashlens.engine.labels import LabelledPrompt
from nashlens.engine.sweeps import sweep
from nashlens.models.loaded import LoadedModel

LABELS = ([5], [6])


@torch.inference_mode()
def hooked(
    loaded: LoadedModel, prompts: list[list[int]], edit: Edit, size: int, positions: str
) -> np.ndarray:
    step = torch.from_numpy(edit.units()[0] * np.float32(edit.value)).to(loaded.device)
    where = slice(-1, None) if positions == "last" else slice(None)

    def hook(_module: object, _inputs: object, out: torch.Tensor) -> torch.Tensor:
        out[:, where] += step.to(out.dtype)
        return out

    handle = loaded.model.model.layers[edit.layer - 1].register_forward_hook(hook)
    result = []
    try:
        for start in range(0, len(prompts), size):
            which = list(range(start, min(start + size, len(prompts))))
            inputs = padded(loaded, prompts, which)
            logits = loaded.model(**inputs, use_cache=False, logits_to_keep=1).logits[:, -1]
            logprobs = torch.log_softmax(logits.float(), dim=-1)
            result.append(logprobs[:, [LABELS[0][0], LABELS[1][0]]].cpu().numpy())
    finally:
        handle.remove()
    return np.concatenate(result)


def sweep_arguments(description: str) -> argparse.ArgumentParser:
    parser = arguments(description)
    add_option(parser)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--round", type=int, default=None, help="round of the decision")
    parser.add_argument("--alphas", type=int, default=11)
    parser.add_argument("--batch-tokens", type=int, default=None)
    parser.add_argument("--peer-batch", type=int, default=None)
    parser.add_argument("--peer-pairs", type=int, default=3)
    return parser


def one_of_each_match(options: argparse.Namespace, count: int) -> list[list[int]]:
    """Return `count` decision prompts of one round, each of a match of its own."""
    now = options.round or (20 if options.device == "cuda" else 5)
    return match_prompts(5, now, seeds=-(-count // 5))[now - 1 :: now][:count]


def compare(
    loaded: LoadedModel, prompts: list[list[int]], options: argparse.Namespace, positions: str
) -> dict[str, Any]:
    """Sweep in both ways; return the benchmark's figures."""
    cuda = options.device == "cuda"
    asked = [LabelledPrompt(prompt, LABELS) for prompt in prompts]
    engine = Engine(loaded, options.batch_tokens or (8192 if cuda else 4096), compiled=True)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(engine.n_layers + 1, engine.width))
    edits = [
        Edit(layer, "add", vectors[layer], float(alpha))
        for layer in range(1, engine.n_layers + 1)
        for alpha in np.linspace(-2, 2, options.alphas)
    ]
    # Kernels are compiled for a length; the last layers' edits have it and take least time.
    first = edits if positions == "last" else edits[-2 * options.alphas :]
    warm = None
    if cuda:
        warm, _ = clock(lambda: sweep(engine, asked, first, positions), options.device)
    seconds, ours = clock(lambda: sweep(engine, asked, edits, positions), options.device)
    profile = profiled(lambda: sweep(engine, asked, edits, positions), options)
    some = np.linspace(0, len(edits) - 1, options.peer_pairs).astype(int)
    size = options.peer_batch or (16 if cuda else 8)
    # A GPU's allocator and its choice of kernels are cold for each shape the first time.
    hooked(loaded, prompts if cuda else prompts[:2], edits[0], size, positions)
    peer, error = 0.0, 0.0
    for i in some:
        took, theirs = clock(
            lambda i=i: hooked(loaded, prompts, edits[i], size, positions), options.device
        )
        peer += took
        error = max(error, float(np.abs(theirs - ours[:, i]).max()))
    whole = peer / len(some) * len(edits)
    unique = sum(len(row) for row, _ in pack(prompts, sum(map(len, prompts))))
    peak = matrix_peak(options.device, loaded.dtype)
    layer = block_parameters(loaded) / engine.n_layers
    above = sum(engine.n_layers - edit.layer for edit in edits)
    unembed = len(prompts) * loaded.vocab * loaded.width * len(edits)
    rerun = len(prompts) if positions == "last" else unique
    work = 2 * ((unique * engine.n_layers + rerun * above) * layer + unembed)
    peer_work = 2 * (sum(map(len, prompts)) * engine.n_layers * layer * len(edits) + unembed)
    return {
        "ratio": whole / seconds,
        "max_error": error,
        "seconds": seconds,
        "first_call_seconds": warm,
        "peer_seconds": whole,
        "peer_pairs_measured": len(some),
        "peer_batch": size,
        "prompts": len(prompts),
        "tokens": sum(map(len, prompts)),
        "unique_tokens": unique,
        "edits": len(edits),
        "operations_ratio": peer_work / work,
        "matrix_peak": peak,
        "floor_seconds": work / peak,
        "floor_share": work / peak / seconds,
        "profile": profile,
    }


def main() -> None:
    options = sweep_arguments(__doc__).parse_args()
    prompts = one_of_each_match(options, 8 if options.quick else options.prompts)
    loaded = random_model(options)
    report(
        benchmark="sweep",
        device=device_name(options),
        **compare(loaded, prompts, options, "last"),
    )


if __name__ == "__main__":
    main()
