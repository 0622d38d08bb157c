"""Whether a config.json makes sense, and speaks of the model whose weights lie beside it.

transformers builds what a config.json says and fills it with what it finds. Blocks that the file
has beyond that are left out without a word, and an epsilon or a rotary base of no sense gives other
numbers, so both are refused here, by the headers alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from nashlens.models.registry import ARCHITECTURES, Architecture, config_value

_NEEDED = ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")
# A null in these stands for what follows from the others.
_OPTIONAL = ("num_key_value_heads", "head_dim", "intermediate_size")
_NOT_NULL = {
    "num_key_value_heads": ("gemma2", "gemma3_text", "phi3"),
    "head_dim": ("gemma2", "gemma3_text", "phi3", "qwen2", "qwen3"),
}
"""Of these, those that transformers does not fill in where they are null, by type of model."""
_SCALED = ("linear", "llama3", "yarn")
BUFFERS = (".attn.bias", ".attention.bias", ".masked_bias", ".inv_freq")
"""Ends of the names of masks and rotary frequencies, which older files hold as well."""
ACTIVATIONS = frozenset(
    {
        "gelu", "gelu_10", "gelu_accurate", "gelu_fast", "gelu_new", "gelu_python",
        "gelu_python_tanh", "gelu_pytorch_tanh", "hardswish", "mish", "quick_gelu", "relu",
        "relu2", "relu6", "sigmoid", "silu", "swish", "tanh",
    }
)  # fmt: skip
"""Names of transformers' activations that have no weights of their own."""


def number_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what stands in a config.json where a number of some kind belongs.

    Parameters
    ----------
    config : mapping
        The parsed config.json.
    """
    for key in (*_NEEDED, "max_position_embeddings", *_OPTIONAL):
        value = config_value(config, key)
        if value is None:
            if key in _NEEDED or "max_position_embeddings" == key in config:
                yield f"it has no {key}: fetch it again"
        elif not isinstance(value, int) or isinstance(value, bool):
            yield f"{key} is {str(value)[:40]!r}: a whole number is needed"
        elif value < 1 and key not in ("num_hidden_layers", "hidden_size", "vocab_size"):
            yield f"{key} is {value}: 1 or more is needed; fetch it again"
    heads, keys = (config_value(config, key) for key in ("num_attention_heads", _OPTIONAL[0]))
    if _is_count(heads) and _is_count(keys) and heads % keys:
        yield f"num_attention_heads is {heads}, no multiple of num_key_value_heads, {keys}"
    yield from _epsilon_problems(config)
    yield from _rope_problems(config)
    for key in ("hidden_act", "hidden_activation", "activation_function"):
        value = config.get(key)
        given = key in config and not (value is None and key == "hidden_activation")
        if given and (not isinstance(value, str) or value not in ACTIVATIONS):
            yield f"{key} is {_shown(value)}: there is no such activation; fetch it again"


def _epsilon_problems(config: Mapping[str, Any]) -> Iterator[str]:
    for key in ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"):
        if key in config and not (_is_positive(config[key]) and config[key] < 1):
            yield f"{key} is {_shown(config[key])}: a number between 0 and 1 is needed"


def _rope_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield bases and factors of rotary positions that turn nothing, or everything to NaN."""
    found = [("", config)]
    for key in ("rope_scaling", "rope_parameters"):
        ropes = config.get(key)
        if isinstance(ropes, Mapping):
            nested = {name: value for name, value in ropes.items() if isinstance(value, Mapping)}
            found += [(f"{key}.", ropes), *((f"{key}.{n}.", v) for n, v in nested.items())]
    for where, rope in found:
        for key in ("rope_theta", "rope_local_base_freq", "rotary_emb_base"):
            if rope.get(key) is not None and not _is_positive(rope[key]):
                yield f"{where}{key} is {_shown(rope[key])}: a number above 0 is needed"
        scaled = where and rope.get("rope_type", rope.get("type")) in _SCALED
        if scaled and not _is_positive(rope.get("factor")):
            yield f"{where}factor is {_shown(rope.get('factor'))}: a number above 0 is needed"


