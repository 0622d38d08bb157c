"""Work that outlives its job: what is finished is on disk, and the next run takes it from there.

A stage does its long loops by `each`, and what has a name of its own by `resumed`. Within
`keeping`, their results are written to the job's folder, some 30 s of work to a file, and what an
earlier run of the same job has finished is not done again. Elsewhere they only do the work.

A result may not depend on what was done before it in the job: random numbers are drawn by name
(`nashlens.seeds`), and what runs together does not depend on where a job ended. So a job that was
killed ends in the same bytes as one that was not.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from nashlens.files import atomic_write, growing_write, sha256_of
from nashlens.progress import progress
from nashlens.workers import Workers

log = logging.getLogger(__name__)

T = TypeVar("T")
U = TypeVar("U")
EVERY = 30.0
"""Seconds of work after which a chunk is written."""
_TREES = "trees"


class Chunks:
    """Finished results of one job, by name, on disk.

    A chunk is a file of several results, named by the SHA-256 of what it holds.

    Parameters
    ----------
    folder : str or Path
        Made for the first chunk.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._lock = threading.RLock()
        # Name -> the chunk that holds it, which is read when it is asked for.
        self._found: dict[str, tuple[Path, int, Any]] = {}
        self._waiting: dict[str, Any] = {}
        self._opened = time.monotonic()
        for path in sorted(self.folder.glob("*.npz")):
            if sha256_of(path) != path.stem:
                log.warning("%s: damaged, so its work is done again", path.name)
                path.unlink(missing_ok=True)
                continue
            for number, (name, tree) in enumerate(_trees(path)):
                self._found[name] = (path, number, tree)
        if self._found:
            log.info("%d results of an earlier run of this job are taken over", len(self._found))

    def get(self, name: str) -> Any:
        """Return a finished result.

        Raises
        ------
        KeyError
            If there is none.
        """
        with self._lock:
            if name in self._waiting:
                return self._waiting[name]
            path, number, tree = self._found[name]
            try:
                with np.load(path, allow_pickle=False) as file:
                    return _joined(tree, lambda k: file[f"{number}.{k}"])
            except FileNotFoundError:
                # Another run of this job, left over from a Snakemake that was killed, has ended.
                raise KeyError(name) from None

    def put(self, name: str, value: Any) -> None:
        """Add a result; from time to time, what has been added is written."""
        with self._lock:
            # It holds all that its own parts did.
            for part in [other for other in self._waiting if other.startswith(f"{name}/")]:
                del self._waiting[part]
            self._waiting[name] = value
            if time.monotonic() - self._opened >= EVERY:
                self.close()

    def close(self) -> None:
        """Write what has been added since the last time."""
        with self._lock:
            trees: list[list[Any]] = []
            arrays: dict[str, np.ndarray] = {}
            for number, (name, value) in enumerate(self._waiting.items()):
                own: list[np.ndarray] = []
                trees.append([name, _parted(value, own)])
                arrays |= {f"{number}.{k}": array for k, array in enumerate(own)}
            if trees:
                content = io.BytesIO()
                arrays[_TREES] = np.frombuffer(json.dumps(trees).encode(), dtype=np.uint8)
                np.savez(content, **arrays)  # type: ignore[arg-type]
                digest = hashlib.sha256(content.getbuffer()).hexdigest()
                path = self.folder / f"{digest}.npz"
                with atomic_write(path) as file:
                    file.write(content.getbuffer())
                for number, (name, tree) in enumerate(trees):
                    self._found[str(name)] = (path, number, tree)
                self._waiting.clear()
            self._opened = time.monotonic()

    def __len__(self) -> int:
        return len(self._found) + len(self._waiting)


@dataclass
class _Place:
    """Where in a job's work we are: names are unique within a place."""

    chunks: Chunks
    path: str = ""
    counts: Counter[str] = field(default_factory=Counter)


_here: ContextVar[_Place | None] = ContextVar("chunks", default=None)


@contextmanager
def keeping(folder: str | Path, fingerprint: str) -> Iterator[Chunks]:
    """Keep what `each` and `resumed` finish, until the block ends without an error.

    Parameters
    ----------
    folder : str or Path
        Of this job alone. Chunks lie in a folder in it that is named by the fingerprint; those of
        other fingerprints go.
    fingerprint : str
        Of all that the results depend on.
    """
    folder, name = Path(folder), fingerprint[:16]
    for other in folder.glob("*") if folder.is_dir() else ():
        if other.name != name:
            shutil.rmtree(other, ignore_errors=True)
    chunks = Chunks(folder / name)
    before = _here.set(_Place(chunks))
    try:
        yield chunks
    except BaseException:
        chunks.close()
        raise
    finally:
        _here.reset(before)
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        os.rmdir(folder.parent)


@contextmanager
def scope(name: str) -> Iterator[None]:
    """Give the names of `resumed` in a block a place of their own, that of the n-th such block."""
    place = _here.get()
    if place is None:
        yield
        return
    place.counts[name] += 1
    within = _here.set(_Place(place.chunks, f"{place.path}/{name}.{place.counts[name]}"))
    try:
        yield
    finally:
        _here.reset(within)


