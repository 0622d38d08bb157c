"""Supported architectures: a table of component names, and nothing else.

The engine walks a model by these names, so that a new architecture of the same shape (pre-norm
blocks, rotary positions, gated MLP) is one more entry. Names are attribute paths from the Hugging
Face causal LM; a parameter's name in its safetensors file is the path with ``.weight`` after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Architecture:
    """Where one architecture keeps its parts.

    A block computes ``h = x + o(attention(q, k, v of input_norm(x)))``, then
    ``h + mlp(post_attention_norm(h))``.
    """

    name: str
    """The Hugging Face class, as in config.json's `architectures`."""
    embed: str = "model.embed_tokens"
    """Token embedding, from the causal LM."""
    layers: str = "model.layers"
    """The list of blocks, from the causal LM."""
    norm: str = "model.norm"
    """The final norm, from the causal LM."""
    unembed: str = "lm_head"
    """The unembedding, from the causal LM; without a bias, perhaps tied to `embed`."""
    rotary: str = "model.rotary_emb"
    """Module that maps `(hidden, position_ids)` to `(cos, sin)`, from the causal LM."""
    input_norm: str = "input_layernorm"
    """Norm before attention, from the block."""
    attention: str = "self_attn"
    """The attention module, from the block; `head_dim` and `scaling` are its attributes."""
    q: str = "self_attn.q_proj"
    """Query projection, from the block."""
    k: str = "self_attn.k_proj"
    """Key projection, from the block."""
    v: str = "self_attn.v_proj"
    """Value projection, from the block."""
    o: str = "self_attn.o_proj"
    """Output projection of attention, from the block."""
    q_norm: str | None = None
    """Norm of each query head before the rotation, from the block; None where there is none."""
    k_norm: str | None = None
    """Norm of each key head before the rotation, from the block; None where there is none."""
    post_attention_norm: str = "post_attention_layernorm"
    """Norm before the MLP, from the block."""
    mlp: str = "mlp"
    """The MLP, from the block."""


ARCHITECTURES: dict[str, Architecture] = {
    a.name: a
    for a in (
        Architecture("LlamaForCausalLM"),
        Architecture("MistralForCausalLM"),
        Architecture("Qwen2ForCausalLM"),
        Architecture("Qwen3ForCausalLM", q_norm="self_attn.q_norm", k_norm="self_attn.k_norm"),
    )
}

GGUF_ARCHITECTURES: dict[str, str] = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
"""llama.cpp's `general.architecture` to the Hugging Face class."""


def supported() -> str:
    """Return the supported architectures as text, for messages."""
    return ", ".join(ARCHITECTURES)


def config_problems(config: Mapping[str, Any]) -> list[str]:
    """Say why a model with this config.json cannot be used.

    Parameters
    ----------
    config : mapping
        The parsed config.json.

    Returns
    -------
    list of str
        One line a problem; empty where the model is supported.
    """
    names = config.get("architectures")
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        return [f"architectures is {names!r}: one of {supported()} is needed"]
    name = names[0]
    if name not in ARCHITECTURES:
        return [f"architecture {name} is not supported: use one of {supported()}"]
    problems = []
    if config.get("auto_map"):
        problems.append("config.json has auto_map (code of its own), which is never run: remove it")
    if config.get("quantization_config"):
        problems.append(
            "the weights are stored quantised: give the full-precision model and set quantization"
        )
    problems += _window_problems(name, config)
    return problems


def _window_problems(name: str, config: Mapping[str, Any]) -> list[str]:
    # The engine's attention is plainly causal. A window that covers the whole context is the same
    # thing; a shorter one would be silently ignored, so it is refused.
    types = config.get("layer_types")
    window: Any = None
    if name == "MistralForCausalLM":
        # transformers' own default where the key is absent.
        window = config.get("sliding_window", 4096)
    elif isinstance(types, list):
        window = config.get("sliding_window") if "sliding_attention" in types else None
    elif config.get("use_sliding_window"):
        # Layers from max_window_layers (28 by default) upwards have the window.
        first = config.get("max_window_layers", 28)
        window = config.get("sliding_window", 4096) if first < config_layers(config) else None
    context = config.get("max_position_embeddings") or 0
    if window is None or window >= context:
        return []
    return [
        f"{name} with a sliding window of {window} tokens in a context of {context} is not "
        "supported: use a model without one (sliding_window null)"
    ]


def config_layers(config: Mapping[str, Any]) -> int:
    """Return config.json's number of blocks, 0 where it says none."""
    value = config.get("num_hidden_layers")
    return value if isinstance(value, int) else 0
