"""Large models at their true shapes: do they fit, how fast are they, and tensor against pipeline.

Each case builds a model with random weights on its GPUs and measures peak memory, residuals of
matches that fill one packed row, residuals of several rows, and a session that plays those matches
round by round. Where a case has two ways of spreading the model, they are built in turn in one run,
and the ratio is the time of the second over the first, on one row: there a pipeline's GPUs wait
for one another. Over several rows they need not, which `ratio_many_rows` shows.

`max_error` compares a few blocks of the same model, spread and quantised alike and computed in
float32, with the model's own forward, relative to the largest residual.
"""

from __future__ import annotations

import gc
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.common import (
    GAMES,
    arguments,
    clock,
    device_name,
    match_prompts,
    matrix_peak,
    report,
)
from benchmarks.profiling import add_option, profiled
from nashlens.engine.core import Engine
from nashlens.engine.forest import pack
from nashlens.engine.labels import LabelledPrompt
from nashlens.engine.session import Session
from nashlens.engine.tensor import Copies, TensorBlocks
from nashlens.models.loaded import LoadedModel
from nashlens.models.random_weights import build_random
from nashlens.models.shapes import SHAPES, Shape
from tests import reference

CAP_BYTES = 80e9
LABELS = ([5], [6])


@dataclass(frozen=True)
class Case:
    """A shape, how its weights are stored, and the ways to spread it; the first is ours."""

    shape: str
    quantization: str
    ways: tuple[str, ...]


CASES = {
    "llama-3-70b-nf4": Case("llama-3-70b", "nf4", ("none",)),
    "qwen2.5-72b-nf4": Case("qwen2.5-72b", "nf4", ("none",)),
    "qwen2.5-32b": Case("qwen2.5-32b", "none", ("none",)),
    "llama-3-70b": Case("llama-3-70b", "none", ("tensor", "pipeline")),
    "llama-3-8b": Case("llama-3-8b", "none", ("tensor", "pipeline")),
}


def devices_of(way: str, options: Namespace) -> list[torch.device]:
    count = 1 if way == "none" else options.gpus
    if options.device == "cpu":
        return [torch.device("cpu")] * count
    return [torch.device("cuda", i) for i in range(count)]


def engine_of(loaded: LoadedModel, options: Namespace) -> Engine:
    engine = Engine(loaded, options.batch_tokens, compiled=True)
    if options.copies and isinstance(engine.blocks, TensorBlocks):
        engine.blocks.collectives = Copies(engine.blocks.devices)
    return engine


def residuals(engine: Engine, prompts: Sequence[Sequence[int]]) -> np.ndarray:
    result = np.empty((len(prompts), engine.n_layers + 1, engine.width), dtype=np.float32)
    for indices, values in engine.residuals(prompts):
        result[indices] = values
    return result


def play(engine: Engine, prompts: Sequence[Sequence[int]], rounds: int) -> None:
    """Score each round's prompts of all matches in one growing session."""
    session = Session(engine)
    for now in range(rounds):
        session.label_logprobs([LabelledPrompt(p, LABELS) for p in prompts[now::rounds]])


def free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        for i in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(i)


def peaks(devices: Sequence[torch.device]) -> list[int]:
    """Return the peak bytes of each GPU; none on a CPU."""
    return [torch.cuda.max_memory_allocated(d) for d in devices if d.type == "cuda"]


def measure(case: Case, shape: Shape, way: str, options: Namespace) -> dict[str, Any]:
    """Build the model one way and measure it; nothing of it is left behind."""
    free()
    devices = devices_of(way, options)
    build, loaded = clock(
        lambda: build_random(
            shape,
            devices=devices,
            dtype=getattr(torch, options.dtype),
            quantization=case.quantization,
            parallel=way,
        ),
        options.device,
    )
    built = peaks(devices)
    engine = engine_of(loaded, options)
    work = {
        "one_row": match_prompts(options.games, options.rounds),
        "many_rows": match_prompts(len(GAMES), options.rounds),
    }
    figures: dict[str, Any] = {"build_seconds": build, "build_peak_bytes": built}
    repeats = 3 if options.device == "cuda" else 1
    for name, prompts in work.items():
        rows = [len(row) for row, _ in pack(prompts, engine.batch_tokens)]
        if options.device == "cuda":
            residuals(engine, prompts)
        seconds = min(
            clock(lambda some=prompts: residuals(engine, some), options.device)[0]
            for _ in range(repeats)
        )
        profile = profiled(lambda some=prompts: residuals(engine, some), options)
        figures[name] = _speed(shape, seconds, sum(rows), len(devices), options)
        figures[name] |= {"rows": rows, "profile": profile}
    # All tokens of the games that are played, each once.
    played = work["many_rows"]
    tokens = sum(len(row) for row, _ in pack(played, sum(map(len, played))))
    if options.device == "cuda":
        play(engine, played, options.rounds)
    seconds, _ = clock(lambda: play(engine, played, options.rounds), options.device)
    figures["play"] = _speed(shape, seconds, tokens, len(devices), options)
    figures["peak_bytes"] = peaks(devices)
    if figures["peak_bytes"]:
        figures["below_80e9_bytes"] = max(figures["peak_bytes"]) < CAP_BYTES
    return figures


