"""Progress of long loops: a bar on a terminal, a line every 30 s in a log."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Collection, Iterator
from typing import TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
_EVERY = 30.0  # seconds between two lines
SHARED_TERMINAL = "NASHLENS_SHARED_TERMINAL"
"""Set where several processes have one terminal: they write to their logs alone, and no bars."""


def progress(items: Collection[T], name: str, *, unit: str = "it") -> Iterator[T]:
    """Iterate with a rate and an estimate of the time left.

    Parameters
    ----------
    items : collection
    name : str
        What the loop does.
    unit : str
        What one item is.
    """
    if sys.stderr.isatty() and not os.environ.get(SHARED_TERMINAL):
        from tqdm import tqdm

        yield from tqdm(items, desc=name, unit=unit, file=sys.stderr)
        return
    start = reported = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - reported >= _EVERY and done:
            reported, rate = now, done / (now - start)
            left = (len(items) - done) / rate
            log.info(
                "%s: %d of %d %s, %.2f/s, %.0f s left", name, done, len(items), unit, rate, left
            )
        yield item


def duration(seconds: float) -> str:
    """Return a time as people say it.

    >>> duration(0), duration(75), duration(4000), duration(400_000)
    ('-', '75 s', '67 min', '111 h')
    """
    if not seconds:
        return "-"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 7000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 36_000 else f"{seconds / 3600:,.0f} h"
