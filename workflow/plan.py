"""`snakemake plan`: the jobs that Snakemake would run, priced by `nashlens.plan`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nashlens.gpus import MB, read_gpus, visible_gpus
from nashlens.plan.devices import CPU, Device, gpu_like_the_tables
from nashlens.plan.host import ON_MODEL
from nashlens.plan.price import price
from nashlens.plan.screen import plan_text
from nashlens.plan.study import Job, Study
from nashlens.plan.table import Machine, Plan, make_plan
from workflow.dag import Call, load_dag
from workflow.experiment import Experiment, model_folders


def plan_call(call: Call, *, measure: bool) -> tuple[Plan, str]:
    """Return the plan of what a call of Snakemake would do, and its text.

    Parameters
    ----------
    call : Call
    measure : bool
        Whether to measure this machine first, for half a minute.
    """
    dag, experiment = load_dag(call)
    folders = model_folders(call.root, experiment.models)
    study = Study(experiment.config, experiment.groups, folders)
    plan = make_plan(study, study_jobs(dag, experiment), this_machine(measure))
    return plan, plan_text(plan, call.about(experiment.name))


def seconds_by_plan(
    dag: Any, experiment: Experiment, root: Path
) -> tuple[set[int], Callable[[], dict[int, float]]]:
    """Return the numbers of the jobs that are to run, and what prices them, which takes seconds.

    Parameters
    ----------
    dag : DAG
        Snakemake's, of a run that begins.
    experiment : Experiment
    root : Path
        Of the repository.

    Returns
    -------
    set of int
    callable
        Returns job -> how long it takes here by itself, in seconds.
    """
    numbers = [job.jobid for job in dag.jobs if job.rule.script]
    jobs = zip(numbers, study_jobs(dag, experiment), strict=True)
    to_run = {number: job for number, job in jobs if job.todo}

    def prices() -> dict[int, float]:
        study = Study(experiment.config, experiment.groups, model_folders(root, experiment.models))
        device = this_machine().device
        return {number: price(study, job, device).seconds for number, job in to_run.items()}

    return set(to_run), prices


def study_jobs(dag: Any, experiment: Experiment) -> list[Job]:
    """Return the jobs of Snakemake's graph that compute something: targets are none.

    Parameters
    ----------
    dag : DAG
        As `load_dag` returns it.
    experiment : Experiment
    """
    jobs = [job for job in dag.jobs if job.rule.script]
    place = {job: k for k, job in enumerate(jobs)}
    needed = set(dag.needrun_jobs())
    found = []
    for job in jobs:
        given = dict(job.wildcards)
        models = experiment.provenance.models_of(given) if {"model", "group"} & set(given) else []
        found.append(
            Job(
                rule=job.rule.name,
                models=tuple(models),
                group=given.get("group", ""),
                part=int(given.get("part", 1)),
                parts=int(given.get("parts", 1)),
                gpus=experiment.gpus(given) if job.rule.name in ON_MODEL else 0,
                threads=int(job.threads),
                after=tuple(place[b] for b in dag.dependencies[job] if b in place),
                todo=job in needed,
            )
        )
    return found


def this_machine(measure: bool = False) -> Machine:
    """Return what is here; GPUs are as fast as those of the table unless they are measured."""
    gpus, known = visible_gpus(), read_gpus()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    core_speed, device = 1.0, Device(CPU, memory)
    if gpus:
        each = min((gpu.total * MB for gpu in known), default=0.0)
        device = gpu_like_the_tables([gpu.kind for gpu in known], each)
    if measure:
        from nashlens.plan import measure as bench

        core_speed = bench.core_speed(bench.SECONDS / (2 if gpus else 1))
        if gpus:
            device = device.faster(bench.gpu_speed(bench.SECONDS / 2))
    return Machine("here", cores or 1, gpus, device, memory, core_speed, measured=measure)
