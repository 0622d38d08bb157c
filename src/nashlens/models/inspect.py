"""Cheap facts about a model source: enough to check a config before any job starts.

No weights are read, nothing is downloaded, and neither torch nor transformers is imported.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nashlens.errors import ModelError
from nashlens.models.agreement import block_count, number_problems, weight_problems
from nashlens.models.gguf_header import GGUFHeader, read_header
from nashlens.models.json_files import read_json_object
from nashlens.models.registry import GGUF_ARCHITECTURES, config_value
from nashlens.models.shapes import find_shape
from nashlens.models.source import Source, gguf_file, model_folder, parse_source
from nashlens.models.support import config_problems
from nashlens.models.tensor_files import read_entries
from nashlens.vocabulary.models import SMALL_FILES

# Byte-level vocabularies split text before their merges apply. transformers reproduces the splits
# of these GGUF names, and convert.py that of smollm; any other would tokenise wrongly in silence.
PRE_TOKENIZERS = (
    "gpt-2",
    "smollm",
    "llama3",
    "llama-v3",
    "llama-bpe",
    "smaug-bpe",
    "falcon3",
    "tekken",
    "qwen2",
    "deepseek-r1-qwen",
)

_MOST = {"n_layers": 2000, "width": 1_000_000, "vocab_size": 50_000_000, "context_length": 10**10}


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model without loading it; None where it is not known here."""

    architecture: str | None = None
    """Hugging Face class."""
    n_layers: int | None = None
    """Number of blocks."""
    width: int | None = None
    """Width of the residual stream."""
    context_length: int | None = None
    """Longest sequence, in tokens."""
    vocab_size: int | None = None
    """Rows of the embedding."""
    chat_template: str | None = None
    """Of a GGUF file: the chat template in its header."""
    special_tokens: tuple[str, ...] = ()
    """Of a GGUF file: the texts of its special tokens."""
    problems: tuple[str, ...] = ()
    """Why it cannot be used, one line each; empty where nothing is known to be in the way."""


def inspect_source(source: Source | str) -> ModelFacts:
    """Look at a model source.

    Parameters
    ----------
    source : Source or str
        Parsed, or as text.

    Returns
    -------
    ModelFacts
        `problems` lists what makes an otherwise readable model unusable: an unsupported
        architecture, missing safetensors or tokenizer, a hub model that is offline.

    Raises
    ------
    ModelError
        The source is malformed, is not there, or cannot be read.
    """
    source = parse_source(source) if isinstance(source, str) else source
    if source.kind in ("package", "gguf"):
        return gguf_facts(gguf_file(source))
    if source.kind == "path":
        return folder_facts(model_folder(source))
    if source.kind == "hub":
        return _hub_facts(source)
    if source.kind == "shape":
        return _config_facts(find_shape(source.location).values())
    return _planted_facts(source.location)


def local_files(source: Source | str) -> list[Path]:
    """List the files on this machine that a model is made from; none that are not there.

    Parameters
    ----------
    source : Source or str
        Parsed, or as text. A hub: source has none, as its revision says what it is.
    """
    try:
        source = parse_source(source) if isinstance(source, str) else source
        if source.kind in ("package", "gguf"):
            return [gguf_file(source)]
        if source.kind == "path":
            folder = model_folder(source)
            weights: list[Path] = []
            # What is missing is said where the source is looked at.
            with suppress(ModelError):
                weights = weight_files(folder)
            small = [folder / name for name in SMALL_FILES if (folder / name).is_file()]
            return sorted({*small, *weights})
    except (ModelError, OSError):
        pass
    return []


def gguf_facts(path: Path) -> ModelFacts:
    """Return the facts of a GGUF file; ModelError where it is not an intact one."""
    header = read_header(path)
    name = str(header.fields.get("general.architecture", ""))
    template = header.fields.get("tokenizer.chat_template")
    facts = ModelFacts(
        architecture=GGUF_ARCHITECTURES.get(name),
        n_layers=_int(header.fields.get(f"{name}.block_count")),
        width=_int(header.fields.get(f"{name}.embedding_length")),
        context_length=_int(header.fields.get(f"{name}.context_length")),
        vocab_size=header.lengths.get("tokenizer.ggml.tokens")
        or _int(header.fields.get(f"{name}.vocab_size")),
        chat_template=template if isinstance(template, str) else None,
        special_tokens=header.special,
    )
    problems = [*_size_problems(facts), *_gguf_problems(header, name)]
    blocks = block_count(header.tensors, r"blk\.(\d{1,6})\.")
    if blocks and facts.n_layers not in (None, blocks):
        problems.append(
            f"block_count is {facts.n_layers}, and its tensors are of {blocks} blocks; fetch it"
            " again"
        )
    return replace(facts, problems=tuple(f"{path}: {p}" for p in problems))


def _size_problems(facts: ModelFacts) -> Iterator[str]:
    """Yield sizes that no model has."""
    for key, most in _MOST.items():
        found = getattr(facts, key)
        if found is not None and not 1 <= found <= most:
            yield f"{key} is {found}: from 1 to {most} is needed; fetch it again"


