"""Residuals of all layers at the decision positions of whole matches, against the usual scripts.

The peers (`benchmarks.peers`) run the model's own forward over left-padded batches of prompts of
like length, each at several batch sizes, and the ratio is to the fastest of all. One that is not
installed is named as such in the result.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks import peers
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
from benchmarks.profiling import add_option, profiled
from nashlens.engine.core import Engine
from nashlens.engine.forest import pack
from nashlens.models.loaded import LoadedModel


def ours(engine: Engine, prompts: Sequence[np.ndarray], repeats: int) -> tuple[float, np.ndarray]:
    """Return the seconds until all residuals are on the host, at best, and the residuals."""
    seconds, batches = np.inf, []
    for _ in range(repeats):
        # Their pinned memory is used again.
        batches.clear()
        took, batches = clock(lambda: list(engine.residuals(prompts)), engine.blocks.device(0).type)
        seconds = min(seconds, took)
    result = np.empty((len(prompts), engine.n_layers + 1, engine.width), dtype=np.float32)
    for indices, values in batches:
        result[indices] = values
    return seconds, result


def measure(
    name: str, loaded: LoadedModel, prompts: list[list[int]], result: np.ndarray, options: Namespace
) -> dict[str, Any] | str:
    """Return a peer's version, its seconds at each batch size, and how far ours is from it."""
    version = peers.version(name)
    if version is None:
        return "not installed"
    seconds: dict[str, Any] = {}
    theirs: np.ndarray | None = None
    with peers.PEERS[name][1](loaded) as states:
        peers.collect(loaded, prompts[:2], 2, states)
        for size in options.peer_batches:
            try:
                # A GPU's allocator is cold for each size the first time; a CPU's run is minutes.
                for _ in range(2 if options.device == "cuda" else 1):
                    took, theirs = clock(
                        lambda size=size: peers.collect(loaded, prompts, size, states),
                        options.device,
                    )
                    seconds[str(size)] = round(min(took, seconds.get(str(size), took)), 3)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                seconds[str(size)] = "out of memory"
    found: dict[str, Any] = {"version": version, "seconds": seconds}
    return found if theirs is None else found | {"max_error": error(name, loaded, result, theirs)}


@torch.inference_mode()
def error(name: str, loaded: LoadedModel, result: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest difference, each layer's relative to its largest value."""
    if name == "hidden_states":
        last = torch.from_numpy(result[:, -1]).to(loaded.device, loaded.dtype)
        result = result.copy()
        result[:, -1] = loaded.model.model.norm(last).float().cpu().numpy()
    return float((np.abs(result - theirs).max(axis=(0, 2)) / np.abs(theirs).max(axis=(0, 2))).max())


def main() -> None:
    parser = arguments(__doc__)
    add_option(parser)
    parser.add_argument("--games", type=int, default=None, help="1 to 5")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--batch-tokens", type=int, default=None)
    parser.add_argument("--peers", default=",".join(peers.PEERS), help="comma-separated")
    parser.add_argument("--peer-batches", type=int, nargs="+", default=None)
    options = parser.parse_args()
    chosen = options.peers.split(",")
    unknown = sorted(set(chosen) - set(peers.PEERS))
    if unknown or not set(chosen) & {"hooks", "hidden_states"}:
        parser.error(
            f"--peers {options.peers}: give some of {', '.join(peers.PEERS)}, and one of the first "
            "two, which are always installed"
        )
    cuda = options.device == "cuda"
    games = options.games or (1 if options.quick or not cuda else 5)
    rounds = min(options.rounds, 10) if options.quick and not cuda else options.rounds
    loaded = random_model(options)
    prompts = match_prompts(games, rounds)
    # On a CPU a row of one match (here 1,869 tokens) is fastest.
    engine = Engine(loaded, options.batch_tokens or (16384 if cuda else 2048), compiled=True)
    rows = [len(row) for row, _ in pack(prompts, engine.batch_tokens)]
    arrays = [np.array(ids) for ids in prompts]  # as a prompts table has them
    # The first call compiles on a GPU.
    first, _ = ours(engine, arrays if cuda else arrays[:2], 1)
    seconds, result = ours(engine, arrays, 5 if cuda else 1)
    profile = profiled(lambda: ours(engine, arrays, 1), options)
    options.peer_batches = options.peer_batches or ([8, 16, 32, 64] if cuda else [8])
    # Counted before TransformerLens takes the model apart.
    operations = 2 * block_parameters(loaded) * sum(rows)
    found = {
        name: measure(name, loaded, prompts, result, options)
        for name in peers.PEERS
        if name in chosen
    }
    measured = [peer for peer in found.values() if isinstance(peer, dict)]
    times = [s for peer in measured for s in peer["seconds"].values() if isinstance(s, float)]
    peak = matrix_peak(options.device, loaded.dtype)
    report(
        benchmark="extraction",
        device=device_name(options),
        ratio=min(times) / seconds,
        max_error=max(peer["max_error"] for peer in measured if "max_error" in peer),
        seconds=seconds,
        first_call_seconds=first,
        peers=found,
        prompts=len(prompts),
        tokens=sum(map(len, prompts)),
        unique_tokens=sum(rows),
        rows=rows,
        matrix_peak=peak,
        floor_seconds=operations / peak,
        floor_share=operations / peak / seconds,
        profile=profile,
    )


if __name__ == "__main__":
    main()
