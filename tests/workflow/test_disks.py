"""A hostile machine: odd paths, other disks, no HOME, a limit; disks that are gone or closed."""

import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.workflow.workspace import Workspace

pytestmark = pytest.mark.workflow
TARGETS = ["results/tiny/quiz/tiny_llama.parquet", "results/tiny/figures/games.svg"]
SHARED = Path("/dev/shm")
"""A disk that is not that of the temporary folder; everything is on one where there is none."""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A clone under an odd name whose results lie on another disk."""
    folder = tmp_path_factory.mktemp("Lena's disk") / "näsh lens (2) 博弈"
    workspace = Workspace.copy(ROOT, folder)
    where = SHARED if os.access(SHARED, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=where) as other:
        (folder / "results").symlink_to(Path(other) / "resül ts")
        (Path(other) / "resül ts").mkdir()
        yield workspace


def call(workspace, *args, before=""):
    """Call Snakemake from a shell, which may set limits, without HOME and a temporary folder."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *args]
    away = {"HOME": "/proc/none", "XDG_CACHE_HOME": "/proc/none", "TMPDIR": "/proc/none"}
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        ["bash", "-c", f'{before} exec "$@"', "bash", *command],
        cwd=workspace.folder,
        env=kept | away,
        capture_output=True,
        text=True,
        check=False,
    )


def asked(workspace, *args, **how):
    return call(workspace, *TARGETS, *args, "--configfile", workspace.overlay, **how)


def last(done):
    return done.stderr.rstrip().splitlines()[-1]


def files(workspace):
    found = (workspace.folder / "results").resolve().rglob("*")
    return {path.name: path for path in found if path.is_file()}


def test_a_limit_of_file_sizes_is_named_and_leaves_nothing_half_written(hostile):
    done = asked(hostile, before="umask 077; ulimit -f 100;")
    assert done.returncode == 1
    # The weights have 212 kB.
    line = r"nashlens: error: results/models/tiny_llama/\S+: no file may become so large here: .*"
    assert re.fullmatch(line + r" same command again \(log: \S+\.log\)", last(done))
    assert "Traceback" not in done.stderr
    assert not {"model.safetensors", "manifest.json", "tiny_llama.parquet"} & set(files(hostile))


def test_the_next_call_goes_on_on_any_disk_under_any_name_without_a_home(hostile):
    left = (hostile.folder / "results").resolve() / "tiny" / ".digests.json.77.tmp"
    left.write_text("half")
    os.utime(left, (1, 1))
    done = asked(hostile, before="umask 077;")
    assert done.returncode == 0, done.stderr[-4000:]
    made = files(hostile)
    assert {"model.safetensors", "manifest.json", "tiny_llama.parquet", "games.svg"} <= set(made)
    assert not left.exists()
    assert not [name for name in made if name.endswith(".tmp")]
    for name in ("model.safetensors", "tiny_llama.parquet", "games.svg"):
        assert stat.S_IMODE(made[name].stat().st_mode) & 0o077 == 0
    # Nothing of it depends on the umask or the home of who asks.
    done = hostile.snakemake("-n", *TARGETS)
    assert "Nothing to be done" in done.stdout + done.stderr
    assert not Path("/proc/none").exists()


def test_files_of_the_future_are_current_and_fail_no_job(hostile):
    for path in files(hostile).values():
        os.utime(path, (4e9, 4e9))
    (hostile.folder / TARGETS[0]).unlink()
    done = asked(hostile)
    assert done.returncode == 0, done.stderr[-4000:]
    ran = set(re.findall(r"^(?:Finished jobid: \d+ \(Rule: (\w+)\))", done.stderr, re.MULTILINE))
    assert ran == {"ask_quiz"}


def test_results_on_a_disk_that_is_gone_or_closed_are_one_line(hostile):
    results, table = hostile.folder / "results", hostile.folder / TARGETS[0]
    table.unlink()
    here = os.readlink(results)
    results.unlink()
    results.symlink_to(f"{here} (not mounted)")
    done = asked(hostile)
    assert done.returncode == 1
    assert "nashlens: error: results/tiny/config.json: its folder is gone: see that" in last(done)
    assert "Traceback" not in done.stderr
    assert not Path(f"{here} (not mounted)").exists()
    # What may only be read: root is stopped by no mode, but by what is no folder.
    results.unlink()
    results.symlink_to("/proc")
    done = asked(hostile)
    assert done.returncode == 1
    assert last(done).startswith("nashlens: error: results/tiny")
    assert "Traceback" not in done.stderr
    results.unlink()
    results.symlink_to(here)
    done = asked(hostile)
    assert done.returncode == 0, done.stderr[-4000:]
    assert table.exists()


def test_a_model_folder_that_can_only_be_read_is_converted(hostile, tmp_path):
    """As a user may have one, on a disk of their institute."""
    own = tmp_path / "llama's weights"
    shutil.copytree(hostile.folder / "results/models/tiny_llama", own)
    for name in ("manifest.json", ".checked.json", "planted.json"):
        (own / name).unlink()
    before = {path.name: path.stat().st_mtime_ns for path in own.iterdir()}
    for path in own.iterdir():
        path.chmod(0o444)
    own.chmod(0o555)
    overlay = hostile.folder / "own.yaml"
    overlay.write_text(yaml.safe_dump({"models": {"tiny_qwen": {"source": f"path:{own}"}}}))
    done = call(
        hostile, "results/tiny/quiz/tiny_qwen.parquet", "--configfile", hostile.overlay, "own.yaml"
    )
    own.chmod(0o755)
    assert done.returncode == 0, done.stderr[-4000:]
    assert {path.name: path.stat().st_mtime_ns for path in own.iterdir()} == before
