"""On a terminal a run says what is done, what runs, and how long the rest takes."""

from __future__ import annotations

import logging
import os
import pty
import re
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from nashlens import progress
from nashlens.logs import start_logging
from workflow import console

TINY = ("--configfile", "experiments/tiny.yaml")
SECONDS = {1: 120.0, 2: 120.0, 3: 0.0}


def record(level=logging.INFO, text="", **fields):
    made = logging.LogRecord("snakemake", level, "", 0, text, (), None)
    made.__dict__.update(fields)
    return made


def starts(job, text):
    return record(event=LogEvent.JOB_INFO, jobid=job, rule_msg=text)


def ends(job):
    return record(event=LogEvent.JOB_FINISHED, job_id=job)


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(time=0.0)
    monkeypatch.setattr(console.time, "monotonic", lambda: now.time)
    return now


@pytest.fixture
def shown(monkeypatch, clock):
    """The console of four jobs on two cores; what it would do beside the run, it does at once."""

    class AtOnce:
        def __init__(self, target, args=(), daemon=True):
            if target.__name__ == "_price":
                target(*args)

        def start(self):
            pass

    # In the console alone: what runs the tests has threads and a terminal of its own.
    threads = SimpleNamespace(Thread=AtOnce, RLock=threading.RLock)
    monkeypatch.setattr(console, "threading", threads)
    terminal = SimpleNamespace(get_terminal_size=lambda: os.terminal_size((110, 40)))
    monkeypatch.setattr(console, "shutil", terminal)
    for name in (progress.SHARED_TERMINAL, "TQDM_DISABLE"):
        monkeypatch.setenv(name, "")
    return console.Console(SimpleNamespace(), lambda: ({1, 2, 3, 4}, lambda: SECONDS), cores=2)


def test_the_rest_goes_by_the_plan_and_then_by_the_pace_of_the_run(shown, clock, capsys):
    shown.emit(starts(3, "Games"))
    clock.time = 1.0
    shown.emit(ends(3))
    shown.emit(starts(1, "Probes of a"))
    shown.draw()
    # Twice as long as planned: so will the rest be.
    clock.time = 241.0
    shown.emit(ends(1))
    shown.emit(starts(2, "Probes of b"))
    clock.time = 251.0
    shown.draw()
    said = capsys.readouterr().err.replace(console.CLEAR, "\n").splitlines()
    assert [line for line in said if line] == [
        "   1/4     [..........]   0%  Games: 1 s",
        # 242 seconds of one core, on two.
        "   1/4     [..........]   0%, about 2 min left: Probes of a (- of 2 min)",
        "   2/4     [####......]  49%  Probes of a: 4 min",
        "   2/4     [####......]  49%, about 4 min left: Probes of b (10 s of 4 min)",
    ]


def test_the_line_of_what_runs_is_cut_to_the_terminal_and_goes_before_others(shown, capsys):
    shown.draw()
    assert capsys.readouterr().err == ""
    for job in SECONDS:
        shown.emit(starts(job, f"Something that runs and has a long name, {job}"))
    shown.draw()
    line = capsys.readouterr().err
    assert line.startswith(console.CLEAR)
    assert len(line.removeprefix(console.CLEAR)) == 109
    assert line.endswith("..")
    handler = logging.Handler()
    shown.instead_of(handler)
    assert handler.filter(record(logging.WARNING, "careful"))
    assert capsys.readouterr().err == console.CLEAR


def test_the_bar_is_full_at_the_last_job_alone(shown, capsys):
    for job in (1, 2, 4, 3):
        shown.emit(starts(job, "Something"))
        shown.emit(ends(job))
    ended = [line for line in capsys.readouterr().err.splitlines() if "%" in line]
    bars = [line.split("%")[0].split("/4")[1].split() for line in ended]
    assert bars[2] == ["[#########.]", "99"]
    assert bars[3] == ["[##########]", "100"]


def test_a_job_that_failed_is_not_running(shown, capsys):
    shown.emit(starts(1, "Probes of a"))
    shown.emit(record(logging.ERROR, event=LogEvent.JOB_ERROR, jobid=1))
    shown.emit(starts(2, "Probes of b"))
    shown.draw()
    line = capsys.readouterr().err
    assert "Probes of b" in line
    assert "Probes of a" not in line


def test_snakemakes_own_lines_about_jobs_go_and_errors_and_one_of_each_warning_stay(shown):
    handler = logging.Handler()
    shown.instead_of(handler)
    shown.emit(starts(1, "Games"))
    assert not handler.filter(starts(1, "Games"))
    assert not handler.filter(record(text="Select jobs to execute..."))
    assert handler.filter(record(logging.ERROR, "wrong", event=LogEvent.JOB_ERROR))
    assert handler.filter(record(logging.ERROR, "wrong", event=LogEvent.JOB_ERROR))
    assert handler.filter(record(logging.WARNING, "careful"))
    assert not handler.filter(record(logging.WARNING, "careful"))
    assert handler.filter(record(logging.WARNING, "and else"))


@pytest.fixture
def logging_as_before(monkeypatch):
    """What a job sets for its whole process goes with the test."""
    root, level = logging.getLogger(), logging.getLogger().level
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(logging, "raiseExceptions", logging.raiseExceptions)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    yield
    logging.captureWarnings(False)
    root.setLevel(level)


@pytest.mark.usefixtures("logging_as_before")
def test_jobs_that_share_a_terminal_draw_no_bars_and_show_warnings_alone(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv(progress.SHARED_TERMINAL, "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    start_logging(tmp_path / "job.log")
    assert list(progress.progress([1, 2], "work")) == [1, 2]
    logging.getLogger("a").info("as always")
    logging.getLogger("a").warning("careful")
    said = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in said] == ["careful"]
    assert "as always" in (tmp_path / "job.log").read_text()


@pytest.mark.parametrize("off", ["dryrun", "quiet", "verbose", "debug_dag"])
def test_it_is_off_where_no_one_looks_or_something_else_was_asked_for(off, monkeypatch):
    plain = dict.fromkeys(["dryrun", "quiet", "verbose", "debug_dag"], False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert console.wanted(SimpleNamespace(**plain))
    assert not console.wanted(SimpleNamespace(**plain | {off: True}))
    monkeypatch.setenv("TERM", "dumb")
    assert not console.wanted(SimpleNamespace(**plain))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert not console.wanted(SimpleNamespace(**plain))


@pytest.mark.workflow
def test_a_run_on_a_terminal(fresh):
    ours, theirs = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "1", "prompts", *TINY],
        cwd=fresh.folder,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            said += os.read(ours, 65536)
        except OSError:
            break
    assert done.wait() == 0, said[-3000:]
    lines = re.split(r"\r?\n|\r", said.decode().replace("\x1b[K", ""))
    ended = [line for line in lines if re.match(r" +\d/5 +\[", line)]
    assert ended[-1].startswith("   5/5     [##########] 100%  ")
    running = [line for line in ended if " left: " in line]
    assert any(re.search(r"%, about .+ left: .+ \(.+ of .+\)$", line) for line in running), ended
    # What jobs note is in their logs.
    assert "INFO" not in said.decode()
    assert "it/s" not in said.decode()
