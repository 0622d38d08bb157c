"""What jobs take: seconds on a device and a core, memory, disk; and how long all of them."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

from nashlens.plan.devices import (
    COMPILED_START,
    CPU,
    CPU_PRODUCTS,
    CPU_START,
    GPU_PRODUCTS,
    GPU_SOLVING,
    GPU_START,
    Device,
    model_seconds,
)
from nashlens.plan.host import ON_MODEL, READERS, HostJob, host_bytes, stored_bytes
from nashlens.plan.memory import (
    CONTEXT,
    GB,
    ROOM,
    held_bytes,
    peak_bytes,
    precision_of,
    readout_bytes,
)
from nashlens.plan.study import Job, Study
from nashlens.plan.work import Work
from nashlens.vocabulary.models import COMPILED_FROM

LIGHT = {
    "measure_play": 5.0, "judge_play": 7.0, "judge_findings": 6.0, "judge_lineage": 3.0,
    "climb_ladder": 3.0, "build_pairs": 2.0, "fit_directions": 1.5, "summarise_steering": 7.0,
    "build_prompts": 1.0, "build_games": 0.6, "plan_activations": 0.7, "join_activations": 0.6,
}  # fmt: skip
"""CPU seconds besides what is counted, in the default experiment; `docs/benchmarks.md`."""
OTHER = 2.0
"""CPU seconds of any other job: mostly imports and reading tables."""
FIGURE = 2.2
"""CPU seconds of a figure, of which a third is its start."""
READ = 0.7 * GB
"""Bytes a second that a conversion reads and hashes."""
UNPACK = 0.06 * GB
"""Bytes a second that a conversion makes of a GGUF file."""
CPU_THREADS = 0.85
"""Of a further thread, the share that a model's job on a CPU gains."""


@dataclass(frozen=True)
class Price:
    """What one job takes on one kind of machine."""

    gpu_seconds: float = 0.0
    """Of each of its GPUs."""
    core_seconds: float = 0.0
    """Of one core; beside a GPU, the core that feeds it."""
    host: float = 0.0
    """Bytes of host memory, at most."""
    gpu: float = 0.0
    """Bytes on all of its GPUs together, at most."""
    least: float = 0.0
    """Those without which it cannot run: with fewer texts written at a time."""
    gpus: int = 0
    threads: int = 1

    @property
    def seconds(self) -> float:
        """How long it takes by itself."""
        spread = 1.0 + CPU_THREADS * (self.threads - 1)
        return self.gpu_seconds or self.core_seconds / spread


def price(study: Study, job: Job, device: Device, core_speed: float = 1.0) -> Price:
    """Price a job.

    Parameters
    ----------
    study : Study
    job : Job
    device : Device
        What models run on, if they may: one that says `device: cpu` stays on the CPU.
    core_speed : float
        Speed of a core over that of the one that was measured.
    """
    works = study.work(job)
    total = sum(works.values(), start=Work())
    other = FIGURE if job.rule.startswith("draw_") else OTHER
    light = LIGHT.get(job.rule, other) + total.cpu / CPU_PRODUCTS
    if job.rule == "convert_model":
        return _conversion(study, job, core_speed)
    if job.rule in READERS and device.gpu and _reads_on_gpu(study, job):
        (name,) = works
        memory = readout_bytes(study.shapes[name], tuned=job.rule == "read_tuned_lens") + CONTEXT
        seconds = GPU_START + total.cpu / (GPU_PRODUCTS * device.speed)
        host = _host(study, job, on_gpu=True)
        return Price(seconds, seconds, host, memory, memory, 1, job.threads)
    if job.rule not in ON_MODEL:
        host = _host(study, job)
        threads = job.threads if total.cpu else 1
        return Price(core_seconds=light / core_speed, host=host, threads=threads)
    models = {name: study.config["models"][name] for name in works}
    on_gpu = device.gpu and all(model["device"] != "cpu" for model in models.values())
    run = device if on_gpu else Device(CPU, 0.0, speed=core_speed)
    players = study.groups[job.group] if job.group else ()
    seconds = memory = least = 0.0
    host = _host(study, job, on_gpu)
    for name, work in works.items():
        shape, model = study.shapes[name], models[name]
        held = held_bytes(shape, model, on_gpu, work.held)
        precision = precision_of(model, on_gpu)
        seconds += model_seconds(work, shape, precision, run, ROOM * held / 2)
        asked = (study.config, job.rule, name, shape, on_gpu, players)
        memory += peak_bytes(*asked)
        least += peak_bytes(*asked, roomy=False)
    if on_gpu and job.rule == "fit_tuned_lens":
        light -= total.cpu / CPU_PRODUCTS
        seconds += total.cpu / (GPU_SOLVING * device.speed)
    besides = (light - OTHER if job.rule not in LIGHT else light) / core_speed
    spread = 1.0 + CPU_THREADS * (job.threads - 1)
    if not on_gpu:
        start = CPU_START / core_speed
        return Price(0.0, seconds + besides + start, host, 0.0, 0.0, 0, job.threads)
    gpus = max(1, job.gpus)
    compiled = any(study.shapes[name].parameters() >= COMPILED_FROM for name in works)
    start = COMPILED_START if compiled else GPU_START
    busy, core = seconds + besides / spread + start, seconds + besides + start
    context = gpus * CONTEXT
    return Price(busy, core, host, memory + context, least + context, gpus, job.threads)


