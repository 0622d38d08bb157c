"""What Snakemake's scheduler of jobs does wrong, mended.

SIGTERM ends a call, whatever the call does when it comes. Snakemake's own handler takes the
scheduler's lock. The thread that it interrupts holds that lock while it chooses jobs and while it
clears up after one that failed, so at such a moment the handler waits for itself, for ever.
`scancel` met it in a job's own Snakemake: the process of the batch script stayed on the node, and
where the scheduler has no cgroups nothing ended it.

Jobs are chosen when one has ended, and not all the time. Each time that Snakemake has chosen, it
sets a timer that lets it choose again a second later (`--max-jobs-per-timespan` is 100/1s by
default), and each time that goes off it sets another. So as long as jobs wait, every job that ends
adds a choice a second: after 500 jobs the call took half a core.
"""

from __future__ import annotations

import _thread
from typing import Any

from snakemake.scheduling.job_scheduler import JobScheduler

_exit_gracefully = JobScheduler.exit_gracefully
_choose_later = JobScheduler._schedule_reevalutation


def mend_scheduler() -> None:
    """Mend what this module names, in this process."""
    JobScheduler.exit_gracefully = _in_a_thread
    JobScheduler._schedule_reevalutation = _choose_later_if_limited


def _in_a_thread(scheduler: JobScheduler, *given: Any) -> None:
    """Let Snakemake's handler do its work in a thread of its own, which can wait for the lock."""
    # Not a `threading.Thread`: to start one takes a lock too, which may be held here.
    _thread.start_new_thread(_exit_gracefully, (scheduler, *given))


def _choose_later_if_limited(scheduler: JobScheduler, delay: float) -> None:
    """Set the timer only where the limit of jobs a second has kept some back.

    What else a job waits for is given back by a job that ends, which wakes the scheduler itself.
    """
    limiter = scheduler.job_rate_limiter
    if limiter is None or delay != limiter.timespan or limiter.get_free_jobs() == 0:
        _choose_later(scheduler, delay)
