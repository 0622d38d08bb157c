"""One shard: how its values are encoded, and how it is written whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nashlens.digests import sha256_once
from nashlens.errors import StoreError
from nashlens.files import atomic_write, read_sealed, sha256_of, write_sealed
from nashlens.vocabulary.positions import DECISION

Dtype = Literal["float32", "float16", "bfloat16"]
STORED = {"float32": "<f4", "float16": "<f2", "bfloat16": "<u2"}
ONLY_DECISION = [DECISION]


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
    if dtype == "float16":
        # NaN marks what is missing, and is no number that could be too large.
        largest = float(np.fmax.reduce(np.abs(values), axis=None, initial=0.0))
        if np.isfinite(largest) and largest > 65504:
            raise StoreError(
                f"activations reach {largest:.0f}, beyond float16 (65504); "
                "set activations.dtype to bfloat16 or float32"
            )
    return values.astype(STORED[dtype])


def decode(stored: np.ndarray, dtype: Dtype) -> np.ndarray:
    """Turn a shard's array back into float32."""
    if dtype == "bfloat16":
        return (stored.astype("<u4") << 16).view("<f4")
    return stored.astype(np.float32)


class ShardFile:
    """A shard on its way to disk.

    Rows are written as they come, in any order, so that memory does not depend on a shard's size.
    The file appears under its name, and then its description, when all are there.

    Parameters
    ----------
    folder : str or Path
    file : str
        `shard-00000.npy`.
    prompt_ids : sequence of str
        One for each row.
    size : tuple of int
        Number of layers, the embedding included, and width.
    dtype : {"float32", "float16", "bfloat16"}
    fingerprint : str
        A hash of the model, the dtype and the code, not of the prompts.
    positions : sequence of str
        Names of the positions. With the decision only, their axis is left out.
    present : numpy.ndarray, optional
        `(prompts, positions)` bool: which prompts have which positions; all where left out.
    """

    def __init__(
        self,
        folder: str | Path,
        file: str,
        prompt_ids: Sequence[str],
        size: tuple[int, int],
        *,
        dtype: Dtype,
        fingerprint: str,
        positions: Sequence[str] = (DECISION,),
        present: np.ndarray | None = None,
    ):
        self.path, self.prompt_ids = Path(folder) / file, list(prompt_ids)
        self.positions, self._dtype, self._fingerprint = list(positions), dtype, fingerprint
        everywhere = np.ones((len(prompt_ids), len(positions)), dtype=bool)
        self._present = everywhere if present is None else np.asarray(present, dtype=bool)
        axis = () if self.positions == ONLY_DECISION else (len(positions),)
        self._shape = (len(prompt_ids), *axis, *size)
        self._whole = atomic_write(self.path)
        self._open, self._waiting = True, set(range(len(self.prompt_ids)))
        self._out = self._whole.__enter__()
        header = {"descr": STORED[dtype], "fortran_order": False, "shape": self._shape}
        np.lib.format.write_array_header_1_0(self._out, header)
        self._start = self._out.tell()

    def put(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Write some rows; an error discards the shard.

        Parameters
        ----------
        rows : numpy.ndarray
            `(b,)` their numbers.
        values : numpy.ndarray
            `(b, positions, layers, width)` float32; NaN where a prompt lacks a position.

        Raises
        ------
        StoreError
            If values are not finite or cannot be encoded.
        """
        if not self._open:
            return
        try:
            finite = np.isfinite(values).all(axis=(2, 3))
            bad = rows[(~finite & self._present[rows]).any(axis=1)]
            if len(bad):
                raise StoreError(
                    f"{self.path.name}: {len(bad)} prompts have activations that are not finite,"
                    f" first {self.prompt_ids[min(bad)]}; try another models.*.dtype"
                )
            encoded = encode(values, self._dtype)
            length = encoded[0].nbytes
            for row, value in zip(rows.tolist(), encoded, strict=True):
                self._out.seek(self._start + row * length)
                self._out.write(value.tobytes())
                self._waiting.discard(row)
        except BaseException:
            self.discard()
            raise

    def finish(self) -> dict[str, Any]:
        """Let the shard appear, and then its description, which is returned.

        Raises
        ------
        StoreError
            If rows are missing or the shard was discarded.
        """
        if not self._open or self._waiting:
            self.discard()
            raise StoreError(f"{self.path.name}: not all of its prompts were computed")
        self._open = False
        self._whole.__exit__(None, None, None)
        entry: dict[str, Any] = {
            "file": self.path.name,
            "prompt_ids": self.prompt_ids,
            "sha256": sha256_of(self.path),
            "fingerprint": self._fingerprint,
            "dtype": self._dtype,
            "shape": list(self._shape),
        }
        if self.positions != ONLY_DECISION:
            entry |= {"positions": self.positions, "present": self._present_text()}
        write_sealed(self.path.with_suffix(".json"), entry)
        return entry

    def discard(self) -> None:
        """Delete what was written, unless the shard is whole."""
        if self._open:
            self._open = False
            stop = StoreError("discarded")
            self._whole.__exit__(StoreError, stop, None)

    def _present_text(self) -> dict[str, str]:
        """Return, for each position that some prompt lacks, a 1 for each prompt that has it."""
        columns = zip(self.positions, self._present.T, strict=True)
        return {
            name: "".join("1" if here else "0" for here in column)
            for name, column in columns
            if not column.all()
        }


def read_entry(folder: str | Path, file: str, fingerprint: str) -> dict[str, Any] | None:
    """Return the description of an intact shard with this fingerprint; None for any other."""
    path = Path(folder) / file
    entry: dict[str, Any] | None = read_sealed(path.with_suffix(".json"))
    if entry is None:
        return None
    try:
        shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
    except (ValueError, OSError, EOFError):
        return None
    fits = list(shape) == entry.get("shape") and entry.get("fingerprint") == fingerprint
    return entry if fits and sha256_once(path) == entry.get("sha256") else None


def positions_of(shard: dict[str, Any]) -> list[str]:
    """Return the positions that a shard holds, from its description."""
    found: list[str] = shard.get("positions", ONLY_DECISION)
    return found
