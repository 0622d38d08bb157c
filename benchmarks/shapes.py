"""The true shapes of well-known models, built with random weights directly on their devices.

So a machine's memory and speed are known before anyone has the weights. Numbers are those of the
models' config.json files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from nashlens.errors import ModelError
from nashlens.models.load import LoadedModel
from nashlens.models.quantise import quantised_linear
from nashlens.models.registry import ARCHITECTURES, Architecture
from nashlens.models.sharded import Slice, build_shards
from nashlens.models.skeleton import (
    set_rotary,
    set_weight,
    skeleton,
    tie_unembedding,
    unfilled_weights,
)
from nashlens.seeds import stream

_STD = 0.02


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

    def parameters(self) -> int:
        """Return the number of all weights, by formula."""
        embeddings = self.vocab * self.width * (1 if self.tied else 2)
        return self.layers * self.block_parameters() + embeddings + self.width

    def cut(self, layers: int) -> Shape:
        """Return the same with another number of blocks."""
        return replace(self, layers=layers)

    def config(self) -> Any:
        """Return the Hugging Face configuration."""
        import transformers

        kind = getattr(transformers, self.architecture.replace("ForCausalLM", "Config"))
        return kind(
            architectures=[self.architecture],
            hidden_size=self.width,
            intermediate_size=self.mlp_width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            head_dim=self.head_dim,
            vocab_size=self.vocab,
            max_position_embeddings=self.context,
            rope_parameters={"rope_type": "default", "rope_theta": self.rope_theta},
            rms_norm_eps=self.eps,
            tie_word_embeddings=self.tied,
        )


_LLAMA, _QWEN = "LlamaForCausalLM", "Qwen2ForCausalLM"
SHAPES: dict[str, Shape] = {
    "smollm2-135m": Shape(
        _LLAMA, 576, 1536, 30, 9, 3, 64, 49152, context=8192, rope_theta=1e5, tied=True
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
    config, names = shape.config(), ARCHITECTURES[shape.architecture]

    def make(key: str, size: torch.Size, part: Slice | None, device: torch.device) -> torch.Tensor:
        return _part(_weight(key, size, dtype, device, seed), part)

    model, shards = None, ()
    if parallel == "tensor":
        shards = build_shards(config, placed, make)
    else:
        model = _filled(config, names, placed, quantization, make, dtype)
    return LoadedModel.from_modules(
        model, name=name, dtype=dtype, quantization=quantization, shards=shards
    )


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


def _filled(
    config: Any,
    names: Architecture,
    devices: list[torch.device],
    quantization: str,
    make: Any,
    dtype: torch.dtype,
) -> Any:
    model = skeleton(config)
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
