"""What happens where a device runs out of memory: what runs at once is halved, and that is said."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

import torch

log = logging.getLogger(__name__)

T = TypeVar("T")


class Batch:
    """How much runs at once: it is halved whenever the device runs out of memory.

    As a context manager it ends its block at a `torch.OutOfMemoryError`, after it has halved
    `size`: what was not finished is for the caller to do again. What is at its least cannot be
    halved, and the error goes on. The first time is a warning, each further one a line in the log.

    Parameters
    ----------
    unit : str
        What is counted, for the message.
    size : int, optional
        Without one, as much runs at once as a caller has.
    least : int, default 1
    """

    def __init__(self, unit: str, size: int = sys.maxsize, least: int = 1):
        self.unit, self.size, self.least = unit, size, min(least, size)
        self._running = size
        self._said = False

    def __call__(self, running: int) -> Batch:
        """Say how much will run at once, where it is less than `size`."""
        self._running = running
        return self

    def __enter__(self) -> Batch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        size, self._running = min(self.size, self._running), sys.maxsize
        if not isinstance(error, torch.OutOfMemoryError) or size <= self.least:
            return False
        self.size = max(self.least, size // 2)
        level = logging.INFO if self._said else logging.WARNING
        log.log(level, "out of memory: %d %s at once from now on", self.size, self.unit)
        self._said = True
        # The error holds on to the tensors of the calls that failed.
        traceback.clear_frames(trace)
        error.__traceback__ = None
        torch.cuda.empty_cache()
        return True

    def run(self, number: int, work: Callable[[slice], T]) -> list[T]:
        """Return what `work` makes of slices of so many things, each as large as fits."""
        found: list[T] = []
        start = 0
        while start < number:
            some = slice(start, start + min(self.size, number - start))
            with self(some.stop - start):
                found.append(work(some))
                start = some.stop
        return found
