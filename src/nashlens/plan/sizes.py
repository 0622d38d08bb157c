"""The sizes of a study's models, without their weights: from a file's header, or a table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nashlens.errors import NashlensError
from nashlens.models.gguf_header import read_header
from nashlens.models.inspect import read_config
from nashlens.models.manifest import MANIFEST, read_manifest
from nashlens.models.registry import GGUF_ARCHITECTURES, config_value
from nashlens.models.shapes import SHAPES, Shape, find_shape
from nashlens.models.source import Source, gguf_file, parse_source, user_path

KNOWN = {
    r"HuggingFaceTB/SmolLM2-135M(-Instruct)?": "smollm2-135m",
    r"(NousResearch|meta-llama)/(Meta-)?Llama-3(\.1)?-8B(-Instruct)?": "llama-3-8b",
    r"(NousResearch|meta-llama)/(Meta-)?Llama-3(\.[13])?-70B(-Instruct)?": "llama-3-70b",
    r"Qwen/Qwen2\.5-32B(-Instruct)?": "qwen2.5-32b",
    r"Qwen/Qwen2\.5-72B(-Instruct)?": "qwen2.5-72b",
}
"""Hub ids of models whose true shape is in `models.shapes`."""
_UNGATED = ("GPT2LMHeadModel", "GPTNeoXForCausalLM", "PhiForCausalLM")  # two matrices in an MLP


def find_size(source: str, folder: Path | None = None) -> Shape | None:
    """Return a model's shape as far as it can be had without its weights.

    Parameters
    ----------
    source : str
        As the config gives it.
    folder : Path, optional
        Where the model is converted to, if it is.

    Returns
    -------
    Shape or None
        None where nothing here says how large the model is: a hub model that is neither in the
        table nor, by its config.json, in the cache.

    Raises
    ------
    ModelError
        The source is malformed, or a file of it cannot be read.
    """
    if folder is not None and (folder / "config.json").is_file():
        return _of_config(read_config(folder))
    parsed = parse_source(source)
    if parsed.kind in ("package", "gguf"):
        return _of_gguf(gguf_file(parsed))
    if parsed.kind == "path":
        return _of_config(read_config(user_path(parsed.location)))
    if parsed.kind == "hub":
        return _of_hub(parsed)
    if parsed.kind == "shape":
        return find_shape(parsed.location)
    return _of_planted(parsed.location)


def converted_folder(folder: Path | None, source: str) -> Path | None:
    """Return the folder of a model if it was converted from the source that a config names."""
    if folder is None or not (folder / MANIFEST).is_file():
        return None
    return folder if read_manifest(folder).get("source") == source else None


def _of_config(config: Mapping[str, Any]) -> Shape:
    names = config.get("architectures")
    architecture = str(names[0]) if isinstance(names, list) and names else ""
    width, heads = _whole(config, "hidden_size"), _whole(config, "num_attention_heads")
    mlp = config_value(config, "intermediate_size") or config.get("n_inner") or 4 * width
    # `Shape` counts three matrices in an MLP, of which these have two.
    mlp = 2 * int(mlp) // 3 if architecture in _UNGATED else int(mlp)
    return Shape(
        architecture,
        width=width,
        mlp_width=mlp,
        layers=_whole(config, "num_hidden_layers"),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        head_dim=int(config.get("head_dim") or width // heads),
        vocab=_whole(config, "vocab_size"),
        context=_whole(config, "max_position_embeddings"),
        rope_theta=0.0,
        tied=bool(config.get("tie_word_embeddings", architecture == "GPT2LMHeadModel")),
    )


def _whole(config: Mapping[str, Any], key: str) -> int:
    return int(config_value(config, key) or 0)


def _of_gguf(path: Path) -> Shape:
    header = read_header(path)
    name = str(header.fields.get("general.architecture", ""))

    def field(key: str, default: int = 0) -> int:
        return int(header.fields.get(f"{name}.{key}", default))

    width, heads = field("embedding_length"), field("attention.head_count", 1)
    return Shape(
        GGUF_ARCHITECTURES.get(name, name),
        width=width,
        mlp_width=field("feed_forward_length", 4 * width),
        layers=field("block_count"),
        heads=heads,
        kv_heads=field("attention.head_count_kv", heads),
        head_dim=field("attention.key_length", width // heads),
        vocab=header.lengths.get("tokenizer.ggml.tokens", field("vocab_size")),
        context=field("context_length"),
        rope_theta=0.0,
        tied="output.weight" not in header.tensors,
    )


def _of_hub(source: Source) -> Shape | None:
    for pattern, name in KNOWN.items():
        if re.fullmatch(pattern, source.location):
            return SHAPES[name]
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(source.location, "config.json", revision=source.revision)
    try:
        return _of_config(read_config(Path(found).parent)) if isinstance(found, str) else None
    except NashlensError:
        return None


def _of_planted(name: str) -> Shape:
    from nashlens.planted.recipes import find_recipe

    recipe = find_recipe(name)
    # What they are besides is the recipes' own; all of them are far too small to count.
    small = SHAPES["smollm2-135m"]
    return replace(
        small,
        architecture=recipe.architecture,
        width=recipe.width,
        mlp_width=4 * recipe.width,
        layers=recipe.n_layers,
        heads=4,
        kv_heads=4,
        head_dim=max(1, recipe.width // 4),
        vocab=512,
        context=recipe.context_length,
    )
