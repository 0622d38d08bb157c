"""What stands where a file or a folder of ours belongs: it is set aside, and never deleted."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nashlens.errors import printable
from workflow.intake import refuse
from workflow.records import record_file


def is_no_file(path: str | Path) -> bool:
    """Say whether a folder, a pipe or a link to nothing has the place of a file."""
    return os.path.lexists(path) and not os.path.isfile(path)


def set_aside(path: str | Path) -> bool:
    """Rename what has a file's or a folder's place; return whether it could be."""
    with contextlib.suppress(OSError):
        os.replace(path, f"{path}.{time.time_ns()}.damaged")
        return True
    return False


def clear_folders(rules: Iterable[Any], *, dry_run: bool) -> None:
    """Set aside what has the place of a folder that rules write to.

    Before Snakemake looks at any file: it would end in a traceback.

    Parameters
    ----------
    rules : iterable of Rule
    dry_run : bool
        Nothing is moved: where something is in the way, the call ends with one line for each.
    """
    wrong = [path for path in _folders(rules) if os.path.exists(path) and not os.path.isdir(path)]
    if dry_run and wrong:
        refuse([f"{path}: it is no folder: move it away, or run without -n" for path in wrong])
    for path in filter(set_aside, wrong):
        _note(path, "folder")


def clear_files(paths: Iterable[str | Path]) -> None:
    """Set aside what has the place of files that hold no results."""
    for path in filter(is_no_file, paths):
        if set_aside(path):
            _note(path, "file")


def _folders(rules: Iterable[Any]) -> Iterator[str]:
    """Yield the folders of rules as far as they are the same for all jobs, the outer ones first."""
    files = {
        str(file)
        for rule in rules
        for files in (rule.output, map(record_file, rule.output), rule.log, [rule.benchmark])
        for file in files
        if file
    }
    found = {str(folder) for file in files for folder in Path(file).parents}
    yield from sorted(path for path in found if "{" not in path)


def _note(path: str | Path, what: str) -> None:
    line = f"{path}: it was no {what}; it is set aside"
    print(f"nashlens: note: {printable(line)}", file=sys.stderr)
