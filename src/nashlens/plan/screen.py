"""The plan as text of at most a hundred columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import pandas as pd

from nashlens.plan.memory import GB
from nashlens.plan.table import Machine, Plan
from nashlens.progress import duration

SMALL = 0.01
"""Share of all time below which a rule is not shown by itself."""
SHOWN = 16
"""Rules that are shown by themselves, at most."""
_UNITS = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def count(number: float) -> str:
    """Return a number in at most five characters.

    >>> count(0), count(950), count(12_345), count(3_100_000)
    ('-', '950', '12 k', '3.1 M')
    """
    if not number:
        return "-"
    for unit, letter in _UNITS:
        if number >= unit:
            scaled = number / unit
            return f"{scaled:.1f} {letter}" if scaled < 10 else f"{scaled:.0f} {letter}"
    return f"{number:.0f}"


def size(number: float) -> str:
    """Return bytes in GB."""
    return f"{number / GB:.1f}" if number >= 0.05 * GB else "-"


def plan_text(plan: Plan, experiment: str) -> str:
    """Return the plan for a terminal.

    Parameters
    ----------
    plan : Plan
    experiment : str
        Its name.
    """
    table = plan.table
    jobs, current = int(table["jobs"].sum()), int(table["current"].sum())
    if not jobs:
        return f"\nExperiment {experiment}: nothing to do, all {current} jobs are current.\n"
    done = f", {current} are current" if current else ""
    lines = ["", f"Experiment {experiment}: {jobs} jobs to do{done}", "", *_rows(plan)]
    lines += ["", *_totals(plan)]
    if plan.problems:
        lines += ["", "What does not fit", *(f"  {line}" for line in _wrapped(plan.problems))]
    if plan.notes:
        lines += ["", "What this rests on", *(f"  {line}" for line in _wrapped(plan.notes))]
    return "\n".join(lines) + "\n"


def _rows(plan: Plan) -> list[str]:
    groups = plan.table.groupby(_named(plan.table), sort=False)
    rules, most = groups.sum(numeric_only=True), groups[["host_bytes", "gpu_bytes"]].max()
    rules[["host_bytes", "gpu_bytes"]] = most
    rules = rules[rules["jobs"] > 0]
    rules["time"] = rules["core_seconds_here"].where(~_gpu(plan), rules["gpu_seconds_here"])
    rules["there"] = rules["gpu_seconds_h100"].where(
        rules["gpu_seconds_h100"] > 0, rules["core_seconds_h100"]
    )
    whole = max(rules["time"].sum(), 1.0), max(rules["there"].sum(), 1.0)
    shares = (rules["time"] / whole[0]).combine(rules["there"] / whole[1], max)
    small = (shares < SMALL) | (shares.rank(method="first", ascending=False) > SHOWN)
    head = (
        "rule",
        "jobs",
        "prompts",
        "tokens",
        "unique",
        "written",
        "flop",
        "disk",
        "host",
        "GPU",
    )
    cells = [[*head, "here", "H100"]]
    for name, row in rules[~small].sort_values("time", ascending=False, kind="stable").iterrows():
        cells.append([str(name), f"{row['jobs']:.0f}", *_numbers(row)])
    if small.any():
        rest = rules[small].sum()
        rest[["host_bytes", "gpu_bytes"]] = rules.loc[small, ["host_bytes", "gpu_bytes"]].max()
        cells.append([f"{small.sum()} others", f"{rest['jobs']:.0f}", *_numbers(rest)])
    total = rules.sum()
    total[["host_bytes", "gpu_bytes"]] = rules[["host_bytes", "gpu_bytes"]].max()
    cells.append(["in all", f"{total['jobs']:.0f}", *_numbers(total)])
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    rule = "-" * len(lines[0])
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]]


def _gpu(plan: Plan) -> pd.Series:
    """Say of each rule whether a GPU here runs it."""
    return plan.table.groupby(_named(plan.table), sort=False)["gpu_seconds_here"].sum() > 0


def _named(table: pd.DataFrame) -> pd.Series:
    """Return each row's rule, of all figures the same."""
    return table["rule"].astype(str).str.replace(r"^draw_.*", "draw_*", regex=True)


def _numbers(row: pd.Series) -> list[str]:
    return [
        *(count(row[name]) for name in ("prompts", "tokens", "unique_tokens")),
        count(row["written_tokens"]),
        count(row["operations"]),
        *(size(row[name]) for name in ("disk_bytes", "host_bytes", "gpu_bytes")),
        duration(row["time"]),
        duration(row["there"]),
    ]


def _totals(plan: Plan) -> list[str]:
    here = plan.here
    lines = [
        f"here  {_machine(here)}: {_work(plan.core_hours, plan.gpu_hours)},"
        f" done in {duration(plan.wall_here)}"
    ]
    for one in plan.there:
        took = "; ".join(f"{n} in {duration(seconds)}" for n, seconds in one.wall.items())
        lines.append(
            f"{one.device.name.split()[0]}  {one.device.memory / GB:.0f} GB, 16 cores each:"
            f" {_work(one.core_hours, one.gpu_hours)}, done on {took}"
        )
    return [
        "Time is one core's, or a GPU's; memory (GB) that of the largest job, on all of its GPUs.",
        "",
        *lines,
    ]


def _machine(machine: Machine) -> str:
    if not machine.gpus:
        return f"{machine.cores} cores, no GPU"
    memory = machine.device.memory
    each = f" of {memory / GB:.0f} GB" if machine.device.like and memory else ""
    return f"{machine.cores} cores, {machine.gpus} x {machine.device.name}{each}"


def _work(cores: float, gpus: float) -> str:
    on_gpus = f"{gpus:,.1f} GPU hours and " if gpus > 0 else ""
    return f"{on_gpus}{cores:,.1f} core hours"


def _wrapped(lines: Sequence[str]) -> list[str]:
    return [
        part
        for line in lines
        for part in textwrap.wrap(line, 96, subsequent_indent="  ", break_on_hyphens=False)
    ]
