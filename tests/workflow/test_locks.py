"""Calls at the same time in one folder, and after a kill: right, or told in a line what to do."""

import fcntl
import os
import re
import time
from contextlib import contextmanager

import pandas as pd
import psutil
import pytest

from nashlens.models.intact import check_files
from nashlens.tables import read_table
from tests.conftest import ROOT
from tests.workflow.test_damage import numbers
from tests.workflow.workspace import Workspace
from workflow.records import record_file

pytestmark = pytest.mark.workflow

GAMES, FIGURE = "results/{}/games.parquet", "results/{}/figures/games.svg"
MODEL, PROMPTS = "results/models/tiny_llama/manifest.json", "results/{}/prompts/tiny_llama.parquet"
ONE = ("--cores", "1")
WAIT = (
    "nashlens: error: another snakemake works on the same files in this folder (process {}): wait"
    " for its end, and give the same command again"
)


@contextmanager
def held(workspace, output, log):
    """Keep the job that makes an output where it claims it; yield what waits until it is there."""
    claim = (workspace.folder / record_file(output)).with_suffix(".claim")
    claim.parent.mkdir(parents=True, exist_ok=True)
    with claim.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        def wait(call, here=workspace):
            # A job has a log before it claims.
            while not (here.folder / "results" / log).exists():
                assert call.poll() is None, (here.folder / "said").read_text()[-3000:]
                time.sleep(0.05)
            (here.folder / "results" / log).unlink()

        yield wait


def end(call, workspace):
    said = (workspace.folder / "said").read_text
    assert call.wait(300) == 0, said()[-3000:]
    return said()


def refused(workspace, call, *args):
    done = workspace.snakemake(*args)
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert done.stderr.splitlines()[-1] == WAIT.format(call.pid)
    assert "LockException" not in said
    assert "--unlock" not in said


def test_a_second_call_of_an_experiment_waits_for_the_first(fresh):
    figure = FIGURE.format("tiny")
    with held(fresh, GAMES.format("tiny"), "tiny/logs/build_games.log") as wait:
        first = fresh.start(*ONE, figure)
        wait(first)
        refused(fresh, first, *ONE, figure)
        refused(fresh, first, *ONE, figure, "--workflow-profile", "none")
        # What only asks is answered, and leaves the locks of others.
        for asked in (["-n", figure], [*ONE, "status"], ["verify"]):
            done = fresh.snakemake(*asked)
            assert done.returncode == 0, done.stderr[-3000:]
        refused(fresh, first, *ONE, figure)
        # So does who takes the first call for dead.
        done = fresh.snakemake("--unlock")
        assert done.returncode == 0
        kept = f"another snakemake works in this folder (process {first.pid}): its lock is kept"
        assert f"nashlens: note: {kept}\n" in done.stderr
        refused(fresh, first, *ONE, figure)
    end(first, fresh)
    again = fresh.snakemake(*ONE, figure)
    assert again.returncode == 0
    assert "Nothing to be done" in again.stdout + again.stderr
    assert list((fresh.folder / ".snakemake/locks").iterdir()) == []


def test_of_two_calls_that_begin_at_once_one_waits(fresh):
    figure = FIGURE.format("tiny")
    with held(fresh, GAMES.format("tiny"), "tiny/logs/build_games.log"):
        calls = [fresh.start(*ONE, figure, said=name) for name in ("one", "other")]
        while all(call.poll() is None for call in calls):
            time.sleep(0.05)
        going = next(call for call in calls if call.poll() is None)
    assert going.wait(300) == 0
    (ended,) = (call for call in calls if call is not going)
    assert ended.returncode == 1
    said = (fresh.folder / ("one" if ended is calls[0] else "other")).read_text()
    assert said.splitlines()[-1] == WAIT.format(going.pid)


