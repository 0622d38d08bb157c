"""Single tensors out of safetensors files, as NumPy arrays and without torch.

The lens needs the final norm and a few rows of the unembedding; reading them must not cost a model
load. Format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nashlens.errors import ModelError
from nashlens.models.agreement import BUFFERS
from nashlens.models.inspect import read_config, weight_files
from nashlens.models.intact import check_files
from nashlens.models.registry import ARCHITECTURES, Architecture
from nashlens.models.support import config_problems
from nashlens.models.tensor_files import DTYPES, Entry, read_entries


@dataclass(frozen=True)
class FinalNorm:
    """The norm between the last residual and the unembedding.

    ``norm(x) = weight * (x - m) / sqrt(mean((x - m)**2) + eps) + bias``, where m is the mean of x
    if it is centred (a layer norm), and 0 if not (an RMS norm).
    """

    weight: NDArray[np.floating]
    """`(width,)`, as it multiplies: of a norm with `1 + weight`, that sum."""
    eps: float
    bias: NDArray[np.floating] | None = None
    """`(width,)`, or None where there is none."""
    centred: bool = False

    def __call__(self, residual: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the normed residuals in float32, (n, width)."""
        x = np.asarray(residual, dtype=np.float32)
        if self.centred:
            x = x - x.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
        mean_square = np.mean(x * x, axis=1, keepdims=True, dtype=np.float64)
        scale = (1.0 / np.sqrt(mean_square + self.eps)).astype(np.float32)
        normed = x * scale * np.asarray(self.weight, dtype=np.float32)
        return normed if self.bias is None else normed + np.asarray(self.bias, dtype=np.float32)


