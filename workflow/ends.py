"""SIGTERM ends a call of Snakemake, whatever the call does when it comes.

Snakemake's own handler takes the scheduler's lock. The thread that it interrupts holds that lock
while it chooses jobs and while it clears up after one that failed, so at such a moment the handler
waits for itself, for ever. `scancel` met it in a job's own Snakemake: the process of the batch
script stayed on the node, and where the scheduler has no cgroups nothing ended it.
"""

from __future__ import annotations

import _thread
from typing import Any

from snakemake.scheduling.job_scheduler import JobScheduler

_exit_gracefully = JobScheduler.exit_gracefully


def end_at_sigterm() -> None:
    """Let Snakemake's handler do its work in a thread of its own, which can wait for the lock."""
    JobScheduler.exit_gracefully = _in_a_thread


def _in_a_thread(scheduler: JobScheduler, *given: Any) -> None:
    # Not a `threading.Thread`: to start one takes a lock too, which may be held here.
    _thread.start_new_thread(_exit_gracefully, (scheduler, *given))
