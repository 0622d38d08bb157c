"""On a terminal a run says what is done, what runs, and how long the rest takes."""

from __future__ import annotations

import logging
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from nashlens import progress
from nashlens.logs import last_error, start_logging, warnings_of
from tests.workflow.screen import Screen
from workflow import console

FIVE = [
    "Activations of smollm2, part 1 of 2",
    "Play smollm2, part 1 of 2",
    "Quiz the steered players of smollm2, and let them read plain text",
    "Which activations of smollm2 are still to be computed",
    "Figure games",
]
TINY = ("--configfile", "experiments/tiny.yaml")
SECONDS = {1: 120.0, 2: 120.0, 3: 0.0}


def record(level=logging.INFO, text="", **fields):
    made = logging.LogRecord("snakemake", level, "", 0, text, (), None)
    made.__dict__.update(fields)
    return made


def starts(job, text, *logs):
    return record(event=LogEvent.JOB_INFO, jobid=job, rule_msg=text, log=list(logs))


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
    monkeypatch.setattr(console, "atexit", SimpleNamespace(register=lambda _: None))
    terminal = SimpleNamespace(get_terminal_size=lambda: os.terminal_size((80, 24)))
    monkeypatch.setattr(console, "shutil", terminal)
    for name in (progress.SHARED_TERMINAL, "TQDM_DISABLE"):
        monkeypatch.setenv(name, "")
    return console.Console(SimpleNamespace(), lambda: ({1, 2, 3, 4}, lambda: SECONDS), cores=2)


@pytest.fixture
def resize(monkeypatch):
    def to(columns, lines=24):
        size = SimpleNamespace(get_terminal_size=lambda: os.terminal_size((columns, lines)))
        monkeypatch.setattr(console, "shutil", size)

    return to


def test_the_rest_goes_by_the_plan_and_then_by_the_pace_of_the_run(shown, clock, capsys):
    screen = Screen(80)
    shown.emit(starts(3, "Games"))
    clock.time = 1.0
    shown.emit(ends(3))
    shown.emit(starts(1, "Probes of a"))
    shown.draw()
    assert screen.after(capsys) == [
        "   1/4     [..........]   0%  Games: 1 s",
        # 242 seconds of one core, on two.
        "   1/4     [..........]   0%, about 2 min left",
        "  Probes of a  [..........]   0%  - of 2 min",
    ]
    # Twice as long as planned: so will the rest be.
    clock.time = 241.0
    shown.emit(ends(1))
    shown.emit(starts(2, "Probes of b"))
    clock.time = 301.0
    shown.draw()
    assert screen.after(capsys) == [
        "   1/4     [..........]   0%  Games: 1 s",
        "   2/4     [####......]  49%  Probes of a: 4 min",
        "   2/4     [####......]  49%, about 5 min left",
        "  Probes of b  [##........]  24%  60 s of 4 min",
    ]


def test_five_jobs_stand_whole_each_with_its_bar_and_nothing_stale_stays(shown, clock, capsys):
    screen = Screen(80)
    for job, text in enumerate(FIVE, 1):
        shown.emit(starts(job, text))
    clock.time = 60.0
    shown.draw()
    total, *jobs = screen.after(capsys)
    assert total == "   0/4     [..........]   0%, about 2 min left"
    assert [line[2:].split("  ")[0] for line in jobs] == FIVE
    assert "[#####.....]  50%  60 s of 2 min" in jobs[0]
    # The plan knows nothing of it.
    assert jobs[4].split(FIVE[4])[1].split() == ["60", "s"]
    for _ in range(3):
        shown.draw()
    assert screen.after(capsys) == [total, *jobs]
    for job in (1, 2, 3):
        shown.emit(ends(job))
    lines = screen.after(capsys)
    ended = "".join(lines[:4])
    assert all(f"%  {name}: 60 s" in ended for name in FIVE[:3])
    assert [line[2:].split("  ")[0] for line in lines[5:]] == FIVE[3:]
    assert lines[4].startswith("   3/4 ")


def test_of_many_jobs_eight_are_shown_and_the_rest_counted(shown, capsys, resize):
    screen = Screen(80)
    for job in range(11):
        shown.emit(starts(job, f"Something, {job}"))
    lines = screen.after(capsys)
    assert [line.split("  ")[1] for line in lines[1:9]] == [f"Something, {k}" for k in range(8)]
    assert lines[9:] == ["  and 3 more"]
    # What has left a low window's top cannot be taken back.
    resize(80, lines=6)
    shown.draw()
    assert len(screen.after(capsys)) == 5


