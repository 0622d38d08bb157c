"""Records beside results: what each file was made from, and the SHA-256 that it had then.

The record of `results/EXPERIMENT/FILE` is `results/EXPERIMENT/.provenance/FILE.json`. It goes where
the results go: so a copy of them, without `.snakemake`, says by itself what of it is right.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from nashlens.errors import StoreError
from nashlens.files import read_object, sha256_of, write_json

FOLDER = ".provenance"
_SPLIT = re.compile(r"plan\.json|part-\d+-of-\d+\.json")
"""Files that say how work was split into jobs, and nothing about results."""

State = list[int]
"""Size, times of change of the contents and of the file (ns), and inode."""


def record_file(path: str | Path) -> Path:
    """Return where the record of a result lies."""
    path = Path(path)
    depth = 2 if path.parts[0] == "results" and len(path.parts) > 2 else len(path.parts) - 1
    return Path(*path.parts[:depth], FOLDER, *path.parts[depth:-1], f"{path.name}.json")


def read_record(path: str | Path) -> dict[str, Any]:
    """Return the record of a result, or an empty mapping where there is no readable one."""
    return read_object(record_file(path))


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
        write_json(
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


def state_of(path: str | Path) -> State:
    """Return what changes when a file does, without reading it."""
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


class Digests:
    """The SHA-256 of files, each computed once for each of its states, in all processes.

    Parameters
    ----------
    memory : Path
        Where they are remembered, if its folder is there and can be written to.
    """

    def __init__(self, memory: Path):
        self._memory = memory
        self._known = read_object(memory)
        self._new = False
        # Before jobs are chosen, a file is asked about by each that reads it.
        self.record = cache(read_record)

    def of(self, path: str | Path, known: list[Any] | None = None) -> str | None:
        """Return a file's SHA-256; None where there is no such file.

        Parameters
        ----------
        path : str or Path
        known : list, optional
            A SHA-256 and the state that the file had then: not read again in the same state.
        """
        try:
            state = state_of(path)
        except OSError:
            return None
        name = os.path.abspath(path)
        for found in (known, self._known.get(name)):
            if found is not None and found[1:] == state:
                return str(found[0])
        digest = sha256_of(path)
        self._known[name], self._new = [digest, *state], True
        return digest

    def save(self) -> None:
        """Remember what was computed."""
        if self._new and self._memory.parent.is_dir():
            with contextlib.suppress(OSError):
                write_json(self._memory, self._known)
            self._new = False


def check_inputs(paths: Iterable[str]) -> None:
    """Compare a job's inputs with their records.

    Raises
    ------
    StoreError
        One has other bytes than were written. It is left where it is: the next call finds it and
        makes it anew.
    """
    for path in paths:
        record = read_record(path)
        if record and os.path.isfile(path) and sha256_of(path) != record.get("sha256"):
            raise StoreError(
                f"{path}: its bytes are not those that were written: give the same command again,"
                " which makes it anew"
            )
