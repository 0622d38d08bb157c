"""SIGTERM ends a call of Snakemake, at any moment."""

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
