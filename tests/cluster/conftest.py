"""The cluster of a module's tests."""

import os
import tempfile
import time
from pathlib import Path

import pytest

from tests.cluster.slurm import Cluster, missing


@pytest.fixture(scope="module")
def cluster():
    lacking = missing()
    if lacking:
        reason = (
            f"SLURM is not installed (no {', '.join(lacking)}): apt-get install slurm-wlm munge"
        )
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    # Not pytest's own folder: a socket's path may have 107 characters at most.
    with (
        tempfile.TemporaryDirectory(prefix="slurm-") as folder,
        Cluster(Path(folder) / "c") as running,
    ):
        yield running
    assert _left(running) == []


def _left(cluster):
    """List what is still there of a stopped cluster, once the kernel has cleared away the dead."""
    end = time.monotonic() + 10
    while (found := cluster.processes()) and time.monotonic() < end:
        time.sleep(0.1)
    return found
