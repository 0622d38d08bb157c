"""SIGTERM ends a call of Snakemake at any moment, and it chooses jobs only when one has ended."""

import re
import subprocess

import pytest

TERMINATED = """

import signal
from snakemake.scheduling.job_scheduler import JobScheduler

_error_jobs = JobScheduler._error_jobs

def _interrupted(scheduler):
    assert scheduler._lock.locked()
    signal.raise_signal(signal.SIGTERM)
    _error_jobs(scheduler)

JobScheduler._error_jobs = _interrupted
"""

COUNTED = """

import atexit
from snakemake.scheduling.job_scheduler import JobScheduler

_select, chosen = JobScheduler.job_selector, []

def _counted(scheduler, jobs):
    chosen.append(len(jobs))
    return _select(scheduler, jobs)

JobScheduler.job_selector = _counted
atexit.register(lambda: print(f"{len(chosen)} choices"))
"""


def test_jobs_are_chosen_when_one_has_ended_and_not_every_second(fresh):
    with fresh.edited("Snakefile", None, COUNTED):
        done = fresh.snakemake("--cores", "1", "prompts")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    ended = len(re.findall(r"^Finished jobid: ", said, re.M))
    assert ended >= 5
    # Once at the start, and at most once more whenever one ends.
    assert max(int(found) for found in re.findall(r"(\d+) choices", said)) <= ended + 1


def test_sigterm_ends_a_call_that_holds_its_own_lock(fresh):
    with fresh.edited("Snakefile", None, TERMINATED):
        call = fresh.start("--cores", "1", "games")
        try:
            status = call.wait(300)
        except subprocess.TimeoutExpired:
            call.kill()
            call.wait()
            pytest.fail("it did not end")
    said = (fresh.folder / "said").read_text()
    assert status == 1, said
    assert "Will exit after finishing currently running jobs" in said
