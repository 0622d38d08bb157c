"""The header of a safetensors file: which tensors it holds, and where; checked against its length.

Format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from nashlens.errors import ModelError

DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
}
"""Stored type -> NumPy's, bfloat16 by its bits."""
MOST_BYTES = 100_000_000
"""Bytes of a header, as the library allows."""


@dataclass(frozen=True)
class Entry:
    """One tensor of a safetensors file."""

    file: Path
    dtype: str
    """As the file spells it: F32, BF16."""
    shape: tuple[int, ...]
    offset: int
    """Where in the file its bytes start."""


class _DamagedError(Exception):
    """The bytes are not a safetensors header; the text says why."""


def read_entries(file: Path) -> dict[str, Entry]:
    """List a safetensors file's tensors by name; ModelError where it is not an intact one.

    The library says neither where a tensor's bytes are nor, to NumPy, what bfloat16 is.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
            if length > min(size - 8, MOST_BYTES):
                raise _DamagedError(
                    f"its header has {length} bytes, the file {size}"
                    if len(start) == 8
                    else "it ends inside the header"
                )
            header = json.loads(stream.read(length).decode("utf-8"))
        return _entries(file, header, 8 + length, size)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror})") from None
    except _DamagedError as problem:
        found = str(problem)
    except (ValueError, RecursionError) as error:
        found = f"its header is no JSON ({' '.join(str(error).split())})"
    raise ModelError(f"{file}: not an intact safetensors file: {found}; fetch it again")


def _entries(file: Path, header: Any, start: int, size: int) -> dict[str, Entry]:
    if not isinstance(header, dict):
        raise _DamagedError("its header is no JSON object")
    header.pop("__metadata__", None)
    found, ends = {}, []
    for name, entry in header.items():
        known = isinstance(entry, dict) and all(
            isinstance(entry.get(key), kind)
            for key, kind in (("dtype", str), ("shape", list), ("data_offsets", list))
        )
        if not known:
            raise _DamagedError(f"tensor {name[:60]!r} has no type, shape or place")
        dtype, shape, place = entry["dtype"], entry["shape"], entry["data_offsets"]
        if dtype not in DTYPES:
            raise ModelError(f"{file}: tensors of type {dtype[:20]} are not supported")
        numbers = all(type(x) is int and 0 <= x < 2**63 for x in (*shape, *place))
        if len(place) != 2 or len(shape) > 8 or not numbers:
            raise _DamagedError(f"tensor {name[:60]!r} has numbers that are none")
        needed = prod(shape) * int(DTYPES[dtype][-1])
        if place[1] - place[0] != needed or start + place[1] > size:
            raise _DamagedError(
                f"tensor {name[:60]!r} needs {needed} bytes, and lies at {place} of {size - start}"
            )
        found[name] = Entry(file, dtype, tuple(shape), start + place[0])
        ends.append((place[0], place[1], name))
    # No two share bytes, and none are left over: the file is as long as its tensors.
    end = 0
    for first, last, name in sorted(ends):
        if first != end:
            raise _DamagedError(f"tensor {name[:60]!r} starts at {first}, not at {end}")
        end = last
    if start + end != size:
        raise _DamagedError(f"it has {size} bytes, and its tensors end at {start + end}")
    return found
