"""Which models tensor parallelism can split; without torch, so that a config is checked in time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TENSOR_PARALLEL = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
"""Architectures whose blocks have q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj and down_proj,
with nothing between these and the residual stream but norms of the residual itself."""


def tensor_problem(config: Mapping[str, Any], devices: int) -> str | None:
    """Say why a model cannot be split over so many devices.

    Parameters
    ----------
    config : mapping
        The parsed config.json.
    devices : int
        Number of devices.

    Returns
    -------
    str or None
        One line, or None where it can.
    """
    name = (config.get("architectures") or ["(none)"])[0]
    if name not in TENSOR_PARALLEL:
        return f"{name} cannot be split by tensor parallelism: use {', '.join(TENSOR_PARALLEL)}"
    if devices < 2:
        return f"tensor parallelism needs at least 2 GPUs, and there are {devices}"
    heads = config["num_attention_heads"]
    counts = {
        "num_key_value_heads": config.get("num_key_value_heads") or heads,
        "num_attention_heads": heads,
        "intermediate_size": config["intermediate_size"],
    }
    for key, count in counts.items():
        if count % devices:
            return (
                f"{key} {count} cannot be split over {devices} GPUs evenly: give a number of GPUs "
                "that divides it (CUDA_VISIBLE_DEVICES), or set parallel: pipeline"
            )
    return None
