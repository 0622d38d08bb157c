"""What a run says last: where the figures are, or which job failed, why, and where its log is."""

from __future__ import annotations

import atexit
import csv
import logging
import os
import re
import shutil
import signal
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.common import LogEvent

from nashlens.disk import DiskError, folder_problem
from nashlens.errors import printable
from nashlens.files import clear_left, write_json
from nashlens.logs import PREFIX, last_error
from workflow.aside import clear_files
from workflow.call import ASKED_ABOUT
from workflow.command import Command
from workflow.reasons import few, said_causes

COLUMNS = ("claim", "model", "verdict", "estimate", "ci_low", "ci_high", "control", "measure")
OLD = 3600.0
"""Seconds after which a file that no process has finished is left over: others may write theirs."""
OVERRIDE = "M6"
"""The claim whose ladder ends every run."""


def say_last(text: str) -> None:
    """Print to stderr after everything that Snakemake itself says."""
    atexit.register(print, text, file=sys.stderr, flush=True)


def begin_writing(folder: str, config: dict[str, Any] | None) -> None:
    """See that a run can write, note its config, and clear what killed calls have left.

    Where it cannot, the call ends with one line and status 1.

    Parameters
    ----------
    folder : str
        The experiment's.
    config : dict or None
        None writes nothing: a call that only asks.
    """
    try:
        if config is not None:
            clear_files([Path(folder) / "config.json"])
            # For who reads the results: the tables themselves carry the keys that they depend on.
            write_json(Path(folder) / "config.json", config)
    except DiskError as error:
        print(f"{PREFIX}{printable(str(error))}", file=sys.stderr)
        # SystemExit, as Snakemake prints a traceback for any other exception.
        sys.exit(1)
    for other in (Path(folder), Path(folder).parent, *Path(folder).parent.glob("models/*")):
        clear_left(other / "*", older=OLD)


def say_last_of_dry_run(workflow: Any, command: Command) -> None:
    """Print what a dry run came to, after Snakemake's own list of jobs; nothing of no job."""

    def say() -> None:
        dag = workflow._dag
        # By now Snakemake counts them as finished.
        needed = filter(dag.needrun, dag.jobs) if dag is not None else ()
        jobs = [job for job in needed if job.rule.script]
        if jobs:
            stages = [Path(job.rule.snakefile).stem for job in jobs]
            causes = dict.fromkeys(c for job in jobs for c in said_causes(job, dag.reason(job)))
            about = about_the_same(command, workflow.dag_settings.targets)
            print(dry_run(stages, list(causes), about), file=sys.stderr)

    atexit.register(say)


def about_the_same(command: Command, targets: Iterable[str]) -> Command:
    """Return a command whose `plan` and `status` are about what was asked for.

    A single file has no plan of its own: then they are about all of the experiment.

    Parameters
    ----------
    command : Command
    targets : iterable of str
        Of the call; none are the default.
    """
    names = sorted(targets)
    if not names or names == ["figures"] or not set(names) <= set(ASKED_ABOUT):
        return command
    said = names[0] if len(names) == 1 else f"[{', '.join(names)}]"
    return Command(command.configfiles, [*command.settings, f"target={said}"])


def dry_run(stages: Sequence[str], causes: Sequence[str], command: Command) -> str:
    """Return a dry run in at most ten lines.

    Parameters
    ----------
    stages : sequence of str
        The stage of each job that would run, in any order.
    causes : sequence of str
        What has changed.
    command : Command
        How the same experiment is asked about.
    """
    counts = Counter(stages).most_common()
    said = ", ".join(f"{stage} {count}" for stage, count in counts)
    jobs = f"{len(stages)} job{'s' * (len(stages) != 1)} would run (this was a dry run): "
    lines = textwrap.wrap(jobs + said, 96, subsequent_indent="  ", max_lines=4)
    if causes:
        changed = f"what has changed:     {'; '.join(few(causes))}"
        lines += textwrap.wrap(changed, 96, subsequent_indent=" " * 22, max_lines=3)
    asks = [f"what they take:       {command.ask('plan')}"]
    asks += [f"why they would run:   {command.ask('status')}"]
    return "\n".join(["", *lines, *asks])