def _speed(
    shape: Shape, seconds: float, tokens: int, gpus: int, options: Namespace
) -> dict[str, Any]:
    floor = 2 * shape.layers * shape.block_parameters() * tokens / (options.peak * gpus)
    return {
        "seconds": round(seconds, 4),
        "unique_tokens": tokens,
        "tokens_per_second": round(tokens / seconds, 1),
        "floor_seconds": round(floor, 4),
        "floor_share": round(floor / seconds, 4),
    }


def error(case: Case, shape: Shape, way: str, options: Namespace) -> float:
    """Compare a few blocks in float32 with the model's own forward on one device."""
    free()
    few = {"dtype": torch.float32, "quantization": case.quantization, "layers": 2}
    # On a GPU enough tokens for the kernels of long rows.
    prompts = match_prompts(1, options.rounds if options.device == "cuda" else 3)
    plain = build_random(shape, devices=devices_of("none", options), **few)
    theirs = reference.residuals(plain, prompts)
    if way == "none":
        loaded = plain
    else:
        del plain
        loaded = build_random(shape, devices=devices_of(way, options), parallel=way, **few)
    ours = residuals(engine_of(loaded, options), prompts)
    return float((np.abs(ours - theirs).max(axis=(0, 2)) / np.abs(theirs).max(axis=(0, 2))).max())


def main() -> None:
    parser = arguments(__doc__)
    add_option(parser)
    parser.add_argument("--case", choices=sorted(CASES), default="llama-3-70b-nf4")
    parser.add_argument("--gpus", type=int, help="to spread a model over (2; 3 parts on a CPU)")
    parser.add_argument("--games", type=int, default=2, help="matches that fill one row")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--copies", action="store_true", help="sum by plain copies, not by NCCL")
    options = parser.parse_args()
    cuda = options.device == "cuda"
    options.dtype = options.dtype or ("bfloat16" if cuda else "float32")
    options.rounds = min(options.rounds, 10) if options.quick else options.rounds
    options.gpus = options.gpus or (2 if cuda else 3)
    options.peak = matrix_peak(options.device, getattr(torch, options.dtype))
    case = CASES[options.case]
    shape = SHAPES[options.shape or (case.shape if cuda else "smollm2-135m")]
    needed = max(len(devices_of(way, options)) for way in case.ways)
    if cuda and torch.cuda.device_count() < needed:
        parser.error(f"{options.case} needs {needed} GPUs; there are {torch.cuda.device_count()}")
    errors = {way: error(case, shape, way, options) for way in case.ways}
    layers = options.layers or shape.layers
    shape = shape.cut(layers)
    ways = {way: measure(case, shape, way, options) for way in case.ways}
    ours, other = ways[case.ways[0]], ways[case.ways[-1]]
    ratios = {
        name: other[name]["seconds"] / ours[name]["seconds"] if len(ways) > 1 else None
        for name in ("one_row", "many_rows", "play")
    }
    report(
        benchmark="large",
        case=options.case,
        device=device_name(options),
        gpus=len(devices_of(case.ways[0], options)),
        ratio=ratios["one_row"],
        ratio_many_rows=ratios["many_rows"],
        ratio_play=ratios["play"],
        max_error=max(errors.values()),
        errors=errors,
        layers=layers,
        dtype=options.dtype,
        parameters=shape.parameters(),
        matrix_peak=options.peak,
        floor_seconds=ours["one_row"]["floor_seconds"],
        floor_share=ours["one_row"]["floor_share"],
        ways=ways,
    )


if __name__ == "__main__":
    main()
