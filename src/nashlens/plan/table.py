"""The plan of a study: one row a rule and model, and what does not fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from nashlens.plan.clock import wall_clock
from nashlens.plan.devices import DEVICES, H100, H200, HOST_CORES, Device
from nashlens.plan.host import ON_MODEL, SIDE_BY_SIDE, stored_bytes
from nashlens.plan.memory import GB, precision_of
from nashlens.plan.price import Price, price
from nashlens.plan.study import Job, Study
from nashlens.plan.work import Work
from nashlens.vocabulary.play import WRITING_MODES
from nashlens.workers import spare_threads

COLUMNS = (
    "rule", "subject", "jobs", "current", "prompts", "tokens", "unique_tokens", "written_tokens",
    "operations", "disk_bytes", "host_bytes", "gpu_bytes", "gpus", "core_seconds_here",
    "gpu_seconds_here", "core_seconds_h100", "gpu_seconds_h100", "core_seconds_h200",
    "gpu_seconds_h200",
)  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """Where a study is to run."""

    name: str
    cores: int
    gpus: int = 0
    device: Device = field(default_factory=lambda: Device("cpu core", 0.0))
    """What its models run on."""
    memory: float = 0.0
    """Bytes of the host; 0 where that is not known."""
    core_speed: float = 1.0
    """Speed of a core over that of the one that was measured."""
    measured: bool = False
    """Whether its speed was measured."""


@dataclass(frozen=True)
class OnGpus:
    """What a study will take on GPUs of one kind."""

    device: Device
    prices: Mapping[int, Price]
    """By a job's place in the list, with as few GPUs as the largest job needs."""
    gpu_hours: float
    core_hours: float
    """Of the CPU jobs beside them."""
    wall: Mapping[int, float]
    """Number of such GPUs -> seconds."""


@dataclass(frozen=True)
class Plan:
    """What a study will take."""

    table: pd.DataFrame
    """One row a rule and what it is about, columns `COLUMNS`."""
    here: Machine
    core_hours: float
    """On this machine; GPU jobs' own cores included."""
    gpu_hours: float
    """On this machine's GPUs."""
    wall_here: float
    """Seconds on this machine."""
    there: Sequence[OnGpus]
    """The same on GPUs of the table, one entry a kind."""
    problems: list[str]
    """What does not fit where, by name."""
    notes: list[str]
    """What the figures rest on."""


def make_plan(
    study: Study,
    jobs: Sequence[Job],
    here: Machine,
    most_gpus: int = 8,
    cores_each: int = 16,
) -> Plan:
    """Price all jobs that are to do, here and on the GPUs of the table.

    Parameters
    ----------
    study : Study
    jobs : sequence of Job
        All of the study, in an order of Snakemake's.
    here : Machine
    most_gpus : int
        How long it takes is said for so many GPUs, and for as few as the largest job needs.
    cores_each : int
        Cores beside each of them.
    """
    runs_here = {k for k, job in enumerate(jobs) if job.todo and _runs(study, job, here)}
    prices_here = {k: price(study, jobs[k], here.device, here.core_speed) for k in runs_here}
    least = max((1, *(job.gpus for job in jobs if job.todo)))
    numbers = sorted({least, max(least, most_gpus)})
    there = [_on_gpus(study, jobs, device, numbers, cores_each) for device in DEVICES.values()]
    everywhere = [*prices_here.values(), *(p for one in there for p in one.prices.values())]
    return Plan(
        table=_table(study, jobs, prices_here, {one.device.name: one.prices for one in there}),
        here=here,
        core_hours=sum(p.core_seconds for p in prices_here.values() if not p.gpus) / 3600,
        gpu_hours=sum(p.gpu_seconds * p.gpus for p in prices_here.values()) / 3600,
        wall_here=wall_clock(jobs, prices_here, here.cores, here.gpus, here.device.memory),
        there=there,
        problems=_problems(study, jobs, here, prices_here, there),
        notes=[*_notes(study), *_gpu_notes(study, here, everywhere)],
    )


def _on_gpus(
    study: Study, jobs: Sequence[Job], device: Device, numbers: Sequence[int], cores_each: int
) -> OnGpus:
    """Price jobs on so many GPUs of one kind, the smallest number first."""
    by = {n: _prices(study, jobs, device, n * cores_each) for n in numbers}
    prices = by[numbers[0]]
    return OnGpus(
        device,
        prices,
        gpu_hours=sum(p.gpu_seconds * p.gpus for p in prices.values()) / 3600,
        core_hours=sum(p.core_seconds for p in prices.values() if not p.gpus) / 3600,
        wall={n: wall_clock(jobs, by[n], n * cores_each, n, device.memory) for n in numbers},
    )


def _prices(study: Study, jobs: Sequence[Job], device: Device, cores: int) -> dict[int, Price]:
    """Price jobs on another machine than this one: some have more threads where cores are more."""
    spare = spare_threads(cores, len(study.config["models"]), study.config["resources"]["threads"])
    return {
        k: price(study, replace(job, threads=spare) if job.rule in SIDE_BY_SIDE else job, device)
        for k, job in enumerate(jobs)
        if job.todo
    }


def _runs(study: Study, job: Job, here: Machine) -> bool:
    """Say whether a machine can run a job at all: a model that asks for a GPU needs one."""
    if job.rule not in ON_MODEL or here.gpus:
        return True
    models = [study.config["models"][name] for name in job.models]
    return not any(m["device"].startswith("cuda") or m["gpus"] for m in models)


