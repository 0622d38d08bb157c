"""Models split over devices by tensor parallelism: each device holds a slice of every block.

After Megatron-LM (arXiv:1909.08053): the products into a block's attention and MLP are split by
their outputs (heads, hidden units), those out of them by their inputs, so that each device computes
its own heads and hidden units, and its share of the block's output is one term of a sum.

A shard is itself a model of the same architecture, with fewer heads and a narrower MLP. The first
one holds the embedding, the last one the final norm and the unembedding (the first one, where the
two are tied); what a shard lacks stays on the meta device.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from nashlens.errors import ModelError
from nashlens.models.inspect import weight_files
from nashlens.models.manifest import CONVERT_AGAIN
from nashlens.models.registry import ARCHITECTURES, Architecture
from nashlens.models.skeleton import (
    Slice,
    read_weight,
    set_rotary,
    set_weight,
    skeleton,
    tie_unembedding,
)
from nashlens.models.split import tensor_problem
from nashlens.models.tensor_files import Entry, read_entries

_BY_OUTPUT = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
_BY_INPUT = ("o_proj", "down_proj")

Read = Callable[[str, torch.Size, Slice | None, torch.device], torch.Tensor]
"""Reads a parameter by name, its full shape, the slice that is wanted (None: all) and device."""


def build_shards(config: Any, devices: Sequence[torch.device], read: Read) -> tuple[Any, ...]:
    """Make one narrow model for each device.

    Parameters
    ----------
    config : transformers.PreTrainedConfig
        Configuration of the unsplit model.
    devices : sequence of torch.device
        Two or more; they may be the same one.
    read : callable
        Gives each parameter, or the slice of it, on its device and in its dtype.

    Returns
    -------
    tuple of transformers.PreTrainedModel

    Raises
    ------
    ModelError
        If this model cannot be split so (`split.tensor_problem`).
    """
    problem = tensor_problem(config.to_dict(), len(devices))
    if problem:
        raise ModelError(f"parallel: tensor: {problem}")
    names = ARCHITECTURES[config.architectures[0]]
    whole = {name: p.shape for name, p in skeleton(config).named_parameters()}
    narrow = _narrow(config, len(devices))
    shards = []
    for rank, device in enumerate(devices):
        shard = skeleton(narrow)
        for name, parameter in list(shard.named_parameters()):
            if not _holds(name, names, rank, len(devices), tied=config.tie_word_embeddings):
                continue
            weight = read(name, whole[name], _slice(name, parameter, rank), device)
            if rank and _leaf(name) in _BY_INPUT and name.endswith(".bias"):
                # Only one term of the sum may add the bias.
                weight = torch.zeros_like(weight)
            set_weight(shard, name, weight)
        if config.tie_word_embeddings and rank == 0:
            tie_unembedding(shard, names)
        set_rotary(shard, names, narrow, device)
        shards.append(shard)
    return tuple(shards)


def _narrow(config: Any, ranks: int) -> Any:
    narrow = copy.deepcopy(config)
    heads = config.num_attention_heads
    narrow.head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    narrow.num_attention_heads = heads // ranks
    narrow.num_key_value_heads = config.num_key_value_heads // ranks
    narrow.intermediate_size = config.intermediate_size // ranks
    return narrow


def _leaf(name: str) -> str:
    """Return the module's own name: `q_proj` of `model.layers.0.self_attn.q_proj.weight`."""
    return name.split(".")[-2]


def _slice(name: str, narrow: torch.Tensor, rank: int) -> Slice | None:
    if _leaf(name) in _BY_OUTPUT:
        axis = 0
    elif _leaf(name) in _BY_INPUT and name.endswith(".weight"):
        axis = 1
    else:
        return None
    size = narrow.shape[axis]
    return axis, rank * size, (rank + 1) * size


def _holds(name: str, names: Architecture, rank: int, ranks: int, *, tied: bool) -> bool:
    module = name.rpartition(".")[0]
    if module == names.embed:
        return rank == 0
    if module in (names.norm, names.unembed):
        return rank == (0 if tied else ranks - 1)
    return True


def read_shards(
    folder: Path, config: Any, devices: Sequence[torch.device], dtype: torch.dtype
) -> tuple[Any, ...]:
    """Read a converted model's shards, each slice straight onto its device.

    Parameters
    ----------
    folder : path
        Hugging Face layout with safetensors.
    config : transformers.PreTrainedConfig
    devices : sequence of torch.device
    dtype : torch.dtype

    Returns
    -------
    tuple of transformers.PreTrainedModel
        See `build_shards`.

    Raises
    ------
    ModelError
        The weights lack a tensor or have another shape, or the model cannot be split so.
    """
    problem = tensor_problem(config.to_dict(), len(devices))
    if problem:
        raise ModelError(f"{folder}: parallel: tensor: {problem}")
    entries: dict[str, Entry] = {}
    for path in weight_files(folder):
        entries.update(read_entries(path))

    def read(
        name: str, shape: torch.Size, piece: Slice | None, device: torch.device
    ) -> torch.Tensor:
        entry = entries.get(name)
        if entry is None:
            raise ModelError(f"{folder}: the weights lack {name}: {CONVERT_AGAIN}")
        if entry.shape != tuple(shape):
            raise ModelError(
                f"{folder}: {name} has shape {entry.shape}, and config.json asks for"
                f" {tuple(shape)}: {CONVERT_AGAIN}"
            )
        return read_weight(entry, device, dtype, piece)

    return build_shards(config, devices, read)
