"""Models of a true shape with random weights, each made on its own device.

The weights of a model of 70 billion never lie in host memory or on a disk. A model that was
converted from `shape:NAME` has its embedding, final norm and unembedding in a file, since the lens
reads these without a model; all else is drawn anew whenever it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from nashlens.errors import ModelError
from nashlens.models.loaded import LoadedModel
from nashlens.models.native import CausalLM, Rotary, native_config
from nashlens.models.quantise import quantised_linear
from nashlens.models.registry import ARCHITECTURES, Architecture
from nashlens.models.shapes import Shape
from nashlens.models.sharded import build_shards
from nashlens.models.skeleton import (
    Slice,
    read_weight,
    set_rotary,
    set_weight,
    skeleton,
    tie_unembedding,
    unfilled_weights,
)
from nashlens.models.tensor_files import read_entries
from nashlens.seeds import stream

ENDS = "model.safetensors"
"""The file of the weights before the first and after the last block."""
_STD = 0.02

Make = Callable[[str, torch.Size, Slice | None, torch.device], torch.Tensor]
"""Gives a parameter, or a slice of it, by name and full shape, on a device."""


def build_random(
    shape: Shape,
    *,
    devices: Sequence[torch.device | str],
    dtype: torch.dtype,
    quantization: str = "none",
    parallel: str = "none",
    layers: int | None = None,
    seed: int = 0,
    name: str = "random",
    ends: Path | None = None,
    native: bool = False,
) -> LoadedModel:
    """Make a model of a shape with random weights, each made on its own device.

    Weights and biases are normal with standard deviation 0.02 and norms are 1, so that residuals
    stay finite. A weight depends on the seed and its name alone, however the model is spread.

    Parameters
    ----------
    shape : Shape
    devices : sequence of torch.device or str
        One; or those that `parallel` spreads the model over.
    dtype : torch.dtype
    quantization : {"none", "int8", "nf4"}
        Each weight of a block is quantised as soon as it is made, and its original freed; embedding
        and unembedding stay as they are.
    parallel : {"none", "pipeline", "tensor"}
        pipeline gives each device consecutive blocks of about equal bytes.
    layers : int, optional
        Fewer blocks than the shape has.
    seed : int
    name : str
    ends : path, optional
        A file of `write_ends`, whose weights are read and not drawn.
    native : bool, default False
        Whether modules of our own are used where they suffice, as in
        `nashlens.models.load.load_model`.

    Returns
    -------
    LoadedModel

    Raises
    ------
    ModelError
        If `parallel` and the devices or the quantization do not fit together.
    """
    placed = [_indexed(torch.device(device)) for device in devices]
    if parallel == "none" and len(placed) != 1:
        raise ModelError(f"parallel: none needs one device, and {len(placed)} were given")
    if parallel == "tensor" and quantization != "none":
        raise ModelError(f"parallel: tensor cannot split weights quantised to {quantization}")
    if parallel not in ("none", "pipeline", "tensor"):
        raise ModelError(f"parallel is {parallel!r}, not none, pipeline or tensor")
    shape = shape.cut(layers or shape.layers)
    make = _maker(dtype, seed, ends)
    model, shards = None, ()
    if parallel == "tensor":
        shards = build_shards(shape.config(), placed, make)
    elif native and quantization == parallel == "none":
        model = _filled_native(shape, placed[0], make)
    else:
        model = _filled(shape.config(), placed, quantization, make, dtype)
    return LoadedModel.from_modules(
        model, name=name, dtype=dtype, quantization=quantization, shards=shards
    )


def write_ends(shape: Shape, folder: Path, *, seed: int = 0) -> None:
    """Draw the weights before the first and after the last block, and write them in bfloat16.

    Parameters
    ----------
    shape : Shape
    folder : path
        Where `ENDS` goes.
    seed : int
    """
    names, cpu = ARCHITECTURES[shape.architecture], torch.device("cpu")
    sizes = {names.embed: (shape.vocab, shape.width), names.norm: (shape.width,)}
    if not shape.tied:
        sizes[names.unembed] = sizes[names.embed]
    drawn = {
        f"{path}.weight": _weight(f"{path}.weight", torch.Size(size), torch.bfloat16, cpu, seed)
        for path, size in sizes.items()
    }
    save_file(drawn, folder / ENDS, metadata={"format": "pt"})


def _maker(dtype: torch.dtype, seed: int, ends: Path | None) -> Make:
    stored = {} if ends is None else read_entries(ends)

    def make(key: str, size: torch.Size, part: Slice | None, device: torch.device) -> torch.Tensor:
        if key in stored:
            return read_weight(stored[key], device, dtype, part)
        return _part(_weight(key, size, dtype, device, seed), part)

    return make


def _indexed(device: torch.device) -> torch.device:
    return torch.device("cuda", 0) if device == torch.device("cuda") else device


def _weight(
    name: str, size: torch.Size, dtype: torch.dtype, device: torch.device, seed: int
) -> torch.Tensor:
    if "norm" in name:
        return torch.ones(size, dtype=dtype, device=device)
    random = torch.Generator(device)
    random.manual_seed(int(stream(seed, "random weights", name).integers(2**63)))
    return torch.empty(size, dtype=dtype, device=device).normal_(0, _STD, generator=random)


def _part(weight: torch.Tensor, part: Slice | None) -> torch.Tensor:
    if part is None:
        return weight
    axis, first, end = part
    # A copy: a view would keep the whole weight in memory.
    return weight.narrow(axis, first, end - first).clone()


def _filled_native(shape: Shape, device: torch.device, make: Make) -> Any:
    config = native_config(shape.values())
    if config is None:
        raise ModelError(f"{shape.architecture} has no modules of our own for this shape")
    with torch.device("meta"):
        model = CausalLM(config).eval()
    for key, parameter in list(model.named_parameters()):
        if not (shape.tied and key.startswith("lm_head.")):
            set_weight(model, key, make(key, parameter.shape, None, device))
    if shape.tied:
        tie_unembedding(model, ARCHITECTURES[shape.architecture])
    model.model.rotary_emb = Rotary(config, device)
    return model


def _filled(
    config: Any,
    devices: list[torch.device],
    quantization: str,
    make: Make,
    dtype: torch.dtype,
) -> Any:
    model, names = skeleton(config), ARCHITECTURES[config.architectures[0]]
    where = stages(model, names, devices)
    linear = torch.nn.Linear if quantization != "none" else ()
    for path, module in list(model.named_modules()):
        device = where.get(_stage(path, names))
        own = list(module.named_parameters(recurse=False))
        if device is None or not own or (path == names.unembed and config.tie_word_embeddings):
            continue
        weights = {key: make(f"{path}.{key}", p.shape, None, device) for key, p in own}
        if isinstance(module, linear) and path.startswith(names.layers + "."):
            parent, _, leaf = path.rpartition(".")
            setattr(
                model.get_submodule(parent), leaf, quantised_linear(weights, quantization, dtype)
            )
        else:
            for key, weight in weights.items():
                set_weight(model, f"{path}.{key}", weight)
        del weights  # before the next one is made
    if config.tie_word_embeddings:
        tie_unembedding(model, names)
    set_rotary(model, names, config, devices[0])
    left = next(unfilled_weights(model), None)
    if left is not None:
        raise ModelError(f"{config.architectures[0]} has {left}, which random weights do not fill")
    return model.requires_grad_(False)


def _stage(path: str, names: Architecture) -> str:
    """Return the part of a model that stays on one device: a block, or a module beside them."""
    if path.startswith(names.layers + "."):
        return ".".join(path.split(".")[: names.layers.count(".") + 2])
    return path


def stages(model: Any, names: Architecture, devices: list[torch.device]) -> dict[str, torch.device]:
    """Give each device consecutive parts of about equal bytes.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Perhaps without weights.
    names : Architecture
    devices : list of torch.device

    Returns
    -------
    dict of str to torch.device
        By path: the embedding, each block, the final norm, the unembedding.
    """
    blocks = [f"{names.layers}.{i}" for i in range(len(model.get_submodule(names.layers)))]
    parts = [names.embed, *blocks, names.norm, names.unembed]
    sizes = [sum(p.numel() for p in model.get_submodule(part).parameters()) for part in parts]
    if model.config.tie_word_embeddings:
        sizes[-1] = 0
    total, before, result = sum(sizes), 0, {}
    for part, size in zip(parts, sizes, strict=True):
        # By the middle of each part, so that none reaches far over a device's share.
        result[part] = devices[
            min((2 * before + size) * len(devices) // (2 * total), len(devices) - 1)
        ]
        before += size
    return result
