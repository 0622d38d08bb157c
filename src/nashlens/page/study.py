"""An experiment as the page reads it: tables, and what each of them was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pandas as pd

from nashlens.errors import DataError
from nashlens.records import record_beside
from nashlens.tables import read_metadata, read_table
from nashlens.vocabulary.page import COUNTED, NEEDED, SHOWN


class TableSource(NamedTuple):
    """One file of a table."""

    path: str
    fingerprint: str
    config: Mapping[str, Any]
    """The slice of the config that it was made from."""
    version: str
    packages: str = ""
    """Those that compute, each with its version, after a comma."""
    made_on: str = ""
    """The device, and the precision of each model that it was made with, after a comma."""


class Commands(Protocol):
    """How files are made again, as a shell reads it: for whoever runs the study to say."""

    def make(self, *targets: str) -> str:
        """Return the command that makes what some targets lack."""

    def again(self, *paths: str) -> str:
        """Return the command that makes some files again, though they are there."""


@dataclass(frozen=True)
class StudyTables:
    """The tables of one experiment.

    Parameters
    ----------
    name : str
        The experiment.
    tables : mapping of str to DataFrame
        By name (`findings`, `lens_layers`, ..); tables of single models as one, with `model`.
    sources : mapping of str to sequence of TableSource
        Of each table, its files.
    config : mapping
        What the page reads of the config: how matches were put into words.
    command : Commands
    """

    name: str
    tables: Mapping[str, pd.DataFrame]
    sources: Mapping[str, Sequence[TableSource]]
    config: Mapping[str, Any]
    command: Commands

    def table(self, name: str) -> pd.DataFrame | None:
        """Return a table; None where the config leaves it out, or it has no row."""
        found = self.tables.get(name)
        return None if found is None or found.empty else found

    @property
    def findings(self) -> pd.DataFrame:
        """The findings table."""
        return self.tables["findings"]

    @property
    def models(self) -> list[str]:
        """The models that claims are about, in the order of the findings."""
        about = self.findings[self.findings["claim"].str.startswith("M")]["model"]
        if about.empty:
            about = self.findings["model"]
        return list(dict.fromkeys(about))


def load_study(
    name: str,
    files: Mapping[str, str | Sequence[str]],
    *,
    config: Mapping[str, Any],
    command: Commands,
) -> StudyTables:
    """Read the tables of an experiment.

    Parameters
    ----------
    name : str
        The experiment.
    files : mapping of str to path, or to paths
        By table. Of several paths each is one model's, named after it. Of tables that the page
        shows no row of, only what they were made from is read.
    config : mapping
        See `StudyTables`.
    command : Commands

    Raises
    ------
    DataError
        If a table that the page needs is not among the files.
    StoreError
        If a file is missing or damaged.
    """
    missing = [table for table in NEEDED if table not in files]
    if missing:
        raise DataError(f"the page of {name}: needs the tables {', '.join(missing)}; pass them")
    tables: dict[str, pd.DataFrame] = {}
    sources: dict[str, list[TableSource]] = {}
    for table, given in files.items():
        paths = [given] if isinstance(given, str) else list(given)
        if not paths:
            continue
        sources[table] = [_source(path) for path in paths]
        if table not in SHOWN:
            continue
        read = [read_table(path, COUNTED.get(table)) for path in paths]
        if not isinstance(given, str):
            stems = [Path(path).stem for path in paths]
            read = [one.assign(model=stem) for one, stem in zip(read, stems, strict=True)]
        tables[table] = pd.concat(read, ignore_index=True)
    return StudyTables(name, tables, sources, config, command)


def _source(path: str) -> TableSource:
    about = read_metadata(path)
    packages = "".join(f", {name} {at}" for name, at in about.get("versions", {}).items())
    made_on = _made_on(record_beside(path))
    return TableSource(
        path, about["fingerprint"], about["config"], about["version"], packages, made_on
    )


def _made_on(record: Mapping[str, Any]) -> str:
    if "device" not in record:
        return ""
    models = [
        f"{name} in {', '.join(value for value in how.values() if value != 'none')}"
        for name, how in record.get("precision", {}).items()
    ]
    return ", ".join(["", f"made on {record['device']}", *models])
