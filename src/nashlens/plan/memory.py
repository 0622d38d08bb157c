"""Peak memory of a job: weights, kept keys and values, and what a row needs on its way.

Held against measured peaks in `docs/benchmarks.md`: shapes of 8 billion weights in
bfloat16 and of 70 in nf4 within 15%, in every stage. A small model takes up to a gigabyte less than
is computed: its rows are seldom as long as they may be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nashlens.engine.labels import LOGIT_ROWS
from nashlens.models.shapes import Shape
from nashlens.plan.sessions import STEP, Kept, kept_of_play

GB = 1e9
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
NF4 = 0.52
"""Bytes of a weight in nf4, with the scales of its blocks, which are quantised too."""
ROOM = 1.5
"""Room of growing buffers over what is in them: between once and twice, as they double."""
CONTEXT = 0.6 * GB
"""What the driver takes of a GPU for each process."""
READING = 0.47 * GB
"""A block of logits of a lens, with copies that compare and sum it (`lens.vocabulary`)."""
_READ_AT_ONCE = 2048  # residuals of a lens
_SAMPLED = 32.0  # bytes of a logit that is drawn from: four copies in float32, captured once more
_PROMPT, _SHOWN = 140, 16  # tokens of a prompt, and of each round that it shows
BACKWARD = 2.5
"""Times what a block's tokens take on their way: gradients, and copies in float32. Measured 2.1."""
KEEPING = frozenset(
    {"sweep_steering", "ablate_heads", "patch_pairs", "attribute_answers", "spike_model"}
)
"""Rules that keep keys and values of a row, for the forks that attend to them."""
EXTRACTING = frozenset({"extract_activations", "extract_untrained"})
"""Rules that run the prompts of a shard, and score nothing."""


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


def unpacked_bytes(shape: Shape, model: Mapping[str, Any], on_gpu: bool) -> float:
    """Return the bytes of a quantised weight while it is multiplied, beside the next one."""
    if model["quantization"] == "none":
        return 0.0
    return 2.0 * shape.width * shape.mlp_width * BYTES[dtype_of(model, on_gpu)]


def held_bytes(shape: Shape, model: Mapping[str, Any], on_gpu: bool, tokens: float) -> float:
    """Return the bytes of the keys and values of some tokens."""
    size = BYTES[dtype_of(model, on_gpu)]
    return tokens * shape.layers * 2 * shape.kv_heads * shape.head_dim * size


def row_bytes(shape: Shape, model: Mapping[str, Any], on_gpu: bool, tokens: float) -> float:
    """Return the bytes that a row of some tokens needs on its way through a block."""
    size = BYTES[dtype_of(model, on_gpu)]
    return tokens * (12 * shape.width + 4 * shape.mlp_width) * size


def scoring_bytes(shape: Shape) -> float:
    """Return the bytes of the logits that labels are scored by, in float32, three times."""
    return 3.0 * LOGIT_ROWS * shape.vocab * 4


def peak_bytes(
    config: Mapping[str, Any],
    rule: str,
    name: str,
    shape: Shape,
    on_gpu: bool,
    players: Sequence[str] = (),
    *,
    roomy: bool = True,
) -> float:
    """Return the most bytes that one model takes on its device, or on all that it is spread over.

    Parameters
    ----------
    config : mapping
        The checked config, doses of agents written out.
    rule : str
        Whose job it is.
    name : str
        The model's.
    shape : Shape
    on_gpu : bool
    players : sequence of str
        The agents that play, where it plays.
    roomy : bool
        Whether there is room to write for all matches at a time. A quarter as many are written
        for where memory runs out (`engine.generation`).
    """
    model, batch = config["models"][name], int(config["resources"]["batch_tokens"])
    total = weight_bytes(shape, model, on_gpu) + unpacked_bytes(shape, model, on_gpu)

    def row(tokens: float) -> float:
        return row_bytes(shape, model, on_gpu, tokens)

    prompt = _PROMPT + _SHOWN * max(config["prompts"]["rounds"], default=0)
    if rule in EXTRACTING:
        return total + row(min(batch, config["activations"]["shard_prompts"] * prompt))
    if rule == "fit_tuned_lens":
        tokens = int(config["lens"]["tuned_tokens"])
        total += row(min(batch, tokens)) + scoring_bytes(shape)
        return total + on_gpu * (_unembedding(shape) + solving_bytes(tokens, shape.width))
    total += scoring_bytes(shape)
    if rule == "play_part":
        kept = kept_of_play(config, name, players)
        kept = kept if roomy else replace(kept, slots=-(-kept.slots // 4))
        return total + row(kept.first) + kept_bytes(shape, model, on_gpu, kept)
    if rule not in KEEPING:
        return total + row(batch)
    forked = row(batch) + held_bytes(shape, model, on_gpu, batch)
    if rule == "ablate_heads" and config["circuits"]["everywhere"] is not None:
        # A backward pass needs what every block made of a prompt.
        return total + max(forked, BACKWARD * shape.layers * row(prompt))
    if rule == "patch_pairs" and (config["patching"]["screen"] or config["patching"]["paths"]):
        # The same, with what every block made of the other prompt; paths need both of these alone.
        return total + max(forked, (BACKWARD + 1.0) * shape.layers * row(prompt))
    return total + forked


def kept_bytes(shape: Shape, model: Mapping[str, Any], on_gpu: bool, kept: Kept) -> float:
    """Return the bytes of what play keeps.

    Buffers of sessions grow by doubling. Where agents write, each text has a slot of its own
    besides, and a GPU's slots are a power of two.
    """
    slots = 1 << (kept.slots - 1).bit_length() if kept.slots else 0
    capacity = -(-kept.text // STEP) * STEP
    tokens = ROOM * kept.sessions + slots * capacity
    return held_bytes(shape, model, on_gpu, tokens) + _SAMPLED * slots * shape.vocab


def solving_bytes(tokens: int, width: int) -> float:
    """Return the bytes of solving for one layer's tuned lens, in float64 (`lens.tuned`).

    Three matrices of tokens, four of those that are not held out, their smaller product with its
    decomposition, and the solution, also in float32.
    """
    train = 0.8 * tokens
    side = min(train, width)
    return 8.0 * (3.0 * tokens * width + 4.0 * train * width + 4.0 * side**2 + 1.5 * width**2)


def readout_bytes(shape: Shape, *, tuned: bool) -> float:
    """Return the most bytes that reading residuals through an unembedding takes, in float32.

    Parameters
    ----------
    shape : Shape
    tuned : bool
        Whether a matrix of a tuned lens comes with them.
    """
    residuals = 3.0 * 4.0 * _READ_AT_ONCE * shape.width
    return _unembedding(shape) + tuned * 4.0 * shape.width**2 + READING + residuals


def _unembedding(shape: Shape) -> float:
    return 4.0 * shape.vocab * shape.width
