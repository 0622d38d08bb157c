"""Processes that work side by side within a job.

Threads of one process hand Python's lock to one another at every step. Where a step takes some
microseconds, eight threads on sixteen cores keep two of them busy (docs/benchmarks.md, *The default
experiment on one GPU*).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
_ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


def spare_threads(cores: int, models: int, least: int = 1) -> int:
    """Return the threads of a job that works on its layers side by side.

    Together for all models, two thirds of a machine's cores: a job that asked for more would wait
    until they are all free at once.

    Parameters
    ----------
    cores, models : int
    least : int
        What other jobs have.
    """
    return max(least, min(12, 2 * cores // (3 * models)))


class Workers:
    """Processes of one thread each, which end with the job.

    They begin empty, and import what their work needs.

    Parameters
    ----------
    count : int
    """

    def __init__(self, count: int):
        # joblib takes part of a second to import, and most jobs need no workers.
        from joblib.externals.loky import ProcessPoolExecutor

        self._pool = ProcessPoolExecutor(count, env=_ONE_THREAD)

    def run(self, work: Callable[..., T], *given: Any) -> T:
        """Return what a function makes of its arguments in one of the processes.

        Functions of any kind may be given, those within functions too. What they raise is raised.
        """
        result: T = self._pool.submit(work, *given).result()
        return result

    def end(self) -> None:
        """End the processes at once, in the middle of their work."""
        self._pool.shutdown(wait=False, kill_workers=True)

    def close(self) -> None:
        """Wait for the processes and end them."""
        self._pool.shutdown()
