"""What jobs take: seconds on a device and a core, memory, disk."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nashlens.plan.asks import MARGIN
from nashlens.plan.devices import (
    COMPILED_START,
    CPU,
    CPU_PRODUCTS,
    CPU_START,
    GPU_PRODUCTS,
    GPU_SOLVING,
    GPU_START,
    Device,
    launch_seconds,
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
    "measure_play": 9.0, "judge_play": 8.5, "judge_findings": 8.0, "judge_lineage": 3.0,
    "climb_ladder": 4.0, "build_pairs": 2.0, "fit_directions": 1.5, "summarise_steering": 3.5,
    "summarise_attribution": 4.0, "summarise_heads": 3.0, "measure_steered": 3.0,
    "build_prompts": 2.0, "build_games": 0.6, "plan_activations": 0.7, "join_activations": 0.6,
    # Its texts, beside the quiz.
    "check_players": 5.0,
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
DRAW = 0.13 * GB
"""Bytes a second that it draws of the embeddings of a shape."""
CPU_THREADS = 0.85
"""Of a further thread, the share that a model's job on a CPU gains."""


@dataclass(frozen=True)
class Price:
    """What one job takes on one kind of machine."""

    gpu_seconds: float = 0.0
    """Of each of its GPUs."""
    kernels: float = 0.0
    """Of these, the seconds in which a GPU computes for it: those that others on it draw out."""
    core_seconds: float = 0.0
    """Of one core; beside a GPU, the core that feeds it."""
    host: float = 0.0
    """Bytes of host memory, at most."""
    gpu: float = 0.0
    """Bytes on all of its GPUs together, at most."""
    least: float = 0.0
    """Those without which it cannot run: with fewer texts written at a time."""
    leased: float = math.inf
    """Those that it keeps from other jobs; infinite where it takes whole GPUs."""
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
        Speed of a core over that of the one that was measured, in products. What a core beside a
        GPU does is mostly Python, and is as much slower as `device.cores` says.
    """
    works = study.work(job)
    core_speed *= device.cores
    total = sum(works.values(), start=Work())
    other = FIGURE if job.rule.startswith("draw_") else OTHER
    light = LIGHT.get(job.rule, other) + total.cpu / CPU_PRODUCTS
    if job.rule == "convert_model":
        return _conversion(study, job, core_speed)
    if job.rule in READERS and device.gpu and _reads_on_gpu(study, job):
        (name,) = works
        memory = readout_bytes(study.shapes[name], tuned=job.rule == "read_tuned_lens") + CONTEXT
        kernels = total.cpu / (GPU_PRODUCTS * device.speed)
        seconds = GPU_START / core_speed + kernels
        host, leased = _host(study, job, on_gpu=True), MARGIN * (memory - CONTEXT) + CONTEXT
        return Price(
            gpu_seconds=seconds,
            kernels=kernels,
            core_seconds=seconds,
            host=host,
            gpu=memory,
            least=memory,
            leased=leased,
            gpus=1,
            threads=int(study.config["resources"]["threads"]),
        )
    if job.rule not in ON_MODEL:
        host = _host(study, job)
        threads = job.threads if total.cpu else 1
        return Price(core_seconds=light / core_speed, host=host, threads=threads)
    models = {name: study.config["models"][name] for name in works}
    on_gpu = device.gpu and all(model["device"] != "cpu" for model in models.values())
    run = device if on_gpu else Device(CPU, 0.0, speed=core_speed)
    players = study.groups[job.group] if job.group else ()
    seconds = launches = memory = least = 0.0
    host = _host(study, job, on_gpu)
    for name, work in works.items():
        shape, model = study.shapes[name], models[name]
        held = held_bytes(shape, model, on_gpu, work.held)
        precision = precision_of(model, on_gpu)
        computed = (work, shape, precision, run, ROOM * held / 2)
        seconds += model_seconds(*computed)
        launches += launch_seconds(*computed)
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
        core = seconds + besides + start
        return Price(core_seconds=core, host=host, threads=job.threads)
    gpus = max(1, job.gpus)
    compiled = any(study.shapes[name].parameters() >= COMPILED_FROM for name in works)
    start = (COMPILED_START if compiled else GPU_START) / core_speed
    busy, core = seconds + besides / spread + start, seconds + besides + start
    context = gpus * CONTEXT
    spread_out = any(model["parallel"] != "none" for model in models.values())
    return Price(
        gpu_seconds=busy,
        kernels=seconds - launches,
        core_seconds=core,
        host=host,
        gpu=memory + context,
        least=least + context,
        leased=math.inf if spread_out else MARGIN * memory + context,
        gpus=gpus,
        threads=job.threads,
    )


def _reads_on_gpu(study: Study, job: Job) -> bool:
    """Say whether a lens is read where its model may be, and what is known of that model."""
    names = [name for name in job.models if name in study.shapes]
    return len(names) == 1 and study.config["models"][names[0]]["device"] != "cpu"


def _conversion(study: Study, job: Job, core_speed: float) -> Price:
    name = job.models[0]
    if name not in study.shapes:
        return Price(core_seconds=OTHER)
    size = stored_bytes(study.config, name, study.shapes[name])
    kind = study.config["models"][name]["source"].partition(":")[0]
    made = {"package": UNPACK, "gguf": UNPACK, "shape": DRAW}.get(kind, READ)
    seconds = 5.0 + size / made
    return Price(core_seconds=seconds / core_speed, host=_host(study, job))


def _host(study: Study, job: Job, on_gpu: bool = False) -> float:
    """Return what a job takes of the host, as its rule asks for it."""
    players = study.groups[job.group] if job.group else ()
    asked = HostJob(job.rule, job.models, on_gpu, players, job.threads)
    return host_bytes(asked, study.config, study.shapes)
