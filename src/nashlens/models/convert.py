"""Conversion: any model source to one Hugging Face folder of safetensors, with a manifest.

Done once a model. The folder appears whole or not at all: it is written next to its place and moved
there at the end. Nothing pickled is opened and no code that comes with a model is run.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.metadata
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nashlens.digests import sha256_once
from nashlens.errors import ModelError
from nashlens.files import guarded, sha256_of, write_json
from nashlens.models.adapter import Adapter, merge_adapter, read_adapter
from nashlens.models.inspect import (
    ModelFacts,
    hub_offline,
    inspect_source,
    read_config,
    weight_files,
)
from nashlens.models.intact import digests, remember
from nashlens.models.manifest import MANIFEST
from nashlens.models.registry import config_value
from nashlens.models.shapes import SHAPE, find_shape
from nashlens.models.source import Source, gguf_file, model_folder, parse_source
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.models.weights import WeightReader
from nashlens.vocabulary.models import SMALL_FILES, TOKENIZER_FILES

_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


def convert_source(
    source: Source | str,
    folder: Path | str,
    *,
    adapter: Path | str | None = None,
    chat_template: str = "own",
    tokenizer: Path | str | None = None,
    expected: ModelFacts | None = None,
) -> dict[str, Any]:
    """Convert a model source.

    Parameters
    ----------
    source : Source or str
        Parsed, or as text. GGUF weights are dequantised to float32; the weights of path: and hub:
        sources stay as they are, hard-linked or symlinked rather than copied.
    folder : path
        Where the model goes; what is there already is replaced as a whole.
    adapter : path, optional
        Folder of a PEFT LoRA adapter, which is merged into the weights.
    chat_template : {"own", "none"}
        Whether the model keeps its chat template.
    tokenizer : path, optional
        For a shape: source, a folder with the tokenizer.json and tokenizer_config.json that the
        model gets; without it, the planted models' words.
    expected : ModelFacts, optional
        Facts that the result must have; by default those of `nashlens.models.inspect`.

    Returns
    -------
    dict
        The manifest, also written as manifest.json: `source`, `kind`, `revision`, `sha256` (of the
        GGUF file, or of the list of the weight files' own), `files`, `architecture`, `n_layers`,
        `width`, `n_parameters` (weights that the files hold, a shared one once), `dtype`,
        `vocab_size`, `context_length`, `bos_token` (null where none is added), `chat_template`, and
        `adapter` (null without one): digests of its files, `rank`, `scale`, `modules`; `digests`,
        the SHA-256 of each file of the converted model.

    Raises
    ------
    ModelError
        The source cannot be found, read or used, or the result is not what it promised.
    """
    source = parse_source(source) if isinstance(source, str) else source
    folder = Path(folder)
    facts = inspect_source(source)
    if facts.problems:
        raise ModelError("; ".join(facts.problems))
    added = None if adapter is None else read_adapter(adapter)
    with _whole(folder) as partial:
        if source.kind in ("package", "gguf"):
            provenance = _from_gguf(source, partial)
        elif source.kind == "path":
            origin = model_folder(source)
            if origin.resolve() == folder.resolve():
                raise ModelError(f"source {source.text!r}: the model would replace itself")
            provenance = _from_folder(origin, partial)
        elif source.kind == "hub":
            provenance = _from_hub(source, partial)
        elif source.kind == "shape":
            provenance = _from_shape(source, partial, tokenizer)
        else:
            provenance = _from_planted(source, partial)
        if chat_template == "none":
            _drop_template(partial)
        provenance["adapter"] = None if added is None else _merge(partial, added)
        manifest = {"source": source.text, "kind": source.kind} | provenance | _describe(partial)
        if source.kind == "shape":  # its file holds a part of them
            manifest["n_parameters"] = find_shape(source.location).parameters()
        _check(source, manifest, expected or facts)
        # Before it is remembered in which state files are.
        _set_modes(partial)
        manifest["digests"] = digests(partial)
        text = json.dumps(manifest, indent=2, sort_keys=True)
        (partial / MANIFEST).write_text(text + "\n", encoding="utf-8")
        remember(partial, manifest["digests"])
    return manifest


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    # One fixed name a folder, so that what a killed run left is cleared by the next one.
    partial = folder.parent / f".{folder.name}.partial"
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Studies may share their models: of two that convert one at a time, the second waits.
    with open(folder.parent / f".{folder.name}.lock", "ab") as lock:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            yield partial
            with guarded():
                _replace(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _set_modes(folder: Path) -> None:
    # safetensors writes files only their owner can read; a shared results folder needs the usual
    # mode. Linked files are the user's own and stay as they are.
    mask = os.umask(0)
    os.umask(mask)
    for file in folder.iterdir():
        if not file.is_symlink() and file.stat().st_nlink == 1:
            file.chmod(0o666 & ~mask)


def _replace(partial: Path, folder: Path) -> None:
    # A folder that holds files cannot be renamed over, so the old one is renamed first.
    old = folder.parent / f".{folder.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    try:
        os.replace(partial, folder)
    except OSError:
        if old.exists():
            os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _from_gguf(source: Source, partial: Path) -> dict[str, Any]:
    file = gguf_file(source)
    with _quiet(), _read_once():
        _save_gguf(file, partial)
    package = source.kind == "package"
    digest = sha256_of(file)
    return {
        "revision": importlib.metadata.version(source.location) if package else None,
        "sha256": digest,
        "files": {file.name: digest},
    }


def _save_gguf(file: Path, partial: Path) -> None:
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from nashlens.models.gguf_header import read_header

    fields = read_header(file).fields
    where: dict[str, Any] = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    tokenizer = AutoTokenizer.from_pretrained(**where, local_files_only=True)
    if fields.get("tokenizer.ggml.pre") == "smollm":
        # transformers does not know this split (each digit by itself, then GPT-2's), and without
        # it a digit after two white-space characters changes how those are cut.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
    tokenizer.save_pretrained(partial)
    auto: Any = AutoModelForCausalLM  # its annotations do not know output_loading_info
    model, info = auto.from_pretrained(
        **where, dtype=torch.float32, local_files_only=True, output_loading_info=True
    )
    if info["missing_keys"] or info["mismatched_keys"]:
        raise ModelError(f"{file}: it lacks {sorted(info['missing_keys'])[:1]}; fetch it again")
    if type(model).__name__ == "MistralForCausalLM":
        # The configuration's default window of 4096 is not in the file, and llama.cpp has none.
        model.config.sliding_window = fields.get("mistral.attention.sliding_window")
    # The weights are plain now; these would have them saved, and loaded, as quantised.
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config.architectures = [type(model).__name__]
    model.save_pretrained(partial)


def _from_folder(origin: Path, partial: Path) -> dict[str, Any]:
    for name in SMALL_FILES:
        if (origin / name).is_file():
            shutil.copyfile(origin / name, partial / name)
    for file in weight_files(origin):
        _link(file.resolve(), partial / file.name)
    return {"revision": None} | _hashes(weight_files(partial))


def _link(file: Path, target: Path) -> None:
    # A hard link outlives a pruned download cache; across file systems, or on another user's
    # files, only a symbolic one is possible.
    try:
        os.link(file, target)
    except OSError:
        target.symlink_to(file)


def _from_hub(source: Source, partial: Path) -> dict[str, Any]:
    from huggingface_hub import snapshot_download

    try:
        snapshot = snapshot_download(
            source.location,
            revision=source.revision,
            allow_patterns=[*SMALL_FILES, "*.safetensors"],
            # Subfolders and consolidated files hold other formats of the same weights.
            ignore_patterns=["*/*", "consolidated*.safetensors"],
            local_files_only=hub_offline(),
        )
    except Exception as error:  # network, authorisation and cache errors share no base class
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{source.text}: cannot be downloaded: {reason}") from error
    facts = inspect_source(Source(f"path:{snapshot}", "path", snapshot))
    if facts.problems:
        raise ModelError("; ".join(facts.problems))
    # The cache names a snapshot by its commit, which is what a branch or tag meant today.
    return _from_folder(Path(snapshot), partial) | {"revision": Path(snapshot).name}


def _from_planted(source: Source, partial: Path) -> dict[str, Any]:
    from nashlens.planted.recipes import build

    with _quiet():
        build(source.location, partial)
    return {"revision": None} | _hashes(weight_files(partial))


def _from_shape(source: Source, partial: Path, tokenizer: Path | str | None) -> dict[str, Any]:
    from nashlens.models.random_weights import write_ends
    from nashlens.planted.tokenizer import write_words

    shape = find_shape(source.location)
    if tokenizer is None:
        special = write_words(partial)
    else:
        special = {}
        for name in (*TOKENIZER_FILES, "generation_config.json"):
            if (Path(tokenizer) / name).is_file():
                shutil.copyfile(Path(tokenizer) / name, partial / name)
    write_json(partial / "config.json", shape.values() | special | {SHAPE: source.location})
    words = ChatTokenizer(partial).vocab_size
    if words > shape.vocab:
        raise ModelError(
            f"source {source.text!r}: the tokenizer in {tokenizer} has {words} tokens, and the "
            f"shape's embedding {shape.vocab} rows: give one that is not larger"
        )
    write_ends(shape, partial)
    return {"revision": None} | _hashes(weight_files(partial))


def _drop_template(folder: Path) -> None:
    for name in ("chat_template.jinja", "chat_template.json"):
        (folder / name).unlink(missing_ok=True)
    path = folder / "tokenizer_config.json"
    if path.is_file():
        config = json.loads(path.read_text(encoding="utf-8"))
        config.pop("chat_template", None)
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _merge(folder: Path, adapter: Adapter) -> dict[str, Any]:
    merge_adapter(folder, adapter)
    return adapter.summary()


def _hashes(files: Sequence[Path]) -> dict[str, Any]:
    found = {file.name: sha256_once(file) for file in files}
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(found.items()))
    return {"sha256": hashlib.sha256(lines.encode()).hexdigest(), "files": found}


def _describe(folder: Path) -> dict[str, Any]:
    config, reader, tokenizer = read_config(folder), WeightReader(folder), ChatTokenizer(folder)
    tokenizer.check_template()
    beyond = tokenizer.beyond(config["vocab_size"])
    if beyond:
        raise ModelError(f"{folder}: {beyond}")
    stored = reader.dtype(f"{reader.architecture.embed}.weight")
    if stored not in _DTYPES:
        known = ", ".join(_DTYPES)
        raise ModelError(f"{folder}: weights stored as {stored}: one of {known} is needed")
    return {
        "architecture": reader.architecture.name,
        "n_layers": config_value(config, "num_hidden_layers"),
        "width": config_value(config, "hidden_size"),
        "n_parameters": reader.n_parameters,
        "dtype": _DTYPES[stored],
        "vocab_size": config["vocab_size"],
        "context_length": config_value(config, "max_position_embeddings"),
        "bos_token": tokenizer.bos_token,
        "chat_template": tokenizer.has_template,
    }


def _check(source: Source, manifest: dict[str, Any], expected: ModelFacts) -> None:
    for key in ("architecture", "n_layers", "width", "vocab_size"):
        wanted = getattr(expected, key)
        if wanted is not None and manifest[key] != wanted:
            raise ModelError(
                f"source {source.text!r}: {key} came out as {manifest[key]}, and {wanted} was "
                "expected: the file contradicts itself; fetch it again"
            )


@contextmanager
def _read_once() -> Iterator[None]:
    # transformers reads a whole GGUF file's fields for each of tokenizer, configuration and
    # weights: four seconds each for a vocabulary of 49,000.
    import gguf

    library: Any = gguf
    reader = library.GGUFReader
    library.GGUFReader = functools.cache(reader)
    try:
        yield
    finally:
        library.GGUFReader = reader


@contextmanager
def _quiet() -> Iterator[None]:
    # Progress bars are for a terminal; in a job's log they are noise.
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