class StoredRows:
    """A stored matrix in float32, of which only the rows that are asked for are in memory.

    Parameters
    ----------
    entry : Entry
        Of two axes.
    """

    def __init__(self, entry: Entry):
        self.shape, self._dtype = entry.shape, entry.dtype
        # Private, so that torch, which knows no arrays that can only be read, need not copy it.
        self._stored = np.memmap(entry.file, DTYPES[entry.dtype], "c", entry.offset, entry.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        """Return some rows: those of float32 lie in the file, others are made from it."""
        found = _exact(self._stored[rows], self._dtype)
        return np.asarray(found, dtype=np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return all of it, for NumPy."""
        return np.array(self[:], dtype=dtype)


@dataclass(frozen=True)
class Readout:
    """What turns a last residual into logits: ``softcap(unembedding @ norm(residual))``."""

    norm: FinalNorm
    unembedding: NDArray[np.float32] | StoredRows
    """`(vocabulary, width)`; no supported architecture has a bias there."""
    softcap: float | None = None
    """Logits `z` become `softcap * tanh(z / softcap)`; not where None."""


class WeightReader:
    """Reads tensors of a model folder by name, each when it is asked for.

    Parameters
    ----------
    folder : path
        Hugging Face layout with safetensors, sharded or not.

    Raises
    ------
    ModelError
        A file is missing or damaged, or the architecture is not supported.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.config: dict[str, Any] = read_config(self.folder)
        problems = config_problems(self.config)
        if problems:
            raise ModelError(f"{self.folder}: {problems[0]}")
        self.architecture: Architecture = ARCHITECTURES[self.config["architectures"][0]]
        self._entries: dict[str, Entry] = {}
        for file in weight_files(self.folder):
            self._entries.update(read_entries(file))

    @property
    def names(self) -> list[str]:
        """All tensor names, sorted."""
        return sorted(self._entries)

    @property
    def n_parameters(self) -> int:
        """How many weights the files hold; only their headers are read. Buffers do not count."""
        return sum(
            math.prod(entry.shape)
            for name, entry in self._entries.items()
            if not name.endswith(BUFFERS)
        )

    @property
    def tied(self) -> bool:
        """Whether the unembedding is the embedding, as the configuration has it."""
        return bool(self.architecture.value(self.config, "tie_word_embeddings"))

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape."""
        return self._entry(name).shape

    def dtype(self, name: str) -> str:
        """Return a tensor's stored dtype as safetensors spells it, such as F32 or BF16."""
        return self._entry(name).dtype

    def tensor(self, name: str, rows: ArrayLike | None = None) -> NDArray[Any]:
        """Read one tensor, or some rows of it.

        Parameters
        ----------
        name : str
            Its name in the files, such as ``model.norm.weight``.
        rows : array_like of int, optional
            Rows along the first axis; only these are read from disk.

        Returns
        -------
        ndarray
            float32 where it is stored as a floating type of 16 or 32 bits, else as stored.

        Raises
        ------
        ModelError
            There is no such tensor.
        """
        entry = self._entry(name)
        raw: NDArray[Any]
        if 0 in entry.shape:
            raw = np.empty(entry.shape, DTYPES[entry.dtype])
        else:
            raw = np.memmap(entry.file, DTYPES[entry.dtype], "r", entry.offset, entry.shape)
        picked = raw if rows is None else raw[np.asarray(rows, dtype=np.int64)]
        return np.array(_exact(picked, entry.dtype))

    def final_norm(self) -> FinalNorm:
        """Read the final norm."""
        a = self.architecture
        weight = self.tensor(f"{a.norm}.weight")
        eps = float(a.value(self.config, a.norm_eps))
        if a.norm_kind == "layer":
            return FinalNorm(weight, eps, self.tensor(f"{a.norm}.bias"), centred=True)
        return FinalNorm(weight + 1 if a.norm_kind == "rms_plus_one" else weight, eps)

    def softcap(self) -> float | None:
        """Return the logits' soft-cap, None where there is none."""
        a = self.architecture
        value = None if a.logit_softcap is None else a.value(self.config, a.logit_softcap)
        return None if value is None else float(value)

    def unembedding(self, rows: ArrayLike | None = None) -> NDArray[np.float32]:
        """Read the unembedding, tied to the embedding or not.

        Parameters
        ----------
        rows : array_like of int, optional
            Token ids; all of them where it is left out.

        Returns
        -------
        ndarray of shape (vocab, width) or (len(rows), width)
            ``logits = unembedding @ norm(residual)``, then the soft-cap.
        """
        return self.tensor(self._unembedding_name, rows)

    def stored_unembedding(self) -> StoredRows:
        """Return the unembedding as it lies in the files."""
        return StoredRows(self._entry(self._unembedding_name))

    @property
    def _unembedding_name(self) -> str:
        a = self.architecture
        names = [f"{name}.weight" for name in (a.unembed, a.stored_unembed) if name]
        if self.tied:
            # As transformers has it, an unembedding in the file is used, whatever the config says.
            names.append(f"{a.embed}.weight")
        found = [name for name in names if self.stored_name(name) is not None]
        return found[0] if found else names[0]

    def stored_name(self, name: str) -> str | None:
        """Return a tensor's name in the files, None where they have none.

        Models that were saved without their head lack a prefix.
        """
        return next((n for n in (name, name.partition(".")[2]) if n in self._entries), None)

    def _entry(self, name: str) -> Entry:
        stored = self.stored_name(name)
        if stored is None:
            raise ModelError(f"{self.folder}: the weights have no tensor {name!r}")
        return self._entries[stored]


def load_readout(folder: Path | str, rows: ArrayLike | None = None) -> Readout:
    """Read what the logit lens needs, without loading the model.

    Parameters
    ----------
    folder : path
        A converted model.
    rows : array_like of int, optional
        Token ids whose unembedding rows are read. Where it is left out, all can be read: a block of
        them is in memory when it is asked for.

    Returns
    -------
    Readout
    """
    check_files(folder)
    reader = WeightReader(folder)
    unembedding = reader.stored_unembedding() if rows is None else reader.unembedding(rows)
    return Readout(reader.final_norm(), unembedding, reader.softcap())


def _exact(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return values stored in 16 bits as float32, which holds them exactly; others as they are."""
    if dtype == "BF16":
        # bfloat16 is the upper half of a float32.
        return np.left_shift(values, 16, dtype=np.uint32).view(np.float32)
    return values.astype(np.float32) if dtype == "F16" else values
