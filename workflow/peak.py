"""What memory a job took, against what it asked for."""

from __future__ import annotations

import logging
import resource
import sys
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


def peak_mb() -> int:
    """Return the most memory that this process has held so far, in MB of a million bytes.

    Mapped files count as far as they were read, as they do for many schedulers.
    """
    try:
        # Of this program alone: what `getrusage` says starts at what its parent held.
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        kib = int(next(one for one in lines.splitlines() if one.startswith("VmHWM:")).split()[1])
    except (OSError, StopIteration):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        kib = most // 1024 if sys.platform == "darwin" else most
    return round(kib * 1024 / 1e6)


def compared_memory(resources: Any) -> dict[str, int]:
    """Return what this job took and what it asked for, in MB; say where it took more.

    Parameters
    ----------
    resources : ResourceList
        Of Snakemake.
    """
    taken, asked = peak_mb(), getattr(resources, "mem_mb", None)
    if asked is None:
        return {"taken": taken}
    more = taken > asked
    log.log(
        logging.WARNING if more else logging.INFO,
        "memory: %d MB taken, %d MB asked for%s",
        taken,
        asked,
        "; a scheduler may end such a job: raise its mem_mb" if more else "",
    )
    return {"taken": taken, "asked": int(asked)}
