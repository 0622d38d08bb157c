"""Records beside results: what each file was made from, and the SHA-256 that it had then.

The record of `results/EXPERIMENT/FILE` is `results/EXPERIMENT/.provenance/FILE.json`. It goes where
the results go: so a copy of them, without `.snakemake`, says by itself what of it is right.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from nashlens.digests import Digests as FileDigests
from nashlens.digests import state_of
from nashlens.errors import AGAIN, StoreError
from nashlens.files import read_object, read_sealed, sha256_of, write_sealed
from nashlens.models.intact import check_files
from nashlens.models.manifest import MANIFEST
from nashlens.records import record_of

_SPLIT = re.compile(r"plan\.json|part-\d+-of-\d+\.json")
"""Files that say how work was split into jobs, and nothing about results."""


def home_of(path: str | Path) -> Path:
    """Return the folder of the experiment, or of the models, that a result belongs to."""
    parts = Path(path).parts
    return Path(*parts[: 2 if parts[0] == "results" and len(parts) > 2 else -1])


def record_file(path: str | Path) -> Path:
    """Return where the record of a result lies."""
    return record_of(Path(path), home_of(path))


def read_record(path: str | Path) -> dict[str, Any]:
    """Return the record of a result, or an empty mapping where there is no readable one."""
    try:
        return read_sealed(record_file(path)) or {}
    except OSError:
        return {}


def write_records(outputs: Iterable[str], inputs: Iterable[str], made: Mapping[str, Any]) -> None:
    """Write a record for each output of a job.

    Parameters
    ----------
    outputs, inputs : iterable of str
        The job's declared files. Inputs that are a user's own are left out, as their bytes are part
        of the fingerprint; so are files that only split work into jobs.
    made : mapping
        `fingerprint`, `versions` and what else is to be kept.
    """
    used = {
        path: read_record(path).get("sha256") or sha256_of(path)
        for path in inputs
        if path.startswith("results/") and not _SPLIT.fullmatch(Path(path).name)
    }
    for path in outputs:
        listed = {
            name: [digest, *state_of(Path(path).parent / name)]
            for name, digest in listed_files(path).items()
        }
        write_sealed(
            record_file(path),
            {**made, "sha256": sha256_of(path), "inputs": used, "listed": listed},
        )


def listed_files(path: str | Path) -> dict[str, str]:
    """Return the files that a manifest lists, with their SHA-256; nothing for other files."""
    if Path(path).name != "manifest.json":
        return {}
    manifest = read_object(Path(path))
    shards = manifest.get("shards", [])
    return {**manifest.get("digests", {}), **{one["file"]: one["sha256"] for one in shards}}


def other_inputs(record: Mapping[str, Any], digests: Digests) -> list[str]:
    """List the inputs of a record that have other bytes now; by their own records, if they have."""
    changed = []
    for path, digest in record.get("inputs", {}).items():
        now = digests.record(path).get("sha256") or digests.of(path)
        if now not in (None, digest):
            changed.append(path)
    return changed


class Digests(FileDigests):
    """The SHA-256 of results, and their records, each read once."""

    def __init__(self, memory: Path | None = None):
        super().__init__(memory)
        # Before jobs are chosen, a file is asked about by each that reads it.
        self.record = cache(read_record)


def check_inputs(paths: Iterable[str], output: str) -> None:
    """Compare a job's inputs with their records, and a model's small files with its manifest.

    Parameters
    ----------
    paths : iterable of str
    output : str
        What the job makes.

    Raises
    ------
    StoreError
        One has other bytes than were written. It is left where it is: the next call finds it and
        makes it anew.
    ModelError
        A file of a model is damaged, see `nashlens.models.intact`.
    """
    for path in paths:
        record = read_record(path)
        if record and os.path.isfile(path) and sha256_of(path) != record.get("sha256"):
            home = home_of(path)
            own = home.name == "models" or home == home_of(output)
            how = AGAIN if own else f"call `snakemake figures` with the config of {home.name}"
            raise StoreError(
                f"{path}: its bytes are not those that were written: {how}, which makes it anew"
            )
        if os.path.basename(path) == MANIFEST:
            # A job that asks the tokenizer alone loads no model.
            check_files(os.path.dirname(path), weights=False)
