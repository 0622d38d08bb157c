"""What the benchmarks share: models at true shapes, the study's own prompts, clocks and floors."""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nashlens.engine.core import Engine
from nashlens.engine.edits import Edit
from nashlens.engine.steered import steered
from nashlens.games.catalog import CATALOG
from nashlens.models.loaded import LoadedModel
from nashlens.models.random_weights import build_random
from nashlens.models.shapes import SHAPES
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.planted import build
from nashlens.prompts.labels import encode_labels
from nashlens.prompts.render import Surface, View, decision_messages, render
from nashlens.prompts.table import draw_history
from nashlens.prompts.templates import SYSTEM
from nashlens.seeds import stream

GAMES = ("prisoners_dilemma", "stag_hunt", "chicken", "battle_of_the_sexes", "matching_pennies")


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quick", action="store_true", help="a small part of the work")
    parser.add_argument("--shape", choices=sorted(SHAPES), help="default: by device")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="default: by device")
    parser.add_argument("--layers", type=int, help="fewer blocks than the shape has")
    return parser


def random_model(options: argparse.Namespace) -> LoadedModel:
    """Make a model of a true shape with random weights, directly on the device."""
    cuda = options.device == "cuda"
    name = options.shape or ("llama-3-8b" if cuda else "smollm2-135m")
    dtype = getattr(torch, options.dtype or ("bfloat16" if cuda else "float32"))
    return build_random(
        SHAPES[name], devices=[options.device], dtype=dtype, layers=options.layers, name=name
    )


def word_tokenizer() -> ChatTokenizer:
    """Return a planted model's word-level tokenizer: about as many tokens as a BPE's."""
    with tempfile.TemporaryDirectory() as folder:
        build("random", Path(folder) / "model")
        return ChatTokenizer(Path(folder) / "model")


def match_prompts(games: int, rounds: int, seeds: int = 1) -> list[list[int]]:
    """Return the decision prompts of one seat of `seeds` matches a game, every round."""
    tokenizer = word_tokenizer()
    surface = Surface("neutral", "jf", ("J", "F"))
    prompts = []
    for name, seed in itertools.product(GAMES[:games], range(seeds)):
        own, other = draw_history("RANDOM", rounds, 0.5, stream(seed, "benchmark", name))
        for k in range(rounds):
            view = View(CATALOG[name], "row", surface, own[:k], other[:k])
            messages = decision_messages(view, system=SYSTEM)
            text = render(messages, tokenizer.chat, "I choose option")
            prompts.append(encode_labels(tokenizer, text, surface.action_labels)[0])
    return prompts


def clock(work: Callable[[], Any], device: str) -> tuple[float, Any]:
    """Return seconds and result of one call, the device's work included."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    result = work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


def matrix_peak(device: str, dtype: torch.dtype) -> float:
    """Measure the operations per second of a large matrix product."""
    n = 8192 if device == "cuda" else 1024
    a = torch.randn(n, n, device=device, dtype=dtype)
    b = torch.randn(n, n, device=device, dtype=dtype)
    repeats, product = 20, torch.empty_like(a)
    for _ in range(3):
        torch.mm(a, b, out=product)
    seconds, _ = clock(lambda: [torch.mm(a, b, out=product) for _ in range(repeats)], device)
    return 2 * n**3 * repeats / seconds


def block_parameters(loaded: LoadedModel) -> int:
    """Count the weights that every token multiplies: all but embedding and unembedding."""
    return sum(p.numel() for p in loaded.model.model.layers.parameters())


def device_name(options: argparse.Namespace) -> str:
    """Return what the figures were taken on."""
    return torch.cuda.get_device_name() if options.device == "cuda" else "cpu"


def report(**fields: Any) -> None:
    """Print the result as the last line."""
    print(
        json.dumps({k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in fields.items()})
    )


def steered_cost(engine: Engine, run: Callable[[Engine], Any], options: Any) -> float:
    """Return the time of `run` with an engine that is steered at every token, over that without.

    Both run in turn, after a run of each that is not counted; the cost is of the medians.
    """
    vector = np.random.default_rng(0).normal(size=engine.width)
    layers = sorted({1, engine.n_layers // 2, engine.n_layers})
    edits = tuple(Edit(layer, "add", vector, 1e-3) for layer in layers)
    engines = (engine, steered(engine, edits, "all"))
    for each in engines:
        run(each)
    seconds = [
        [clock(lambda each=each: run(each), options.device)[0] for each in engines]
        for _ in range(5)
    ]
    plain, edited = np.median(seconds, axis=0)
    return float(edited / plain)
