"""What a run shows on a terminal: what is done, what runs, and how long the rest will take.

A handler of Snakemake's logger-plugin interface. It takes the place of Snakemake's own lines about
jobs, on a terminal alone; what Snakemake says of errors, and the log in `.snakemake/log`, stay as
they are. Each job's end has its line with a bar: how much of the work is done, by the plan. Below
them one line is drawn anew each second, with the jobs that run. Jobs write to the same terminal:
while it is shared, only warnings and errors.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from nashlens.progress import SHARED_TERMINAL, duration

EARLY = 0.05
"""Share of the work up to which the plan's seconds count, and not the pace of the run."""
BAR = 10
"""Characters of the bar."""
UNKNOWN = 2.0
"""Seconds of a job until the plan is there."""
EVERY = 1.0
"""Seconds between two drawings of the last line."""
CLEAR = "\r\x1b[K"
"""Takes back the line on which the cursor is."""

Plan = Callable[[], Mapping[int, float]]


def wanted(settings: Any) -> bool:
    """Say whether a call runs jobs before a reader's eyes, who asked for nothing else."""
    plain = not (settings.dryrun or settings.quiet or settings.verbose or settings.debug_dag)
    return plain and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class Console(LogHandlerBase):
    """Write a line when a job ends, one of those that run, and each warning once.

    Parameters
    ----------
    settings : OutputSettings
        Snakemake's.
    begin : callable
        Called when the first job starts. Returns the numbers of the jobs that are to run, and what
        prices them: a callable that takes seconds and returns those of each job by its number.
    cores : int
    """

    writes_to_stream, writes_to_file = True, False
    has_filter = has_formatter = True
    needs_rulegraph = False

    def __init__(self, settings: Any, begin: Callable[[], tuple[set[int], Plan]], cores: int):
        super().__init__(settings, None)
        self._begin, self._cores = begin, max(1, cores)
        self._costs: Mapping[int, float] = {}
        self._running: dict[int, tuple[str, float]] = {}
        self._todo: set[int] = set()
        self._ended: set[int] = set()
        self._start = 0.0
        self._took = 0.0
        """Seconds of all jobs that have ended."""
        self._warned: set[str] = set()
        self._drawn = False
        self._terminal = threading.RLock()
        # The jobs' processes inherit both.
        os.environ[SHARED_TERMINAL] = os.environ["TQDM_DISABLE"] = "1"

    def emit(self, record: logging.LogRecord) -> None:
        """Note what happened to a job."""
        # What an event has besides: snakemake_interface_logger_plugins.
        said: dict[str, Any] = vars(record)
        event = said.get("event")
        with self._terminal:
            if event == LogEvent.JOB_INFO and said["rule_msg"]:
                if not self._todo:
                    self._first()
                self._running[said["jobid"]] = str(said["rule_msg"]), time.monotonic()
            elif event == LogEvent.JOB_FINISHED and said["job_id"] in self._running:
                self._ends(said["job_id"])
            elif event == LogEvent.JOB_ERROR:
                self._running.pop(said["jobid"], None)
                self._clear()

    def instead_of(self, handler: logging.Handler) -> None:
        """Keep from Snakemake's own handler what this one says."""
        handler.addFilter(self._leaves)

    def draw(self) -> None:
        """Draw the line of what runs anew, within the terminal's width."""
        with self._terminal:
            if self._running:
                width, line = shutil.get_terminal_size().columns - 1, self._line()
                sys.stderr.write(CLEAR + (line if len(line) <= width else line[: width - 2] + ".."))
                sys.stderr.flush()
                self._drawn = True

    def _leaves(self, record: logging.LogRecord) -> bool:
        # While jobs run, how they are chosen and listed is of no interest.
        busy = bool(self._running) or 0 < len(self._ended) < len(self._todo)
        shown = not busy and getattr(record, "event", None) not in (
            LogEvent.JOB_INFO,
            LogEvent.JOB_STARTED,
            LogEvent.JOB_FINISHED,
            LogEvent.PROGRESS,
        )
        if record.levelno >= logging.WARNING:
            text = record.getMessage()
            shown = record.levelno > logging.WARNING or text not in self._warned
            self._warned.add(text)
        if shown:
            self._clear()
        return shown

    def _first(self) -> None:
        self._start = time.monotonic()
        self._todo, plan = self._begin()
        threading.Thread(target=self._price, args=[plan], daemon=True).start()
        threading.Thread(target=self._draw_on, daemon=True).start()
        atexit.register(self._clear)

    def _price(self, plan: Plan) -> None:
        self._costs = plan()

    def _draw_on(self) -> None:
        while len(self._ended) < len(self._todo):
            self.draw()
            time.sleep(EVERY)

    def _clear(self) -> None:
        with self._terminal:
            if self._drawn:
                sys.stderr.write(CLEAR)
                sys.stderr.flush()
                self._drawn = False

    def _ends(self, job: int) -> None:
        text, start = self._running.pop(job)
        self._ended.add(job)
        took = time.monotonic() - start
        self._took += took
        self._clear()
        print(f"{self._done()}  {text}: {duration(took)}", file=sys.stderr, flush=True)

    def _done(self) -> str:
        """Return how much is done, by the plan: `   3/108   [####......]  41%`."""
        last = len(self._ended) >= len(self._todo)
        cost = self._cost(self._todo)
        share = 1.0 if last else min(0.99, self._cost(self._ended) / cost if cost else 0.0)
        bar = f"[{'#' * int(share * BAR):.<{BAR}}] {int(share * 100):>3}%"
        return f"{len(self._ended):>4}/{len(self._todo):<4}  {bar}"

    def _line(self) -> str:
        """Return what is done, how long the rest takes, and what runs, for how long of how much."""
        now, running = time.monotonic(), []
        planned = self._cost(self._ended)
        pace = self._took / planned if planned else 1.0
        for job, (text, start) in self._running.items():
            so_far, whole = now - start, self._costs.get(job, 0.0) * pace
            of = f" of {duration(whole)}" if whole > so_far else ""
            running.append(f"{text} ({duration(so_far)}{of})")
        left = f", about {duration(self._left())} left" if self._costs else ""
        return f"{self._done()}{left}: {', '.join(running)}"

    def _cost(self, jobs: set[int]) -> float:
        return sum(self._costs.get(job, UNKNOWN) for job in jobs)

    def _left(self) -> float:
        """Return the seconds that are left: the plan's, at the pace of the run so far."""
        done, cost = self._cost(self._ended), self._cost(self._todo)
        rest = max(0.0, cost - done)
        if done <= EARLY * cost:
            return rest / self._cores
        return rest / done * (time.monotonic() - self._start)
