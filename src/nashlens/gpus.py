"""The GPUs of this machine, as the driver says, without torch, which takes seconds to import."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

MB = 1e6
_MIB = 2**20
_FIELDS = "index,uuid,memory.total,memory.used,name"
_KEPT = 0.02  # of a GPU's memory, what its driver has for itself


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes
    ----------
    name : str
        As `CUDA_VISIBLE_DEVICES` may name it: the entry there, or its UUID.
    uuid : str
    total, used : int
        MB that jobs can have of it, and MB that processes have now, of whomever they are.
    kind : str
        What it is sold as.
    """

    name: str
    uuid: str
    total: int
    used: int = 0
    kind: str = ""


def visible_gpus() -> int:
    """Count the GPUs that a job here would see."""
    listed = _listed()
    if listed is not None:
        return len(listed)
    devices = [p for p in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", p.name)]
    # Windows' Linux and other drivers name their devices differently; trust them with one.
    other = Path("/dev/dxg").exists() or Path("/dev/kfd").exists() or shutil.which("nvidia-smi")
    return len(devices) or int(bool(other))


def read_gpus() -> list[Gpu]:
    """Return the GPUs that a job here would see, in its order.

    Returns
    -------
    list of Gpu
        Empty where there are none, or where the driver's `nvidia-smi` does not tell of all of
        them: those of other makers, or slices of one (MIG).
    """
    if not visible_gpus() or not shutil.which("nvidia-smi"):
        return []
    asked = ["nvidia-smi", f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout
        known = [_gpu(line) for line in said.splitlines() if line.strip()]
    except (OSError, ValueError, subprocess.SubprocessError):
        return []
    listed = _listed()
    if listed is None:
        return [gpu for _, gpu in known]
    found = [_named(entry, known) for entry in listed]
    return [gpu for gpu in found if gpu is not None] if all(found) else []


def _listed() -> list[str] | None:
    """Return what `CUDA_VISIBLE_DEVICES` lists, None where it is not set."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return None
    listed = [entry.strip() for entry in visible.split(",")] if visible.strip() else []
    # As CUDA reads it: nothing counts from the first -1 on.
    return listed[: listed.index("-1")] if "-1" in listed else listed


def _gpu(line: str) -> tuple[str, Gpu]:
    index, uuid, total, used, kind = (entry.strip() for entry in line.split(",", 4))
    usable = float(total) * _MIB * (1 - _KEPT) / MB
    return index, Gpu(uuid, uuid, int(usable), int(float(used) * _MIB / MB), kind)


def _named(entry: str, known: Sequence[tuple[str, Gpu]]) -> Gpu | None:
    """Return the GPU that an entry of the list is about: an index, or the start of a UUID."""
    for index, gpu in known:
        if entry == index or (entry.startswith("GPU-") and gpu.uuid.startswith(entry)):
            return replace(gpu, name=entry)
    return None