def weight_problems(
    config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[str]:
    """Yield where the weights of a folder are not those of its config.json.

    Parameters
    ----------
    config : mapping
        The parsed config.json.
    shapes : mapping of str to tuple of int
        Of the tensors in its safetensors files, by name.
    """
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    architecture = ARCHITECTURES.get(name) if isinstance(name, str) else None
    if architecture is None:
        return
    wanted, blocks = config_value(config, "num_hidden_layers"), _blocks(architecture, shapes)
    if _is_count(wanted) and blocks != wanted:
        yield f"num_hidden_layers is {wanted}, and the weights hold {blocks} blocks: fetch it again"
    for part, expected in _sizes(architecture, config).items():
        found = shapes.get(part, shapes.get(part.partition(".")[2]))
        if found is not None and found != expected:
            yield f"{part} has shape {found}, and by config.json {expected}: fetch it again"
            # One size that is wrong shows in many tensors.
            break
    for key, kinds in _NOT_NULL.items():
        if key in config and config[key] is None and architecture.model_type in kinds:
            yield f"{key} is null: leave it out, or give the number"
    heads = [f"{name}.weight" for name in (architecture.unembed, architecture.stored_unembed)]
    tied = architecture.value(config, "tie_word_embeddings")
    if shapes and tied is False and not any(name in shapes for name in heads):
        yield f"tie_word_embeddings is False, and the file lacks {heads[0]}: fetch it again"
    yield from _part_problems(architecture, config, shapes)


def block_count(names: Any, pattern: str) -> int:
    """Return how many blocks some tensors are of.

    Parameters
    ----------
    names : iterable of str
    pattern : str
        A regular expression whose group is a block's number, from 0.
    """
    numbers = [int(found[1]) for found in map(re.compile(pattern).match, names) if found]
    return max(numbers, default=-1) + 1


def _blocks(a: Architecture, shapes: Mapping[str, Any]) -> int:
    return block_count(shapes, _block_pattern(a))


def _block_pattern(a: Architecture) -> str:
    # Models that were saved without their head lack a prefix.
    first, _, rest = a.layers.partition(".")
    return rf"(?:{re.escape(first)}\.)?{re.escape(rest)}\.(\d{{1,6}})\."


def _sizes(a: Architecture, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of some tensors, as far as a config.json alone tells them."""
    width: Any = config_value(config, "hidden_size")
    heads: Any = config_value(config, "num_attention_heads")
    vocab, hidden = config.get("vocab_size"), config.get("intermediate_size")
    if not all(map(_is_count, (width, vocab, heads))):
        return {}
    found = {f"{a.embed}.weight": (vocab, width), f"{a.norm}.weight": (width,)}
    found |= {f"{name}.weight": (vocab, width) for name in (a.unembed, a.stored_unembed) if name}
    if a.qkv != "split":
        return found
    block = f"{a.layers}.0"
    # Where a key is left out, each architecture has its own default.
    keys: Any = config.get("num_key_value_heads", -1)
    keys = heads if keys is None else keys
    size: Any = config.get("head_dim")
    if size is None and a.model_type in ("llama", "mistral", "qwen2"):
        size = width // heads
    if _is_count(size):
        found[f"{block}.{a.q}.weight"] = (heads * size, width)
        found[f"{block}.{a.o}.weight"] = (width, heads * size)
        if _is_count(keys):
            found |= {f"{block}.{part}.weight": (keys * size, width) for part in (a.k, a.v)}
    if _is_count(hidden):
        found[f"{block}.{a.mlp}.down_proj.weight"] = (width, hidden)
    return found


def _part_problems(
    a: Architecture, config: Mapping[str, Any], shapes: Mapping[str, Any]
) -> Iterator[str]:
    """Yield tensors of blocks that nothing would read, and biases that are not there."""
    block = re.compile(_block_pattern(a))
    inside = {name[found.end() :]: name for name in shapes if (found := block.match(name))}
    parts = (
        *(a.input_norm, a.attention_out_norm, a.mlp_norm, a.mlp_out_norm, a.fused),
        *(a.q, a.k, a.v, a.o, a.q_norm, a.k_norm),
    )
    known = tuple(f"{part}." for part in (*parts, a.mlp) if part)
    for part, name in sorted(inside.items()):
        if not part.startswith(known) and not part.endswith(BUFFERS):
            yield f"{name} is no part of a {a.name}: it would be left out; fetch it again"
            break
    neox = a.model_type == "gpt_neox"
    if a.qkv != "split" and not neox:
        return
    always = a.model_type == "qwen2"
    switches = {"attention_bias": f"{a.fused if neox else a.q}.bias"}
    if a.model_type == "llama":
        switches["mlp_bias"] = f"{a.mlp}.down_proj.bias"
    for key, part in switches.items():
        wanted = always if a.model_type in ("qwen2", "mistral") else bool(config.get(key, neox))
        if inside and wanted != (part in inside):
            has = "has" if part in inside else "lacks"
            yield f"{key} is {wanted}, and the file {has} {a.layers}.0.{part}: fetch it again"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_positive(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and value > 0 and math.isfinite(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 42 else f"{text[:39]}..."
