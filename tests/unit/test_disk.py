"""Disks that are full, limited, read-only or gone: one line each, and nothing half-written."""

import errno
import os
import subprocess
import sys
import time

import pytest

from nashlens import files
from nashlens.disk import DiskError, disk_problem, folder_problem
from nashlens.errors import StoreError
from nashlens.files import atomic_write, clear_left, write_json
from tests.conftest import ROOT

GO_ON = "and give the same command again"
LINES = {
    errno.ENOSPC: "No space left on device: make room there",
    errno.EDQUOT: "Disk quota exceeded: make room there",
    errno.EFBIG: "no file may become so large here",
    errno.EROFS: "its disk can only be read",
    errno.EACCES: "you may not read or write it",
    errno.EIO: "its disk does not answer",
    errno.ESTALE: "its disk does not answer",
    errno.ENOTCONN: "its disk does not answer",
    errno.EMFILE: "too many files are open",
}


def failing(number):
    raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", LINES, ids=[errno.errorcode[n] for n in LINES])
def test_a_write_that_fails_names_the_file_and_what_to_do(tmp_path, monkeypatch, number):
    path = tmp_path / "table.parquet"
    path.write_bytes(b"old")
    monkeypatch.setattr(files.os, "fsync", lambda file: failing(number))
    with pytest.raises(DiskError) as caught, atomic_write(path) as file:
        file.write(b"half")
    line = str(caught.value)
    assert line.startswith(f"{path}: {LINES[number]}")
    assert line.endswith(GO_ON)
    assert "\n" not in line
    # It is an error of the system as well: what may fail is passed over as before.
    assert isinstance(caught.value, OSError)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["table.parquet"]


def test_what_the_block_reads_is_not_taken_for_what_it_writes(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_write(tmp_path / "a"):
        open(tmp_path / "none").close()
    assert not isinstance(caught.value, StoreError)


def test_libraries_in_other_languages_have_the_number_in_their_text():
    rust = Exception("Error while serializing: I/O error: File too large (os error 27)")
    assert disk_problem(rust, "m").startswith("m: no file may become so large")
    arrow = Exception("Error writing bytes to file. Detail: [errno: 28] No space left on device")
    assert disk_problem(arrow, "m").startswith("m: No space left on device: make room there")
    assert disk_problem(Exception("28"), "m") is None
    assert disk_problem(FileNotFoundError(errno.ENOENT, "gone"), __file__) is None


def test_a_folder_that_is_gone(tmp_path):
    link = tmp_path / "results"
    link.symlink_to(tmp_path / "unmounted")
    for path in (link / "tiny" / "a.json", link / "a.json"):
        with pytest.raises(DiskError, match="its folder is gone: see that the disk is mounted"):
            write_json(path, {})
    # Where the folder would be made.
    assert folder_problem(tmp_path / "new" / "logs") is None
    assert os.listdir(tmp_path) == ["results"]


WITH_LIMIT = """
import os, resource, sys
import numpy as np, pandas as pd
from safetensors.numpy import save_file
from nashlens.disk import disk_problem
from nashlens.files import atomic_write
from nashlens.lens.tuned_file import writing_tuned_lens
from nashlens.tables import write_table
os.chdir(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
values = np.random.default_rng(0).normal(size=(40, 30, 30))
frame = pd.DataFrame(values.reshape(1200, 30)).rename(columns=str)
def lens():
    with writing_tuned_lens("lens", *values.shape[:2]) as file:
        for layer, matrix in enumerate(values):
            file.write(layer, matrix)
def shard():
    with atomic_write("shard") as file:
        for _ in range(9):
            file.write(bytes(9000))
works = {
    "table": lambda: write_table(frame, "table", config={}, fingerprint=""),
    "lens": lens,
    "shard": shard,
    "model": lambda: save_file({"w": values}, "model"),
}
for name, work in works.items():
    try:
        work()
    except Exception as error:
        print(disk_problem(error, name) or error)
os.path.exists("model") and os.unlink("model")
print(os.listdir())
"""

AS_NOBODY = """
import os, sys
from nashlens.disk import folder_problem
from nashlens.files import write_json
os.chdir(sys.argv[1])
if os.geteuid() == 0:
    # root may write anywhere.
    os.setgid(65534), os.setuid(65534)
print(folder_problem("."))
try:
    write_json("a.json", {})
except OSError as error:
    print(error)
print(os.listdir())
"""


def run(code, folder):
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_under_a_real_limit_nothing_is_half_written(tmp_path):
    *lines, left = run(WITH_LIMIT, tmp_path)
    names = ("table", "lens", "shard", "model")
    assert [line.partition(":")[0] for line in lines] == list(names)
    assert all("no file may become so large here" in line for line in lines)
    assert left == "[]"


def test_a_folder_that_may_not_be_written_to(tmp_path):
    tmp_path.chmod(0o555)
    first, second, left = run(AS_NOBODY, tmp_path)
    assert first.startswith(".: you may not read or write it")
    assert second.startswith("a.json: you may not read or write it")
    assert left == "[]"


FULL_LOG = """
import logging, sys
from nashlens.errors import DataError
from nashlens.logs import start_logging
start_logging("/dev/full")
logging.info("a line")
raise DataError("no such luck")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a device that is always full")
def test_a_full_disk_lets_an_error_through_though_its_log_cannot_be_written(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL_LOG],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "nashlens: error: no such luck (log: /dev/full)"
    assert "Traceback" not in done.stderr


def test_what_killed_processes_have_left_of_a_file_is_cleared(tmp_path):
    names = ["a.json", "a.json.77.tmp", "b.json.77.tmp", "a.json.tmp", f"a.json.{os.getpid()}.tmp"]
    for name in names:
        (tmp_path / name).write_text("x")
    clear_left(tmp_path / "a.json")
    names.remove("a.json.77.tmp")
    assert sorted(os.listdir(tmp_path)) == sorted(names)
    # Of all files only what is old: others may be writing theirs.
    clear_left(tmp_path / "*", older=3600)
    assert sorted(os.listdir(tmp_path)) == sorted(names)
    os.utime(tmp_path / "b.json.77.tmp", (time.time() - 7200,) * 2)
    clear_left(tmp_path / "*", older=3600)
    assert not (tmp_path / "b.json.77.tmp").exists()
    clear_left(tmp_path / "none" / "a.json")
