"""Models without weights, and how weights get into them one by one.

A large model must never be in host memory, nor twice on a device. So its modules are made on
torch's meta device, which allocates nothing, and each parameter is put in its place once it is
on its own device.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from nashlens.errors import ModelError
from nashlens.models.registry import Architecture
from nashlens.models.tensor_files import DTYPES, Entry

PIECE = 1 << 26
"""Bytes of a stored weight that are in host memory at a time, where it goes elsewhere."""
_TORCH = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

Slice = tuple[int, int, int]
"""Axis (0 or 1), first index, index after the last."""


def skeleton(config: Any) -> Any:
    """Make a causal language model whose parameters have shapes but no memory.

    Parameters
    ----------
    config : transformers.PreTrainedConfig

    Returns
    -------
    transformers.PreTrainedModel
        In eval mode; all parameters and buffers are on the meta device.
    """
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    return model.eval()


def set_weight(model: Any, name: str, weight: torch.Tensor) -> None:
    """Replace a model's parameter by a weight, without a gradient.

    Parameters
    ----------
    model : torch.nn.Module
    name : str
        The parameter's name, such as ``model.layers.0.mlp.up_proj.weight``.
    weight : torch.Tensor

    Raises
    ------
    ModelError
        If the parameter has another shape.
    """
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    expected = getattr(module, leaf).shape
    if weight.shape != expected:
        raise ModelError(f"{name} has shape {tuple(weight.shape)}, and {tuple(expected)} is needed")
    setattr(module, leaf, torch.nn.Parameter(weight, requires_grad=False))


def read_weight(
    entry: Entry, device: torch.device, dtype: torch.dtype, part: Slice | None = None
) -> torch.Tensor:
    """Read a stored weight, or a slice of it, onto a device.

    On the CPU and as it is stored it is the mapped file itself, and nothing is read before it is
    used. Otherwise the file goes through the host piece by piece: were it mapped, all that was
    read of it would stay in the process until the last weight is read.

    Parameters
    ----------
    entry : Entry
        Of `nashlens.models.tensor_files.read_entries`.
    device : torch.device
    dtype : torch.dtype
    part : Slice, optional

    Raises
    ------
    ModelError
        It is stored as no floating type, or the file is shorter than its header says.
    """
    if entry.dtype not in _TORCH:
        raise ModelError(f"{entry.file}: a weight is stored as {entry.dtype}, which is no float")
    stored, kind = np.dtype(DTYPES[entry.dtype]), _TORCH[entry.dtype]
    # bfloat16 is read by its bits, which torch knows as int16 only.
    bits = np.dtype("<i2") if kind is torch.bfloat16 else stored
    if 0 in entry.shape:
        return torch.empty(entry.shape, dtype=dtype, device=device)
    aligned = entry.offset % stored.itemsize == 0
    if device.type == "cpu" and kind is dtype and part is None and aligned:
        mapped = np.memmap(entry.file, bits, "c", entry.offset, entry.shape)
        return torch.from_numpy(mapped).view(kind)
    rows, width = entry.shape[0], math.prod(entry.shape[1:])
    axis, first, end = part or (0, 0, rows)
    start, stop = (first, end) if axis == 0 else (0, rows)
    shape = [end - first if k == axis else size for k, size in enumerate(entry.shape)]
    result = torch.empty(shape, dtype=dtype, device=device)
    step = max(1, PIECE // (width * stored.itemsize))
    with open(entry.file, "rb", buffering=0) as file:
        file.seek(entry.offset + start * width * stored.itemsize)
        for row in range(start, stop, step):
            count = min(step, stop - row)
            piece = np.fromfile(file, bits, count * width)
            if len(piece) < count * width:
                raise ModelError(f"{entry.file}: it ends inside a weight: convert it again")
            here = torch.from_numpy(piece.reshape(count, *entry.shape[1:])).view(kind)
            here = here[:, first:end] if axis == 1 else here
            result[row - start : row - start + count] = here
    return result


def set_rotary(model: Any, names: Architecture, config: Any, device: torch.device) -> None:
    """Make the module of rotary positions on a device: its constants are not in any file."""
    assert names.rotary is not None
    path, _, leaf = names.rotary.rpartition(".")
    kind = type(model.get_submodule(names.rotary))
    with torch.device("cpu"):  # the same constants everywhere: a GPU's powers differ
        rotary = kind(config)
    setattr(model.get_submodule(path), leaf, rotary.to(device).eval())


def tie_unembedding(model: Any, names: Architecture) -> None:
    """Let the unembedding be the embedding's own weight."""
    weight = model.get_submodule(names.embed).weight
    model.get_submodule(names.unembed).weight = weight


def unfilled_weights(model: Any) -> Iterator[str]:
    """Yield the names of parameters and buffers that are still on the meta device."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.device.type == "meta":
            yield name