def resumed(name: str, work: Callable[[], T]) -> T:
    """Return the result of some work, which is done unless an earlier run of the job has done it.

    Parameters
    ----------
    name : str
        Unique for what the work depends on, within the work that this is a part of.
    work : callable
        Returns arrays, plain values, and lists, tuples and dicts (by str) of them.

    Returns
    -------
    Tuples become lists, numbers of numpy plain ones.
    """
    place = _here.get()
    if place is None:
        return _plain(work())
    path = f"{place.path}/{name}"
    with suppress(KeyError):
        return place.chunks.get(path)
    within = _here.set(_Place(place.chunks, path))
    try:
        value = _plain(work())
    finally:
        _here.reset(within)
    place.chunks.put(path, value)
    return value


def each(
    units: Sequence[Any],
    work: Callable[[Any], T],
    name: str,
    *,
    unit: str = "it",
    threads: int = 1,
    processes: bool = False,
    shown: bool = True,
) -> list[T]:
    """Return the result of every unit of some work, see `resumed`.

    Parameters
    ----------
    units : sequence
        In the same order whenever the job runs.
    work : callable
        From a unit to its result, which depends on nothing that another unit does.
    name : str
        What the work is, for the progress display.
    unit : str
        What one unit is.
    threads : int
        Units that are worked on side by side.
    processes : bool
        Each in a process of its own, see `nashlens.workers`: threads that take many short steps
        wait for one another. The work must not need a GPU.
    shown : bool
        Display progress.
    """

    def counted(things: Collection[U]) -> Iterable[U]:
        return progress(things, name, unit=unit) if shown else things

    with scope(name):
        place, numbers = _here.get(), range(len(units))
        side_by_side = min(threads, len(units))
        workers = Workers(side_by_side) if processes and side_by_side > 1 else None

        def done(unit: Any) -> T:
            return work(unit) if workers is None else workers.run(_apart, *_where(), work, unit)

        def one(number: int) -> T:
            return resumed(str(number), partial(done, units[number]))

        if side_by_side <= 1:
            return [one(k) for k in counted(numbers)]
        pool = ThreadPoolExecutor(side_by_side, name)
        try:
            futures = [pool.submit(copy_context().run, one, k) for k in numbers]
            return [future.result() for future in counted(futures)]
        except BaseException:
            # At once: what still runs may take longer than a scheduler waits.
            if place is not None:
                place.chunks.close()
            if workers is not None:
                workers.end()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            if workers is not None:
                workers.close()


def _where() -> tuple[Path | None, str]:
    """Return the folder of the job's chunks, and where in its work we are."""
    place = _here.get()
    return (None, "") if place is None else (place.chunks.folder, place.path)


def _apart(folder: Path | None, path: str, work: Callable[[Any], T], unit: Any) -> T:
    """Do one unit's work in a process of its own, which keeps the unit's own parts."""
    if folder is None:
        return _plain(work(unit))
    chunks = Chunks(folder)
    before = _here.set(_Place(chunks, path))
    try:
        return _plain(work(unit))
    except BaseException:
        chunks.close()
        raise
    finally:
        _here.reset(before)


def growing(path: str | Path) -> AbstractContextManager[BinaryIO]:
    """Open a file that is too large to be kept in chunks and written once more.

    It is written in any order, and is `path` when the block ends without an error. Within `keeping`
    it grows in the job's folder, where the next run of the job finds what this one has written. It
    is for the stage to keep, as a result, what it needs to see that this is whole.

    Parameters
    ----------
    path : str or Path
    """
    place = _here.get()
    return growing_write(path, None if place is None else place.chunks.folder)


def digest_of(*parts: Any) -> str:
    """Return a name for what some arrays and JSON values hold."""
    found = hashlib.sha256()
    for part in parts:
        whole = isinstance(part, np.ndarray)
        found.update(repr(part.shape).encode() if whole else b"json")
        found.update(np.ascontiguousarray(part).tobytes() if whole else json.dumps(part).encode())
    return found.hexdigest()[:24]


def _plain(value: Any) -> Any:
    """Return a result as it is when it has been read back."""
    if isinstance(value, np.ndarray):
        return np.asarray(value, order="C")
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value


def _parted(value: Any, arrays: list[np.ndarray]) -> Any:
    """Return a result as JSON, its arrays apart."""
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if isinstance(value, dict):
        return {"dict": {name: _parted(one, arrays) for name, one in value.items()}}
    if isinstance(value, list):
        return [_parted(one, arrays) for one in value]
    return value


def _joined(tree: Any, array: Callable[[int], np.ndarray]) -> Any:
    """Undo `_parted`."""
    if isinstance(tree, list):
        return [_joined(one, array) for one in tree]
    if isinstance(tree, dict):
        if "array" in tree:
            return array(tree["array"])
        return {name: _joined(one, array) for name, one in tree["dict"].items()}
    return tree


def _trees(path: Path) -> list[list[Any]]:
    with np.load(path, allow_pickle=False) as file:
        return json.loads(file[_TREES].tobytes())
