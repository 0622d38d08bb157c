"""The Llama family's modules, without transformers, whose import takes most of a job's start.

The engine (`nashlens.engine.block`) brings the order of the steps and the attention; what it asks
of a model is its weights, norms, MLPs and rotations, under the names that `registry` lists. For the
architectures of `NATIVE` these are a few lines each. A job with a model of 135 million weights then
needs 1.5 s of CPU time until it can start, and 4.4 s with transformers. Whatever a config.json asks
for beyond them is left to transformers (`native_config`).

Formulas: RMS norm (arXiv:1910.07467), SwiGLU (arXiv:2002.05202), rotary positions
(arXiv:2104.09864); Llama 3.1's scaling of rotations by wavelength is that of Meta's reference code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from nashlens.errors import ModelError
from nashlens.models.inspect import weight_files
from nashlens.models.manifest import CONVERT_AGAIN
from nashlens.models.registry import ARCHITECTURES
from nashlens.models.skeleton import read_weight, set_weight, tie_unembedding, unfilled_weights
from nashlens.models.split import TENSOR_PARALLEL
from nashlens.models.tensor_files import read_entries

NATIVE = TENSOR_PARALLEL
"""Architectures whose modules are here."""
_SIZES = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "vocab_size",
    "max_position_embeddings",
)
_LLAMA3 = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


def native_config(config: Mapping[str, Any]) -> SimpleNamespace | None:
    """Return the values of a config.json that the modules here need, if they do all it asks for.

    Parameters
    ----------
    config : mapping
        The parsed config.json of a supported model.

    Returns
    -------
    types.SimpleNamespace or None
        None where transformers has to build the model.
    """
    name = (config.get("architectures") or [""])[0]
    rope = _rope(config)
    plain = config.get("hidden_act", "silu") == "silu" and all(key in config for key in _SIZES)
    if name not in NATIVE or rope is None or not plain:
        return None
    values = {key: int(config[key]) for key in _SIZES}
    layers, heads = values["num_hidden_layers"], values["num_attention_heads"]
    types = ["full_attention"] * layers
    if ARCHITECTURES[name].windows == "layer_types" and config.get("use_sliding_window"):
        # Which blocks have the window, transformers says where the config does not.
        return None
    if ARCHITECTURES[name].windows == "every_layer" and "sliding_window" not in config:
        return None
    qwen2, biased = name == "Qwen2ForCausalLM", bool(config.get("attention_bias"))
    # Mistral's blocks have none, whatever the key says.
    biased = biased and name != "MistralForCausalLM"
    return SimpleNamespace(
        **values,
        architectures=[name],
        num_key_value_heads=int(config.get("num_key_value_heads") or heads),
        head_dim=int(config.get("head_dim") or values["hidden_size"] // heads),
        rms_norm_eps=float(ARCHITECTURES[name].value(config, "rms_norm_eps")),
        tie_word_embeddings=bool(ARCHITECTURES[name].value(config, "tie_word_embeddings")),
        attention_bias=qwen2 or biased,
        output_bias=not qwen2 and biased,
        mlp_bias=name == "LlamaForCausalLM" and bool(config.get("mlp_bias")),
        head_norms=name == "Qwen3ForCausalLM",
        sliding_window=config.get("sliding_window"),
        layer_types=types,
        rope_parameters=rope,
    )


def _rope(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the rotations' parameters; None for kinds, or spellings, that are not read here."""
    if config.get("rope_scaling") is not None:
        # transformers puts it before rope_parameters.
        return None
    rope = config.get("rope_parameters")
    if rope is None and "rope_theta" in config:
        rope = {"rope_type": "default", "rope_theta": config["rope_theta"]}
    # The kind's older name is transformers' to read.
    if not isinstance(rope, dict) or "rope_theta" not in rope or "type" in rope:
        return None
    kind = rope.get("rope_type", "default")
    whole = rope.get("partial_rotary_factor", 1.0) == 1.0
    known = kind == "default" or (kind == "llama3" and all(key in rope for key in _LLAMA3))
    return dict(rope) if known and whole else None


class UndrawnLinear(nn.Linear):
    """Without random weights, which would be replaced and whose drawing imports a compiler."""

    def reset_parameters(self) -> None:
        """Draw nothing."""


class UndrawnEmbedding(nn.Embedding):
    """Without random weights."""

    def reset_parameters(self) -> None:
        """Draw nothing."""


class RmsNorm(nn.Module):
    """``weight * x / sqrt(mean(x^2) + eps)``, in float32 and back.

    Parameters
    ----------
    width : int
    eps : float
    """

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normed `(..., width)`."""
        exact = x.to(torch.float32)
        exact = exact * torch.rsqrt(exact.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * exact.to(x.dtype)


class Rotary(nn.Module):
    """Cosines and sines that turn each pair of dimensions by position times its frequency.

    Parameters
    ----------
    config : types.SimpleNamespace
        Of `native_config`.
    device : torch.device
    """

    def __init__(self, config: SimpleNamespace, device: torch.device):
        super().__init__()
        # On the CPU: the same constants everywhere, since a GPU's powers differ.
        self.frequencies = _frequencies(config.head_dim, config.rope_parameters).to(device)

    def forward(self, like: torch.Tensor, at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `(b, n, head)` cosines and sines at positions `(b, n)`, in the dtype of `like`."""
        angles = at[..., None].float() * self.frequencies
        both = torch.cat((angles, angles), dim=-1)
        return both.cos().to(like.dtype), both.sin().to(like.dtype)


