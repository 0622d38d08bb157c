"""A machine with GPUs: which jobs share which GPU, how full they get, and what a start costs.

`python -m benchmarks.machine study` runs the default's stages for two models of true shapes and
random weights, and looks at the GPUs meanwhile. `--memory MB` tells jobs of so much on each GPU, so
that a pair of models does not fit on one. `python -m benchmarks.machine start` loads a model in
processes of their own: as written, compiled, and compiled with what the one before has kept. The
last line is one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STUDY = """
experiment: {name: machine}
models:
  smollm2: null
  small: {source: "shape:smollm2-135m", dtype: bfloat16, mem_mb: 6000}
  half: {source: "shape:qwen2.5-0.5b", dtype: bfloat16, mem_mb: 8000}
agents:
  small: {model: small, scripted: {rounds: 3}}
  half: {model: half, scripted: {rounds: 3}}
steering: {layers: [8, 16], joint: []}
resources: {batch_tokens: 16384, parts: 1}
"""
LEASE = re.compile(r"^(.{19})\S* INFO workflow.leases: leased (.*)$", re.M)
TAKEN = re.compile(r"GPU memory: (.*) MB taken, (.*) MB asked for")
START = """
import sys, time
begun = time.monotonic()
import torch
from nashlens.engine.core import Engine
from nashlens.models.random_weights import build_random
from nashlens.models.shapes import find_shape
name, compiled = sys.argv[1], sys.argv[2] == "compiled"
torch.set_num_threads(1)
model = build_random(
    find_shape(name), devices=["cuda:0"], dtype=torch.bfloat16, native=True
)
engine = Engine(model, 16384, compiled=compiled)
torch.cuda.synchronize()
loaded = time.monotonic()
stem = [k % 1000 + 5 for k in range(200)]
prompts = [stem + [k % 900 + 7] * (40 + k % 9) for k in range(256)]
times = []
for _ in range(3):
    start = time.monotonic()
    for _ in engine.residuals(prompts):
        pass
    torch.cuda.synchronize()
    times.append(time.monotonic() - start)
print(loaded - begun, *times, torch.cuda.max_memory_reserved() / 1e6)
"""


def main() -> None:
    """Run one of the two and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["study", "start"])
    parser.add_argument("--targets", nargs="+", default=["play", "quiz", "activations", "lens"])
    parser.add_argument("--memory", type=int, help="MB that jobs are told of on each GPU")
    parser.add_argument("--seconds", type=float, default=900.0, help="at most")
    parser.add_argument("--shapes", nargs="+", default=["smollm2-135m", "llama-3-8b"])
    options = parser.parse_args()
    figures = study(options) if options.what == "study" else starts(options.shapes)
    print(json.dumps({"benchmark": "machine", "what": options.what, **figures}))


def study(options: argparse.Namespace) -> dict[str, Any]:
    """Run the stages, and return what the jobs' logs and the GPUs said."""
    with tempfile.TemporaryDirectory() as folder:
        overlay = Path(folder) / "study.yaml"
        overlay.write_text(STUDY, encoding="utf-8")
        env = dict(os.environ)
        if options.memory:
            env["PATH"] = f"{_smaller(Path(folder), options.memory)}{os.pathsep}{env['PATH']}"
        command = [sys.executable, "-m", "snakemake", "--cores", str(os.cpu_count())]
        command += ["--keep-going", *options.targets, "--configfile", str(overlay)]
        begun, now = time.monotonic(), datetime.now()
        with sampled() as samples:
            run = subprocess.Popen(command, cwd=ROOT, env=env)
            try:
                code = run.wait(options.seconds)
            except subprocess.TimeoutExpired:
                run.terminate()
                code = run.wait()
        seconds = time.monotonic() - begun
    jobs = list(_jobs(ROOT / "results" / "machine", now))
    return {
        "exit": code,
        "seconds": round(seconds, 1),
        "gpu_jobs": len(jobs),
        "jobs_by_gpu": _counted(name for job in jobs for name in job["gpus"]),
        "most_jobs_at_once": _most_at_once(jobs),
        "seconds_of_two_gpus": round(_together(jobs), 1),
        "gpus": _summary(samples),
        "jobs": [{k: v for k, v in job.items() if k not in ("start", "end")} for job in jobs],
    }


