"""Compiled kernels that jobs and runs share, and what a job took of its GPUs."""

from __future__ import annotations

import logging
import os
import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from nashlens.gpus import MB, Gpu
from nashlens.versions import installed

log = logging.getLogger(__name__)

KEPT = Path("results/.compiled")
"""Where what was compiled lies, by GPU and versions; it may be deleted at any time."""


def keep_graphs(gpus: Sequence[Gpu]) -> None:
    """Let torch and Triton keep what they compile in this process, where a user says nothing else.

    By themselves they keep it in a temporary folder, which is lost with the machine or the job.

    Parameters
    ----------
    gpus : sequence of Gpu
        What the process sees.
    """
    kinds = sorted({gpu.kind for gpu in gpus}) or ["gpu"]
    named = [*kinds, f"torch {installed('torch')}", f"python {platform.python_version()}"]
    folder = KEPT / re.sub(r"[^A-Za-z0-9.+-]+", "_", "-".join(named))
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder.absolute()))
    os.environ.setdefault("TRITON_CACHE_DIR", str(folder.absolute() / "triton"))


def taken_mb() -> list[int]:
    """Return the most memory, in MB, that this process has held of each GPU that it sees."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return []
    return [round(torch.cuda.max_memory_reserved(k) / MB) for k in range(torch.cuda.device_count())]


def compared_gpu_memory(ask: str | None) -> dict[str, object]:
    """Return what this job took of its GPUs and what it asked for, and say so."""
    taken = taken_mb()
    if taken:
        told = ", ".join(f"{size:,}" for size in taken)
        log.info("GPU memory: %s MB taken, %s MB asked for", told, ask)
    return {"taken": taken, "asked": ask}
