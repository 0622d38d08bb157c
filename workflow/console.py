"""What a run shows on a terminal: what is done, what runs, and how long the rest will take.

A handler of Snakemake's logger-plugin interface. It takes the place of Snakemake's own lines about
jobs, on a terminal alone; what Snakemake says of errors, and the log in `.snakemake/log`, stay as
they are. Each job's end has its line with a bar: how much of the work is done, by the plan. Below
them a block is drawn anew each second: all of the work, then each job that runs. Jobs have the same
terminal, and would write into that block: so they write to their logs alone, and what they warned
of and how they failed is read there when they end.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from nashlens.logs import PREFIX, last_error, warnings_of
from nashlens.progress import SHARED_TERMINAL, duration

EARLY = 0.05
"""Share of the work up to which the plan's seconds count, and not the pace of the run."""
BAR = 10
"""Characters of the bar."""
UNKNOWN = 2.0
"""Seconds of a job until the plan is there."""
EVERY = 1.0
"""Seconds between two drawings of the block."""
MOST = 8
"""Jobs that have a line."""
TAIL = BAR + 26
"""Columns for a job's bar and times."""
ERASE = "\r\x1b[J"
"""Takes back all from the line on which the cursor is."""

Plan = Callable[[], Mapping[int, float]]


def wanted(settings: Any) -> bool:
    """Say whether a call runs jobs before a reader's eyes, who asked for nothing else."""
    plain = not (settings.dryrun or settings.quiet or settings.verbose or settings.debug_dag)
    return plain and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class _Job(NamedTuple):
    """One that runs."""

    text: str
    start: float
    logs: Sequence[str] = ()


class Console(LogHandlerBase):
    """Write a line when a job ends, a block of those that run, and each warning once.

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
        self._running: dict[int, _Job] = {}
        self._todo: set[int] = set()
        self._ended: set[int] = set()
        self._start = 0.0
        self._took = 0.0
        """Seconds of all jobs that have ended."""
        self._warned: set[str] = set()
        self._drawn: list[str] = []
        """Lines of the block that stands on the terminal; the cursor is at the end of the last."""
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
                logs = tuple(map(str, said.get("log") or ()))
                job = _Job(str(said["rule_msg"]), time.monotonic(), logs)
                self._running[said["jobid"]] = job
                self.draw()
            elif event == LogEvent.JOB_FINISHED and said["job_id"] in self._running:
                self._ends(said["job_id"])
            elif event == LogEvent.JOB_ERROR and said["jobid"] in self._running:
                logs = self._running.pop(said["jobid"]).logs
                self._warn(logs)
                told = {last for log in logs if (last := last_error(log) or "").startswith(PREFIX)}
                self._say(told)

    def instead_of(self, handler: logging.Handler) -> None:
        """Keep from Snakemake's own handler what this one says; let it write above the block."""
        handler.addFilter(self._leaves)
        emit = handler.emit

        def emit_above(record: logging.LogRecord) -> None:
            with self._terminal:
                self._clear()
                emit(record)

        handler.emit = emit_above  # type: ignore[method-assign]

    def draw(self) -> None:
        """Draw the block of what runs anew, each line within the terminal's width."""
        with self._terminal:
            if self._running:
                size = _terminal_size()
                # The last column stays free: a cursor beyond it may stand on the next line.
                width = max(1, size.columns - 1)
                lines = [_cut(line, width) for line in self._block(size)]
                sys.stderr.write(self._taking_back() + "\n".join(lines))
                sys.stderr.flush()
                self._drawn = lines

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
                sys.stderr.write(self._taking_back())
                sys.stderr.flush()
                self._drawn = []

    def _taking_back(self) -> str:
        """Return what takes the block back that stands there."""
        if not self._drawn:
            return ""
        # A terminal that was made narrower has broken its lines since.
        columns = _terminal_size().columns
        up = sum(max(1, -(-len(line) // columns)) for line in self._drawn) - 1
        return (f"\x1b[{up}A" if up else "") + ERASE

    def _say(self, lines: Iterable[str]) -> None:
        """Print lines above the block."""
        self._clear()
        for line in lines:
            print(line, file=sys.stderr, flush=True)
        self.draw()

    def _warn(self, logs: Iterable[str]) -> None:
        """Say what a job warned of, if no other job has."""
        for log in logs:
            new = [text for text in dict.fromkeys(warnings_of(log)) if text not in self._warned]
            self._warned.update(new)
            self._say(f"nashlens: warning: {text} (log: {log})" for text in new)

    def _ends(self, number: int) -> None:
        job = self._running.pop(number)
        self._ended.add(number)
        took = time.monotonic() - job.start
        self._took += took
        self._warn(job.logs)
        self._say([f"{self._done()}  {job.text}: {duration(took)}"])

    def _done(self) -> str:
        """Return how much is done, by the plan: `   3/108   [####......]  41%`."""
        last = len(self._ended) >= len(self._todo)
        cost = self._cost(self._todo)
        share = 1.0 if last else min(0.99, self._cost(self._ended) / cost if cost else 0.0)
        return f"{len(self._ended):>4}/{len(self._todo):<4}  {_bar(share)}"

    def _block(self, size: os.terminal_size) -> list[str]:
        """Return what is done and how long the rest takes, then a line for each job that runs."""
        left = f", about {duration(self._left())} left" if self._costs else ""
        planned = self._cost(self._ended)
        pace = self._took / planned if planned else 1.0
        most = max(1, min(MOST, size.lines - 3))
        shown = list(self._running.items())[:most]
        # A longer name stands whole, and leaves its times less room.
        room = min(max(len(job.text) for _, job in shown), max(0, size.columns - TAIL - 4))
        jobs = [_line(job, self._costs.get(number, 0.0) * pace, room) for number, job in shown]
        rest = len(self._running) - len(shown)
        return [f"{self._done()}{left}", *jobs, *([f"  and {rest} more"] if rest else [])]

    def _cost(self, jobs: set[int]) -> float:
        return sum(self._costs.get(job, UNKNOWN) for job in jobs)

    def _left(self) -> float:
        """Return the seconds that are left: the plan's, at the pace of the run so far."""
        done, cost = self._cost(self._ended), self._cost(self._todo)
        rest = max(0.0, cost - done)
        if done <= EARLY * cost:
            return rest / self._cores
        return rest / done * (time.monotonic() - self._start)


def _line(job: _Job, whole: float, room: int) -> str:
    """Return what a job is and for how long it runs, of how much if the plan knows that."""
    so_far = time.monotonic() - job.start
    bar = _bar(min(0.99, so_far / whole)) if whole else " " * len(_bar(0.0))
    of = f" of {duration(whole)}" if whole else ""
    return f"  {job.text:{room}}  {bar}  {duration(so_far)}{of}"


def _bar(share: float) -> str:
    """Return a share as a bar: `[####......]  41%`."""
    return f"[{'#' * int(share * BAR):.<{BAR}}] {int(share * 100):>3}%"


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: max(0, width - 2)]}.."[:width]


def _terminal_size() -> os.terminal_size:
    """Return the size of the terminal that is written to, or else what the environment says."""
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):
        size = os.terminal_size((0, 0))
    return size if all(size) else shutil.get_terminal_size()
