"""The header of a GGUF file: metadata and tensor list, checked against the file's length.

The `gguf` library's reader turns every vocabulary entry into an array: of a file of 98 MB it takes
ten seconds, and this one 0.2, on the same machine. A preflight needs nine numbers. Arrays are
skipped, and only their lengths are kept, and the texts of special tokens; no tensor is read.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import NamedTuple

from nashlens.errors import ModelError

_STRING, _ARRAY = 8, 9
_TOKENS, _TOKEN_TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
_CONTROL = 3
"""Type of the tokens that no text is split into: special ones."""
# Far beyond what models have: a file of zeros is a header of millions of empty texts otherwise.
_MOST_ENTRIES, _MOST_TEXTS, _MOST_BYTES = 100_000, 4_000_000, 16_000_000
_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}

_ALIGNMENTS = {2**k for k in range(17)}


@dataclass(frozen=True)
class GGUFHeader:
    """What a GGUF file says of itself."""

    fields: dict[str, int | float | bool | str]
    """Scalar metadata by key."""
    lengths: dict[str, int]
    """Length of each array in the metadata, by key."""
    tensors: tuple[str, ...]
    """Tensor names."""
    special: tuple[str, ...] = ()
    """Texts of the special tokens."""


class _DamagedError(Exception):
    """The bytes are not a GGUF header; the text says why."""


class _Cursor:
    """Reads little-endian values off a buffer, and never past its end."""

    def __init__(self, data: mmap.mmap):
        self.data = data
        self.position = 0

    def skip(self, count: int) -> int:
        start, end = self.position, self.position + count
        if end > len(self.data):
            raise _DamagedError(f"it ends inside the header, at byte {len(self.data)}")
        self.position = end
        return start

    def scalar(self, form: str) -> int | float | bool:
        value = struct.unpack_from(form, self.data, self.skip(struct.calcsize(form)))[0]
        assert isinstance(value, (int, float, bool))
        return value

    def count(self) -> int:
        return int(self.scalar("<Q"))

    def string(self) -> str:
        length = self.count()
        if length > _MOST_BYTES:
            raise _DamagedError(f"text of {length} bytes at byte {self.position}")
        start = self.skip(length)
        try:
            return self.data[start : start + length].decode("utf-8")
        except UnicodeDecodeError as error:
            raise _DamagedError(f"text at byte {start} is not UTF-8") from error

    def skip_array(self) -> _Array:
        kind, length = int(self.scalar("<I")), self.count()
        if kind in _SCALARS:
            start = self.skip(struct.calcsize(_SCALARS[kind]) * length)
        elif kind == _STRING:
            if length > _MOST_TEXTS:
                raise _DamagedError(f"list of {length} texts at byte {self.position}")
            start = self.position
            for _ in range(length):
                self.skip(self.count())
        else:
            raise _DamagedError(f"array of unknown type {kind} at byte {self.position}")
        return _Array(kind, length, start)


class _Array(NamedTuple):
    """Where an array is."""

    kind: int
    length: int
    start: int


def read_header(path: Path) -> GGUFHeader:
    """Read and check a GGUF file's header.

    Parameters
    ----------
    path : pathlib.Path
        An existing file.

    Returns
    -------
    GGUFHeader

    Raises
    ------
    ModelError
        The file is not GGUF, its header is damaged, or it is shorter than its tensors need.
    """
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise _DamagedError("it is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _parse(_Cursor(data))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    except _DamagedError as problem:
        raise ModelError(f"{path}: not an intact GGUF file: {problem}; fetch it again") from None


def _parse(cursor: _Cursor) -> GGUFHeader:
    if cursor.data[:4] != b"GGUF":
        raise _DamagedError(f"it starts with {bytes(cursor.data[:4])!r}, not b'GGUF'")
    cursor.skip(4)
    version = cursor.scalar("<I")
    if version not in (2, 3):
        raise _DamagedError(f"version {version} (2 or 3, little-endian, is needed)")
    n_tensors, n_fields = cursor.count(), cursor.count()
    if max(n_tensors, n_fields) > _MOST_ENTRIES:
        raise _DamagedError(f"{n_tensors} tensors and {n_fields} fields")
    fields: dict[str, int | float | bool | str] = {}
    arrays: dict[str, _Array] = {}
    for _ in range(n_fields):
        key, kind = cursor.string(), int(cursor.scalar("<I"))
        if not key or key in fields or key in arrays:
            raise _DamagedError(f"field {key[:60]!r} {'stands twice' if key else 'has no name'}")
        if kind in _SCALARS:
            fields[key] = cursor.scalar(_SCALARS[kind])
        elif kind == _STRING:
            fields[key] = cursor.string()
        elif kind == _ARRAY:
            arrays[key] = cursor.skip_array()
        else:
            raise _DamagedError(f"field {key[:60]!r} has unknown type {kind}")
    names, end = _tensors(cursor, n_tensors)
    alignment = fields.get("general.alignment", 32)
    if type(alignment) is not int or alignment not in _ALIGNMENTS:
        raise _DamagedError(f"alignment {alignment!r}, not a power of two")
    start = -(-cursor.position // alignment) * alignment
    if names and start + end > len(cursor.data):
        raise _DamagedError(f"it has {len(cursor.data)} bytes, and its tensors need {start + end}")
    special = _special_tokens(cursor, arrays.get(_TOKENS), arrays.get(_TOKEN_TYPES))
    return GGUFHeader(
        fields, {key: array.length for key, array in arrays.items()}, names, tuple(special)
    )


def _special_tokens(cursor: _Cursor, tokens: _Array | None, types: _Array | None) -> Iterator[str]:
    if tokens is None or types is None or tokens.length != types.length:
        return
    if tokens.kind != _STRING or types.kind not in _SCALARS:
        return
    kinds = struct.unpack_from(
        f"<{types.length}{_SCALARS[types.kind][1:]}", cursor.data, types.start
    )
    cursor.position = tokens.start
    for kind in kinds:
        if kind == _CONTROL:
            yield cursor.string()
        else:
            cursor.skip(cursor.count())


def _tensors(cursor: _Cursor, count: int) -> tuple[tuple[str, ...], int]:
    # gguf knows every quantised type's block size; importing it is cheap, its reader is not.
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    names, end = [], 0
    for _ in range(count):
        name, n_dims = cursor.string(), int(cursor.scalar("<I"))
        if n_dims > 4:
            raise _DamagedError(f"tensor {name[:60]!r} has {n_dims} dimensions")
        shape = [cursor.count() for _ in range(n_dims)]
        kind, offset = int(cursor.scalar("<I")), cursor.count()
        try:
            block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        except (ValueError, KeyError):
            raise _DamagedError(f"tensor {name[:60]!r} has unknown type {kind}") from None
        names.append(name)
        end = max(end, offset + prod(shape) // block * size)
    return tuple(names), end
