"""PEFT's LoRA adapters, merged into a model's weights: ``W + scale * B @ A``.

Low-rank adaptation (arXiv:2106.09685) trains, for some linear maps, two thin matrices A and B. The
folder is PEFT's own: adapter_config.json and adapter_model.safetensors. What would make the merged
model another one than PEFT's is refused, never ignored; nothing pickled is opened.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nashlens.errors import ModelError
from nashlens.files import sha256_of
from nashlens.models.inspect import weight_files
from nashlens.models.json_files import read_json_object
from nashlens.models.source import user_path
from nashlens.models.tensor_files import read_entries
from nashlens.models.weights import WeightReader
from nashlens.vocabulary.models import ADAPTER_CONFIG as CONFIG
from nashlens.vocabulary.models import ADAPTER_FILES
from nashlens.vocabulary.models import ADAPTER_WEIGHTS as WEIGHTS

MERGE_IT = (
    "merge it with PEFT (merge_and_unload, then save_pretrained), and give that folder as source:"
    " path:DIR"
)
"""What to do about an adapter that is not merged here."""

_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<half>[AB])\.weight")
_FURTHER = (
    *("use_dora", "lora_bias", "modules_to_save", "layer_replication", "rank_pattern"),
    *("alpha_pattern", "target_parameters", "trainable_token_indices", "alora_invocation_tokens"),
    *("use_qalora", "use_bdlora"),
)
"""Keys of the configuration that ask for more than two matrices and one scale."""
_OWN_BASE = ("pissa", "olora", "loftq", "corda")
"""Initialisations that change the base's weights too, which an adapter's folder does not hold."""
# GPT-2's linear maps hold their weights as (inputs, outputs).
_TRANSPOSED = ("GPT2LMHeadModel",)


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter that can be merged."""

    folder: Path
    rank: int
    """Columns of B, rows of A."""
    scale: float
    """What ``B @ A`` is multiplied by: alpha / rank, or with rank-stabilised LoRA alpha / sqrt."""
    shapes: Mapping[str, tuple[int, int]]
    """Linear map, as a path from the causal LM, to its (outputs, inputs)."""
    targets: tuple[str, ...]
    """Endings of the names of all maps that it changes; empty where they are not listed so."""

    def summary(self) -> dict[str, Any]:
        """Return what a model's manifest says of it."""
        return {
            "files": {name: sha256_of(self.folder / name) for name in ADAPTER_FILES},
            "rank": self.rank,
            "scale": self.scale,
            "modules": len(self.shapes),
        }


def read_adapter(folder: Path | str) -> Adapter:
    """Read what an adapter is, without its weights.

    Parameters
    ----------
    folder : path
        With adapter_config.json and adapter_model.safetensors.

    Returns
    -------
    Adapter

    Raises
    ------
    ModelError
        A file is missing or damaged, or it is no plain LoRA adapter.
    """
    folder = user_path(str(folder))
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder; give that of a PEFT adapter")
    config = read_json_object(folder / CONFIG, "; give the folder of a PEFT adapter")
    for problem in _config_problems(config):
        raise ModelError(f"{folder / CONFIG}: {problem}")
    rank, alpha = config["r"], config["lora_alpha"]
    shapes = _read_shapes(folder, rank)
    targets = config.get("target_modules")
    _check_targets(folder, shapes, targets)
    whole = not (config.get("layers_to_transform") or config.get("exclude_modules"))
    return Adapter(
        folder,
        rank,
        alpha / (math.sqrt(rank) if config.get("use_rslora") else rank),
        shapes,
        tuple(targets) if isinstance(targets, list) and whole else (),
    )


