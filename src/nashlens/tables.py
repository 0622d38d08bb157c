"""Tidy tables on disk: parquet, written atomically, with what they were made from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from nashlens import __version__
from nashlens.errors import AGAIN, StoreError
from nashlens.files import atomic_write
from nashlens.versions import installed_versions

if TYPE_CHECKING:
    # Not every job that opens a table needs pandas, which takes a third of a second.
    import pandas as pd

_KEY = b"nashlens"
_GROUP_ROWS = 4096  # the most rows that a reader of single row groups has in memory


def write_table(
    frame: pd.DataFrame, path: str | Path, *, config: Mapping[str, Any], fingerprint: str
) -> None:
    """Write a table with what it was made from; the file appears whole or not at all.

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
    provenance = {
        "config": dict(config),
        "fingerprint": fingerprint,
        "version": __version__,
        # All, as a job that goes on from finished work may import less than the one that began.
        "versions": installed_versions(),
    }
    metadata = dict(table.schema.metadata or {})
    metadata[_KEY] = json.dumps(provenance, sort_keys=True, allow_nan=False).encode()
    with atomic_write(path) as file:
        pq.write_table(
            table.replace_schema_metadata(metadata),
            file,
            compression="zstd",
            row_group_size=_GROUP_ROWS,
        )


def open_table(path: str | Path) -> pq.ParquetFile:
    """Open a table to read some of it.

    Raises
    ------
    StoreError
        If the file is missing or damaged.
    """
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError:
        raise StoreError(f"{path}: no such table: {AGAIN}, which makes it") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise StoreError(
            f"{path}: not a readable parquet table ({error}): {AGAIN}, which makes it anew"
        ) from None


def read_table(path: str | Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table.

    Parameters
    ----------
    path : str or Path
    columns : sequence of str, optional
        The columns to read, where not all are needed.

    Raises
    ------
    StoreError
        If the file is missing or damaged.
    """
    with open_table(path) as file:
        return file.read(columns=None if columns is None else list(columns)).to_pandas()


def read_tables(
    paths: str | Path | Iterable[str | Path], *, named: str | None = None
) -> pd.DataFrame:
    """Read several tables as one, their rows in the order of the paths.

    Parameters
    ----------
    paths : iterable of str or Path
        Or the path of a single table.
    named : str, optional
        A further column, with the name of each row's file, less its ending.

    Raises
    ------
    StoreError
        If a file is missing or damaged.
    """
    import pandas as pd

    several = [paths] if isinstance(paths, (str, Path)) else paths
    tables = [(Path(path).stem, read_table(path)) for path in several]
    if named is not None:
        tables = [(name, table.assign(**{named: name})) for name, table in tables]
    return pd.concat([table for _, table in tables], ignore_index=True)


def write_csv(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table as CSV, for people; the file appears whole or not at all."""
    with atomic_write(path) as file:
        file.write(frame.to_csv(index=False).encode())


def read_row_groups(path: str | Path, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Read some columns of a table, one row group at a time.

    Raises
    ------
    StoreError
        If the file is missing or damaged, or lacks a column.
    """
    with open_table(path) as file:
        missing = [name for name in columns if name not in file.schema_arrow.names]
        if missing:
            raise StoreError(f"{path}: has no column {missing[0]}, which is read")
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=list(columns)).to_pandas()


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return what a table was made from and with.

    Returns
    -------
    dict
        `config`, `fingerprint`, `version` and `versions` (of the packages that compute).

    Raises
    ------
    StoreError
        If the file is missing or damaged, or was not written by nashlens.
    """
    with open_table(path) as file:
        metadata = file.schema_arrow.metadata or {}
    if _KEY not in metadata:
        raise StoreError(
            f"{path}: holds no nashlens provenance; it was not written by this project"
        )
    return dict(json.loads(metadata[_KEY]))
