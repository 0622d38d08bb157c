"""A file that a process holds locked says that it lives: the kernel gives up its locks at its end.

Some shared disks have no locks; there nothing is known to live.
"""

from __future__ import annotations

import contextlib
import fcntl
from typing import IO, Any


def hold(file: IO[Any]) -> None:
    """Lock an open file for as long as it is open; wait for who holds it."""
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX)


def is_held(file: IO[Any]) -> bool:
    """Say whether another process, or another opening of the file, holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False