def _config_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield why a configuration is none of plain LoRA."""
    kind = config.get("peft_type")
    if kind != "LORA":
        yield f"peft_type is {kind!r}, and only LORA is merged here: {MERGE_IT}"
    for key in _FURTHER:
        if config.get(key):
            yield f"{key} is not merged here: {MERGE_IT}"
    if config.get("bias", "none") != "none":
        yield f"bias is {config['bias']!r}, and trained biases are not merged here: {MERGE_IT}"
    start = config.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower().startswith(_OWN_BASE):
        yield f"init_lora_weights {start!r} changed the base's weights as well: {MERGE_IT}"
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        yield f"r is {rank!r}, and a whole number from 1 is needed; fetch it again"
    if not isinstance(alpha, (int, float)) or isinstance(alpha, bool) or not math.isfinite(alpha):
        yield f"lora_alpha is {alpha!r}, and a number is needed; fetch it again"


def _read_shapes(folder: Path, rank: int) -> dict[str, tuple[int, int]]:
    """Return each linear map's (outputs, inputs), from the matrices' shapes."""
    path = folder / WEIGHTS
    if not path.is_file():
        if (folder / "adapter_model.bin").is_file():
            raise ModelError(
                f"{folder}: only pickled weights (adapter_model.bin), which are never opened: save"
                " the adapter again as safetensors"
            )
        raise ModelError(f"{folder}: no {WEIGHTS}; give the folder of a PEFT adapter")
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, entry in read_entries(path).items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            raise ModelError(f"{path}: tensor {name!r} is none of LoRA's A and B: {MERGE_IT}")
        if entry.dtype not in ("F64", "F32", "F16", "BF16"):
            raise ModelError(f"{path}: tensor {name!r} holds {entry.dtype}, no floating numbers")
        found.setdefault(match["module"], {})[match["half"]] = entry.shape
    if not found:
        raise ModelError(f"{path}: it holds no tensor; fetch it again")
    shapes = {}
    for module, halves in found.items():
        a, b = halves.get("A"), halves.get("B")
        if a is None or b is None:
            raise ModelError(f"{path}: {module} has only one of A and B; fetch it again")
        if len(a) != 2 or len(b) != 2 or a[0] != rank or b[1] != rank:
            raise ModelError(
                f"{path}: {module} has A {list(a)} and B {list(b)}, which {CONFIG}'s r = {rank}"
                " does not allow: the two files are not of one adapter"
            )
        shapes[module] = (b[0], a[1])
    return shapes


def _check_targets(folder: Path, shapes: Mapping[str, Any], targets: Any) -> None:
    """Raise where the configuration and the weights are about other linear maps."""
    if isinstance(targets, str):
        try:
            pattern = re.compile(".*" if targets == "all-linear" else targets)
        except re.error as error:
            raise ModelError(
                f"{folder / CONFIG}: target_modules {targets!r} is no pattern ({error})"
            ) from None
        foreign = [module for module in shapes if not pattern.fullmatch(module)]
    elif isinstance(targets, list) and targets and all(isinstance(t, str) for t in targets):
        foreign = [module for module in shapes if not _is_target(module, targets)]
        for target in targets:
            if not any(_is_target(module, [target]) for module in shapes):
                raise ModelError(
                    f"{folder / WEIGHTS}: nothing for {target!r} of {CONFIG}'s target_modules;"
                    " fetch it again"
                )
    else:
        raise ModelError(f"{folder / CONFIG}: target_modules is {targets!r}; fetch it again")
    if foreign:
        raise ModelError(
            f"{folder / WEIGHTS}: {foreign[0]} is none of {CONFIG}'s target_modules: the two files"
            " are not of one adapter"
        )


def _is_target(module: str, targets: Any) -> bool:
    return any(module == target or module.endswith(f".{target}") for target in targets)


def check_adapter(adapter: Adapter, base: WeightReader) -> dict[str, str]:
    """Check that an adapter is one of some model; only headers are read.

    Parameters
    ----------
    adapter : Adapter
    base : WeightReader
        The model.

    Returns
    -------
    dict of str to str
        Name of each weight in the model's files -> the linear map.

    Raises
    ------
    ModelError
        The model lacks one of the linear maps, one has another shape, or the adapter lacks one.
    """
    transposed = base.architecture.name in _TRANSPOSED
    stored: dict[str, str] = {}
    for module, (outputs, inputs) in adapter.shapes.items():
        name = base.stored_name(f"{module}.weight")
        if name is None:
            raise ModelError(
                f"{adapter.folder}: it changes {module}, and the model's files have no"
                f" {module}.weight: is the source the model that it was trained on?"
            )
        wanted = (inputs, outputs) if transposed else (outputs, inputs)
        if base.shape(name) != wanted:
            raise ModelError(
                f"{adapter.folder}: for {module} it has the shape {list(wanted)}, and the model"
                f" {list(base.shape(name))}: is the source the model that it was trained on?"
            )
        stored[name] = module
    if base.architecture.unembed in adapter.shapes and base.tied:
        raise ModelError(
            f"{adapter.folder}: it changes {base.architecture.unembed}, which is tied to the"
            f" embedding: {MERGE_IT}"
        )
    modules = (name.removesuffix(".weight") for name in base.names if name.endswith(".weight"))
    for module in modules:
        if _is_target(module, adapter.targets) and f"{module}.weight" not in stored:
            raise ModelError(
                f"{adapter.folder / WEIGHTS}: it has nothing for {module}, which is one of its"
                " target_modules: fetch it again"
            )
    return stored


def merge_adapter(folder: Path, adapter: Adapter) -> None:
    """Add an adapter to the weights of a model folder.

    The sums are made and kept in float32, whatever the model's files hold: what training added is
    often smaller than the spacing of 16-bit numbers.

    Parameters
    ----------
    folder : Path
        Hugging Face layout. Files that hold such weights are written anew beside the old ones and
        then put in their place, so that links to a user's own files stay as they are.
    adapter : Adapter

    Raises
    ------
    ModelError
        As `check_adapter`; or the adapter's weights are not finite.
    """
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    base = WeightReader(folder)
    stored = check_adapter(adapter, base)
    transposed = base.architecture.name in _TRANSPOSED
    with safe_open(adapter.folder / WEIGHTS, "pt") as halves:
        for path in weight_files(folder):
            tensors = load_file(path)
            changed = [name for name in tensors if name in stored]
            for name in changed:
                prefix = f"base_model.model.{stored[name]}.lora_"
                a, b = (halves.get_tensor(f"{prefix}{half}.weight").float() for half in "AB")
                added = adapter.scale * (b @ a)
                if not added.isfinite().all():
                    raise ModelError(
                        f"{adapter.folder / WEIGHTS}: {stored[name]} holds numbers that are not"
                        " finite; fetch it again"
                    )
                tensors[name] = tensors[name].float() + (added.T if transposed else added)
            if changed:
                written = path.with_name(f".{path.name}.merged")
                save_file(tensors, written, metadata={"format": "pt"})
                written.replace(path)
