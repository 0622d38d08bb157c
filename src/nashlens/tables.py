"""Tidy tables on disk: parquet, written atomically, carrying what they were made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from nashlens import __version__
from nashlens.errors import StoreError
from nashlens.files import atomic_write

_KEY = b"nashlens"


def write_table(
    frame: pd.DataFrame, path: str | Path, *, config: Mapping[str, Any], fingerprint: str
) -> None:
    """Write a table with its provenance; the file appears whole or not at all.

    Parameters
    ----------
    frame : pandas.DataFrame
        The table; its index is dropped.
    path : str or Path
        Where to write; the folder is made.
    config : mapping
        The resolved config slice that the table was made from; must be JSON.
    fingerprint : str
        Hash of that slice, of everything upstream and of the code.
    """
    table = pa.Table.from_pandas(frame, preserve_index=False)
    provenance = {"config": dict(config), "fingerprint": fingerprint, "version": __version__}
    metadata = dict(table.schema.metadata or {})
    metadata[_KEY] = json.dumps(provenance, sort_keys=True, allow_nan=False).encode()
    with atomic_write(path) as file:
        pq.write_table(table.replace_schema_metadata(metadata), file, compression="zstd")


def _open(path: str | Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError:
        raise StoreError(f"{path}: no such table; run the rule that makes it") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise StoreError(
            f"{path}: not a readable parquet table ({error}); delete it and rerun"
        ) from None


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table.

    Raises
    ------
    StoreError
        If the file is missing or damaged.
    """
    with _open(path) as file:
        return file.read().to_pandas()


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return a table's provenance: `config`, `fingerprint`, `version`.

    Raises
    ------
    StoreError
        If the file is missing, damaged, or not one of nashlens's.
    """
    with _open(path) as file:
        metadata = file.schema_arrow.metadata or {}
    if _KEY not in metadata:
        raise StoreError(
            f"{path}: holds no nashlens provenance; it was not written by this project"
        )
    return dict(json.loads(metadata[_KEY]))
