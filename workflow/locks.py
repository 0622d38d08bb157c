"""Of two calls of Snakemake that would make the same files in one folder, one waits.

Snakemake writes down what each call reads and makes (`.snakemake/locks`). But a call that ends, and
be it one that only asks, takes the locks of all others away; two that begin at once see none; and
what it says is the same whether the other call works or was killed. So here calls take locks one
after the other, each removes its own, and each holds a file that says that it lives.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nashlens.errors import AGAIN
from nashlens.files import read_object
from nashlens.logs import PREFIX
from workflow.alive import hold, is_held

_INPUTS, _LOCKS, _CALLS = ".input.lock", "*.lock", "*.call"


class Locks:
    """The locks of a call, in the place of Snakemake's own way with them.

    Parameters
    ----------
    persistence : FilePersistence
        Snakemake's, which has no public place for this.
    """

    def __init__(self, persistence: Any):
        self._persistence = persistence
        self._folder = Path(persistence._lockdir)
        persistence.lock = self.hold
        persistence.cleanup_locks = self.unlock

    def check(self, outputs: Iterable[str]) -> None:
        """End the call with one line where another one makes its inputs, or uses its outputs.

        Parameters
        ----------
        outputs : iterable of str
            What this call is about to make.
        """
        with self._turn():
            self._check(outputs)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Lock what this call reads and makes, while it runs."""
        persistence, path = self._persistence, self._folder / f"{uuid.uuid4().hex}.call"
        with self._turn():
            self._check(persistence.all_outputfiles())
            persistence._write_locks("input", map(str, persistence.all_inputfiles()))
            persistence._write_locks("output", map(str, persistence.all_outputfiles()))
            locks = [Path(file) for file in persistence._lockfile.values()]
            own = {"process": os.getpid(), "host": socket.gethostname()}
            life = path.open("w", encoding="utf-8")
            json.dump(own | {"locks": [file.name for file in locks]}, life)
            life.flush()
            hold(life)
        try:
            yield
        finally:
            with self._turn(), life:
                for file in (*locks, path):
                    file.unlink(missing_ok=True)

    def unlock(self) -> None:
        """Remove the locks of calls that have ended, as by `--unlock`."""
        with self._turn():
            living = self._living()
            kept = {path.name for path in living}.union(
                *(call["locks"] for call in living.values())
            )
            for file in (*self._folder.glob(_LOCKS), *self._folder.glob(_CALLS)):
                if file.name not in kept:
                    file.unlink()
        for name in sorted(map(_name, living.values())):
            line = f"another snakemake works in this folder ({name}): its lock is kept"
            print(f"nashlens: note: {line}", file=sys.stderr)

    def _check(self, outputs: Iterable[str]) -> None:
        outputs, inputs = (
            set(map(str, files)) for files in (outputs, self._persistence.all_inputfiles())
        )
        taken = set()
        for file in self._folder.glob(_LOCKS):
            # In the encoding in which Snakemake wrote it.
            ours = outputs if file.name.endswith(_INPUTS) else outputs | inputs
            if ours & set(file.read_text(errors="replace").splitlines()):
                taken.add(file.name)
        if taken:
            _refuse([call for call in self._living().values() if taken & {*call["locks"]}])

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Keep other calls from looking at locks, and from changing them."""
        with open(self._folder.parent / "locks.turn", "ab") as file:
            # Where a disk has no locks it is Snakemake's way.
            hold(file)
            yield

    def _living(self) -> dict[Path, dict[str, Any]]:
        """Return what those calls have written down that surely work, by its file."""
        found = {}
        for path in self._folder.glob(_CALLS):
            with suppress(OSError), open(path, "rb") as file:
                if is_held(file):
                    found[path] = read_object(path)
        return found


def _refuse(living: list[dict[str, Any]]) -> None:
    if living:
        names = " and ".join(sorted(map(_name, living)))
        why = (
            f"another snakemake works on the same files in this folder ({names}): wait for its end"
        )
    else:
        why = (
            "this folder is locked by a snakemake that did not unlock it: if none works here any"
            " more (`pgrep -af snakemake`, on each machine that shares the folder), run `snakemake"
            " --unlock`"
        )
    print(f"{PREFIX}{why}, and {AGAIN}", file=sys.stderr)
    # SystemExit, as Snakemake prints a traceback for any other exception.
    sys.exit(1)


def _name(call: dict[str, Any]) -> str:
    where = "" if call["host"] == socket.gethostname() else f" on {call['host']}"
    return f"process {call['process']}{where}"
