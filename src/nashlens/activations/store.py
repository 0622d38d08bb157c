"""Reads shards of activations, each compared with its SHA-256 when it is first read."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nashlens.activations.shards import ONLY_DECISION, STORED, Dtype, decode, positions_of
from nashlens.digests import sha256_once
from nashlens.errors import AGAIN, StoreError
from nashlens.files import damaged, read_json
from nashlens.vocabulary.positions import DECISION

LoadLayer = Callable[[int], np.ndarray]
"""From a layer to its residuals, `(n, width)`, for prompts that were fixed before."""


class ActivationStore:
    """The activations of one model at one position, read by memory map.

    Parameters
    ----------
    path : str or Path
        The folder, or its `manifest.json`.

    Attributes
    ----------
    positions : list of str
        What was extracted, `decision` among it.
    position : str
        The position that this store reads: `decision`; `at` gives another.
    present : numpy.ndarray
        `(prompts,)` bool: which prompts have the position. A round that was not played yet, or the
        positions of a content-free prompt, are absent.

    Examples
    --------
    >>> store = ActivationStore("results/tiny/activations/tiny_llama")
    >>> store.positions
    ['decision']
    >>> store[2].shape == (len(store.prompt_ids), store.width)
    True
    >>> store.at("round_last")
    Traceback (most recent call last):
    StoreError: ...no position round_last, it holds decision; add it to activations.positions...
    """

    def __init__(self, path: str | Path):
        path = Path(path)
        self.folder = path.parent if path.suffix == ".json" else path
        self.manifest: dict[str, Any] = read_json(self.folder / "manifest.json")
        self.dtype: Dtype = self.manifest["dtype"]
        self.width = int(self.manifest["width"])
        self.n_layers = len(self.manifest["layer_names"]) - 1
        self.positions: list[str] = self.manifest["positions"]
        self.prompt_ids: list[str] = []
        for shard in self.manifest["shards"]:
            self._open(shard)
            self.prompt_ids += shard["prompt_ids"]
        self._row = {prompt: i for i, prompt in enumerate(self.prompt_ids)}
        self.position = DECISION
        self.present = np.ones(len(self.prompt_ids), dtype=bool)

    def at(self, position: str) -> ActivationStore:
        """Return the same store at another position.

        Raises
        ------
        StoreError
            If it was not extracted.
        """
        if position not in self.positions:
            raise StoreError(
                f"{self.folder}: no position {position}, it holds {', '.join(self.positions)};"
                f" add it to activations.positions, and {AGAIN}"
            )
        other = copy.copy(self)
        other.position = position
        parts = [_presence(shard, position) for shard in self.manifest["shards"]]
        other.present = np.concatenate(parts) if parts else np.empty(0, dtype=bool)
        return other

    def having(self, prompts: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a table of prompts whose prompt has the position, renumbered."""
        rows = [self._row[prompt] for prompt in self._known(prompts["prompt_id"].tolist())]
        return prompts[self.present[rows]].reset_index(drop=True)

    def _open(self, shard: dict[str, Any]) -> np.ndarray:
        # Opened again at each reading: a memory map keeps its file open, and a process may have
        # only a limited number of open files (often 1024).
        path = self.folder / shard["file"]
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise self._damaged(path, "it is missing") from None
        except (ValueError, EOFError) as error:
            raise self._damaged(path, f"it is damaged ({error})") from None
        except OSError as error:
            raise StoreError(f"{path}: cannot be read ({error})") from None
        names = positions_of(shard)
        axis = () if names == ONLY_DECISION else (len(names),)
        expected = (len(shard["prompt_ids"]), *axis, self.n_layers + 1, self.width)
        if array.shape != expected or array.dtype != np.dtype(STORED[self.dtype]):
            raise self._damaged(
                path,
                f"it holds {array.dtype} {array.shape}, and the manifest says {self.dtype}"
                f" {expected}",
            )
        return array

    def _damaged(self, path: Path, why: str) -> StoreError:
        """Set a shard aside with all that says it is there, so that it is planned and made anew."""
        names = (path.with_suffix(".json").name, "plan.json", "manifest.json")
        return damaged(path, why, also=[self.folder / name for name in names])

    def _check(self, shard: dict[str, Any]) -> None:
        path = self.folder / shard["file"]
        if sha256_once(path) != shard["sha256"]:
            raise self._damaged(path, "its bytes are not those that were computed (SHA-256)")

    def _stored(self, shard: dict[str, Any], layer: int) -> np.ndarray:
        """Return a shard's residuals, `(prompts, width)`; NaN where it lacks the position."""
        names = positions_of(shard)
        if self.position not in names:
            return np.full((len(shard["prompt_ids"]), self.width), np.nan, dtype=np.float32)
        array = self._open(shard)
        self._check(shard)
        if names != ONLY_DECISION:
            array = array[:, names.index(self.position)]
        return decode(np.asarray(array[:, layer]), self.dtype)

    def __len__(self) -> int:
        return len(self.prompt_ids)

    def __getitem__(self, layer: int) -> np.ndarray:
        """Return a layer's residuals, `(prompts, width)` float32, in the order of `prompt_ids`.

        NaN for prompts that lack the position.
        """
        if not 0 <= layer <= self.n_layers:
            raise StoreError(f"{self.folder}: no layer {layer}; it holds 0 to {self.n_layers}")
        parts = [self._stored(shard, layer) for shard in self.manifest["shards"]]
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
            If a prompt was not extracted, or lacks the position.
        """
        rows = [self._row[prompt] for prompt in self._known(prompt_ids)]
        absent = np.flatnonzero(~self.present[rows])
        if len(absent):
            raise StoreError(
                f"{self.folder}: {len(absent)} prompts have no {self.position}, first"
                f" {prompt_ids[absent[0]]}; ask `having` which of them do"
            )
        return self[layer][rows]

    def _known(self, prompt_ids: Sequence[str]) -> Sequence[str]:
        missing = [prompt for prompt in prompt_ids if prompt not in self._row]
        if missing:
            raise StoreError(
                f"{self.folder}: {len(missing)} prompts were not extracted, first {missing[0]};"
                f" delete its manifest.json and plan.json, and {AGAIN}"
            )
        return prompt_ids

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
            self._open(shard)
            self._check(shard)


def _presence(shard: dict[str, Any], position: str) -> np.ndarray:
    """Return which prompts of a shard have a position, `(prompts,)` bool."""
    n = len(shard["prompt_ids"])
    if position not in positions_of(shard):
        return np.zeros(n, dtype=bool)
    marks = shard.get("present", {}).get(position, "1" * n)
    return np.array([mark == "1" for mark in marks], dtype=bool)
