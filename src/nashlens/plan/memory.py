"""Peak memory of a job: weights, kept keys and values, and what a row needs on its way.

Held against measured peaks in `docs/benchmarks.md`: a shape of 70 billion in nf4 on one GPU, in
bfloat16 on two, and a small model on a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nashlens.models.shapes import Shape
from nashlens.vocabulary.play import CHUNK_MATCHES, CHUNK_ROUNDS

GB = 1e9
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
NF4 = 0.52
"""Bytes of a weight in nf4, with the scales of its blocks, which are quantised too."""
ROOM = 1.5
"""Room of growing buffers over what is in them: between once and twice, as they double."""
CONTEXT = 0.6 * GB
"""What the driver takes of a GPU for each process."""
READING = 1.5 * GB
"""Residuals and logits that a lens has at a time (`lens.vocabulary`)."""
_LOGIT_ROWS = 128  # rows of the vocabulary's logits at a time (`engine.labels`)


def dtype_of(model: Mapping[str, Any], on_gpu: bool) -> str:
    """Return a model's dtype, of its section in the config, where it runs."""
    auto = "bfloat16" if on_gpu else "float32"
    return auto if model["dtype"] == "auto" else str(model["dtype"])


def precision_of(model: Mapping[str, Any], on_gpu: bool) -> str:
    """Return how its weights are stored: the quantization, or the dtype where there is none."""
    return dtype_of(model, on_gpu) if model["quantization"] == "none" else model["quantization"]


def weight_bytes(shape: Shape, model: Mapping[str, Any], on_gpu: bool) -> float:
    """Return the bytes of a model's weights, of which only the blocks' are quantised."""
    size = BYTES[dtype_of(model, on_gpu)]
    blocks = shape.layers * shape.block_parameters()
    ends = shape.parameters() - blocks
    each = {"none": size, "int8": 1.0, "nf4": NF4}[model["quantization"]]
    return blocks * each + ends * size


def held_bytes(shape: Shape, model: Mapping[str, Any], on_gpu: bool, tokens: float) -> float:
    """Return the bytes of keys and values that are kept of some tokens, with their room."""
    size = BYTES[dtype_of(model, on_gpu)]
    return ROOM * tokens * shape.layers * 2 * shape.kv_heads * shape.head_dim * size


def row_bytes(shape: Shape, model: Mapping[str, Any], on_gpu: bool, tokens: int) -> float:
    """Return the bytes that a row of some tokens needs on its way through a block."""
    size = BYTES[dtype_of(model, on_gpu)]
    block = tokens * (12 * shape.width + 4 * shape.mlp_width) * size
    cache = tokens * shape.layers * 2 * shape.kv_heads * shape.head_dim * size
    return block + cache + 4.0 * _LOGIT_ROWS * shape.vocab * 4


def peak_bytes(
    shape: Shape, model: Mapping[str, Any], on_gpu: bool, batch_tokens: int, held: float
) -> float:
    """Return the most bytes that one model takes on its device, or on all that it is spread over.

    Parameters
    ----------
    shape : Shape
    model : mapping
        Its section in the config.
    on_gpu : bool
    batch_tokens : int
        Tokens of a row.
    held : float
        Tokens whose keys and values are kept between calls.
    """
    return (
        weight_bytes(shape, model, on_gpu)
        + row_bytes(shape, model, on_gpu, batch_tokens)
        + held_bytes(shape, model, on_gpu, held)
    )


def readout_bytes(shape: Shape, *, tuned: bool) -> float:
    """Return the most bytes that reading residuals through an unembedding takes, in float32.

    Parameters
    ----------
    shape : Shape
    tuned : bool
        Whether a matrix of a tuned lens comes with them.
    """
    return 4.0 * (shape.vocab * shape.width + tuned * shape.width**2) + READING


def play_tokens(config: Mapping[str, Any], agent: Mapping[str, Any]) -> float:
    """Return about how many tokens play keeps of one agent's chunk of matches, at most.

    A quicker figure than to count them (`plan.play`): a prompt has some 140 tokens, 16 more for
    each round that it shows, and where nothing is written its questions stay too, 14 for each.
    """
    matches, modes = config["matches"], config["modes"]
    rounds = min(matches["rounds"], agent["rounds"] or matches["rounds"])
    shown = rounds - 1
    if matches["history_window"] is not None:
        shown = min(shown, matches["history_window"])
    mode = modes.get(agent["mode"])
    # Notes are in the prompt as well.
    copies = 2.0 if agent["mode"] == "scratchpad" else 1.0
    written = copies * mode["tokens"] if mode else 14.0 * shown
    talk = 2.0 * (shown + 1) * matches["talk_tokens"]
    writes = mode or talk
    most = CHUNK_MATCHES if writes else max(CHUNK_MATCHES, CHUNK_ROUNDS / rounds)
    return 2.0 * most * (140.0 + 16.0 * shown + written + talk)