def _frequencies(size: int, rope: Mapping[str, Any]) -> torch.Tensor:
    """Return `(size / 2,)` float32 radians a position."""
    steps = torch.arange(0, size, 2, dtype=torch.int64).float() / size
    plain: torch.Tensor = 1.0 / (rope["rope_theta"] ** steps)
    if rope.get("rope_type", "default") == "default":
        return plain
    # Long waves are stretched by the factor, short ones stay, and between them it is blended.
    factor, low, high, length = (rope[key] for key in _LLAMA3)
    waves = 2 * math.pi / plain
    stretched = torch.where(waves > length / low, plain / factor, plain)
    blend = (length / waves - low) / (high - low)
    blended = (1 - blend) * stretched / factor + blend * stretched
    between = ~(waves < length / high) & ~(waves > length / low)
    return torch.where(between, blended, stretched)


class Mlp(nn.Module):
    """``down(silu(gate(x)) * up(x))``."""

    def __init__(self, config: SimpleNamespace):
        super().__init__()
        width, hidden, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.gate_proj = UndrawnLinear(width, hidden, bias=bias)
        self.up_proj = UndrawnLinear(width, hidden, bias=bias)
        self.down_proj = UndrawnLinear(hidden, width, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return `(..., width)`."""
        result: torch.Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return result


class AttentionProjections(nn.Module):
    """The projections of an attention module; the engine attends."""

    def __init__(self, config: SimpleNamespace):
        super().__init__()
        width, size = config.hidden_size, config.head_dim
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.scaling = size**-0.5
        self.q_proj = UndrawnLinear(width, heads * size, bias=config.attention_bias)
        self.k_proj = UndrawnLinear(width, kv_heads * size, bias=config.attention_bias)
        self.v_proj = UndrawnLinear(width, kv_heads * size, bias=config.attention_bias)
        self.o_proj = UndrawnLinear(heads * size, width, bias=config.output_bias)
        if config.head_norms:
            self.q_norm = RmsNorm(size, config.rms_norm_eps)
            self.k_norm = RmsNorm(size, config.rms_norm_eps)


class BlockModules(nn.Module):
    """One block's modules."""

    def __init__(self, config: SimpleNamespace):
        super().__init__()
        self.input_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = AttentionProjections(config)
        self.post_attention_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = Mlp(config)


class ModelBody(nn.Module):
    """All but the unembedding."""

    def __init__(self, config: SimpleNamespace):
        super().__init__()
        self.embed_tokens = UndrawnEmbedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(BlockModules(config) for _ in range(config.num_hidden_layers))
        self.norm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary_emb: Rotary | None = None


class CausalLM(nn.Module):
    """A model's modules under the names that Hugging Face gives them; it has no forward of its own.

    Parameters
    ----------
    config : types.SimpleNamespace
        Of `native_config`.
    """

    def __init__(self, config: SimpleNamespace):
        super().__init__()
        self.config = config
        self.model = ModelBody(config)
        self.lm_head = UndrawnLinear(config.hidden_size, config.vocab_size, bias=False)


def read_native(
    folder: Path, config: SimpleNamespace, device: torch.device, dtype: torch.dtype
) -> CausalLM:
    """Read a converted model, each weight straight onto its device.

    Parameters
    ----------
    folder : path
        Hugging Face layout with safetensors.
    config : types.SimpleNamespace
        Of `native_config`.
    device : torch.device
    dtype : torch.dtype

    Returns
    -------
    CausalLM
        In eval mode, without gradients.

    Raises
    ------
    ModelError
        The weights lack a tensor, or one has another shape.
    """
    with torch.device("meta"):
        model = CausalLM(config).eval()
    names = {name: name for name, _ in model.named_parameters()}
    # A model that was saved without its head lacks the prefix.
    names |= {name.removeprefix("model."): name for name in names}
    for path in weight_files(folder):
        for stored, entry in read_entries(path).items():
            if stored in names:
                try:
                    set_weight(model, names[stored], read_weight(entry, device, dtype))
                except ModelError as error:
                    raise ModelError(f"{folder}: {error}: {CONVERT_AGAIN}") from None
    # As transformers has it, an unembedding in the file is used, whatever the config says.
    if config.tie_word_embeddings and model.lm_head.weight.device.type == "meta":
        tie_unembedding(model, ARCHITECTURES[config.architectures[0]])
    missing = sorted(unfilled_weights(model))
    if missing:
        raise ModelError(
            f"{folder}: the weights lack {missing[0]} and {len(missing) - 1} more: {CONVERT_AGAIN}"
        )
    model.model.rotary_emb = Rotary(config, device)
    return model
