"""Files that appear whole or not at all, and what becomes of damaged ones."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

from nashlens.disk import DiskError, disk_problem, remove
from nashlens.errors import AGAIN, StoreError

log = logging.getLogger(__name__)

_SEALED = re.compile(rb'\{"sha256": "([0-9a-f]{64})", "value": (.*)\}\n')
_LEFT = re.compile(r"(.+)\.(\d+)\.tmp")
Guard = Callable[[], AbstractContextManager[None]]
_guards: list[Guard] = []


@contextlib.contextmanager
def guarded_by(guard: Guard) -> Iterator[None]:
    """Have every file that this process moves to its place moved inside a context.

    Parameters
    ----------
    guard : callable
        Returns the context; it raises an error where the file must not be replaced.
    """
    _guards.append(guard)
    try:
        yield
    finally:
        _guards.remove(guard)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Enter the contexts of all guards, to move something to its place."""
    with contextlib.ExitStack() as stack:
        for guard in _guards:
            stack.enter_context(guard())
        yield


def put_in_place(temporary: str | Path, path: str | Path) -> None:
    """Rename a finished file to its place, unless a guard objects."""
    with guarded():
        os.replace(temporary, path)


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open a binary file that replaces `path` only when the block ends without an error.

    Raises
    ------
    DiskError
        If it cannot be written, for a reason of its disk.
    """
    temporary = _temporary(path)
    try:
        with _checked(path):
            temporary.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                yield file
                _settle(file)
            put_in_place(temporary, path)
    finally:
        remove(temporary)


@contextlib.contextmanager
def growing_write(path: str | Path, folder: str | Path | None) -> Iterator[BinaryIO]:
    """Open a binary file that is written in any order, and is `path` when the block ends well.

    Parameters
    ----------
    path : str or Path
    folder : str or Path, optional
        Where the file grows, and is left: the next block finds there what an earlier one has
        written, be it one that was killed or one that ended. It must be on the same disk.

    Raises
    ------
    DiskError
        If it cannot be written, for a reason of its disk.
    """
    temporary = _temporary(path)
    grown = temporary if folder is None else Path(folder) / Path(path).name
    try:
        with _checked(path):
            for parent in (grown.parent, temporary.parent):
                parent.mkdir(parents=True, exist_ok=True)
            with open(os.open(grown, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
                yield file
                _settle(file)
            if grown != temporary:
                # Twice by name, once on disk.
                try:
                    os.link(grown, temporary)
                except OSError:
                    # This disk has no such links: what dies now has to write it again.
                    os.replace(grown, temporary)
            put_in_place(temporary, path)
    finally:
        remove(temporary)


def _temporary(path: str | Path) -> Path:
    return Path(path).with_name(f"{Path(path).name}.{os.getpid()}.tmp")


def _settle(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


@contextlib.contextmanager
def _checked(path: str | Path) -> Iterator[None]:
    """Raise DiskError where a file cannot be written for a reason of its disk."""
    path = Path(path)
    try:
        yield
    except OSError as error:
        # What the block reads has a name of its own.
        own = (None, str(_temporary(path)))
        ours = error.filename in own or Path(error.filename) in path.parents
        problem = disk_problem(error, path) if ours else None
        if problem is None:
            raise
        raise DiskError(problem) from error


def clear_left(path: str | Path, *, older: float = 0.0) -> None:
    """Delete what processes that were killed have left of a file: NAME.PID.tmp.

    Parameters
    ----------
    path : str or Path
        The file; or a folder with a name of `*`, for all of its files.
    older : float
        Seconds since it was last written to, at least. For files that others may be writing.
    """
    path = Path(path)
    with contextlib.suppress(OSError):
        for other in path.parent.iterdir():
            found = _LEFT.fullmatch(other.name)
            if found is None or path.name not in (found[1], "*") or int(found[2]) == os.getpid():
                continue
            if time.time() - other.stat().st_mtime >= older:
                remove(other)


def write_json(path: str | Path, value: Any) -> None:
    """Write indented JSON with sorted keys, atomically."""
    encoder = json.JSONEncoder(indent=1, sort_keys=True, allow_nan=False)
    with atomic_write(path) as file:
        # Piece by piece, so that the text of a large manifest is never in memory as a whole.
        file.writelines(piece.encode() for piece in encoder.iterencode(value))
        file.write(b"\n")


def read_json(path: str | Path) -> Any:
    """Read JSON that a rule made.

    Raises
    ------
    StoreError
        If the file is missing or is not JSON; then it is set aside.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file: {AGAIN}, which makes it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise damaged(path, f"not readable JSON ({error})") from None


def read_object(path: str | Path) -> dict[str, Any]:
    """Return a JSON object, or an empty one where the file is missing or holds none."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(Path(path).read_bytes())
        return found if isinstance(found, dict) else {}
    return {}


def sealed(value: Any) -> str:
    """Return JSON together with the SHA-256 of its text, one line; for `unsealed`."""
    text = json.dumps(value)
    seal = hashlib.sha256(text.encode()).hexdigest()
    return f'{{"sha256": "{seal}", "value": {text}}}\n'


def unsealed(content: bytes) -> Any:
    """Return what `sealed` was given.

    Raises
    ------
    ValueError
        If any bit differs.
    """
    found = _SEALED.fullmatch(content)
    if found is None or hashlib.sha256(found[2]).hexdigest().encode() != found[1]:
        raise ValueError("it holds something else than was written")
    return json.loads(found[2])


def write_sealed(path: str | Path, value: Any) -> None:
    """Write a file of one sealed value, atomically; for `read_sealed`."""
    with atomic_write(path) as file:
        file.write(sealed(value).encode())


def read_sealed(path: str | Path) -> Any:
    """Return what `write_sealed` wrote; None where the file is missing or any bit of it differs."""
    path = Path(path)
    try:
        return unsealed(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        log.warning("%s: %s: made again", path.name, error)
        return None


def parse_json(path: str | Path, what_to_do: str) -> Any:
    """Read JSON for people: whatever is wrong, nothing is moved.

    Parameters
    ----------
    path : str or Path
    what_to_do : str
        How an error ends.

    Raises
    ------
    StoreError
        If the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; {what_to_do}") from None
    except ValueError as error:
        raise StoreError(f"{path}: not readable JSON ({error}); {what_to_do}") from None


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damaged(path: str | Path, why: str, *, also: Iterable[Path] = ()) -> StoreError:
    """Set a damaged file aside, so that Snakemake finds it missing and makes it again.

    Parameters
    ----------
    path : str or Path
        It is renamed to NAME.damaged; a missing one is left so.
    why : str
        What is wrong with it.
    also : iterable of Path
        Files that only say that it is there; they are deleted.

    Returns
    -------
    StoreError
        Names the file, what is wrong, and what to do. To be raised.
    """
    path, also = Path(path), list(also)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.replace(path, path.with_name(f"{path.name}.damaged"))
        for other in also:
            other.unlink(missing_ok=True)
    except OSError:
        names = ", ".join(map(str, [path, *also]))
        return StoreError(f"{path}: {why}; delete {names} and {AGAIN}")
    return StoreError(f"{path}: {why}: {AGAIN}, which makes it anew")
