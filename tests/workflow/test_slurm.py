"""What SLURM's executor does with answers that a real cluster seldom gives."""

import asyncio
import threading
from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as plugin
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

import workflow.slurm as slurm
from nashlens.files import write_sealed
from workflow.experiment import more_each_try
from workflow.records import record_file
from workflow.slurm import LEDGER, PatientExecutor

TABLE = "results/mini/a.parquet"


class Job:
    """As much of Snakemake's job as the executor looks at."""

    output = (TABLE,)
    params = {"fingerprint": "f"}  # noqa: RUF012
    name, wildcards, jobid = "fit", ("m",), 1

    def is_group(self):
        return False


@pytest.fixture
def executor(monkeypatch, tmp_path):
    """An executor that talks to no scheduler."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".snakemake").mkdir()
    found = object.__new__(PatientExecutor)
    found._guard, found._active, found._ids = threading.RLock(), {}, set()
    found._trying, found._closing = threading.local(), threading.Event()
    found._looked, found._missed, found._left = float("-inf"), set(), {}
    found.run_uuid, found.slurm_logdir = "run", tmp_path
    found.logger = SimpleNamespace(info=lambda _: None, warning=lambda _: None)
    settings = SimpleNamespace(init_seconds_before_status_checks=40)
    found.workflow = SimpleNamespace(executor_settings=settings, scheduler=Scheduler())
    found.active_jobs, found.lock = [], threading.Lock()
    found._next_seconds_between_status_checks = 180
    monkeypatch.setattr(plugin.Executor, "report_job_success", Scheduler.succeed)
    monkeypatch.setattr(plugin.Executor, "report_job_error", Scheduler.fail)
    monkeypatch.setattr(plugin.Executor, "report_job_submission", Scheduler.submit)
    return found


class Scheduler:
    """Notes what it is told."""

    def __init__(self):
        self.told = []

    @staticmethod
    def succeed(executor, info):
        executor.workflow.scheduler.told.append(("done", info.external_jobid))

    @staticmethod
    def fail(executor, info, msg=None, **_):
        executor.workflow.scheduler.told.append(("failed", info.external_jobid, msg))

    @staticmethod
    def submit(executor, info, register_job=True):
        executor.workflow.scheduler.told.append(("submitted", info.external_jobid))


def submitted(executor, number="7"):
    info = SubmittedJobInfo(Job(), number, {"slurm_logfile": "7.log"})
    executor.report_job_submission(info)
    executor.workflow.scheduler.told.clear()
    return info


def poll(executor, monkeypatch, infos, yields):
    """Return what a status query leaves active, where the plugin itself yields some."""

    async def check(self, active):
        for info in yields:
            yield info

    async def collect():
        return [info async for info in executor.check_active_jobs(infos)]

    monkeypatch.setattr(plugin.Executor, "check_active_jobs", check)
    return asyncio.run(collect())


def test_a_job_that_no_query_could_tell_of_stays_active(executor, monkeypatch):
    executor._looked = float("inf")
    info = submitted(executor)
    assert poll(executor, monkeypatch, [info], []) == [info]
    executor.report_job_success(info)
    assert poll(executor, monkeypatch, [info], []) == []
    assert executor.next_seconds_between_status_checks == 40


@pytest.mark.parametrize("made", [True, False])
def test_a_job_that_slurm_forgot_is_judged_by_its_results(executor, monkeypatch, made):
    info = submitted(executor)
    known = {}
    monkeypatch.setattr(slurm, "_known_jobs", lambda: known)
    if made:
        write_sealed(record_file(TABLE), {"fingerprint": "f"})
    # Once unknown may be between two answers.
    assert poll(executor, monkeypatch, [info], [info]) == [info]
    executor._looked = float("-inf")
    assert poll(executor, monkeypatch, [info], [info]) == []
    ((state, number, *said),) = executor.workflow.scheduler.told
    assert (state, number) == ("done" if made else "failed", "7")
    assert made or "'UNKNOWN'" in said[0]


@pytest.mark.parametrize("known", [{"7": ("run", "")}, None])
def test_a_job_that_slurm_knows_or_cannot_say_is_waited_for(executor, monkeypatch, known):
    info = submitted(executor)
    monkeypatch.setattr(slurm, "_known_jobs", lambda: known)
    for _ in range(3):
        executor._looked = float("-inf")
        assert poll(executor, monkeypatch, [info], [info]) == [info]


@pytest.mark.parametrize(
    ("said", "tries"),
    [
        ("Unable to contact slurm controller (connect failure)", len(slurm.PAUSES) + 1),
        ("Socket timed out on send/recv operation", len(slurm.PAUSES) + 1),
        ("invalid partition specified: gone", slurm.OTHERWISE + 1),
    ],
)
def test_an_sbatch_that_fails_is_tried_as_often_as_it_may_help(executor, monkeypatch, said, tries):
    calls = []

    def refuse(self, job):
        calls.append(job)
        message = f"SLURM sbatch failed. The error message was 'sbatch: error: {said}'.\n call"
        self._report_job_error_threadsafe(SubmittedJobInfo(job), message)

    monkeypatch.setattr(plugin.Executor, "run_job", refuse)
    monkeypatch.setattr(slurm, "_known_jobs", dict)
    monkeypatch.setattr(executor._closing, "wait", lambda seconds: False)
    executor._main_event_loop = None
    executor.run_job(Job())
    assert len(calls) == tries
    ((state, _, message),) = executor.workflow.scheduler.told
    assert state == "failed"
    assert said in message


def test_after_the_end_nothing_is_submitted(executor, monkeypatch):
    calls = []

    def refuse(self, job):
        calls.append(job)
        self._closing.set()
        self._report_job_error_threadsafe(SubmittedJobInfo(job), "timed out")

    monkeypatch.setattr(plugin.Executor, "run_job", refuse)
    executor._main_event_loop = None
    executor.run_job(Job())
    assert len(calls) == 1
    assert [state for state, *_ in executor.workflow.scheduler.told] == ["failed"]


def test_a_note_that_was_cut_off_is_passed_over(executor, monkeypatch):
    submitted(executor)
    with open(LEDGER, "a") as file:
        file.write('{"id": "8", "ru')
    monkeypatch.setattr(slurm, "_known_jobs", lambda: {"7": ("run", "")})
    left = slurm._find_left(executor.logger)
    assert left[TABLE]["id"] == "7"
    assert [note["id"] for note in slurm._read_ledger()] == ["7"]


def test_each_try_asks_for_more_up_to_what_the_cluster_gives():
    asks = more_each_try(lambda wildcards: wildcards["size"], "5000")
    assert [asks({"size": 2000}, attempt) for attempt in (1, 2, 3)] == [2000, 4000, 5000]
    # What the config says is asked for, whatever the profile says.
    assert asks({"size": 6000}, 2) == 6000
    assert more_each_try(30, None)({}, 3) == 90
