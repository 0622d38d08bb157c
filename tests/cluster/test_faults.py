"""A cluster that fails: each fault ends, without a hand, in the tables of an undisturbed run.

A small experiment is carried through once, here. Then, for each fault, the table of one stage is
deleted and made again by a job of SLURM. The copy's loops stop in the middle while a file `hold` is
there, so that a fault meets a job that has finished some of its work.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time

import pytest

from tests.cluster.mini import LOG, MINI, TABLE, Mini, make_mini, memory, wait
from tests.conftest import ROOT
from tests.workflow.workspace import Workspace

pytestmark = pytest.mark.cluster
long = pytest.mark.skipif(
    not os.environ.get("NASHLENS_LONG"), reason="takes half a minute or more: NASHLENS_LONG=1"
)


@pytest.fixture(scope="module")
def prepared(cluster, tmp_path_factory):
    workspace = Workspace.copy(ROOT, tmp_path_factory.mktemp("faults") / "nashlens")
    make_mini(workspace)
    done = workspace.snakemake("--cores", "2", TABLE, config=MINI)
    assert done.returncode == 0, done.stderr[-4000:]
    yield Mini(workspace, cluster)
    shutil.rmtree(workspace.folder)


@pytest.fixture
def mini(prepared):
    prepared.reset()
    yield prepared
    for call in prepared.calls:
        if call.poll() is None:
            call.kill()
            call.wait()
    prepared.calls.clear()
    # Nothing of one test is left to the next.
    left = [job["JobId"] for job in prepared.jobs() if job["JobState"] in ("RUNNING", "PENDING")]
    if left:
        prepared.cluster.control("scancel", *left)
        wait(lambda: not {"RUNNING", "PENDING"} & set(prepared.states()))
    with contextlib.suppress(subprocess.CalledProcessError):
        prepared.cluster.control("scontrol", "update", "NodeName=cpu1", "State=RESUME")
    shutil.rmtree(prepared.folder / ".snakemake/locks", ignore_errors=True)


# ---- what ends a job ----


def test_a_cancelled_job_goes_on_from_its_chunks(mini):
    with mini.held() as call:
        mini.cluster.control("scancel", mini.jobs()[0]["JobId"])
        wait(lambda: len(mini.jobs()) == 2)
    mini.end(call)
    assert mini.states() == ["CANCELLED", "COMPLETED"]
    assert mini.went_on()
    mini.check()


def test_over_memory_the_next_try_asks_for_more(mini):
    with mini.held() as call:
        # More than the first try asks for, less than the second.
        (mini.folder / "eat").write_text(str(1500 * 2**20))
        # SLURM looks once a second: the job stays in its memory until it is seen.
        wait(lambda: len(mini.jobs()) == 2)
    mini.end(call)
    assert mini.states() == ["FAILED", "COMPLETED"]
    assert [memory(job) for job in mini.jobs()] == [1500, 3000]
    mini.check()


@long
def test_over_time_the_next_try_asks_for_more_and_goes_on(mini):
    with mini.held() as call:
        # SLURM looks for such jobs every half minute.
        mini.cluster.control(
            "scontrol", "update", f"JobId={mini.jobs()[0]['JobId']}", "EndTime=now"
        )
        wait(lambda: len(mini.jobs()) == 2)
    mini.end(call)
    assert mini.states() == ["TIMEOUT", "COMPLETED"]
    assert mini.jobs()[1]["TimeLimit"] == "00:20:00"
    assert mini.went_on()
    mini.check()


def test_a_node_goes_down_and_comes_back(mini):
    with mini.held() as call:
        number = mini.jobs()[0]["JobId"]
        mini.cluster.control("scontrol", "update", "NodeName=cpu1", "State=DOWN", "Reason=test")
        # A node that comes back with the job on it is taken out of service.
        wait(lambda: mini.states() == ["PENDING"] and not mini.cluster.has_processes(number))
        mini.cluster.control("scontrol", "update", "NodeName=cpu1", "State=RESUME")
        # SLURM itself would wait for two minutes.
        mini.cluster.control("scontrol", "update", f"JobId={number}", "StartTime=now")
    mini.end(call)
    (job,) = mini.jobs()
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "1")
    assert mini.went_on()
    mini.check()


@long
def test_a_full_disk(mini):
    """The job says so in one line; with room again, the same command ends it."""
    folder = mini.folder / "results/mini/tuned_lens"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "none", folder]).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        said = mini.run("--retries=0", status=1)
    finally:
        subprocess.run(["umount", folder], check=True)
    last = said.splitlines()[-1]
    assert last.startswith("nashlens: error: ")
    assert "No space left on device" in last
    assert f"(log: {LOG})" in last
    mini.run()
    mini.check()


def test_a_node_without_its_gpu(mini):
    """It is no reason to compute on the CPU, for days."""
    model = {"models": {"tiny_llama": {"device": "auto", "gpus": 1}}}
    said = mini.run("--retries=0", status=1, config=model)
    (job,) = mini.jobs()
    assert (job["NodeList"], job["TresPerJob"]) == ("gpu1", "gres:gpu:1")
    last = said.splitlines()[-1]
    assert last.startswith("nashlens: error: fit_tuned_lens asked for 1 GPU, and on gpu1 ")
    assert "torch sees 0 (CUDA_VISIBLE_DEVICES: 0)" in last


def test_two_gpus_for_one_job_are_one_task(mini):
    model = {"models": {"tiny_llama": {"gpus": 2}}}
    mini.run(config=model)
    (job,) = mini.jobs()
    assert (job["TresPerJob"], job["NumTasks"], job["NodeList"]) == ("gres:gpu:2", "1", "gpu1")
    mini.check()


# ---- what keeps Snakemake from knowing ----


@pytest.mark.parametrize("seconds", [3, pytest.param(30, marks=long)])
def test_the_controller_is_away(mini, seconds):
    """From the middle of a job, which ends meanwhile, until some time after it."""
    with mini.held() as call:
        away = mini.cluster.controller_away()
        with away:
            (mini.folder / "hold").unlink()
            time.sleep(seconds)
    mini.end(call)
    assert mini.states() == ["COMPLETED"]
    mini.check()


def test_the_controller_is_away_at_submission(mini):
    """It takes the job, but its answer comes too late: the job is not submitted again."""
    with mini.cluster.controller_away():
        call = mini.start()
        wait(lambda: "sbatch failed, and is tried again" in (mini.folder / "said").read_text())
    mini.end(call)
    assert mini.states() == ["COMPLETED"]
    mini.check()


def test_an_sbatch_that_fails_once_uses_no_try(mini):
    script = """
