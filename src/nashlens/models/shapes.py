"""The true shapes of well-known models: what their config.json files say of their sizes.

A model of a shape (`shape:NAME`) has random weights. So a study's time, memory and disk are known
before anyone has the weights, and a machine is tested at full scale.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from nashlens.errors import ModelError
from nashlens.models.registry import ARCHITECTURES

SHAPE = "nashlens_shape"
"""Key of a config.json that names the shape of a model with random weights."""


@dataclass(frozen=True)
class Shape:
    """What config.json says of a model's size.

    Attributes
    ----------
    architecture : str
        Hugging Face class.
    width : int
        Of the residual stream.
    mlp_width : int
        Hidden units of the MLP.
    layers : int
        Blocks.
    heads, kv_heads, head_dim : int
        Query heads, key and value heads, and the size of one.
    vocab : int
        Rows of the embedding.
    context : int
        Longest sequence.
    rope_theta : float
        Base of the rotary positions.
    eps : float
        Of the RMS norms.
    tied : bool
        Whether the unembedding is the embedding.
    """

    architecture: str
    width: int
    mlp_width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int
    rope_theta: float
    eps: float = 1e-5
    tied: bool = False

    @property
    def attention_bias(self) -> bool:
        """Whether q, k and v have biases: Qwen2's always do."""
        return self.architecture == "Qwen2ForCausalLM"

    def block_parameters(self) -> int:
        """Return the number of weights of one block."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = self.width * (2 * queries + 2 * keys)
        bias = (queries + 2 * keys) * self.attention_bias
        return attention + bias + 3 * self.width * self.mlp_width + 2 * self.width

    def projecting_share(self) -> float:
        """Return the share of a block's weights that make queries, keys and values."""
        projected = self.width * (self.heads + 2 * self.kv_heads) * self.head_dim
        return projected / self.block_parameters()

    def parameters(self) -> int:
        """Return the number of all weights, by formula."""
        embeddings = self.vocab * self.width * (1 if self.tied else 2)
        return self.layers * self.block_parameters() + embeddings + self.width

    def cut(self, layers: int) -> Shape:
        """Return the same with another number of blocks."""
        return replace(self, layers=layers)

    def values(self) -> dict[str, Any]:
        """Return what a config.json of this shape holds."""
        return {
            "architectures": [self.architecture],
            "model_type": ARCHITECTURES[self.architecture].model_type,
            "hidden_size": self.width,
            "intermediate_size": self.mlp_width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab,
            "max_position_embeddings": self.context,
            "rope_parameters": {"rope_type": "default", "rope_theta": self.rope_theta},
            "rms_norm_eps": self.eps,
            "tie_word_embeddings": self.tied,
        }

    def config(self) -> Any:
        """Return the Hugging Face configuration."""
        import transformers

        values = self.values()
        kind = getattr(transformers, self.architecture.replace("ForCausalLM", "Config"))
        return kind(**{key: value for key, value in values.items() if key != "model_type"})


_LLAMA, _QWEN = "LlamaForCausalLM", "Qwen2ForCausalLM"
SHAPES: dict[str, Shape] = {
    "smollm2-135m": Shape(
        _LLAMA, 576, 1536, 30, 9, 3, 64, 49152, context=8192, rope_theta=1e5, tied=True
    ),
    "qwen2.5-0.5b": Shape(
        _QWEN, 896, 4864, 24, 14, 2, 64, 151936, context=32768, rope_theta=1e6, tied=True
    ),
    "llama-3-8b": Shape(_LLAMA, 4096, 14336, 32, 32, 8, 128, 128256, context=8192, rope_theta=5e5),
    "llama-3-70b": Shape(_LLAMA, 8192, 28672, 80, 64, 8, 128, 128256, context=8192, rope_theta=5e5),
    "qwen2.5-32b": Shape(
        _QWEN, 5120, 27648, 64, 40, 8, 128, 152064, context=131072, rope_theta=1e6
    ),
    "qwen2.5-72b": Shape(
        _QWEN, 8192, 29568, 80, 64, 8, 128, 152064, context=131072, rope_theta=1e6
    ),
}

_NAME = re.compile(r"([a-z0-9][a-z0-9.-]*?)(?:@([1-9]\d{0,3}))?")


def find_shape(name: str) -> Shape:
    """Return a shape by the name that a config gives.

    Parameters
    ----------
    name : str
        As `SHAPES` has it; ``NAME@LAYERS`` is the same with that many blocks.

    Raises
    ------
    ModelError
        There is no such shape, or it has fewer blocks.
    """
    found = _NAME.fullmatch(name)
    shape = SHAPES.get(found[1]) if found else None
    if found is None or shape is None:
        raise ModelError(
            f"source 'shape:{name}': there is no such shape: use shape:NAME, or shape:NAME@LAYERS "
            f"for fewer blocks, with one of {', '.join(SHAPES)}"
        )
    if found[2] is None:
        return shape
    if int(found[2]) > shape.layers:
        raise ModelError(f"source 'shape:{name}': {found[1]} has {shape.layers} blocks")
    return shape.cut(int(found[2]))
