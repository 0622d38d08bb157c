"""Reads and writes shards of activations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from nashlens.errors import StoreError
from nashlens.files import atomic_write, read_json, sha256_of, write_json

Dtype = Literal["float32", "float16", "bfloat16"]
LoadLayer = Callable[[int], np.ndarray]
"""From a layer to its residuals, `(n, width)`, for prompts that were fixed before."""
STORED = {"float32": "<f4", "float16": "<f2", "bfloat16": "<u2"}


def encode(values: np.ndarray, dtype: Dtype) -> np.ndarray:
    """Turn float32 values into the little-endian array that a shard stores.

    Raises
    ------
    StoreError
        If a finite value is beyond float16's range, which would store infinity.
    """
    values = np.ascontiguousarray(values, dtype="<f4")
    if dtype == "bfloat16":
        bits = values.view("<u4")
        # Round to nearest, ties to even: add half of the dropped part, and one more if odd.
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        return np.where(np.isnan(values), 0x7FC0, rounded).astype("<u2")
    if dtype == "float16" and np.isfinite(values).all() and np.abs(values).max(initial=0) > 65504:
        raise StoreError(
            f"activations reach {np.abs(values).max():.0f}, beyond float16 (65504); "
            "set activations.dtype to bfloat16 or float32"
        )
    return values.astype(STORED[dtype])


def decode(stored: np.ndarray, dtype: Dtype) -> np.ndarray:
    """Turn a shard's array back into float32."""
    if dtype == "bfloat16":
        return (stored.astype("<u4") << 16).view("<f4")
    return stored.astype(np.float32)


def write_shard(
    folder: str | Path,
    file: str,
    values: np.ndarray,
    prompt_ids: Sequence[str],
    *,
    dtype: Dtype,
    fingerprint: str,
) -> dict[str, Any]:
    """Write one shard and then its description; return the description.

    Parameters
    ----------
    folder : str or Path
    file : str
        `shard-00000.npy`.
    values : numpy.ndarray
        `(prompts, layers + 1, width)` float32.
    prompt_ids : sequence of str
        One for each prompt.
    dtype : {"float32", "float16", "bfloat16"}
    fingerprint : str
        A hash of the model, the dtype and the code, not of the prompts.
    """
    if len(values) != len(prompt_ids):
        raise StoreError(f"{file}: {len(values)} rows for {len(prompt_ids)} prompts")
    if not np.isfinite(values).all():
        bad = [i for i, row in zip(prompt_ids, values, strict=True) if not np.isfinite(row).all()]
        raise StoreError(
            f"{file}: {len(bad)} prompts have activations that are not finite, first {bad[0]}; "
            "try another models.*.dtype"
        )
    path = Path(folder) / file
    with atomic_write(path) as out:
        np.save(out, encode(values, dtype), allow_pickle=False)
    entry = {
        "file": file,
        "prompt_ids": list(prompt_ids),
        "sha256": sha256_of(path),
        "fingerprint": fingerprint,
        "dtype": dtype,
        "shape": list(values.shape),
    }
    write_json(path.with_suffix(".json"), entry)
    return entry


def read_entry(folder: str | Path, file: str, fingerprint: str) -> dict[str, Any] | None:
    """Return the description of a complete shard with this fingerprint; None for any other."""
    path = Path(folder) / file
    try:
        entry: dict[str, Any] = read_json(path.with_suffix(".json"))
        shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
    except (StoreError, ValueError, OSError, EOFError):
        return None
    whole = list(shape) == entry.get("shape") and entry.get("fingerprint") == fingerprint
    return entry if whole else None


class ActivationStore:
    """The activations of one model, read by memory map.

    Parameters
    ----------
    path : str or Path
        The folder, or its `manifest.json`.

    Examples
    --------
    >>> store = ActivationStore("results/default/activations/smollm2")  # doctest: +SKIP
    >>> store[12].shape  # doctest: +SKIP
    (384, 576)
    """

    def __init__(self, path: str | Path):
        path = Path(path)
        self.folder = path.parent if path.suffix == ".json" else path
        self.manifest: dict[str, Any] = read_json(self.folder / "manifest.json")
        self.dtype: Dtype = self.manifest["dtype"]
        self.width = int(self.manifest["width"])
        self.n_layers = len(self.manifest["layer_names"]) - 1
        self.prompt_ids: list[str] = []
        for shard in self.manifest["shards"]:
            self._open(shard)
            self.prompt_ids += shard["prompt_ids"]
        self._row = {prompt: i for i, prompt in enumerate(self.prompt_ids)}

    def _open(self, shard: dict[str, Any]) -> np.ndarray:
        # Opened again at each reading: a memory map keeps its file open, and a process may have
        # only a limited number of open files (often 1024).
        path = self.folder / shard["file"]
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise StoreError(f"{path}: missing or damaged ({error}); rerun activations") from None
        expected = (len(shard["prompt_ids"]), self.n_layers + 1, self.width)
        if array.shape != expected or array.dtype != np.dtype(STORED[self.dtype]):
            raise StoreError(
                f"{path}: holds {array.dtype} {array.shape}, the manifest says "
                f"{self.dtype} {expected}; rerun activations"
            )
        return array

    def __len__(self) -> int:
        return len(self.prompt_ids)

    def __getitem__(self, layer: int) -> np.ndarray:
        """Return a layer's residuals, `(prompts, width)` float32, in the order of `prompt_ids`."""
        if not 0 <= layer <= self.n_layers:
            raise StoreError(f"{self.folder}: no layer {layer}; it holds 0 to {self.n_layers}")
        shards = self.manifest["shards"]
        parts = [decode(np.asarray(self._open(shard)[:, layer]), self.dtype) for shard in shards]
        return np.concatenate(parts) if parts else np.empty((0, self.width), np.float32)

    def layer(self, layer: int, prompt_ids: Sequence[str]) -> np.ndarray:
        """Return a layer's residuals for prompts in the caller's order, repeats allowed.

        Returns
        -------
        numpy.ndarray
            `(len(prompt_ids), width)` float32.

        Raises
        ------
        StoreError
            If a prompt was not extracted.
        """
        missing = [prompt for prompt in prompt_ids if prompt not in self._row]
        if missing:
            raise StoreError(
                f"{self.folder}: {len(missing)} prompts were not extracted, first {missing[0]}; "
                "rerun activations"
            )
        return self[layer][[self._row[prompt] for prompt in prompt_ids]]

    def reader(self, prompts: pd.DataFrame) -> LoadLayer:
        """Return a function from a layer to its residuals for the rows of a table of prompts."""
        wanted = prompts["prompt_id"].tolist()
        return lambda layer: self.layer(layer, wanted)

    def verify(self) -> None:
        """Compare every shard with its recorded SHA-256.

        Raises
        ------
        StoreError
            Naming the first shard that differs.
        """
        for shard in self.manifest["shards"]:
            path = self.folder / shard["file"]
            if sha256_of(path) != shard["sha256"]:
                raise StoreError(f"{path}: differs from its recorded SHA-256; delete it and rerun")
