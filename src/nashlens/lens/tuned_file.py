"""The file of a tuned lens: safetensors, in which each layer's translator is written once.

At the shape of 70 billion weights the translators take 10.7 GB. So a layer goes to its place in the
file as soon as it is known, and neither memory nor what a job keeps holds it a second time.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from nashlens.chunks import growing
from nashlens.errors import AGAIN, ModelError
from nashlens.files import guarded
from nashlens.models.tensor_files import DTYPES, read_entries

VERSION = 1
"""Version of the file's layout and meaning."""

Array32 = NDArray[np.float32]


@dataclass(frozen=True)
class TunedLens:
    """Translators of layers 0 to n_layers - 1; the last layer needs none."""

    matrices: NDArray[np.floating]
    """(n_layers, width, width): D of each layer."""
    biases: Array32
    """(n_layers, width): b of each layer."""

    def translate(
        self, layer: int, residual: NDArray[np.floating], device: torch.device | str = "cpu"
    ) -> Array32:
        """Return a layer's residuals, (n, width), translated to the last layer's basis."""
        x = np.asarray(residual, dtype=np.float32)
        if layer == len(self.matrices):
            return x
        return translated(x, np.array(self.matrices[layer]), self.biases[layer], device)


def translated(
    x: Array32,
    matrix: NDArray[np.floating],
    bias: Array32,
    device: torch.device | str = "cpu",
) -> Array32:
    """Return one layer's residuals, (n, width), translated by its matrix and bias."""
    here = torch.from_numpy(x).to(device)
    moved: Array32 = (here @ torch.from_numpy(matrix).to(device).float()).cpu().numpy()
    return x + moved + bias


class LensFile:
    """A tuned lens that is being written; see `writing_tuned_lens`.

    Parameters
    ----------
    file : binary file
    layers, width : int
    """

    def __init__(self, file: BinaryIO, layers: int, width: int):
        self.biases: Array32 = np.zeros((layers, width), np.float32)
        """(n_layers, width): b of each layer, written at the end."""
        self._file, self._written = file, set[int]()
        self._shape, self._size = (layers, width, width), 2 * width**2
        shapes = {"biases": ("F32", self.biases.shape), "matrices": ("F16", self._shape)}
        # The header holds only `version` besides: the order of several keys, and with it the
        # file's hash, would be left to chance.
        header: dict[str, Any] = {"__metadata__": {"version": str(VERSION)}}
        ends = (0, self.biases.nbytes, self.biases.nbytes + layers * self._size)
        for k, (name, (kind, shape)) in enumerate(shapes.items()):
            places = list(ends[k : k + 2])
            header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": places}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._head = struct.pack("<Q", len(text)) + text

    def write(self, layer: int, matrix: NDArray[np.floating]) -> str:
        """Write a layer's matrix, (width, width), as float16; return the SHA-256 of its bytes."""
        values = np.ascontiguousarray(matrix, np.float16)
        # A job that another one has replaced writes no more into what that one goes on with.
        with guarded():
            self._file.seek(self._place(layer))
            self._file.write(values.data)
            self._file.flush()
        self._written.add(layer)
        return hashlib.sha256(values.data).hexdigest()

    def holds(self, layer: int, digest: str) -> bool:
        """Say whether a layer's matrix is there as it was once written."""
        if layer in self._written:
            return True
        self._file.seek(self._place(layer))
        return hashlib.sha256(self._file.read(self._size)).hexdigest() == digest

    def finish(self) -> None:
        """Write what comes before the matrices."""
        with guarded():
            self._file.seek(0)
            self._file.write(self._head)
            self._file.write(self.biases.data)
            self._file.truncate(self._place(self._shape[0]))

    def _place(self, layer: int) -> int:
        return len(self._head) + self.biases.nbytes + layer * self._size


@contextmanager
def writing_tuned_lens(path: Path | str, layers: int, width: int) -> Iterator[LensFile]:
    """Write a tuned lens layer by layer; it is there when the block ends without an error.

    Tensors `matrices` (float16) and `biases` (float32). Within `nashlens.chunks.keeping`, matrices
    that an earlier run of the job has written are still there.

    Parameters
    ----------
    path : str or Path
    layers, width : int
        Of the model.
    """
    with growing(path) as file:
        lens = LensFile(file, layers, width)
        yield lens
        lens.finish()


def read_tuned_lens(path: Path | str) -> TunedLens:
    """Open translators; a layer's matrix is read when it is used.

    Raises
    ------
    ModelError
        If the file is damaged or of another version.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            version = (file.metadata() or {}).get("version")
            if version != str(VERSION):
                raise ModelError(
                    f"{path}: version {version} of a tuned lens, this code reads {VERSION}:"
                    f" {AGAIN}, which fits it anew"
                )
            entry = read_entries(Path(path))["matrices"]
            matrices = np.memmap(path, DTYPES[entry.dtype], "r", entry.offset, entry.shape)
            return TunedLens(matrices, file.get_tensor("biases"))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: no readable tuned lens ({error}): {AGAIN}") from None
