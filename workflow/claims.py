"""Who makes an output: the job that started last, and no other replaces a file of it.

A job whose Snakemake was killed goes on, and may end after a new call has made the same output from
another config. Each job writes a claim beside the records of its output; before any of its files is
moved to its place, it looks whether the claim is still its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import uuid
from collections.abc import Iterator
from typing import Any

from nashlens.errors import AGAIN, StoreError
from nashlens.files import read_object
from workflow.records import read_record, record_file

RUN = "NASHLENS_RUN"
"""When the call of Snakemake began that a job belongs to, in ns."""
REMOTE = "NASHLENS_REMOTE"
"""Set for jobs that a scheduler starts on its nodes."""


def begin_run() -> None:
    """Give this call of Snakemake its time as a number, which its jobs are told anywhere."""
    os.environ[RUN] = str(time.time_ns())


class Claim:
    """The claim of a job on its outputs, held from its start to its end.

    Parameters
    ----------
    output : str
        The rule's first output.

    Raises
    ------
    StoreError
        If a job of a later call has claimed or made it.
    """

    def __init__(self, output: str):
        self.output = output
        # A job that nobody told so, as on a cluster that hands on no environment, is its own call.
        self.run = int(os.environ.get(RUN, time.time_ns()))
        self._path = record_file(output).with_suffix(".claim")
        self._own = {"run": self.run, "token": uuid.uuid4().hex}

    def __enter__(self) -> Claim:
        with self._locked() as found:
            later = max(found.get("run", 0), read_record(self.output).get("run", 0))
            # What claims to come from the future was made under a wrong clock, and is no later.
            if self.run < later <= time.time_ns():
                raise self._superseded()
            self._path.write_text(json.dumps(self._own))
        return self

    def __exit__(self, *error: object) -> None:
        # A disk that is gone must not hide what ended the job; a later one takes the claim.
        with contextlib.suppress(OSError), self._locked() as found:
            if found == self._own:
                self._path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the outputs while a file is moved to its place.

        Raises
        ------
        StoreError
            If another job has claimed them.
        """
        with self._locked() as found:
            if found != self._own:
                raise self._superseded()
            yield

    @contextlib.contextmanager
    def _locked(self) -> Iterator[dict[str, Any]]:
        """Lock the claim; yield what it says, nothing where it was taken away."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._path, "a+", encoding="utf-8") as file:
            # Some shared disks have no locks; then two moves at one moment are possible.
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            yield read_object(self._path)

    def _superseded(self) -> StoreError:
        return StoreError(
            f"{self.output}: a job that started later makes it, so this one has left it as it is;"
            f" let the other end, and {AGAIN}"
        )
