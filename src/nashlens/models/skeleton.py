"""Models without weights, and how weights get into them one by one.

A large model must never be in host memory, nor twice on a device. So its modules are made on
torch's meta device, which allocates nothing, and each parameter is put in its place once it is
on its own device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from nashlens.errors import ModelError
from nashlens.models.registry import Architecture


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
