"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from nashlens.errors import StoreError


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open a binary file that replaces `path` only when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write indented JSON with sorted keys, atomically."""
    encoder = json.JSONEncoder(indent=1, sort_keys=True, allow_nan=False)
    with atomic_write(path) as file:
        # Piece by piece, so that the text of a large manifest is never in memory as a whole.
        file.writelines(piece.encode() for piece in encoder.iterencode(value))
        file.write(b"\n")


def read_json(path: str | Path) -> Any:
    """Read JSON.

    Raises
    ------
    StoreError
        If the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; run the rule that makes it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: not readable JSON ({error}); delete it and rerun") from None


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
