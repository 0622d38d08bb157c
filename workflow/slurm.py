"""SLURM's executor plugin, with patience: no job is forgotten, lost, or submitted twice.

By itself, the plugin (2.8.0)

- forgets all running jobs when five status queries in a row fail, and Snakemake waits for ever;
- counts a failed `sbatch` as a failed job, though a busy controller may have taken the job;
- waits for ever for a job that the scheduler no longer knows, or that sacct calls "CANCELLED by" a
  user;
- asks ten seconds later after each time that nothing has ended, up to three minutes;
- still submits after Ctrl-C what was waiting to be submitted;
- submits the jobs of a Snakemake that was killed again, while they run.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import snakemake_executor_plugin_slurm as plugin
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

from nashlens.files import sealed, unsealed
from workflow.claims import REMOTE
from workflow.records import read_record

LEDGER = Path(".snakemake/nashlens_slurm.jsonl")
"""The jobs that this folder's calls have submitted, and that may still be known to SLURM."""
PAUSES = (5, 5, 10, 20, 20, 60, 60, 60, 60, 60, 60, 60, 60, 60)
"""Seconds between submissions while the controller does not answer."""
OTHERWISE = 2
"""Submissions after one that was refused for another reason."""
UNKNOWN_FOR = 600.0
"""Seconds between two looks for jobs that the scheduler no longer knows."""
_AWAY = re.compile(
    r"contact slurm controller|timed out|connect|temporarily|zero bytes|try again|shut ?down", re.I
)


def be_patient() -> None:
    """Let Snakemake use this executor where it is asked for SLURM's."""
    os.environ[REMOTE] = "1"
    ExecutorPluginRegistry().get_plugin("slurm").executor = PatientExecutor
    plugin.query_job_status = _query_states


_query = plugin.query_job_status


async def _query_states(command: str, logger: Any) -> tuple[dict[str, str] | None, float | None]:
    """Return the states of jobs by their ids, without who cancelled one; None: no answer."""
    states, seconds = await _query(command, logger)
    if states is None:
        return None, None
    return {number: state.partition(" ")[0] for number, state in states.items()}, seconds