def _table(
    study: Study,
    jobs: Sequence[Job],
    here: Mapping[int, Price],
    on_gpus: Mapping[str, Mapping[int, Price]],
) -> pd.DataFrame:
    there = on_gpus[H100]
    rows: dict[tuple[str, str], list[int]] = {}
    for k, job in enumerate(jobs):
        rows.setdefault((job.rule, job.group or " ".join(job.models[:1])), []).append(k)
    found = []
    for (rule, subject), mine in rows.items():
        todo = [k for k in mine if jobs[k].todo]
        works = [(name, w) for k in todo for name, w in study.work(jobs[k]).items()]
        total = sum((work for _, work in works), start=Work())
        disk = total.disk
        if rule == "convert_model" and todo and subject in study.shapes:
            disk = stored_bytes(study.config, subject, study.shapes[subject])
        found.append(
            {
                "rule": rule,
                "subject": subject,
                "jobs": len(todo),
                "current": len(mine) - len(todo),
                "prompts": total.prompts,
                "tokens": total.tokens,
                "unique_tokens": sum(w.unique(study.shapes[name]) for name, w in works),
                "written_tokens": total.written,
                "operations": sum(w.operations(study.shapes[name]) for name, w in works),
                "disk_bytes": disk,
                "host_bytes": max((there[k].host for k in todo), default=0.0),
                "gpu_bytes": max((there[k].gpu for k in todo), default=0.0),
                "gpus": max((there[k].gpus for k in todo), default=0),
                "core_seconds_here": sum(here[k].core_seconds for k in todo if k in here),
                "gpu_seconds_here": sum(here[k].gpu_seconds for k in todo if k in here),
            }
        )
        for column, name in (("h100", H100), ("h200", H200)):
            mine_there = [on_gpus[name][k] for k in todo]
            found[-1][f"core_seconds_{column}"] = sum(p.core_seconds for p in mine_there)
            found[-1][f"gpu_seconds_{column}"] = sum(p.gpu_seconds * p.gpus for p in mine_there)
        if here and not any(price.gpu for price in here.values()):
            found[-1]["host_bytes"] = max((here[k].host for k in todo if k in here), default=0.0)
    return pd.DataFrame(found, columns=list(COLUMNS))


def _problems(
    study: Study,
    jobs: Sequence[Job],
    here: Machine,
    prices_here: Mapping[int, Price],
    there: Sequence[OnGpus],
) -> list[str]:
    problems: list[str] = []
    for name in study.unknown:
        problems.append(
            f"models.{name}: its size is not known here, so nothing of it is priced: fetch its"
            f" config.json (hf download {study.config['models'][name]['source'][4:]} config.json)"
        )
    stuck = [k for k, job in enumerate(jobs) if job.todo and k not in prices_here]
    if stuck:
        waiting = dict.fromkeys(name for k in stuck for name in jobs[k].models)
        problems.append(f"here: {len(stuck)} jobs of {', '.join(waiting)} need a GPU")
    problems += [line for one in there for line in _too_large(jobs, one)]
    if here.memory:
        big = {k: p.host for k, p in prices_here.items() if p.host > here.memory}
        for k in sorted(big, key=lambda k: -big[k])[:3]:
            problems.append(
                f"here: {jobs[k].rule} of {jobs[k].group or ' '.join(jobs[k].models)} takes"
                f" {big[k] / GB:.1f} GB of memory, and there are {here.memory / GB:.1f}"
            )
    return problems


def _too_large(jobs: Sequence[Job], there: OnGpus) -> Iterator[str]:
    """Yield which models' largest jobs do not fit on the GPUs that they ask for."""
    each = there.device.memory
    worst: dict[tuple[str, ...], tuple[float, int]] = {}
    for k, one in there.prices.items():
        if one.least > worst.get(jobs[k].models, (0.0, 0))[0]:
            worst[jobs[k].models] = one.least, k
    for models, (size, k) in worst.items():
        gpus = there.prices[k].gpus
        if size > gpus * each:
            what = jobs[k].group or f"{jobs[k].rule} of {models[0]}"
            yield (
                f"{there.device.name}: {what} takes {size / GB:.0f} GB, and its job asks for"
                f" {gpus} x {each / GB:.0f} GB:"
                f" {' or '.join(f'models.{m}.gpus' for m in models)}"
            )


def _notes(study: Study) -> list[str]:
    notes = []
    if study.by_words:
        notes.append(
            f"tokens of {', '.join(study.by_words)}: by words and punctuation, as the tokenizer is"
            " not here yet (real ones have about 8% more)"
        )
    if study.sampled:
        notes.append("play: a sample of each group's matches was counted, and scaled")
    writes = [a for a in study.config["agents"].values() if a["mode"] in WRITING_MODES]
    if writes or study.config["matches"]["talk_tokens"]:
        notes.append("generated tokens: as many as allowed; a model may stop earlier")
    return notes


def _gpu_notes(study: Study, here: Machine, prices: Sequence[Price]) -> list[str]:
    if not any(price.gpus for price in prices):
        return []
    notes = [
        "GPUs: jobs share one as far as its memory holds them; a core beside one counts as"
        f" {HOST_CORES} of a quiet one of a CPU machine (docs/benchmarks.md)"
    ]
    models = study.config["models"]
    used = dict.fromkeys(precision_of(models[name], True) for name in study.shapes)
    for device in DEVICES.values():
        if lacking := [precision for precision in used if device.borrows(precision)]:
            notes.append(
                f"{device.name}: nothing was measured in {' and '.join(lacking)} there, so it is as"
                " much slower than bfloat16 as on an H100"
            )
    if here.gpus and here.device.like and not here.measured:
        notes.append(
            f"GPUs here ({here.device.name}) count as an H100: `--config measure=true` measures"
            " them"
        )
    return notes