def test_two_experiments_share_a_model_that_neither_or_one_of_them_makes(fresh):
    other = ("--config", "experiment={name: other}")
    with held(fresh, MODEL, "tiny/logs/convert_model/tiny_llama.log") as wait:
        first = fresh.start(*ONE, PROMPTS.format("tiny"))
        wait(first)
        refused(fresh, first, *ONE, PROMPTS.format("other"), *other)
        # What needs no model is made meanwhile.
        done = fresh.snakemake(*ONE, GAMES.format("other"), *other)
        assert done.returncode == 0, done.stderr[-3000:]
        refused(fresh, first, *ONE, PROMPTS.format("other"), *other)
    end(first, fresh)
    with held(fresh, PROMPTS.format("other"), "other/logs/build_prompts/tiny_llama.log") as wait:
        second = fresh.start(*ONE, PROMPTS.format("other"), *other)
        wait(second)
        done = fresh.snakemake(*ONE, "results/tiny/pairs/tiny_llama.parquet")
        assert done.returncode == 0, done.stderr[-3000:]
    assert "convert_model" not in end(second, fresh)
    tables = [read_table(fresh.folder / PROMPTS.format(name)) for name in ("tiny", "other")]
    pd.testing.assert_frame_equal(*tables)


def test_two_studies_that_convert_one_model_into_one_folder_at_once_both_end_right(fresh, tmp_path):
    """Two clones, of which the first to claim the model makes it for both."""
    clones = [fresh, Workspace.copy(ROOT, tmp_path / "other")]
    models = fresh.folder / "results/models"
    (clones[1].folder / "results").mkdir(exist_ok=True)
    with held(fresh, MODEL, "tiny/logs/convert_model/tiny_llama.log") as wait:
        (clones[1].folder / "results/models").symlink_to(models)
        calls = [clone.start(*ONE, PROMPTS.format("tiny")) for clone in clones]
        for call, clone in zip(calls, clones, strict=True):
            wait(call, clone)
    for call, clone in zip(calls, clones, strict=True):
        end(call, clone)
    tables = [read_table(clone.folder / PROMPTS.format("tiny")) for clone in clones]
    pd.testing.assert_frame_equal(*tables)
    check_files(models / "tiny_llama")
    for clone in clones:
        again = clone.snakemake(*ONE, PROMPTS.format("tiny"))
        assert "Nothing to be done" in again.stdout + again.stderr
    left = {path.name for path in models.rglob("*") if path.is_file()}
    assert left == {".tiny_llama.lock", "manifest.json.json", *os.listdir(models / "tiny_llama")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What a run makes that nothing happens to."""
    workspace = Workspace.copy(ROOT, tmp_path_factory.mktemp("undisturbed") / "nashlens")
    done = workspace.snakemake(*ONE, FIGURE.format("tiny"))
    assert done.returncode == 0, done.stderr[-3000:]
    return digests(workspace)


def digests(workspace):
    """Digest the results by their names."""
    found = numbers(workspace.folder)
    return {str(path.relative_to(workspace.folder)): digest for path, digest in found.items()}


def kill(call):
    """Kill Snakemake alone; return its jobs, which go on."""
    jobs = psutil.Process(call.pid).children(recursive=True)
    assert jobs
    call.kill()
    call.wait()
    return jobs


NO_PROFILE = ["--workflow-profile", "none"]


@pytest.mark.parametrize(
    ("orphan", "profile"),
    [("goes on", []), ("has ended", []), ("has ended", NO_PROFILE), ("killed", [])],
)
def test_after_a_killed_snakemake_the_advice_is_followed_to_the_end(
    fresh, undisturbed, orphan, profile
):
    call = (*ONE, FIGURE.format("tiny"), *profile)
    with held(fresh, GAMES.format("tiny"), "tiny/logs/build_games.log") as wait:
        first = fresh.start(*call)
        wait(first)
        jobs = kill(first)
        if orphan == "killed":
            for job in jobs:
                job.kill()
        if orphan == "goes on":
            follow(fresh, call)
            again = fresh.start(*call)
            wait(again)
    psutil.wait_procs(jobs)
    if orphan != "goes on":
        follow(fresh, call)
        again = fresh.start(*call)
    said = end(again, fresh)
    # What the orphan has made is whole.
    assert ("(Rule: build_games)" in said) == (orphan != "has ended")
    assert digests(fresh) == undisturbed


def follow(workspace, call):
    """Be told that the folder is locked, and do what is said."""
    done = workspace.snakemake(*call)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("nashlens: error: this folder is locked by a snakemake that did not un")
    advice = re.search("run `snakemake (.*)`, and give the same command again$", last)[1]
    done = workspace.snakemake(*advice.split())
    assert done.returncode == 0, done.stderr[-3000:]
    assert "its lock is kept" not in done.stderr
