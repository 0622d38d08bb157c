"""The SHA-256 of files, each file read once for each of its states."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from nashlens.files import read_sealed, sha256_of, write_sealed

State = list[int]
"""Size, times of change of the contents and of the file (ns), and inode."""


def state_of(path: str | Path) -> State:
    """Return what changes when a file does, without reading it."""
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


@cache
def _digest(path: str, *state: int) -> str:
    return sha256_of(path)


def sha256_once(path: str | Path) -> str:
    """Return a file's SHA-256, computed once a process for each state of the file."""
    return _digest(os.path.abspath(path), *state_of(path))


class Digests:
    """The SHA-256 of files, each computed once for each of its states, in all processes.

    Parameters
    ----------
    memory : path, optional
        Where they are remembered, if its folder is there and can be written to. What is in it is by
        the way from there to a file, so both may be moved together.
    """

    def __init__(self, memory: str | Path | None = None):
        self._memory = None if memory is None else Path(memory)
        self._known: dict[str, list[Any]] = {}
        self._new = False
        if self._memory is not None:
            with contextlib.suppress(OSError):
                self._known = read_sealed(self._memory) or {}

    def of(self, path: str | Path, known: Sequence[Any] | None = None) -> str | None:
        """Return a file's SHA-256; None where there is no such file.

        Parameters
        ----------
        path : str or Path
        known : sequence, optional
            A SHA-256 and the state that the file had then: not read again in the same state.
        """
        try:
            state = state_of(path)
        except OSError:
            return None
        if not os.path.isfile(path):
            # A folder or a pipe in a file's place is no file that is there.
            return None
        name = os.path.relpath(path, self._memory.parent) if self._memory else str(path)
        for found in (known, self._known.get(name)):
            if found is not None and found[1:] == state:
                return str(found[0])
        digest = sha256_once(path)
        self._known[name], self._new = [digest, *state], True
        return digest

    def save(self) -> None:
        """Remember what was computed."""
        if self._new and self._memory is not None and self._memory.parent.is_dir():
            with contextlib.suppress(OSError):
                write_sealed(self._memory, self._known)
            self._new = False