def _smaller(folder: Path, memory: int) -> Path:
    """Write a `nvidia-smi` that says that each GPU has so much memory, in MB."""
    real, mib = shutil.which("nvidia-smi"), int(memory * 1e6 / 2**20)
    program = folder / "nvidia-smi"
    program.write_text(
        f"#!/bin/sh\n{real} \"$@\" | awk -F', ' -v OFS=', ' '{{$3={mib}; print}}'\n",
        encoding="utf-8",
    )
    program.chmod(0o755)
    return folder


@contextmanager
def sampled(every: float = 0.5) -> Iterator[list[list[tuple[int, int]]]]:
    """Yield a list that fills with each GPU's MiB in use and its percentage of busy time."""
    samples: list[list[tuple[int, int]]] = []
    asked = ["nvidia-smi", "--query-gpu=memory.used,utilization.gpu"]
    done = threading.Event()

    def look() -> None:
        while not done.wait(every):
            said = subprocess.run(
                [*asked, "--format=csv,noheader,nounits"], capture_output=True, text=True
            ).stdout
            rows = [line.split(",") for line in said.splitlines()]
            samples.append([(int(used), int(busy)) for used, busy in rows])

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


def _summary(samples: list[list[tuple[int, int]]]) -> list[dict[str, float]]:
    return [
        {
            "most_mib": max(used for used, _ in rows),
            "mean_busy_percent": round(statistics.fmean(busy for _, busy in rows), 1),
        }
        for rows in zip(*samples, strict=True)
    ]


def _jobs(folder: Path, since: datetime) -> Iterator[dict[str, Any]]:
    """Yield the jobs that held a lease, by their logs."""
    for log in sorted(folder.glob("logs/**/*.log")):
        text = log.read_text(encoding="utf-8")
        for when, what in LEASE.findall(text):
            start = datetime.fromisoformat(when)
            if start < since.replace(microsecond=0):
                continue
            taken = TAKEN.search(text)
            end = datetime.fromtimestamp(log.stat().st_mtime)
            yield {
                "job": str(log.relative_to(folder / "logs").with_suffix("")),
                "gpus": [part.partition(" of ")[2] for part in what.split(", ") if " of " in part],
                "leased": what,
                "waited": "waits for a GPU" in text,
                "taken_and_asked": list(taken.groups()) if taken else None,
                "seconds": round((end - start).total_seconds(), 1),
                "start": start,
                "end": end,
            }


def _counted(names: Iterator[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        found[name] = found.get(name, 0) + 1
    return found


def _moments(jobs: list[dict[str, Any]]) -> Iterator[tuple[float, list[dict[str, Any]]]]:
    """Yield how long each stretch of time lasts in which the same jobs run."""
    edges = sorted({job[key] for job in jobs for key in ("start", "end")})
    for first, last in itertools.pairwise(edges):
        running = [job for job in jobs if job["start"] <= first and job["end"] >= last]
        yield (last - first).total_seconds(), running


def _most_at_once(jobs: list[dict[str, Any]]) -> int:
    return max((len(running) for _, running in _moments(jobs)), default=0)


def _together(jobs: list[dict[str, Any]]) -> float:
    """Return the seconds in which two GPUs or more had a job."""
    return sum(
        seconds
        for seconds, running in _moments(jobs)
        if len({name for job in running for name in job["gpus"]}) > 1
    )


def starts(shapes: list[str]) -> dict[str, Any]:
    """Return the seconds of a process's import and load, and of its first three calls."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in shapes:
            kept = str(Path(folder) / name)
            cases = [("written", "written"), ("compiled", "compiled"), ("kept", "compiled")]
            for case, how in cases:
                env = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": kept}
                env |= {"TRITON_CACHE_DIR": f"{kept}/triton", "PYTHONPATH": _paths()}
                done = subprocess.run(
                    [sys.executable, "-c", START, name, how],
                    env=env,
                    cwd=ROOT,
                    capture_output=True,
                    text=True,
                )
                numbers = [round(float(word), 2) for word in done.stdout.split()]
                found[f"{name} {case}"] = numbers or done.stderr[-600:]
                print(name, case, found[f"{name} {case}"], flush=True)
    return {"load_then_three_calls_then_mb": found}


def _paths() -> str:
    return os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])


if __name__ == "__main__":
    main()
