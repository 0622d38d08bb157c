"""What a run says last: where the figures are, or which job failed, why, and where its log is."""

from __future__ import annotations

import atexit
import csv
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

from nashlens.logs import PREFIX, last_error

_FAILED = re.compile(r"^\s+log: (\S.*?) \(check log file", re.MULTILINE)
_RULE = re.compile(r"^Error in rule (\w+)", re.MULTILINE)
COLUMNS = ("claim", "model", "verdict", "estimate", "ci_low", "ci_high", "control", "measure")


def say_last(text: str) -> None:
    """Print to stderr after everything that Snakemake itself says."""
    atexit.register(print, text, file=sys.stderr, flush=True)


def failures(snakemake_logs: Iterable[str]) -> str:
    """Return one line for each job that failed.

    Parameters
    ----------
    snakemake_logs : iterable of str
        Paths of Snakemake's own log of the run, which names the failed jobs and their logs.
    """
    texts = [Path(path).read_text(encoding="utf-8", errors="replace") for path in snakemake_logs]
    logs = dict.fromkeys(match for text in texts for match in _FAILED.findall(text))
    lines = []
    for log in logs:
        found = last_error(log)
        if found is None:
            found = f"{PREFIX}the job ended before it could write a log, see above (log: {log})"
        elif not found.startswith(PREFIX):
            # Killed, by the kernel for its memory or by a scheduler: it could not say so.
            found = f"{PREFIX}the job was ended from outside; it last wrote: {found} (log: {log})"
        lines.append(found)
    rules = dict.fromkeys(match for text in texts for match in _RULE.findall(text))
    return "\n".join(lines or [f"{PREFIX}rule {rule} failed, see above" for rule in rules])


def findings(figures: str, table: str) -> str:
    """Return the findings as a table for the terminal, and where everything is."""
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = [column for column in COLUMNS[:-1] if rows and column in rows[0]]
    cells = [columns, *([_short(row[column]) for column in columns] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    room = max(20, shutil.get_terminal_size().columns - sum(widths) - 2 * len(widths))
    measures = ["measure", *(row.get("measure", "") for row in rows)]
    lines = [
        "  ".join(
            [
                *(cell.ljust(width) for cell, width in zip(row, widths, strict=True)),
                textwrap.shorten(measure, room, placeholder="..."),
            ]
        )
        for row, measure in zip(cells, measures, strict=True)
    ]
    return "\n".join(["", *lines, "", f"figures:  {figures}", f"findings: {table}"])


def _short(text: str) -> str:
    try:
        return f"{float(text):.3g}"
    except ValueError:
        return text
