"""Compiled kernels that jobs and runs share, and what a job took of its GPUs.

What torch and Triton compile is code that runs unchecked: one bit of it crashes a job, or changes
its numbers. So no job reads what another has on disk. Each compiles into a folder of its own, which
is filled from packs: files that are named by the SHA-256 of what they hold, and read if it is so.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import logging
import os
import platform
import re
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from nashlens.disk import DiskError
from nashlens.files import atomic_write, sha256_of
from nashlens.gpus import MB, Gpu
from nashlens.versions import installed
from workflow.leases import machine_folder

log = logging.getLogger(__name__)

KEPT = Path("results/.compiled")
"""Where packs lie, by GPU and versions; they may be deleted at any time."""
_INDUCTOR, _TRITON = "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"
_PASSING = re.compile(r"(.*/)?(locks/.*|tmp\..*|[^/]*\.lock|lock)")
"""What says only that somebody is at work."""
_NEW = 60.0  # seconds


@contextlib.contextmanager
def keeping_graphs(gpus: Sequence[Gpu]) -> Iterator[None]:
    """Let torch and Triton find what earlier jobs compiled, and keep what this one adds.

    By themselves they keep it in a temporary folder, unchecked, which is lost with the machine or
    the job. Where a user has said where it lies, that is left to him.

    Parameters
    ----------
    gpus : sequence of Gpu
        What the process sees, as far as it is known.
    """
    if _INDUCTOR in os.environ or _TRITON in os.environ:
        yield
        return
    kinds = sorted({gpu.kind for gpu in gpus}) or ["gpu"]
    named = [*kinds, f"torch {installed('torch')}", f"python {platform.python_version()}"]
    packs = KEPT / re.sub(r"[^A-Za-z0-9.+-]+", "_", "-".join(named))
    with _own_folder() as folder:
        _unpack(packs, folder)
        known = set(_files(folder))
        os.environ |= {_INDUCTOR: str(folder), _TRITON: str(folder / "triton")}
        try:
            yield
        finally:
            for name in (_INDUCTOR, _TRITON):
                os.environ.pop(name, None)
        _pack(folder, set(_files(folder)) - known, packs)


@contextlib.contextmanager
def _own_folder() -> Iterator[Path]:
    """Make a folder that lives as long as the block; clear those of processes that were killed."""
    home = machine_folder()
    for left in home.glob("compiled-*"):
        with contextlib.suppress(OSError):
            if (left / "lock").exists():
                with open(left / "lock") as other:
                    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            elif time.time() - left.stat().st_mtime < _NEW:
                # It may be about to be locked.
                continue
            # A process that ended may have left compilers that wrote on.
            shutil.rmtree(left, ignore_errors=True)
    made = tempfile.TemporaryDirectory(prefix="compiled-", dir=home, ignore_cleanup_errors=True)
    with made as folder, open(Path(folder) / "lock", "w") as own:
        fcntl.flock(own, fcntl.LOCK_EX)
        yield Path(folder)


def _files(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not _PASSING.fullmatch(name):
            yield name


def _unpack(packs: Path, folder: Path) -> None:
    """Fill a folder from all packs that are whole; the others go."""
    for path in sorted(packs.glob("*.zip")):
        # What cannot be read or written is compiled again.
        with contextlib.suppress(OSError):
            if sha256_of(path) != path.stem:
                log.warning("%s: damaged, so what it held is compiled again", path)
                path.unlink()
                continue
            with zipfile.ZipFile(path) as pack:
                pack.extractall(folder)


def _pack(folder: Path, names: set[str], packs: Path) -> None:
    """Keep some files of a folder as a new pack."""
    if not names:
        return
    content = io.BytesIO()
    try:
        with zipfile.ZipFile(content, "w") as pack:
            for name in sorted(names):
                pack.writestr(zipfile.ZipInfo(name), (folder / name).read_bytes())
        digest = hashlib.sha256(content.getbuffer()).hexdigest()
        with atomic_write(packs / f"{digest}.zip") as file:
            file.write(content.getbuffer())
    except (OSError, DiskError) as error:
        log.warning("what was compiled is not kept: %s", error)


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
