"""Generation of chains of thought, against transformers' `generate`.

Requests have prompts of one length and make the same number of new tokens, greedily, past any stop
token. Prompts are shared as a study's are: all begin with one system message, each goes on with the
rules of one of five games, and only the last third is its own; with `--unrelated` they share
nothing. The peer is `generate` with its dynamic cache, at the best of several batch sizes.

The floor of a step is the time to read the weights (without the embedding table, of which a step
reads a row a slot) and every slot's keys and values once, at the bandwidth of a large device copy
(bytes read plus bytes written, over seconds). The floor of the whole adds the operations of the
prompts' unique tokens at the measured matrix peak. `max_error` is the share of new tokens from
the first one on, request by request, in which ours and the peer's differ: two equal streams differ
nowhere in float32, while in bfloat16 a near tie parts them.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence

import numpy as np
import torch

from benchmarks.common import (
    arguments,
    block_parameters,
    clock,
    device_name,
    matrix_peak,
    random_model,
    report,
    steered_cost,
)
from benchmarks.profiling import add_option, profiled
from nashlens.engine.core import Engine
from nashlens.engine.forest import pack
from nashlens.engine.generation import Decoder, Request, Tuning, generate
from nashlens.models.loaded import LoadedModel

RULES = 5


def prompts(count: int, length: int, vocabulary: int, related: bool) -> list[list[int]]:
    """Return prompts; if related, a fifth is shared by all and two thirds by each of five."""
    rng = np.random.default_rng(0)
    result = rng.integers(0, vocabulary, (count, length))
    if related:
        rules = rng.integers(0, vocabulary, (RULES, 2 * length // 3))
        rules[:, : length // 5] = rules[0, : length // 5]
        result[:, : rules.shape[1]] = rules[np.arange(count) % RULES]
    return [row.tolist() for row in result]


@torch.inference_mode()
def by_generate(loaded: LoadedModel, ids: list[list[int]], new: int, size: int) -> list[list[int]]:
    result = []
    for start in range(0, len(ids), size):
        batch = torch.tensor(ids[start : start + size], device=loaded.device)
        out = loaded.model.generate(
            batch,
            attention_mask=torch.ones_like(batch),
            max_new_tokens=new,
            do_sample=False,
            pad_token_id=0,
        )
        result += out[:, batch.shape[1] :].tolist()
    return result


def ours(engine: Engine, requests: list[Request], slots: int, tuning: Tuning) -> list[list[int]]:
    made = generate(engine, requests, temperature=0.0, stop=(), slots=slots, tuning=tuning)
    return [m.ids for m in made]


def timed_steps(
    engine: Engine, requests: Sequence[Request], slots: int, device: str, tuning: Tuning
) -> tuple[float, float, float]:
    """Return seconds of a prefill and of a step, and the tokens that a slot held on average."""
    first, new, length = requests[:slots], requests[0].max_new_tokens, len(requests[0].ids)
    decoder = Decoder(
        engine,
        slots=len(first),
        capacity=length + new,
        most=new,
        temperature=0.0,
        stop=(),
        tuning=tuning,
    )
    nothing = [np.zeros(0, dtype=np.float32)] * len(first)
    ids = [np.array(request.ids) for request in first]
    lists = (list(range(len(first))), ids, [0] * len(first), [new] * len(first), nothing)
    prefill, _ = clock(lambda: decoder.admit(*lists), device)

    def steps(start: int, stop: int) -> None:
        for at in range(start, stop, 16):
            part = min(16, stop - at)
            decoder.advance(part, length + at + part)

    # The first steps compile and capture; the prompt's own made token 1.
    begin = min(4, new - 2)
    steps(0, begin)
    seconds, _ = clock(lambda: steps(begin, new - 1), device)
    # Step s reads the prompt and s + 1 new tokens.
    return prefill, seconds / (new - 1 - begin), length + (begin + new) / 2


def bandwidth(device: str) -> float:
    """Measure the bytes per second, read and written, of a large copy."""
    size = (1 << 31) if device == "cuda" else (1 << 27)
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    repeats = 10
    seconds, _ = clock(lambda: [target.copy_(source) for _ in range(repeats)], device)
    return 2 * size * repeats / seconds


def weight_bytes(loaded: LoadedModel) -> int:
    """Count the bytes of the weights that a step reads: all but the embedding table."""
    parts = (loaded.model.model.layers, loaded.model.model.norm, loaded.model.lm_head)
    return sum(p.numel() * p.element_size() for part in parts for p in part.parameters())


def token_bytes(loaded: LoadedModel) -> int:
    """Count the bytes of one token's keys and values in all blocks."""
    config = loaded.model.config
    head = config.hidden_size // config.num_attention_heads
    return 2 * loaded.n_layers * config.num_key_value_heads * head * loaded.dtype.itemsize


def agreement(first: list[list[int]], second: list[list[int]]) -> float:
    """Return the share of tokens before the first that differs, request by request."""
    same = np.array(first) == np.array(second)
    return float(same.cumprod(axis=1).mean())


def tuning_of(options: argparse.Namespace) -> Tuning:
    names = ("parts", "tile", "warps", "stages")
    kernel = tuple((n, getattr(options, n)) for n in names if getattr(options, n) is not None)
    return Tuning(options.attention, not options.uncompiled, not options.uncaptured, kernel)