ENDINGS = {
    "TIMEOUT": "it ran out of time: raise resources.model_runtime or light_runtime",
    "OUT_OF_MEMORY": "it ran out of memory: raise resources.model_mem_mb, models.NAME.mem_mb or"
    " light_mem_mb",
    "CANCELLED": "it was cancelled (scancel): give the same command again",
    "NODE_FAIL": "its node failed: give the same command again",
    "BOOT_FAIL": "its node did not start: give the same command again",
    "DEADLINE": "it missed its deadline: give the same command again",
    "UNKNOWN": "SLURM no longer knows it, and its results are not there: give the same command"
    " again",
}
"""How SLURM may end a job, in words."""
SIGNALS = {
    "SIGKILL": "it was killed (SIGKILL), mostly because memory ran out: run fewer jobs at once"
    " (--cores), or give it more (resources.model_mem_mb, models.NAME.mem_mb, light_mem_mb)",
    "SIGTERM": "it was ended from outside (SIGTERM): give the same command again",
    "SIGINT": "it was interrupted (SIGINT): give the same command again",
    "SIGHUP": "its terminal was closed (SIGHUP): give the same command again",
}
"""Signals that say nothing of a job's own code, in words."""
STOPPED = "nashlens: stopped: what was finished is kept; give the same command again"
"""The end of a call that its user stopped: no error."""
_STOPPING = "Terminating processes on user request"
_SIGNALLED = re.compile(r"\bSIG(INT|TERM|KILL)\b")
_STATE = re.compile(r"SLURM status is: '(\w+)")
_REFUSED = re.compile(r"(?s)The error message was '(?:sbatch: error: )?(.*?)'\.\n")
_PROCESS = re.compile(r"died with <Signals\.(SIG\w+)|returned non-zero exit status (\d+)")
_OVER_MEMORY = re.compile(r"exceeded .*memory limit|oom.?kill|out.of.memory", re.I)


class FailedJobs(logging.Handler):
    """Collect the jobs that fail, from the records that Snakemake logs.

    A job that is tried again and succeeds is none of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failed: dict[int, str] = {}
        """Job -> one line: what was wrong, and where its log is."""
        self._before: dict[str, tuple[int, int] | None] = {}
        """Log -> what it was when its job was started."""
        self._told: dict[int | None, str] = {}
        """Thread -> the last error that it told: of a job's process, right before the job's own."""
        self.stopped = False
        """The user has stopped the call, as by Ctrl-C."""

    def emit(self, record: logging.LogRecord) -> None:
        """Note a job's start, its failure or its end."""
        event = getattr(record, "event", None)
        if event == LogEvent.JOB_INFO:
            self._before |= {log: _state_of(log) for log in record.log}
        elif event == LogEvent.JOB_ERROR:
            # What an earlier try wrote says nothing of one that never started.
            logs, before = list(record.log), self._before
            new = [log for log in logs if log not in before or _state_of(log) != before[log]]
            told = self._told.pop(record.thread, "")
            message = str(getattr(record, "rule_msg", None) or told)
            self.failed[record.jobid] = _failure(record.rule_name, logs, new, message)
        elif event == LogEvent.JOB_FINISHED:
            self.failed.pop(record.job_id, None)
        elif record.levelno >= logging.ERROR:
            self._told[record.thread] = record.getMessage()
        elif record.getMessage().startswith(_STOPPING):
            self.stopped = True

    def lines(self) -> list[str]:
        """Return one line for each job that failed; where the user stopped the call, that."""
        failed = list(self.failed.values())
        if not self.stopped:
            return failed
        # Jobs end with the call that runs them.
        return [*(line for line in failed if not _SIGNALLED.search(line)), STOPPED]


