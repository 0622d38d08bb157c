"""Who makes an output: the job that started last, and no other replaces a file of it.

A job whose Snakemake was killed goes on, and may end after a new call has made the same output from
another config. Each job writes a claim beside the records of its output; before any of its files is
moved to its place, it looks whether the claim is still its own. Of two that make the same from the
same, as two studies that share their models do, the second waits and takes what the first has made.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from nashlens.errors import AGAIN, StoreError
from nashlens.files import read_object, sha256_of
from workflow.alive import hold, is_held
from workflow.records import read_record, record_file

log = logging.getLogger(__name__)

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
    fingerprint : str, optional
        Of what it is made from. A living job that makes the same is waited for.

    Raises
    ------
    StoreError
        If a job of a later call has claimed or made it.
    """

    def __init__(self, output: str, fingerprint: str | None = None):
        self.output = output
        self.waited = False
        """Another job has ended that made the same."""
        # A job that nobody told so, as on a cluster that hands on no environment, is its own call.
        self.run = int(os.environ.get(RUN, time.time_ns()))
        self._path = record_file(output).with_suffix(".claim")
        self._own = {"run": self.run, "token": uuid.uuid4().hex, "fingerprint": fingerprint}
        self._ends = contextlib.ExitStack()

    def __enter__(self) -> Claim:
        with self._ends:
            while (maker := self._claim()) is not None:
                log.info("another job makes the same: it is waited for")
                with maker:
                    fcntl.flock(maker, fcntl.LOCK_SH)
                self.waited = True
            # From here on until the exit.
            self._ends = self._ends.pop_all()
        return self

    def _claim(self) -> BinaryIO | None:
        """Write the claim; where a living job makes the same, return what it holds locked."""
        with self._locked() as found:
            if (maker := self._living(found)) is not None:
                return maker
            record = read_record(self.output)
            same = record.get("fingerprint") == self._own["fingerprint"]
            # Nothing is lost where it was made from the same, or has gone since.
            made = same and (self.waited or not os.path.exists(self.output))
            later = max(found.get("run", 0), 0 if made else record.get("run", 0))
            # What claims to come from the future was made under a wrong clock, and is no later.
            if self.run < later <= time.time_ns():
                raise self._superseded()
            life = self._ends.enter_context(self._life(self._own).open("wb"))
            self._ends.callback(self._life(self._own).unlink, missing_ok=True)
            hold(life)
            self._path.write_text(json.dumps(self._own))
        return None

    def _life(self, claim: dict[str, Any]) -> Path:
        return self._path.with_name(f"{self._path.name}-{claim['token']}")

    def _living(self, found: dict[str, Any]) -> BinaryIO | None:
        """Return what the owner of a claim holds locked, if it lives and makes the same."""
        if "token" not in found:
            return None
        with contextlib.suppress(FileNotFoundError):
            life = self._life(found).open("rb")
            if is_held(life):
                same = self._own["fingerprint"] is not None
                if same and found.get("fingerprint") == self._own["fingerprint"]:
                    return life
            else:
                # It was killed.
                with contextlib.suppress(OSError):
                    self._life(found).unlink()
            life.close()
        return None

    def __exit__(self, *error: object) -> None:
        # A disk that is gone must not hide what ended the job; a later one takes the claim.
        with contextlib.suppress(OSError):
            self._ends.close()
        with contextlib.suppress(OSError), self._locked() as found:
            if found in ({}, self._own):
                self._path.unlink(missing_ok=True)

    def made(self, outputs: Iterable[str]) -> bool:
        """Say whether the job that was waited for has made all outputs."""
        return self.waited and all(map(self._made, outputs))

    def _made(self, output: str) -> bool:
        record = read_record(output)
        same = record.get("fingerprint") == self._own["fingerprint"]
        return same and os.path.isfile(output) and sha256_of(output) == record.get("sha256")

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
            # Without locks two moves at one moment are possible.
            hold(file)
            yield read_object(self._path)

    def _superseded(self) -> StoreError:
        return StoreError(
            f"{self.output}: a job that started later makes it, so this one has left it as it is;"
            f" let the other end, and {AGAIN}"
        )