@pytest.mark.parametrize("columns", [130, 60, 33, 7])
def test_a_window_of_another_width_keeps_nothing_stale(shown, capsys, resize, columns):
    screen = Screen(80)
    shown.emit(starts(4, "Games"))
    shown.emit(ends(4))
    for job, text in enumerate(FIVE[:3], 1):
        shown.emit(starts(job, text))
    (before, *_) = screen.after(capsys)
    resize(columns)
    screen.resize(columns)
    shown.draw()
    lines = screen.after(capsys)
    text = "".join(lines)
    assert text.startswith(before)
    assert len(lines) == -(-len(before) // columns) + 4
    for job in (1, 2, 3):
        shown.emit(ends(job))
    # One line for each end, and nothing of the block.
    assert "".join(screen.after(capsys)).count("Games") == 1
    assert "and " not in "".join(screen.after(capsys)).replace(", and let", "")


def test_others_write_above_the_block(shown, capsys):
    screen = Screen(80)
    shown.draw()
    assert capsys.readouterr().err == ""
    for job in SECONDS:
        shown.emit(starts(job, f"Something, {job}"))
    handler = logging.StreamHandler()
    shown.instead_of(handler)
    handler.handle(record(logging.WARNING, "careful"))
    assert screen.after(capsys) == ["careful"]
    shown.draw()
    assert len(screen.after(capsys)) == 5


def test_the_bar_is_full_at_the_last_job_alone(shown, capsys):
    for job in (1, 2, 4, 3):
        shown.emit(starts(job, "Something"))
        shown.emit(ends(job))
    ended = Screen(80).after(capsys)
    bars = [line.split("%")[0].split("/4")[1].split() for line in ended]
    assert bars[2] == ["[#########.]", "99"]
    assert bars[3] == ["[##########]", "100"]


def test_a_job_that_failed_is_not_running(shown, capsys):
    shown.emit(starts(1, "Probes of a"))
    shown.emit(record(logging.ERROR, event=LogEvent.JOB_ERROR, jobid=1))
    shown.emit(starts(2, "Probes of b"))
    lines = Screen(80).after(capsys)
    assert [line.split("  ")[1] for line in lines[1:]] == ["Probes of b"]


def test_what_jobs_warn_of_is_said_once_and_why_one_failed(shown, capsys, tmp_path):
    stamp = "2026-01-01 00:00:0{0},123"
    careful = f"{stamp} INFO nashlens: none\n{stamp} WARNING py.warnings: careful\n  x = 1\n"
    logs = [str(tmp_path / name) for name in ("a.log", "b.log", "c.log")]
    for k, log in enumerate(logs):
        Path(log).write_text(careful.format(k))
    with open(logs[2], "a") as log:
        log.write("2026-01-01 00:00:03,123 INFO nashlens: all is well\n")
        log.write("Traceback (most recent call last)\n  ...\n")
        log.write("nashlens: error: wrong (log: c.log)\n")
    for job, log in enumerate(logs, 1):
        shown.emit(starts(job, f"Probes, {job}", log))
    shown.emit(ends(1))
    shown.emit(ends(2))
    shown.emit(record(logging.ERROR, event=LogEvent.JOB_ERROR, jobid=3))
    screen = Screen(200)
    lines = screen.after(capsys)
    assert lines[0] == "nashlens: warning: careful"
    assert lines[1] == f"  x = 1 (log: {logs[0]})"
    assert [line.split("%  ")[1] for line in lines[2:4]] == ["Probes, 1: -", "Probes, 2: -"]
    assert lines[4:] == ["nashlens: error: wrong (log: c.log)"]


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
def test_jobs_that_share_a_terminal_leave_it_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(progress.SHARED_TERMINAL, "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    log = tmp_path / "job.log"
    start_logging(log)
    assert list(progress.progress([1, 2], "work")) == [1, 2]
    logging.getLogger("a").info("as always")
    logging.getLogger("a").warning("careful")
    wrong = ZeroDivisionError("wrong")
    try:
        raise wrong
    except ZeroDivisionError:
        sys.excepthook(*sys.exc_info())
    assert capsys.readouterr().err == ""
    assert "as always" in log.read_text()
    assert warnings_of(log) == ["careful"]
    assert last_error(log) == f"nashlens: error: ZeroDivisionError: wrong (log: {log})"
    # What the log cannot hold.
    shutil.rmtree(tmp_path)
    sys.excepthook(type(wrong), wrong, None)
    assert "wrong" in capsys.readouterr().err


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
    # Its two jobs warn of the same.
    script = fresh.folder / "scripts/build_prompts.py"
    before, body = script.read_text().split("    table =", 1)
    warns = '    import logging\n\n    logging.getLogger("own").warning("of one thing")\n'
    script.write_text(f"{before}{warns}    table ={body}")
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
    # Whatever was drawn when, at the end there are the lines of jobs that have ended alone.
    lines = Screen(100).play(said.decode())
    bars = [line for line in lines if re.match(r" +\d/5 +\[", line)]
    assert [line.split("/5")[0].strip() for line in bars] == list("12345")
    assert bars[-1].startswith("   5/5     [##########] 100%  ")
    assert re.search(r"%, about .+ left", said.decode())
    assert re.search(r"\n  \S.+?  \[[#.]{10}\] +\d+%  .+? of ", said.decode())
    warned = [line for line in lines if "of one thing" in line]
    assert len(warned) == 1
    assert warned[0].startswith("nashlens: warning: of one thing (log: results/tiny/logs/")
    # What jobs note is in their logs.
    assert "INFO" not in said.decode()
    assert "it/s" not in said.decode()