def _gguf_problems(header: GGUFHeader, name: str) -> list[str]:
    if name not in GGUF_ARCHITECTURES:
        return [
            f"GGUF architecture {name!r} is not supported: use one of "
            f"{', '.join(GGUF_ARCHITECTURES)}, or the safetensors model (path:)"
        ]
    problems = []
    if header.fields.get(f"{name}.expert_count"):
        problems.append("a mixture of experts is not supported: use a dense model")
    # transformers drops both without a word, and every position's rotation would be wrong.
    scaling = header.fields.get(f"{name}.rope.scaling.type", "none")
    if "rope_freqs.weight" in header.tensors or scaling != "none":
        problems.append(
            "its scaled rotary positions are not read from GGUF: use the safetensors model (path:)"
        )
    if "tokenizer.ggml.tokens" not in header.lengths:
        problems.append("it has no tokenizer: use a GGUF file with one")
    pre = header.fields.get("tokenizer.ggml.pre")
    if header.fields.get("tokenizer.ggml.model") == "gpt2" and pre not in PRE_TOKENIZERS:
        problems.append(
            f"its tokenizer splits text as {pre!r}, which is not reproduced from GGUF (known: "
            f"{', '.join(PRE_TOKENIZERS)}): use the safetensors model (path:)"
        )
    return problems


def folder_facts(folder: Path) -> ModelFacts:
    """Return the facts of a Hugging Face folder; ModelError where it has no readable config."""
    config = read_config(folder)
    facts = _config_facts(config)
    problems = [*config_problems(config), *number_problems(config), *_size_problems(facts)]
    problems += _file_problems(folder, config)
    return replace(facts, problems=tuple(f"{folder}: {p}" for p in problems))


def read_config(folder: Path) -> dict[str, Any]:
    """Read a folder's config.json; ModelError where it is missing or is not a JSON object."""
    missing = ": give a Hugging Face model folder"
    return read_json_object(folder / "config.json", missing)


def weight_files(folder: Path) -> list[Path]:
    """List the safetensors files that hold a folder's weights, sorted by name.

    Parameters
    ----------
    folder : pathlib.Path
        Hugging Face layout, sharded (with model.safetensors.index.json) or not.

    Returns
    -------
    list of pathlib.Path
        Existing files.

    Raises
    ------
    ModelError
        There are none, or a shard that the index names is missing.
    """
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    if single.is_file():
        return [single]
    if index.is_file():
        try:
            shards = sorted(
                set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            )
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ModelError(f"{index}: not a safetensors index ({error})") from None
        for shard in shards:
            if Path(shard).name != shard or not (folder / shard).is_file():
                raise ModelError(f"{folder}: shard {shard!r} of the index is missing")
        return [folder / shard for shard in shards]
    pickled = sorted([*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")])
    if pickled:
        raise ModelError(
            f"{folder}: only pickled weights ({pickled[0].name}), which are never opened: "
            "save the model again as safetensors"
        )
    raise ModelError(f"{folder}: no model.safetensors (nor an index of shards)")


def _file_problems(folder: Path, config: Mapping[str, Any]) -> list[str]:
    problems: list[str] = []
    try:
        shapes = {
            name: entry.shape
            for file in weight_files(folder)
            for name, entry in read_entries(file).items()
        }
        problems += weight_problems(config, shapes)
    except ModelError as error:
        problems.append(str(error).removeprefix(f"{folder}: "))
    if not (folder / "tokenizer.json").is_file():
        problems.append(
            "no tokenizer.json: save the tokenizer there with transformers "
            "(AutoTokenizer.from_pretrained(...).save_pretrained(...))"
        )
    return problems


def _config_facts(config: Mapping[str, Any]) -> ModelFacts:
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    return ModelFacts(
        architecture=name if isinstance(name, str) else None,
        n_layers=_int(config_value(config, "num_hidden_layers")),
        width=_int(config_value(config, "hidden_size")),
        context_length=_int(config_value(config, "max_position_embeddings")),
        vocab_size=_int(config.get("vocab_size")),
    )


def _int(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def hub_offline() -> bool:
    """Say whether the environment forbids the hub (HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE)."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in names)


def cached_folder(source: Source) -> Path | None:
    """Return the folder of the cache that holds a hub: source, or a part of it."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(source.location, "config.json", revision=source.revision)
    return Path(found).parent if isinstance(found, str) else None


def _hub_facts(source: Source) -> ModelFacts:
    folder = cached_folder(source)
    facts, problems, complete = ModelFacts(), [], False
    if folder is not None:
        config = read_config(folder)
        facts, problems = _config_facts(config), config_problems(config)
        complete = not _file_problems(folder, config)
    # Online, convert fetches what is missing; what the hub has is not asked here.
    if not complete and hub_offline():
        problems.append(
            f"hub source offline: {source.location} at {source.revision} is not wholly in the "
            "cache: set HF_HUB_OFFLINE=0, or use path: with a local copy"
        )
    return replace(facts, problems=tuple(f"{source.text}: {p}" for p in problems))


def _planted_facts(name: str) -> ModelFacts:
    from nashlens.planted.recipes import find_recipe

    recipe = find_recipe(name)
    return ModelFacts(
        architecture=recipe.architecture,
        n_layers=recipe.n_layers,
        width=recipe.width,
        context_length=recipe.context_length,
    )
