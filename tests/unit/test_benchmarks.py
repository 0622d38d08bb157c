"""The benchmarks run, agree with their peers, and print what the documentation promises.

Their times are not looked at: a test machine is busy.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "extraction": ("--rounds", "4", "--peer-batches", "4", "--profile"),
    "sweep": ("--alphas", "2", "--peer-pairs", "1"),
    "patching": ("--peer-patches", "2", "--peer-pairs", "1", "--profile"),
    "decode": ("--requests", "3", "--new-tokens", "4", "--slots", "2", "--peer-batches", "3"),
    "sweep_all": ("--alphas", "1", "--peer-pairs", "1", "--unrelated"),
    "play": ("--matches", "1", "--rounds", "3"),
    "large": (
        *("--case", "llama-3-70b", "--shape", "smollm2-135m"),
        "--gpus",
        "3",
        "--rounds",
        "2",
    ),
    "startup": (),
    "probes": ("--peer-fits", "2"),
    "lens": (),
}


@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_ends_with_its_figures(name):
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--layers", "1", *SMALL[name]],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["benchmark"] == name
    assert figures["device"] == "cpu"
    assert figures["ratio"] > 0
    assert 0 <= figures["max_error"] < 1e-4
    assert figures["floor_seconds"] > 0
    if "--profile" in SMALL[name]:
        call, *kinds = figures["profile"].values()
        assert 0 < sum(kinds) <= call
        assert figures["profile"]["matrix products"] > 0


def test_overlapping_kernels_count_once():
    from benchmarks.profiling import covered

    assert covered([(5, 7), (0, 3), (1, 2), (2, 4)]) == 6
    assert covered([]) == 0


def test_a_peer_that_is_not_installed_is_named():
    from benchmarks import peers

    assert peers.version("hooks") == peers.version("hidden_states") is not None
    for name in ("nnsight", "transformer_lens"):
        installed = importlib.util.find_spec(name) is not None
        assert (peers.version(name) is not None) == installed