def variants() -> dict[str, Tuning]:
    """Return the ways that `--variants` compares."""
    result = {
        "mask": Tuning("mask"),
        "mask, uncompiled": Tuning("mask", compiled=False),
        "kernel, uncompiled": Tuning("kernel", compiled=False),
        "kernel, uncaptured": Tuning("kernel", graph=False),
    }
    for parts, tile, warps, stages in [
        *itertools.product((1, 2), (64, 128), (4,), (2, 3)),
        *((1, 32, 2, 4), (1, 32, 4, 4), (1, 64, 4, 4), (1, 128, 8, 3), (4, 64, 4, 3)),
    ]:
        kernel = (("parts", parts), ("tile", tile), ("warps", warps), ("stages", stages))
        name = f"kernel, parts {parts}, tile {tile}, warps {warps}, stages {stages}"
        result[name] = Tuning("kernel", kernel=kernel)
    return result


def options_of() -> argparse.Namespace:
    parser = arguments(__doc__ or "")
    add_option(parser)
    parser.add_argument("--requests", type=int, default=None)
    parser.add_argument("--prompt-tokens", type=int, default=None)
    parser.add_argument("--new-tokens", type=int, default=None)
    parser.add_argument("--slots", type=int, default=128)
    parser.add_argument("--unrelated", action="store_true", help="prompts that share nothing")
    parser.add_argument("--peer-batches", type=int, nargs="+", default=None)
    parser.add_argument("--attention", choices=("auto", "slot", "mask", "kernel"), default="auto")
    parser.add_argument("--uncompiled", action="store_true")
    parser.add_argument("--uncaptured", action="store_true")
    for name in ("parts", "tile", "warps", "stages"):
        parser.add_argument(f"--{name}", type=int, default=None, help="of the attention kernel")
    parser.add_argument("--steered", action="store_true", help="a steered engine beside it too")
    parser.add_argument("--variants", action="store_true", help="time a step in many ways too")
    return parser.parse_args()


def main() -> None:
    options = options_of()
    cuda, device = options.device == "cuda", options.device
    small = options.quick or not cuda
    count = options.requests or (8 if small else 128)
    length = options.prompt_tokens or (60 if small else 300)
    new = options.new_tokens or (16 if small else 256)
    loaded = random_model(options)
    loaded.model.generation_config.eos_token_id = None
    ids = prompts(count, length, loaded.vocab, not options.unrelated)
    requests = [Request(prompt, seed, new) for seed, prompt in enumerate(ids)]
    engine = Engine(loaded, 8192 if cuda else 4096, compiled=True)
    tuning = tuning_of(options)
    warm, _ = clock(lambda: ours(engine, requests, options.slots, tuning), device)
    seconds, made = min(
        (
            clock(lambda: ours(engine, requests, options.slots, tuning), device)
            for _ in range(3 if cuda else 1)
        ),
        key=lambda pair: pair[0],
    )
    profile = profiled(lambda: ours(engine, requests, options.slots, tuning), options)
    cost = None
    if options.steered:
        cost = steered_cost(engine, lambda e: ours(e, requests, options.slots, tuning), options)
    prefill, step, held = timed_steps(engine, requests, options.slots, device, tuning)
    compared = {}
    if options.variants:
        for name, other in variants().items():
            took = timed_steps(engine, requests, options.slots, device, other)[1]
            compared[name] = round(took, 6)
            print(f"{took * 1e3:8.3f} ms a step: {name}", flush=True)
    peers, theirs = {}, made
    for size in options.peer_batches or ([32, 128] if cuda else [8]):
        by_generate(loaded, ids[:size], 2, size)
        peers[size], theirs = clock(lambda size=size: by_generate(loaded, ids, new, size), device)
    speed, peak = bandwidth(device), matrix_peak(device, loaded.dtype)
    running = min(options.slots, count)
    step_floor = (weight_bytes(loaded) + running * held * token_bytes(loaded)) / speed
    unique = sum(len(row) for row, _ in pack(ids, engine.batch_tokens))
    prefill_floor = 2 * block_parameters(loaded) * unique / peak
    floor = prefill_floor + step_floor * (new - 1) * -(-count // running)
    report(
        benchmark="decode",
        device=device_name(options),
        ratio=min(peers.values()) / seconds,
        max_error=1 - agreement(made, theirs),
        agreement=agreement(made, theirs),
        seconds=seconds,
        first_call_seconds=warm,
        peers={f"generate, batch {size}": round(value, 3) for size, value in peers.items()},
        requests=count,
        prompt_tokens=length,
        unique_tokens=unique,
        new_tokens=new,
        slots=running,
        related=not options.unrelated,
        prefill_seconds=prefill,
        step_seconds=step,
        step_floor_seconds=step_floor,
        step_over_floor=step / step_floor,
        tokens_per_second=count * new / seconds,
        weight_bytes=weight_bytes(loaded),
        kept_bytes=int(running * held * token_bytes(loaded)),
        bandwidth=speed,
        matrix_peak=peak,
        floor_seconds=floor,
        floor_share=floor / seconds,
        steered_over_unsteered=cost,
        variants=compared,
        profile=profile,
    )


if __name__ == "__main__":
    main()