class PatientExecutor(plugin.Executor):
    """See the module; what is not said here is the plugin's."""

    def __post_init__(self, test_mode: bool = False) -> None:
        """Look for jobs that a Snakemake which was killed has left running."""
        self._guard = threading.RLock()
        self._active: dict[int, SubmittedJobInfo] = {}
        self._ids: set[str] = set()
        self._trying = threading.local()
        self._closing = threading.Event()
        self._looked = time.monotonic()
        self._missed: set[str] = set()
        super().__post_init__(test_mode)
        self._left = _find_left(self.logger)
        if self._left:
            # Status queries go by the run's name: so this run takes the name of the jobs' own.
            self.run_uuid = next(iter(self._left.values()))["run"]

    # ---- submission ----

    def run_job(self, job: Any) -> None:
        """Submit a job, unless SLURM has it already; while the controller is away, wait."""
        self._trying.refusal = None
        if self._take_over(job):
            return
        pauses = iter(PAUSES)
        others = OTHERWISE
        while True:
            self._trying.active, self._trying.refusal = True, None
            try:
                super().run_job(job)
            finally:
                self._trying.active = False
            if self._trying.refusal is None:
                return
            refusal = self._trying.refusal
            said = _said_by_sbatch(refusal[1])
            away = bool(_AWAY.search(said))
            others -= not away
            pause = next(pauses, None)
            if others < 0 or pause is None:
                super()._report_job_error_threadsafe(*refusal)
                return
            self.logger.warning(f"sbatch failed, and is tried again: {said}")
            # The controller may have taken it, and only its answer was lost.
            taken = not self._closing.wait(pause if away else 2) and self._find_taken(job)
            if self._closing.is_set() and not taken:
                super()._report_job_error_threadsafe(*refusal)
            if self._closing.is_set() or taken:
                return

    def _report_job_error_threadsafe(self, job_info: SubmittedJobInfo, msg: str) -> None:
        if getattr(self._trying, "active", False):
            self._trying.refusal = (job_info, msg)
        else:
            super()._report_job_error_threadsafe(job_info, msg)

    def report_job_submission(self, job_info: SubmittedJobInfo, register_job: bool = True) -> None:
        """Note a job as running, in memory and on disk."""
        with self._guard:
            self._active[id(job_info)] = job_info
            self._ids.add(str(job_info.external_jobid))
            if not job_info.job.is_group():
                self._note(job_info)
        super().report_job_submission(job_info, register_job)

    def _note(self, info: SubmittedJobInfo) -> None:
        note = {
            "id": info.external_jobid,
            "run": self.run_uuid,
            "output": _output(info.job),
            "fingerprint": info.job.params.get("fingerprint"),
            "log": str(info.aux["slurm_logfile"]),
        }
        # On a full disk a later call does not know of it; the job itself is submitted.
        with contextlib.suppress(OSError), open(LEDGER, "a", encoding="utf-8") as file:
            file.write(sealed(note))

    def _take_over(self, job: Any) -> bool:
        """Go on with the job of a Snakemake that was killed; cancel one of other results."""
        if job.is_group():
            return False
        with self._guard:
            left = self._left.pop(_output(job), None)
        if left is None:
            return False
        if left["fingerprint"] != job.params.get("fingerprint"):
            self.logger.info(f"SLURM job {left['id']} of an earlier call makes another result.")
            _answer("scancel", left["id"])
            return False
        self.logger.info(
            f"Job {job.jobid} is SLURM job {left['id']} of an earlier call, which goes on."
        )
        self._register(job, left["id"], Path(left["log"]))
        return True

    def _find_taken(self, job: Any) -> bool:
        """Look whether SLURM has taken a job whose submission seemed to fail."""
        wildcards = plugin.get_job_wildcards(job)
        rule = f"group_{job.name}" if job.is_group() else f"rule_{job.name}"
        comment = f"rule_{job.name}" + (f"_wildcards_{wildcards}" if wildcards else "")
        while (known := _known_jobs()) is None:
            if self._closing.wait(5):
                return False
        noted = {note["id"] for note in _read_ledger()}
        for number, (name, said) in known.items():
            with self._guard:
                own = name == self.run_uuid and said == comment
                if not own or number in self._ids | noted:
                    continue
                self._ids.add(number)
            self._register(job, number, self.slurm_logdir / rule / wildcards / f"{number}.log")
            return True
        return False

    def _register(self, job: Any, number: str, log: Path) -> None:
        info = SubmittedJobInfo(job, external_jobid=number, aux={"slurm_logfile": log})
        self._report_job_submission_threadsafe(info)

    # ---- status ----

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncIterator[SubmittedJobInfo]:
        """Yield the jobs that still run, those too of which no query could tell anything."""
        running = [info async for info in super().check_active_jobs(active_jobs)]
        if not active_jobs:
            # It may be asked before this object is ready.
            return
        told = {id(info) for info in running}
        running += [
            info for info in active_jobs if id(info) in self._active and id(info) not in told
        ]
        lost = self._find_lost(running)
        for info in running:
            if str(info.external_jobid) not in lost:
                yield info
        longest = self.workflow.executor_settings.init_seconds_before_status_checks
        self.next_seconds_between_status_checks = min(
            self.next_seconds_between_status_checks, max(1, longest)
        )

    def _find_lost(self, running: Sequence[SubmittedJobInfo]) -> set[str]:
        """End what the scheduler twice did not know: as done where its results are there."""
        if time.monotonic() - self._looked < UNKNOWN_FOR or (known := _known_jobs()) is None:
            return set()
        self._looked = time.monotonic()
        missed = {str(info.external_jobid) for info in running} - set(known)
        lost, self._missed = missed & self._missed, missed
        for info in running:
            if str(info.external_jobid) not in lost:
                continue
            record = {} if info.job.is_group() else read_record(_output(info.job))
            if record and record.get("fingerprint") == info.job.params.get("fingerprint"):
                self.report_job_success(info)
            else:
                said = f"SLURM-job '{info.external_jobid}' failed, SLURM status is: 'UNKNOWN'. "
                self.report_job_error(info, msg=said, aux_logs=[str(info.aux["slurm_logfile"])])
        return lost

    def report_job_success(self, job_info: SubmittedJobInfo) -> None:
        """Note that a job has ended."""
        self._forget(job_info)
        super().report_job_success(job_info)

    def report_job_error(self, job_info: SubmittedJobInfo, *args: Any, **kwargs: Any) -> None:
        """Note that a job has ended."""
        self._forget(job_info)
        super().report_job_error(job_info, *args, **kwargs)

    def _forget(self, job_info: SubmittedJobInfo) -> None:
        with self._guard:
            self._active.pop(id(job_info), None)

    # ---- end ----

    def cancel(self) -> None:
        """Submit nothing more, then cancel."""
        self._closing.set()
        self._job_submission_executor.shutdown(wait=True, cancel_futures=True)
        super().cancel()

    def cancel_jobs(self, active_jobs: Sequence[SubmittedJobInfo]) -> None:
        """Cancel all jobs, those too that are being asked about at this moment."""
        with self._guard:
            active = list(self._active.values())
        super().cancel_jobs(active)


def _output(job: Any) -> str:
    return str(job.output[0])


def _said_by_sbatch(message: str) -> str:
    found = re.search(r"(?s)The error message was '(.*?)'\.\n", message)
    return " ".join((found.group(1) if found else message).split())


def _find_left(logger: Any) -> dict[str, dict[str, Any]]:
    """Return the jobs of earlier calls that SLURM still has, by their first output."""
    notes = _read_ledger()
    if not notes:
        return {}
    while (known := _known_jobs()) is None:
        logger.warning("SLURM's controller does not answer; asking again.")
        time.sleep(5)
    left = {note["output"]: note for note in notes if note["id"] in known}
    LEDGER.write_text("".join(map(sealed, left.values())), "utf-8")
    return left


def _read_ledger() -> list[dict[str, Any]]:
    notes = []
    try:
        lines = LEDGER.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    for line in lines:
        # Cut off with the Snakemake that wrote it; or damaged, and of nobody knows which job.
        with contextlib.suppress(ValueError):
            notes.append(unsealed(line))
    return notes


def _known_jobs() -> dict[str, tuple[str, str]] | None:
    """Return this user's pending and running jobs: their names and comments; None: no answer."""
    text = _answer("squeue", "--me", "--noheader", "--format=%i|%j|%k")
    if text is None:
        return None
    rows = (line.split("|", 2) for line in text.splitlines() if line.count("|") >= 2)
    return {number.strip(): (name, comment.strip()) for number, name, comment in rows}


def _answer(*command: str) -> str | None:
    """Return what a command of SLURM prints, or None where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
