"""How a rule's job calls its script: by the names that the script's `main` asks for."""

from __future__ import annotations

import inspect
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any

from nashlens import __version__
from nashlens.chunks import keeping
from nashlens.disk import DiskError, disk_problem
from nashlens.errors import ModelError, StoppedError
from nashlens.files import clear_left, guarded_by
from nashlens.logs import start_logging
from nashlens.versions import used_device, used_versions
from workflow.claims import REMOTE, Claim
from workflow.graphs import compared_gpu_memory, keeping_graphs
from workflow.leases import leased
from workflow.peak import compared_memory
from workflow.records import check_inputs, record_file, write_records

FOLDER = ".unfinished"
"""Beside a job's outputs: what it has finished so far, until the outputs are written."""
_STOPS = (signal.SIGTERM, signal.SIGALRM)
"""What stops a job: the second is its own timer's."""


class _Terminated(BaseException):
    """SIGTERM came: no handler of errors may take it for one."""


def run_job(main: Callable[..., None], snakemake: Any) -> None:
    """Start the job's log, call a script's `main`, and write down what its outputs were made from.

    What the library finishes on the way (`nashlens.chunks`) is kept beside the first output until
    the records of all outputs are written: Snakemake deletes the outputs of a job that fails, and
    no other file. At SIGTERM, which a scheduler sends before it kills, the job writes what it has
    and ends.

    Parameters
    ----------
    main : callable
        Each of its parameters is `inputs` or `outputs` (name in the rule -> path or paths), `log`,
        `threads`, a wildcard, an entry of the rule's `params:` or one of its `resources:`.
    snakemake : Snakemake
        What Snakemake gives to a script.

    Raises
    ------
    TypeError
        If a parameter is none of these, or two of these in one.
    StoppedError
        At SIGTERM.
    ModelError
        If a scheduler gave the job fewer GPUs than it asked for.
    StoreError
        If an input is damaged, a job that started later makes the same outputs, or the disk is
        full, read-only or gone.
    """
    start_logging(snakemake.log[0])
    own = {
        "inputs": dict(snakemake.input),
        "outputs": dict(snakemake.output),
        "log": snakemake.log[0],
        "threads": snakemake.threads,
    }
    sources = [own, *map(dict, (snakemake.wildcards, snakemake.params, snakemake.resources))]
    counts = Counter(chain.from_iterable(sources))
    for name in inspect.signature(main).parameters:
        if counts[name] != 1:
            raise TypeError(f"{snakemake.rule}: {name} is given {counts[name]} times, not once")
    given = {name: value for source in sources for name, value in source.items()}
    wanted = {name: given[name] for name in inspect.signature(main).parameters}
    output = Path(str(snakemake.output[0]))
    try:
        _run(main, wanted, snakemake, output)
    except Exception as error:
        named = Path(getattr(error, "filename", None) or output)
        problem = disk_problem(error, output if named in output.parents else named)
        if problem is None:
            raise
        raise DiskError(problem) from error


def _run(main: Callable[..., None], wanted: dict[str, Any], snakemake: Any, output: Path) -> None:
    check_inputs(snakemake.input, str(output))
    _check_gpus(snakemake)
    fingerprint = snakemake.params.fingerprint
    with (
        _stopping_at_sigterm(),
        Claim(str(output), fingerprint) as claim,
        guarded_by(claim.held),
    ):
        if claim.made(map(str, snakemake.output)):
            return
        for path in snakemake.output:
            # No other job makes them now.
            clear_left(path)
            clear_left(record_file(path))
        kept = output.parent / FOLDER / output.name
        ask = dict(snakemake.resources).get("gpu_ask")
        with leased(ask) as gpus:
            compiled = keeping_graphs(gpus) if ask else nullcontext()
            with compiled, keeping(kept, fingerprint):
                main(**wanted)
                # Until then no output counts: to read a large one for its record takes time.
                if all(map(os.path.exists, snakemake.output)):
                    write_records(snakemake.output, snakemake.input, _made(snakemake, claim))


def _check_gpus(snakemake: Any) -> None:
    """Raise ModelError where a scheduler gave this job fewer GPUs than it asked for.

    A user's own machine may have none: there, `device: auto` computes on the CPU.
    """
    asked = snakemake.resources.get("gpu") or 0
    if gres := snakemake.resources.get("gres"):
        asked = int(str(gres).rpartition(":")[2])
    models = snakemake.params.config.get("models", {}).values()
    if not asked or REMOTE not in os.environ or all(m.get("device") == "cpu" for m in models):
        return
    import torch

    if (seen := torch.cuda.device_count()) < asked:
        host = os.environ.get("SLURMD_NODENAME", socket.gethostname())
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
        raise ModelError(
            f"{snakemake.rule} asked for {asked} GPU{'s' * (asked > 1)}, and on {host} torch sees"
            f" {seen} (CUDA_VISIBLE_DEVICES: {visible}): leave the node out"
            f" (--slurm-exclude-failed-nodes {host}), or set device: cpu"
        )


@contextmanager
def _stopping_at_sigterm() -> Iterator[None]:
    """Raise StoppedError at SIGTERM, which ends what runs at its next step.

    Python prints and drops what is raised in a destructor. There it is raised again a moment later.
    """

    def dropped(told: Any) -> None:
        if told.exc_type is _Terminated:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
        else:
            hook(told)

    hook = sys.unraisablehook
    before = {number: signal.signal(number, _terminate) for number in _STOPS}
    sys.unraisablehook = dropped
    try:
        yield
    except _Terminated:
        raise StoppedError(
            "stopped by SIGTERM: what was finished is kept, and the next run of this job goes on"
            " from there"
        ) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def _terminate(number: int, frame: FrameType | None) -> None:
    # Once: what is finished is being written.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Terminated


def _made(snakemake: Any, claim: Claim) -> dict[str, Any]:
    """Return what a job's outputs were made from and with."""
    models = snakemake.params.config.get("models", {})
    return {
        "rule": snakemake.rule,
        "fingerprint": snakemake.params.fingerprint,
        # `snakemake status` names the keys that have changed since. The order of games counts.
        "config": snakemake.params.config,
        "run": claim.run,
        "version": __version__,
        "versions": used_versions(),
        "device": used_device(),
        "gpu_memory_mb": compared_gpu_memory(dict(snakemake.resources).get("gpu_ask")),
        "memory_mb": compared_memory(snakemake.resources),
        "precision": {
            name: {key: how[key] for key in ("dtype", "quantization") if key in how}
            for name, how in models.items()
            if "dtype" in how
        },
    }
