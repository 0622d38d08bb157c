"""What is wrong with a disk, in one line: full, read-only, or gone."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
from pathlib import Path

from nashlens.errors import AGAIN, StoreError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_AWAY = (
    *(errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.ENODEV, errno.ENXIO),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, getattr(errno, "EREMOTEIO", errno.EIO)),
)
_NUMBER = re.compile(r"\[Errno (\d+)\]|\(os error (\d+)\)|errno: (\d+)")
"""How Python, Rust and Arrow write the number of a system's error."""


class DiskError(StoreError, OSError):
    """A file cannot be written, or its disk does not answer; the text names it."""


def disk_problem(
    error: BaseException, path: str | os.PathLike[str], *, writing: bool = False
) -> str | None:
    """Return one line that names a file, what is wrong with its disk, and what to do.

    Parameters
    ----------
    error : BaseException
        Of the system; libraries in other languages have it in their text alone.
    path : path
        The file that it happened to.
    writing : bool
        Whether all that was tried is to write it, so that any error is of its disk.

    Returns
    -------
    str or None
        None where the error is of another kind.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := _NUMBER.search(str(error))):
        number = int(next(filter(None, found.groups())))
    if isinstance(error, DiskError) or number is None:
        return None
    what = _what(number, Path(path))
    if what is None and writing:
        what = f"{os.strerror(number)}: see to it that it can be written to"
    return None if what is None else f"{path}: {what}, and {AGAIN}"


def _what(number: int, path: Path) -> str | None:
    if number in _FULL:
        return f"{os.strerror(number)}: make room there"
    if number == errno.EFBIG:
        return "no file may become so large here: raise the limit (`ulimit -f`, or the disk's own)"
    if number == errno.EROFS:
        return "its disk can only be read: mount it for writing, or make results a link elsewhere"
    if number in (errno.EACCES, errno.EPERM):
        return "you may not read or write it: change its permissions, or those of its folder"
    if number in _AWAY:
        return "its disk does not answer: see that it is mounted and its server is up"
    if number in (errno.EMFILE, errno.ENFILE):
        return "too many files are open: raise `ulimit -n`"
    # A dangling link exists where its target does not.
    lost = number in (errno.ENOENT, errno.EEXIST, errno.ENOTDIR) and not path.parent.exists()
    return "its folder is gone: see that the disk is mounted" if lost else None


def folder_problem(folder: str | os.PathLike[str]) -> str | None:
    """Return why nothing can be written in a folder, or where it would be; None where it can."""
    folder = Path(folder)
    while not folder.is_dir():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            # More than what a full disk may still have in its last blocks.
            file.write(bytes(1 << 20))
    except OSError as error:
        return disk_problem(error, folder, writing=True)
    return None


def remove(path: Path) -> None:
    """Delete a file if it is there and its disk lets us."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
