"""`snakemake status`: which stages are current, which would run, and because of what."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workflow.choice import ABSENT, DAMAGED, FOREIGN, MISSING, STALE, examine
from workflow.command import Command
from workflow.dag import Call, load_dag
from workflow.experiment import Experiment
from workflow.reasons import changed_keys, few
from workflow.records import read_record

WIDTH = 100
MODELS_SHOWN = 4
"""Models that have a column of their own; of more, all are one."""


@dataclass
class StageStatus:
    """A stage's jobs of one subject: a model, or all that is about no single one."""

    jobs: int = 0
    to_do: int = 0
    made: bool = True
    """Whether every job's outputs are there."""
    causes: dict[str, None] = field(default_factory=dict)
    """Why jobs would run, in order; none of those that only follow others."""
    follows: dict[str, None] = field(default_factory=dict)
    """Stages upstream that have such reasons."""


def status_text(call: Call) -> str:
    """Return the state of an experiment as one screen.

    Parameters
    ----------
    call : Call
    """
    dag, experiment = load_dag(call)
    stages = stage_table(dag, experiment)
    ask = Command(call.configfiles, call.settings).ask("plan")
    return render(call.about(experiment.name), experiment.models, stages, ask)


def stage_table(dag: Any, experiment: Experiment) -> dict[str, dict[str, StageStatus]]:
    """Return stage -> subject -> its status, in the order of the rules.

    Parameters
    ----------
    dag : DAG
        Snakemake's, as `load_dag` returns it.
    experiment : Experiment
        Its models are subjects; what is about none of them is subject `""`.
    """
    models = experiment.models
    needed = set(dag.needrun_jobs())
    jobs = [job for job in dag.jobs if job.rule.script]
    order = {rule.name: k for k, rule in enumerate(dag.workflow.rules)}
    own = {job: list(causes(dag, job, experiment)) for job in jobs if job in needed}
    roots: dict[Any, frozenset[str]] = {}
    found: dict[str, dict[str, StageStatus]] = {}
    for job in sorted(jobs, key=lambda job: order[job.rule.name]):
        subject = str(dict(job.wildcards).get("model", ""))
        stage = found.setdefault(stage_of(job), {})
        status = stage.setdefault(subject if subject in models else "", StageStatus())
        status.jobs += 1
        if job not in needed:
            continue
        status.to_do += 1
        status.made = status.made and all(map(os.path.exists, job.output))
        status.causes |= dict.fromkeys(own[job])
        if not own[job]:
            before = _roots(dag, job, own, roots) - {stage_of(job)}
            status.follows |= dict.fromkeys(sorted(before))
    return found


def _roots(
    dag: Any, job: Any, own: Mapping[Any, Sequence[str]], known: dict[Any, frozenset[str]]
) -> frozenset[str]:
    """Return the stages upstream that have reasons of their own."""
    if job not in known:
        found: set[str] = set()
        for before in dag.dependencies[job]:
            if own.get(before):
                found.add(stage_of(before))
            if before in own:
                found |= _roots(dag, before, own, known)
        known[job] = frozenset(found)
    return known[job]


def stage_of(job: Any) -> str:
    """Return the stage of a job: the file of its rule."""
    return Path(job.rule.snakefile).stem


def causes(dag: Any, job: Any, experiment: Experiment) -> Iterator[str]:
    """Yield a job's own reasons to run: keys of the config, files, code; none if it only follows.

    Parameters
    ----------
    dag : DAG
    job : Job
        One that would run.
    experiment : Experiment
    """
    provenance, given = experiment.provenance, dict(job.wildcards)
    fingerprint = provenance.fingerprint(job.rule.name, given)
    found = [examine(str(path), fingerprint, experiment.digests) for path in job.output]
    said = [f"{one.path}: {one.why}" for one in found if one.state in (MISSING, DAMAGED, FOREIGN)]
    stale = [one for one in found if one.state == STALE]
    if stale:
        record = read_record(stale[0].path)
        now = provenance.slice(provenance.stages[job.rule.name].reads, given)
        before = record.get("config", now)
        said += changed_keys(before, now)
        if record.get("fingerprint") == fingerprint:
            said += [one.why for one in stale]
    if not said and not any(dag.needrun(before) for before in dag.dependencies[job]):
        absent = any(one.state == ABSENT for one in found)
        said = ["not made yet" if absent else f"code of {job.rule.name}"] * bool(absent or stale)
    yield from few(said)


def render(
    experiment: str,
    models: Sequence[str],
    stages: Mapping[str, Mapping[str, StageStatus]],
    ask: str,
) -> str:
    """Return the table of stages and subjects.

    Parameters
    ----------
    experiment : str
    models : sequence of str
    stages : mapping
        From `stage_table`.
    ask : str
        The command that says what the jobs take.
    """
    every = [status for some in stages.values() for status in some.values()]
    jobs, to_do = sum(s.jobs for s in every), sum(s.to_do for s in every)
    if not to_do:
        return f"\nExperiment {experiment}: all {jobs} jobs are current.\n"
    single = list(models) if len(models) <= MODELS_SHOWN else []
    head = ["stage", *single, *(["models"] if not single else []), "all", "because of"]
    rows = []
    for stage, by_subject in stages.items():
        columns = [by_subject.get(name) for name in single]
        if not single:
            columns = [_joined([s for name, s in by_subject.items() if name])]
        columns.append(by_subject.get(""))
        rows.append([stage, *(_cell(status) for status in columns), _because(by_subject)])
    widths = [max(len(row[k]) for row in [head, *rows]) for k in range(len(head) - 1)]
    indent = sum(widths) + 2 * len(widths)
    lines = ["  ".join([*(c.ljust(w) for c, w in zip(head, widths, strict=False)), head[-1]])]
    lines.append("-" * WIDTH)
    for row in rows:
        start = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        why = textwrap.wrap(row[-1], max(30, WIDTH - indent), break_on_hyphens=False) or [""]
        lines.append(f"{start}  {why[0]}".rstrip())
        lines += [" " * indent + more for more in why[1:]]
    said = f"Experiment {experiment}: {to_do} of {jobs} jobs would run"
    ends = f"`{ask}` says what they take."
    return "\n".join(["", said, "", *lines, "", ends, ""])


def _joined(statuses: Sequence[StageStatus]) -> StageStatus | None:
    if not statuses:
        return None
    jobs, to_do = sum(s.jobs for s in statuses), sum(s.to_do for s in statuses)
    return StageStatus(jobs, to_do, all(s.made for s in statuses))


def _cell(status: StageStatus | None) -> str:
    if status is None:
        return ""
    if not status.to_do:
        return "current"
    what = "again" if status.made else "to make"
    return what if status.to_do == status.jobs else f"{what} {status.to_do}/{status.jobs}"


def _because(by_subject: Mapping[str, StageStatus]) -> str:
    own = dict.fromkeys(cause for status in by_subject.values() for cause in status.causes)
    if own:
        return "; ".join(own)
    before = dict.fromkeys(name for status in by_subject.values() for name in status.follows)
    return f"follows {', '.join(before)}" if before else ""