if [ -e "$FOLDER/failed" ]; then exec $REAL "$@"; fi
touch "$FOLDER/failed"
echo "sbatch: error: Batch job submission failed: Unspecified error" >&2
exit 1"""
    with mini.cluster.wrapped("sbatch", script):
        mini.run("--retries=0")
    assert mini.states() == ["COMPLETED"]
    mini.check()


def test_an_sbatch_that_refuses_is_named_last(mini):
    said = mini.run("--retries=0", "--default-resources", "slurm_partition=gone", status=1)
    last = said.splitlines()[-1]
    assert last.startswith("nashlens: error: fit_tuned_lens: SLURM did not take the job: ")
    assert "invalid partition" in last
    assert mini.jobs() == []


def test_an_accounting_database_that_answers_late(mini):
    """First it fails, then it knows nothing, then it knows: who cancelled a job, too."""
    script = """
echo >> "$FOLDER/calls"
case $(wc -l < "$FOLDER/calls") in
[1-6]) exit 1;;
[7-9]) exit 0;;
esac
squeue --states=all --noheader --format='%i|%T' | sed 's/CANCELLED/CANCELLED by 0/'"""
    sacct = ("--slurm-status-command=sacct", "--slurm-no-account")
    with mini.cluster.wrapped("sacct", script), mini.held(*sacct) as call:
        mini.cluster.control("scancel", mini.jobs()[0]["JobId"])
        wait(lambda: len(mini.jobs()) == 2)
        (mini.folder / "hold").unlink()
        mini.end(call)
    assert mini.states() == ["CANCELLED", "COMPLETED"]
    mini.check()


@long
def test_results_that_are_seen_late(mini):
    """A shared folder shows a file some seconds after its job has ended."""
    call = mini.start("--latency-wait=60")
    record = mini.folder / "results/mini/.provenance/tuned_lens/tiny_llama.parquet.json"
    record.unlink()
    table, hidden = mini.folder / TABLE, mini.folder / "hidden"
    while not record.exists():
        time.sleep(0.002)
    table.rename(hidden)
    try:
        time.sleep(15)
        assert call.poll() is None
    finally:
        hidden.rename(table)
    mini.end(call)
    assert mini.states() == ["COMPLETED"]
    mini.check()


# ---- Snakemake is killed ----


def test_a_killed_snakemake_takes_its_jobs_over(mini):
    with mini.held() as call:
        call.kill()
        call.wait()
        mini.unlock()
        call = mini.start()
        wait(lambda: "of an earlier call, which goes on" in (mini.folder / "said").read_text())
    mini.end(call)
    # No second one was submitted.
    assert mini.states() == ["COMPLETED"]
    mini.check()


@long
def test_a_job_of_another_result_is_cancelled(mini):
    other = {"lens": {"tuned_tokens": 500}}
    with mini.held(config=other) as call:
        call.kill()
        call.wait()
        mini.unlock()
        (mini.folder / "held").unlink()
        call = mini.start()
        wait(lambda: len(mini.jobs()) == 2)
    mini.end(call)
    assert mini.states() == ["CANCELLED", "COMPLETED"]
    mini.check()


@long
def test_ctrl_c_cancels_the_jobs(mini):
    with mini.held() as call:
        call.send_signal(signal.SIGINT)
        call.wait(300)
        wait(lambda: mini.states() == ["CANCELLED"])
    mini.run()
    mini.check()
