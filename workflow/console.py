"""What a run shows on a terminal: what starts, what is done, and how long the rest will take.

A handler of Snakemake's logger-plugin interface. It takes the place of Snakemake's own lines about
jobs, on a terminal alone; what Snakemake says of errors, and the log in `.snakemake/log`, stay as
they are. Each job's end has its line with a bar: how much of the work is done, by the plan. No bar
is drawn anew, since jobs write to the same terminal.
"""

from __future__ import annotations

import csv
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from nashlens.progress import duration

EARLY = 0.05
"""Share of the work up to which the plan's seconds count, and not the pace of the run."""
BAR = 10
"""Characters of the bar."""
UNKNOWN = 2.0
"""Seconds of a job that the plan does not have."""


def wanted(settings: Any) -> bool:
    """Say whether a call runs jobs before a reader's eyes, who asked for nothing else."""
    plain = not (settings.dryrun or settings.quiet or settings.verbose or settings.debug_dag)
    return plain and sys.stderr.isatty()


class Console(LogHandlerBase):
    """Write a line when a job starts and when it ends, and each warning once.

    Parameters
    ----------
    settings : OutputSettings
        Snakemake's.
    jobs : callable
        Returns the rule of each job that is to run, when the first one starts.
    plan : Path
        The table that `snakemake plan` wrote, if it did.
    cores : int
    """

    writes_to_stream, writes_to_file = True, False
    has_filter = has_formatter = True
    needs_rulegraph = False

    def __init__(self, settings: Any, jobs: Callable[[], Sequence[str]], plan: Path, cores: int):
        super().__init__(settings, None)
        self._jobs, self._plan, self._cores = jobs, plan, max(1, cores)
        self._costs: Mapping[str, float] = {}
        self._running: dict[int, tuple[str, str, float]] = {}
        self._todo: list[str] = []
        self._start = 0.0
        self._done, self._done_cost, self._cost = 0, 0.0, 0.0
        self._warned: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Note what happened to a job."""
        # What an event has besides: snakemake_interface_logger_plugins.
        said: dict[str, Any] = vars(record)
        event = said.get("event")
        if event == LogEvent.JOB_INFO and said["rule_msg"]:
            self._starts(said["jobid"], said["rule_name"], str(said["rule_msg"]))
        elif event == LogEvent.JOB_FINISHED and said["job_id"] in self._running:
            self._ends(said["job_id"])
        elif event == LogEvent.JOB_ERROR:
            self._running.pop(said["jobid"], None)

    def instead_of(self, handler: logging.Handler) -> None:
        """Keep from Snakemake's own handler what this one says."""
        handler.addFilter(self._leaves)

    def _leaves(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            text = record.getMessage()
            again = record.levelno == logging.WARNING and text in self._warned
            self._warned.add(text)
            return not again
        # While jobs run, how they are chosen and listed is of no interest.
        busy = bool(self._running) or 0 < self._done < len(self._todo)
        return not busy and getattr(record, "event", None) not in (
            LogEvent.JOB_INFO,
            LogEvent.JOB_STARTED,
            LogEvent.JOB_FINISHED,
            LogEvent.PROGRESS,
        )

    def _starts(self, job: int, rule: str, text: str) -> None:
        if not self._todo:
            self._todo, self._start = list(self._jobs()), time.monotonic()
            self._costs = read_costs(self._plan)
            self._cost = sum(map(self._cost_of, self._todo))
        self._running[job] = rule, text, time.monotonic()
        self._say(f"{'starts':>9}  {'':{BAR + 9}}{text}")

    def _ends(self, job: int) -> None:
        rule, text, start = self._running.pop(job)
        self._done += 1
        self._done_cost += self._cost_of(rule)
        took = duration(time.monotonic() - start)
        said = f"{self._done:>4}/{len(self._todo):<4}  {self._bar()}  {text}: {took}"
        if self._done < len(self._todo):
            said += f"; {len(self._running)} running, about {duration(self._left())} left"
        self._say(said)

    def _bar(self) -> str:
        """Return how much of the work is done, by the plan: `[####......]  41%`."""
        last = self._done >= len(self._todo)
        share = 1.0 if last else min(0.99, self._done_cost / self._cost if self._cost else 0.0)
        return f"[{'#' * int(share * BAR):.<{BAR}}] {int(share * 100):>3}%"

    def _cost_of(self, rule: str) -> float:
        return self._costs.get(rule, UNKNOWN)

    def _left(self) -> float:
        """Return the seconds that are left: the plan's, at the pace of the run so far."""
        rest = max(0.0, self._cost - self._done_cost)
        if self._done_cost <= EARLY * self._cost:
            return rest / self._cores
        return rest / self._done_cost * (time.monotonic() - self._start)

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def read_costs(plan: Path) -> Mapping[str, float]:
    """Return the seconds of one job of each rule, as a plan has them; of no plan, nothing.

    Nothing, too, of a plan that is damaged: it only says how long a run may take.
    """
    seconds: dict[str, float] = {}
    jobs: dict[str, float] = {}
    try:
        with plan.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                rule = row["rule"]
                long = max(float(row["core_seconds_here"]), float(row["gpu_seconds_here"]))
                seconds[rule] = seconds.get(rule, 0.0) + long
                jobs[rule] = jobs.get(rule, 0.0) + float(row["jobs"])
    except (OSError, KeyError, TypeError, ValueError, csv.Error):
        return {}
    return {rule: seconds[rule] / jobs[rule] for rule in seconds if jobs[rule]}
