"""What jobs compile is kept for later ones, and no job runs anything that another has damaged."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from unittest import mock

import pytest

from nashlens.gpus import Gpu
from tests.conftest import ROOT
from workflow import graphs
from workflow.graphs import KEPT, keeping_graphs
from workflow.leases import machine_folder

CACHES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
GPUS = [Gpu("0", "GPU-0", 1000, 0, "NVIDIA H100")]


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """A clone and a machine of one's own."""
    for name in CACHES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def compile_in_a_job(*names, gpus=GPUS):
    """Let a job of another process compile something; return what it had before, by name."""
    with mock.patch.dict(os.environ):
        for name in CACHES:
            os.environ.pop(name, None)
        return _compile(names, gpus)


def _compile(names, gpus):
    with keeping_graphs(gpus):
        folder = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
        assert os.environ["TRITON_CACHE_DIR"] == str(folder / "triton")
        found = {
            path.relative_to(folder).as_posix(): path.read_text()
            for path in folder.rglob("*")
            if path.is_file() and path.name != "lock"
        }
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"code of {name}")
    assert not folder.exists()
    return found


def test_later_jobs_find_what_earlier_ones_compiled():
    assert compile_in_a_job("fxgraph/a", "triton/k.cubin") == {}
    first = {name: f"code of {name}" for name in ("fxgraph/a", "triton/k.cubin")}
    # Side by side, neither knows of the other.
    with keeping_graphs(GPUS):
        assert compile_in_a_job("fxgraph/b") == first
        Path(os.environ["TORCHINDUCTOR_CACHE_DIR"], "fxgraph/c").write_text("code of fxgraph/c")
    assert set(compile_in_a_job()) == {*first, "fxgraph/b", "fxgraph/c"}
    # One for each job that had something to add.
    assert len(list(KEPT.rglob("*.zip"))) == 3


def test_another_gpu_or_version_has_its_own(monkeypatch):
    compile_in_a_job("fxgraph/a")
    assert compile_in_a_job(gpus=[Gpu("0", "GPU-0", 1000, 0, "NVIDIA A100")]) == {}
    assert compile_in_a_job(gpus=[]) == {}
    monkeypatch.setattr(graphs, "installed", lambda _: "9.0")
    assert compile_in_a_job() == {}


def test_a_damaged_pack_is_thrown_away_and_costs_what_it_held(caplog):
    compile_in_a_job("fxgraph/a")
    (first,) = KEPT.rglob("*.zip")
    compile_in_a_job("fxgraph/b")
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1
    first.write_bytes(content)
    assert set(compile_in_a_job("fxgraph/a")) == {"fxgraph/b"}
    assert f"{first}: damaged, so what it held is compiled again" in caplog.text
    assert set(compile_in_a_job()) == {"fxgraph/a", "fxgraph/b"}


def test_what_lies_loose_beside_the_packs_is_not_read():
    compile_in_a_job("fxgraph/a")
    (pack,) = KEPT.rglob("*.zip")
    (pack.parent / "fxgraph").mkdir()
    (pack.parent / "fxgraph/a").write_text("of an older version, or put there")
    assert compile_in_a_job() == {"fxgraph/a": "code of fxgraph/a"}


def test_traces_of_work_are_not_kept():
    compile_in_a_job("locks/x.lock", "triton/tmp.pid_7_ab/k.cubin", "fxgraph/a", "fxgraph/a.lock")
    assert set(compile_in_a_job()) == {"fxgraph/a"}


def test_a_job_that_fails_keeps_nothing():
    def fail():
        with keeping_graphs(GPUS):
            Path(os.environ["TORCHINDUCTOR_CACHE_DIR"], "half").write_text("ha")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ
    assert compile_in_a_job() == {}


def test_what_a_killed_job_left_is_cleared_and_a_living_one_is_not():
    left = machine_folder() / "compiled-dead"
    left.mkdir(parents=True)
    (left / "lock").touch()
    # Compilers of a process that has ended may write on, where its lock is gone.
    unlocked, new = (machine_folder() / f"compiled-{name}" for name in ("unlocked", "new"))
    for folder in (unlocked, new):
        folder.mkdir()
    os.utime(unlocked, (1e9, 1e9))
    with keeping_graphs(GPUS):
        folder = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
        assert not left.exists()
        assert not unlocked.exists()
        assert new.exists()
        compile_in_a_job("fxgraph/a")
        assert folder.exists()


@pytest.mark.parametrize("name", CACHES)
def test_a_folder_of_the_users_is_left_to_him(monkeypatch, tmp_path, name):
    monkeypatch.setenv(name, str(tmp_path / "own"))
    with keeping_graphs(GPUS):
        assert os.environ[name] == str(tmp_path / "own")
    assert not KEPT.exists()


def test_a_disk_that_takes_no_pack_costs_the_pack_alone(monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(graphs, "atomic_write", full)
    compile_in_a_job("fxgraph/a")
    assert "what was compiled is not kept: [Errno 28] No space left" in caplog.text


def test_torch_has_chosen_no_folder_when_a_job_starts():
    """Its compiler does when it is imported, as if a user had."""
    code = """
        import os, pathlib, runpy
        for script in sorted(pathlib.Path("scripts").glob("*.py")):
            runpy.run_path(str(script))
            assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ, script
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
