"""The one logging set-up: each job's log file and its stderr, uncaught exceptions included.

A job that fails writes the traceback to its log, and to both the log and stderr one last line::

    nashlens: error: results/...: what is wrong and what to do (log: results/.../logs/RULE.log)

which the workflow repeats as the last line in the terminal. Where the disk is full the log cannot
hold it; stderr does, and the workflow finds out by itself. Where jobs share a terminal, which their
workflow draws on, they write to their logs alone, and the workflow reads them there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import traceback
from pathlib import Path
from types import TracebackType

from nashlens.disk import DiskError, disk_problem
from nashlens.errors import NashlensError, printable, unescaped
from nashlens.progress import SHARED_TERMINAL

PREFIX = "nashlens: error: "
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_BEGINS = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?P<level>[A-Z]+) \S+: ")
_TRACEBACK = "Traceback (most recent call last)"


def start_logging(path: str | Path) -> None:
    """Write this process's messages, warnings and uncaught exceptions to a log and to stderr.

    Parameters
    ----------
    path : str or Path
        The job's log; an old one is replaced.
    """
    path = Path(path)
    shared = bool(os.environ.get(SHARED_TERMINAL))

    def report(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
            return
        last = f"{PREFIX}{summary(error)} (log: {path})"
        # The traceback goes only to the log; the terminal shows the one line.
        lines = traceback.format_exception(kind, error, trace)
        # On a full disk the log ends here, and the terminal has the line all the same.
        with contextlib.suppress(OSError):
            with open(path, "a", encoding="utf-8") as out:
                out.write(unescaped("".join(lines)) + last + "\n")
            if shared:
                return
        print(last, file=sys.stderr, flush=True)

    sys.excepthook = report
    # What cannot be logged is no reason to print a traceback for every line of the log.
    logging.raiseExceptions = False
    handlers: list[logging.Handler] = [] if shared else [logging.StreamHandler()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path, mode="w", encoding="utf-8"))
    except OSError as error:
        raise DiskError(disk_problem(error, path, writing=True)) from None
    for handler in handlers:
        handler.setFormatter(Shown(_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)
    logging.captureWarnings(True)


class Shown(logging.Formatter):
    """Writes out what a terminal would obey: a model's files may hold such texts."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record's text."""
        return unescaped(super().format(record))


def summary(error: BaseException) -> str:
    """Return an error in one line: its message, after its type unless it is one of ours."""
    text = printable(str(error))
    if isinstance(error, NashlensError):
        return text
    if isinstance(error, OSError) and (said := disk_problem(error, error.filename or "results")):
        return printable(said)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def warnings_of(path: str | Path) -> list[str]:
    """Return what a job's log warns of, each text without its time.

    Parameters
    ----------
    path : str or Path
        A job's log; it need not exist.

    Returns
    -------
    list of str
        Records of level WARNING and above, in order.
    """
    found: list[list[str]] = []
    current: list[str] | None = None
    for line in _lines(path):
        if begins := _BEGINS.match(line):
            warns = begins["level"] in ("WARNING", "ERROR", "CRITICAL")
            current = [line[begins.end() :]] if warns else None
            found += [current] if current else []
        elif line.startswith((PREFIX, _TRACEBACK)):
            # Of what ended the job.
            current = None
        elif current is not None:
            current.append(line)
    return [unescaped("\n".join(text)) for text in found]


def last_error(path: str | Path) -> str | None:
    """Return the line of the error that ended a failed job's log, or else the log's last line.

    Parameters
    ----------
    path : str or Path
        A job's log; it need not exist.

    Returns
    -------
    str or None
        None where there is no log or it is empty.
    """
    lines = [line for line in _lines(path) if line.strip()]
    if not lines:
        return None
    # What a library or another program wrote there went through no handler of ours.
    return unescaped(next((line for line in reversed(lines) if line.startswith(PREFIX)), lines[-1]))


def _lines(path: str | Path) -> list[str]:
    """Return the lines of a log; none where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
