"""What a job has finished is on disk, whole, and is taken by the next run of the same job."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nashlens import chunks
from nashlens.chunks import Chunks, digest_of, each, keeping, resumed
from nashlens.errors import DataError

KEPT = {
    "array": np.arange(6, dtype=np.float16).reshape(2, 3),
    "scalar array": np.array(2.5),
    "turned": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "numbers": (1, 1.0, np.float64(0.1), np.nan, np.int64(3), True, None, "é"),
    "rows": [({"a/b": np.float32(0.1)}, np.zeros((0, 2)))],
}


@pytest.fixture
def every(monkeypatch):
    """Every result is a chunk of its own."""
    monkeypatch.setattr(chunks, "EVERY", 0.0)


def same(one, other):
    if isinstance(one, np.ndarray):
        assert isinstance(other, np.ndarray)
        assert (one.dtype, one.flags.c_contiguous) == (other.dtype, other.flags.c_contiguous)
        np.testing.assert_array_equal(one, other)
        return
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        one, other = list(one.values()), list(other.values())
    if isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            same(a, b)
    else:
        assert one == other or (one != one and other != other)


def test_what_is_read_back_is_what_the_work_gave_of_the_same_types(tmp_path, every):
    alone = resumed("x", lambda: KEPT)

    def stopped():
        with keeping(tmp_path / "job", "f"):
            fresh = resumed("x", lambda: KEPT)
            same(fresh, alone)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    with keeping(tmp_path / "job", "f"):
        same(resumed("x", lambda: pytest.fail("done again")), alone)
    assert not (tmp_path / "job").exists()


def run(folder, fingerprint="f", fails=None, threads=1):
    """Square 0 to 4 twice over, each square the sum of parts; return squares and what was done."""
    done = []

    def part(x, k):
        done.append((x, k))
        if (x, k) == fails:
            raise KeyboardInterrupt
        return x

    def square(x):
        return sum(resumed(str(k), lambda k=k: part(x, k)) for k in range(x))

    with keeping(folder, fingerprint):
        found = [each(range(5), square, "squares", threads=threads) for _ in range(2)]
    return found, done


SQUARES = [[0, 1, 4, 9, 16]] * 2


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_loses_only_the_unit_in_which_it_came(tmp_path, threads):
    job = tmp_path / "job"
    with pytest.raises(KeyboardInterrupt):
        run(job, fails=(3, 2), threads=threads)
    (chunk,) = job.glob("*/*.npz")
    found, done = run(job)
    assert found == SQUARES
    assert len(done) < 20
    if threads == 1:
        assert done[0] == (3, 2)
        assert len(done) == 20 - len([(1, 0), (2, 0), (2, 1), (3, 0), (3, 1)])
    assert not chunk.exists()


def part_of(folder, x, k, fails):
    """One part of a square, which is counted by a file."""
    (folder / f"{x}-{k}-{len(list(folder.glob(f'{x}-{k}-*')))}").touch()
    if (x, k) == fails:
        raise DataError("it failed")
    return x


def squares_apart(folder, counted, fails=None):
    def square(x):
        return sum(resumed(str(k), lambda k=k: part_of(counted, x, k, fails)) for k in range(x))

    with keeping(folder, "f"):
        return each(range(5), square, "squares", threads=2, processes=True)


def test_processes_keep_what_they_have_done(tmp_path):
    """Work runs in other processes; where it fails, only what failed is done again."""
    job, counted = tmp_path / "job", tmp_path / "counted"
    counted.mkdir()
    with pytest.raises(DataError, match="it failed"):
        squares_apart(job, counted, fails=(3, 2))
    before = {path.name for path in counted.iterdir()}
    assert {"3-0-0", "3-1-0", "3-2-0"} <= before
    assert squares_apart(job, counted) == SQUARES[0]
    again = {path.name for path in counted.iterdir()} - before
    assert "3-2-1" in again
    assert not {"3-0-1", "3-1-1"} & again


def test_processes_are_others_and_end_with_the_work(tmp_path):
    found = each(range(4), lambda _: os.getpid(), "numbers", threads=2, processes=True)
    assert os.getpid() not in found
    assert len(set(found)) <= 2
    for pid in set(found):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_damaged_chunks_and_those_of_another_job_are_not_taken(tmp_path, every, caplog):
    job = tmp_path / "job"
    with pytest.raises(KeyboardInterrupt):
        run(job, fails=(4, 3))
    files = sorted(job.glob("*/*.npz"))
    assert len(files) > 8
    damaged = files[0].read_bytes()
    files[0].write_bytes(damaged[:-1] + b"x")
    assert run(job)[0] == SQUARES
    assert f"{files[0].name}: damaged" in caplog.text
    with pytest.raises(KeyboardInterrupt):
        run(job, fails=(4, 3))
    found, done = run(job, "g")
    assert found == SQUARES
    assert len(done) == 20


def test_a_result_takes_the_place_of_its_parts(tmp_path):
    with keeping(tmp_path / "job", "f") as store:
        each(range(4), lambda x: [resumed(str(k), int) for k in range(x)], "lists")
        assert len(store) == 4
        assert store.get("/lists.1/3") == [0, 0, 0]
        with pytest.raises(KeyError):
            store.get("/lists.1/3/0")


def test_another_run_of_the_job_may_end_meanwhile(tmp_path, every):
    job = tmp_path / "job"
    with keeping(job, "f"):
        each(range(2), int, "first")
        # The other one takes what is there, and clears it away.
        with keeping(job, "f"):
            assert each(range(3), int, "first") == [0, 1, 2]
        assert not job.exists()
        assert each(range(3), lambda k: k + 1, "second") == [1, 2, 3]
    assert not job.exists()


def test_chunks_are_written_as_time_passes(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(chunks.time, "monotonic", lambda: now[0])
    store = Chunks(tmp_path)
    for second in range(0, 100, 10):
        now[0] = float(second)
        store.put(str(second), second)
    assert len(list(tmp_path.iterdir())) == 3
    again = Chunks(tmp_path)
    assert len(again) == 10
    assert again.get("50") == 50


def test_a_digest_tells_arrays_apart():
    two = np.array([[1, 2]]), np.array([[1], [2]])
    assert len({digest_of(*two), digest_of(*two[::-1]), digest_of(two[0]), digest_of([1, 2])}) == 4


JOB = """
import os, signal, sys
from nashlens import chunks
chunks.EVERY = 0.0

def work(k):
    if k == 3 and sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    print(k)
    return k * k

with chunks.keeping(sys.argv[1], "f"):
    print(sum(chunks.each(range(6), work, "squares", shown=False)))
"""


def test_sigkill_costs_the_unit_in_which_it_came(tmp_path):
    def start(how):
        command = [sys.executable, "-c", JOB, str(tmp_path / "job"), how]
        path = str(Path(chunks.__file__).parents[1])
        env = os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    killed = start("die")
    assert killed.returncode == -signal.SIGKILL
    assert killed.stdout.split() == ["0", "1", "2"]
    assert start("live").stdout.split() == ["3", "4", "5", "55"]
