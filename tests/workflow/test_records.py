"""Records beside results, and digests that are remembered."""

import os
from pathlib import Path

import pytest

from nashlens import digests
from workflow.choice import ABSENT, DAMAGED, FOREIGN, MISSING, STALE, WHOLE, _set_aside, examine
from workflow.records import Digests, record_file, write_records


def test_a_record_lies_in_its_experiments_folder():
    assert str(record_file("results/e/probes/m.parquet")) == (
        "results/e/.provenance/probes/m.parquet.json"
    )
    assert str(record_file("results/models/m/manifest.json")) == (
        "results/models/.provenance/m/manifest.json.json"
    )


def test_a_file_is_read_once_for_each_of_its_states(tmp_path, monkeypatch):
    file, memory, read = tmp_path / "f", tmp_path / "memory.json", []
    sha256_of = digests.sha256_of
    monkeypatch.setattr(digests, "sha256_of", lambda path: read.append(path) or sha256_of(path))
    file.write_bytes(b"first")
    found = Digests(memory)
    first = found.of(file)
    found.save()
    # As in another process.
    digests._digest.cache_clear()
    assert Digests(memory).of(file) == first
    assert len(read) == 1
    # Another content of the same size, with the old time, as `cp -p` gives it.
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    file.write_bytes(b"other")
    os.utime(file, ns=times)
    assert Digests(memory).of(file) != first
    file.unlink()
    assert Digests(memory).of(file) is None


def test_what_is_on_disk_is_compared_with_its_record(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source, table = "results/e/games.parquet", "results/e/probes/m.parquet"
    for path in (source, table):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(path)

    def state(fingerprint="f"):
        return examine(table, fingerprint, Digests(tmp_path / "none")).state

    assert state() == FOREIGN
    write_records([table], [source], {"fingerprint": "f"})
    assert state() == WHOLE
    assert state("g") == STALE
    with open(source, "a") as file:
        file.write("!")
    assert state() == STALE
    write_records([table], [source], {"fingerprint": "f"})
    with open(table, "a") as file:
        file.write("!")
    assert state() == DAMAGED
    os.unlink(table)
    assert state() == MISSING
    # Snakemake removes the empty folder of a failed job, too.
    os.rmdir("results/e/probes")
    assert state() == MISSING
    # Activations that went as a whole were not lost by accident.
    manifest = "results/e/activations/m/manifest.json"
    os.makedirs(os.path.dirname(manifest))
    with open(manifest, "w") as file:
        file.write("{}")
    write_records([manifest], [], {"fingerprint": "f"})
    os.unlink(manifest)
    assert examine(manifest, "f", Digests(tmp_path / "none")).state == MISSING
    os.rmdir(os.path.dirname(manifest))
    assert examine(manifest, "f", Digests(tmp_path / "none")).state == ABSENT


IN_THE_WAY = {
    "a folder": Path.mkdir,
    "a full folder": lambda path: (path / "more").mkdir(parents=True),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.absolute()),
    # Who reads one waits for ever.
    "a pipe": os.mkfifo,
}


@pytest.mark.parametrize("make", IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_what_has_a_files_place_is_no_file_and_goes_aside(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    table = Path("results/e/games.parquet")
    table.parent.mkdir(parents=True)
    table.write_text("written")
    write_records([str(table)], [], {"fingerprint": "f"})
    table.unlink()
    make(table)
    assert Digests(tmp_path / "none").of(table) is None
    found = examine(str(table), "f", Digests(tmp_path / "none"))
    assert (found.state, found.why) == (DAMAGED, "it is no file")
    assert _set_aside(found) == [str(table)]
    # So its job can write it.
    assert not os.path.lexists(table)
    (aside,) = table.parent.glob("games.parquet.*.damaged")
    assert os.path.lexists(aside)
    assert examine(str(table), "f", Digests(tmp_path / "none")).state == MISSING


def test_a_folder_in_a_records_place_goes_aside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = Path("results/e/games.parquet")
    table.parent.mkdir(parents=True)
    table.write_text("written")
    record = record_file(table)
    record.mkdir(parents=True)
    found = examine(str(table), "f", Digests(tmp_path / "none"))
    assert found.state == FOREIGN
    assert _set_aside(found) == [str(record)]
    write_records([str(table)], [], {"fingerprint": "f"})
    assert examine(str(table), "f", Digests(tmp_path / "none")).state == WHOLE