def _state_of(log: str) -> tuple[int, int] | None:
    try:
        found = os.stat(log)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _failure(rule: str, logs: list[str], new: list[str], message: str) -> str:
    """Return what was wrong with a job, by its own log or else by its scheduler."""
    found = {log: last for log in new if (last := last_error(log)) is not None}
    last = next(iter(found.values()), "")
    where = f"(log: {', '.join(found or logs)})"
    ending = _scheduled_ending(logs, message)
    if last.startswith(PREFIX) and not (ending and "SIGTERM" in last):
        return last
    if refused := _REFUSED.search(message):
        said = " ".join(refused.group(1).split())
        return f"{PREFIX}{rule}: SLURM did not take the job: {said}"
    # A job that cannot write its log says so on the terminal alone.
    if not ending and logs and (problem := folder_problem(Path(logs[0]).parent)) is not None:
        return f"{PREFIX}{rule}: {problem}"
    # On a cluster it is the job's own Snakemake that tells how its process ended.
    ending = ending or _process_ending(_read(logs[-1]) if _STATE.search(message) else message)
    if ending:
        wrote = f"it last wrote: {last.removeprefix(PREFIX)}" if last else "it wrote no log"
        return f"{PREFIX}{rule}: {ending}; {wrote} {where}"
    if not found:
        return f"{PREFIX}{rule}: the job ended before it could write a log, see above {where}"
    return f"{PREFIX}the job was ended from outside; it last wrote: {last} {where}"


def _scheduled_ending(logs: list[str], message: str) -> str | None:
    """Return how a scheduler ended a job; None where there is none, or the job ended by itself."""
    state = _STATE.search(message)
    if state is None:
        return None
    if state.group(1) in ENDINGS:
        return ENDINGS[state.group(1)]
    # Without cgroups it is another failure, and only the scheduler's own log says why.
    return ENDINGS["OUT_OF_MEMORY"] if _OVER_MEMORY.search(_read(logs[-1])) else None


def _process_ending(text: str) -> str | None:
    """Return how a job's process ended, as Snakemake tells it."""
    found = _PROCESS.search(text)
    if found is None:
        return None
    name, status = found.group(1), int(found.group(2) or 0)
    # So a shell tells that a signal ended what it ran.
    if 128 < status < 128 + signal.NSIG:
        name = signal.Signals(status - 128).name
    if not name:
        return f"it ended with exit status {status}"
    crashed = f"it crashed ({name}) in compiled code: give the same command again"
    return SIGNALS.get(name, crashed)


def _read(log: str) -> str:
    try:
        return Path(log).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def findings(
    figures: str | None, table: str, ladder_table: str | None, *, page: str | None = None
) -> str:
    """Return the findings as a table for the terminal, the ladder's ends, and where things are.

    A study that does not ask about the games' own words has no ladder.

    Figures and the page are named where the run made them.
    """
    rows = _rows(table)
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
    ends = _ends(_rows(ladder_table), (OVERRIDE,)) if ladder_table else []
    said = [*ends, ""] if ends else []
    places = {"figures: ": figures, "page:    ": page, "findings:": table}
    named = [f"{name} {place}" for name, place in places.items() if place is not None]
    return "\n".join(["", *lines, "", *said, *named])


def ladder(figures: str, table: str) -> str:
    """Return what the published and the controlled protocol say of each claim."""
    rows = _rows(table)
    ends = _ends(rows, tuple(dict.fromkeys(row["claim"] for row in rows)))
    return "\n".join(["", *ends, "", f"figures:  {figures}", f"ladder:   {table}"])


def _ends(rows: list[dict[str, str]], claims: tuple[str, ...]) -> list[str]:
    """Return a sentence for each claim and model: its published and its controlled rung."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        if row["claim"] in claims and row["short"]:
            because = f", {row['because']}" if row["because"] else ""
            said = f"{row['concludes']}{because} ({row['short']})"
            found.setdefault((row["claim"], row["model"]), {})[row["name"]] = said
    return [
        f"{claim} of {model}: as published: {said['published']};"
        f" controlled: {said.get('controlled', 'no estimate')}"
        for (claim, model), said in found.items()
        if "published" in said
    ]


def _rows(table: str) -> list[dict[str, str]]:
    with open(table, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _short(text: str) -> str:
    try:
        return f"{float(text):.3g}"
    except ValueError:
        return text