def _reads_on_gpu(study: Study, job: Job) -> bool:
    """Say whether a lens is read where its model may be, and what is known of that model."""
    names = [name for name in job.models if name in study.shapes]
    return len(names) == 1 and study.config["models"][names[0]]["device"] != "cpu"


def _conversion(study: Study, job: Job, core_speed: float) -> Price:
    name = job.models[0]
    if name not in study.shapes:
        return Price(core_seconds=OTHER)
    size = stored_bytes(study.config, name, study.shapes[name])
    packed = study.config["models"][name]["source"].partition(":")[0] in ("package", "gguf")
    seconds = 5.0 + size / (UNPACK if packed else READ)
    return Price(core_seconds=seconds / core_speed, host=_host(study, job))


def _host(study: Study, job: Job, on_gpu: bool = False) -> float:
    """Return what a job takes of the host, as its rule asks for it."""
    players = study.groups[job.group] if job.group else ()
    asked = HostJob(job.rule, job.models, on_gpu, players, job.threads)
    return host_bytes(asked, study.config, study.shapes)


def wall_clock(jobs: Sequence[Job], prices: Mapping[int, Price], cores: int, gpus: int) -> float:
    """Return the seconds until all jobs are done that are to do, side by side as far as they fit.

    Jobs start as soon as what they wait for is done and cores and GPUs are free, those with the
    longest chain behind them first. A job that asks for more than there is takes all of it.

    Parameters
    ----------
    jobs : sequence of Job
    prices : mapping of int to Price
        By a job's place in the list; jobs without one take no time.
    cores, gpus : int
    """
    waiting = {k: sum(jobs[b].todo for b in job.after) for k, job in enumerate(jobs) if job.todo}
    behind: dict[int, list[int]] = {k: [] for k in waiting}
    for k in waiting:
        for before in jobs[k].after:
            if before in behind:
                behind[before].append(k)
    length: dict[int, float] = {}
    # Each after those that wait for it.
    for k in TopologicalSorter(behind).static_order():
        longest = max((length[b] for b in behind[k]), default=0.0)
        length[k] = longest + prices.get(k, Price()).seconds
    ready = [(-length[k], k) for k, n in waiting.items() if n == 0]
    heapq.heapify(ready)
    running: list[tuple[float, int, int, int]] = []
    now, free_cores, free_gpus = 0.0, cores, gpus
    while ready or running:
        later = []
        while ready:
            entry = heapq.heappop(ready)
            one = prices.get(entry[1], Price())
            need = min(one.threads, cores), min(one.gpus, gpus)
            if need[0] <= free_cores and need[1] <= free_gpus:
                free_cores, free_gpus = free_cores - need[0], free_gpus - need[1]
                heapq.heappush(running, (now + one.seconds, entry[1], *need))
            else:
                later.append(entry)
        for entry in later:
            heapq.heappush(ready, entry)
        now, k, used_cores, used_gpus = heapq.heappop(running)
        free_cores, free_gpus = free_cores + used_cores, free_gpus + used_gpus
        for after in behind[k]:
            waiting[after] -= 1
            if not waiting[after]:
                heapq.heappush(ready, (-length[after], after))
    return now
