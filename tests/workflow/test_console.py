"""On a terminal a run says what starts, what is done, and how long the rest takes."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from workflow import console

PLAN = """rule,subject,jobs,core_seconds_here,gpu_seconds_here
fit_probes,a,1,100,0
fit_probes,b,1,140,0
build_games,,1,0,0
play_part,a,0,0,0
"""


def record(level=logging.INFO, text="", **fields):
    made = logging.LogRecord("snakemake", level, "", 0, text, (), None)
    made.__dict__.update(fields)
    return made


def starts(job, rule, text):
    return record(event=LogEvent.JOB_INFO, jobid=job, rule_name=rule, rule_msg=text)


def ends(job):
    return record(event=LogEvent.JOB_FINISHED, job_id=job)


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(time=0.0)
    monkeypatch.setattr(console.time, "monotonic", lambda: now.time)
    return now


@pytest.fixture
def shown(tmp_path):
    plan = tmp_path / "plan.csv"
    plan.write_text(PLAN)
    rules = ["fit_probes", "fit_probes", "build_games", "draw_games"]
    return console.Console(SimpleNamespace(), lambda: rules, plan, cores=2)


def test_a_plan_has_the_seconds_of_one_job_of_each_rule(tmp_path):
    (tmp_path / "plan.csv").write_text(PLAN)
    assert console.read_costs(tmp_path / "plan.csv") == {"fit_probes": 120.0, "build_games": 0.0}
    assert console.read_costs(tmp_path / "none.csv") == {}


def test_the_rest_goes_by_the_plan_and_then_by_the_pace_of_the_run(shown, clock, capsys):
    shown.emit(starts(1, "build_games", "Games"))
    clock.time = 1.0
    shown.emit(ends(1))
    shown.emit(starts(2, "fit_probes", "Probes of a"))
    # Twice as long as planned: so will the rest be.
    clock.time = 241.0
    shown.emit(ends(2))
    first, second, third, fourth = capsys.readouterr().err.splitlines()
    assert first.split() == ["starts", "Games"]
    # 242 seconds of one core, on two.
    assert second.split("  ")[-1].strip() == "Games: 1 s; 0 running, about 2 min left"
    assert "Probes of a" in third
    assert fourth.strip().startswith("2/4")
    # Of 242 planned seconds none were of the first job, and 120 of the second.
    assert second.split()[1:3] == ["[..........]", "0%"]
    assert fourth.split()[1:3] == ["[####......]", "49%"]
    # What starts and what ends stand below one another.
    said = zip((first, second, third, fourth), ("Games", "Games", "Probes", "Probes"), strict=True)
    assert len({line.index(text) for line, text in said}) == 1
    assert fourth.endswith("Probes of a: 4 min; 0 running, about 4 min left")


def test_the_bar_is_full_at_the_last_job_alone(shown, clock, capsys):
    for job, rule in enumerate(["fit_probes", "fit_probes", "draw_games", "build_games"]):
        shown.emit(starts(job, rule, rule))
        shown.emit(ends(job))
    ended = [line for line in capsys.readouterr().err.splitlines() if "%" in line]
    bars = [line.split("%")[0].split("/4")[1].split() for line in ended]
    assert bars[2] == ["[#########.]", "99"]
    assert bars[3] == ["[##########]", "100"]


def test_a_job_that_failed_is_not_running(shown, clock, capsys):
    shown.emit(starts(1, "build_games", "Games"))
    shown.emit(record(logging.ERROR, event=LogEvent.JOB_ERROR, jobid=1))
    shown.emit(starts(2, "fit_probes", "Probes of a"))
    shown.emit(ends(2))
    assert "0 running" in capsys.readouterr().err


def test_snakemakes_own_lines_about_jobs_go_and_errors_and_one_of_each_warning_stay(shown):
    handler = logging.Handler()
    shown.instead_of(handler)
    shown.emit(starts(1, "build_games", "Games"))
    assert not handler.filter(starts(1, "build_games", "Games"))
    assert not handler.filter(record(text="Select jobs to execute..."))
    assert handler.filter(record(logging.ERROR, "wrong", event=LogEvent.JOB_ERROR))
    assert handler.filter(record(logging.ERROR, "wrong", event=LogEvent.JOB_ERROR))
    assert handler.filter(record(logging.WARNING, "careful"))
    assert not handler.filter(record(logging.WARNING, "careful"))
    assert handler.filter(record(logging.WARNING, "and else"))


@pytest.mark.parametrize("off", ["dryrun", "quiet", "verbose", "debug_dag"])
def test_it_is_off_where_no_one_looks_or_something_else_was_asked_for(off, monkeypatch):
    plain = dict.fromkeys(["dryrun", "quiet", "verbose", "debug_dag"], False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert console.wanted(SimpleNamespace(**plain))
    assert not console.wanted(SimpleNamespace(**plain | {off: True}))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert not console.wanted(SimpleNamespace(**plain))
