"""What jobs and calls keep for themselves: a changed bit, a cut or an empty file is seen.

No record stands beside these files. Whoever reads one gets what was written, or nothing, or an
error that names it: never something else.
"""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import workflow.slurm as slurm
from nashlens.activations.shards import ShardFile, read_entry
from nashlens.chunks import Chunks
from nashlens.digests import Digests
from nashlens.errors import ModelError, StoreError
from nashlens.files import write_sealed
from nashlens.gpus import Gpu
from nashlens.models.convert import convert_source
from nashlens.models.intact import check_files
from nashlens.plan.asks import Ask
from nashlens.play import chunks as play_chunks
from nashlens.play.run import PlayedRound
from nashlens.tables import write_table
from scripts import compare_experiments
from workflow.choice import DAMAGED, FOREIGN, WHOLE, examine
from workflow.graphs import keeping_graphs
from workflow.leases import Lease
from workflow.records import Digests as Results
from workflow.records import check_inputs, read_record, record_file, write_records
from workflow.verify import verify

TABLE = "results/e/probes/m.parquet"
NOTE = {"id": "7", "run": "r", "output": TABLE, "fingerprint": "f", "log": "7.log"}
GPUS = [Gpu("0", "GPU-0", 1000, 0)]


def written(path, content=b"written"):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def record():
    written("results/e/games.parquet")
    written(TABLE)
    write_records([TABLE], ["results/e/games.parquet"], {"fingerprint": "f", "config": {"a": 1}})
    return record_file(TABLE), lambda: read_record(TABLE), [{}]


def remembered_digests():
    written("a")
    found = Digests("memory.json")
    found.of("a")
    found.save()
    return "memory.json", lambda: Digests("memory.json").of("a"), []


def shard_list():
    shard = ShardFile(".", "shard-00000.npy", ["p", "q"], (2, 3), dtype="float32", fingerprint="f")
    shard.put(np.arange(2), np.zeros((2, 1, 2, 3), dtype=np.float32))
    shard.finish()
    return "shard-00000.json", lambda: read_entry(".", "shard-00000.npy", "f"), [None]


def played_batch():
    rounds = [PlayedRound([{"action": 0, "p_action_0": 0.25}], [])]
    path = Path("chunk-key.json")
    write_sealed(path, {"key": "key", "rounds": rounds})
    return path, lambda: play_chunks._read(path, "key"), [None]


def unfinished_work():
    chunks = Chunks(".")
    chunks.put("/fits.1/0", {"score": np.arange(3.0)})
    chunks.close()
    (path,) = chunks.folder.glob("*.npz")

    def read():
        found = Chunks(".")
        return found.get("/fits.1/0")["score"].tolist() if len(found) else None

    return path, read, [None]


def slurm_jobs():
    executor = SimpleNamespace(run_uuid="r")
    info = SimpleNamespace(
        external_jobid="7",
        job=SimpleNamespace(output=[TABLE], params={"fingerprint": "f"}),
        aux={"slurm_logfile": "7.log"},
    )
    slurm.LEDGER.parent.mkdir()
    slurm.PatientExecutor._note(executor, info)
    assert slurm._read_ledger() == [NOTE]
    return slurm.LEDGER, slurm._read_ledger, [[]]


def gpu_leases():
    other = Lease(Ask((600,)), GPUS, Path(), lambda: GPUS)
    assert other.take()

    def read():
        lease = Lease(Ask((600,)), GPUS, Path(), lambda: GPUS)
        with lease._ledger() as ledger:
            found = [one["places"] for one in ledger["leases"].values()]
        lease._life.close()
        return found

    # It lives as long as the function. Of a ledger that is lost, jobs that run are seen by what
    # they have of the GPU.
    read.other = other
    return "ledger.json", read, [[]]


def compiled_graphs():
    def read(*new):
        with keeping_graphs([]):
            folder = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
            found = [path.read_bytes() for path in folder.rglob("graph*")]
            for name in new:
                written(folder / name)
        return found

    read("graph")
    (path,) = Path("results/.compiled").rglob("*.zip")
    return path, read, [[]]


KEPT = [
    record,
    remembered_digests,
    shard_list,
    played_batch,
    unfinished_work,
    slurm_jobs,
    gpu_leases,
    compiled_graphs,
]


def damages(content):
    """Yield a content with one bit of each byte flipped, cut at some places, and empty."""
    for at in range(len(content)):
        yield content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :]
    # A byte of text with its highest bit is no UTF-8.
    yield content[:5] + bytes([content[5] ^ 0x80]) + content[6:]
    yield from (content[:end] for end in range(0, len(content), 7))


@pytest.mark.parametrize("make", KEPT, ids=lambda make: make.__name__)
def test_what_was_not_written_is_not_read(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    # Torch's compiler sets it where it is imported.
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    path, read, nothing = make()
    path = Path(path)
    whole, before = path.read_bytes(), read()
    assert before not in nothing
    for content in damages(whole):
        path.write_bytes(content)
        assert read() in (nothing or [before]), content


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A converted model, as a job sees it."""
    monkeypatch.chdir(tmp_path)
    folder = Path("results/models/tiny")
    convert_source("planted:random", folder)
    return folder


def test_a_job_that_loads_no_weights_still_sees_a_models_damaged_files(model):
    """Such as one that asks the tokenizer, or what was planted."""
    manifest = str(model / "manifest.json")
    whole = Path(manifest).read_bytes()
    check_inputs([manifest], TABLE)
    small = [path for path in model.iterdir() if path.suffix != ".safetensors"]
    small = [path for path in small if path.name not in ("manifest.json", ".checked.json")]
    assert {path.name for path in small} >= {"config.json", "tokenizer.json", "planted.json"}
    for path in small:
        before = path.read_bytes()
        for content in (before[:-3] + bytes([before[-3] ^ 1]) + before[-2:], before[:20], b""):
            path.write_bytes(content)
            with pytest.raises(ModelError, match="give the same command again, which converts"):
                check_inputs([manifest], TABLE)
            Path(manifest).write_bytes(whole)
        path.write_bytes(before)
    check_inputs([manifest], TABLE)


def test_no_damage_to_a_models_memory_hides_damage_to_the_model(model):
    memory, config = model / ".checked.json", model / "config.json"
    manifest, whole = (model / "manifest.json").read_bytes(), memory.read_bytes()
    config.write_bytes(config.read_bytes()[:-3])
    for content in damages(whole):
        memory.write_bytes(content)
        with pytest.raises(ModelError, match=r"config\.json: its bytes are not those"):
            check_files(model)
        (model / "manifest.json").write_bytes(manifest)


def test_no_damage_to_a_record_makes_what_is_damaged_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, _, _ = record()
    whole = path.read_bytes()
    for table in (b"written", b"damaged"):
        written(TABLE, table)
        for content in damages(whole):
            path.write_bytes(content)
            assert examine(TABLE, "f", Results()).state == FOREIGN
        path.write_bytes(whole)
        state = WHOLE if table == b"written" else DAMAGED
        assert examine(TABLE, "f", Results()).state == state


def test_a_table_of_another_experiment_is_made_by_that_experiments_call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record()
    written(TABLE, b"damaged")
    with pytest.raises(StoreError, match=r"written: call `snakemake figures` with the config of e"):
        check_inputs([TABLE], "results/compare/d--e.html")
    with pytest.raises(StoreError, match=r"written: give the same command again, which makes it"):
        check_inputs([TABLE], "results/e/findings.parquet")


def test_a_comparison_reads_no_damaged_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare_experiments, "build_comparison", lambda *_: "page")
    inputs, outputs = {"findings": []}, {"page": "results/compare/d--e.html"}
    for name in "de":
        path = f"results/{name}/findings.parquet"
        table = f"results/{name}/games.parquet"
        for one in (path, table):
            write_table(pd.DataFrame({"a": [1]}), one, config={"seed": 1000}, fingerprint="f")
            write_records([one], [], {"fingerprint": "f"})
        inputs["findings"].append(path)
    compare_experiments.main(inputs, outputs)
    content = Path(table).read_bytes()
    # Another seed would stand on the page.
    Path(table).write_bytes(content.replace(b'"seed": 1000', b'"seed": 1001'))
    assert Path(table).read_bytes() != content
    with pytest.raises(StoreError, match=r"results/e/games\.parquet: its bytes are not those"):
        compare_experiments.main(inputs, outputs)


def test_verify_names_what_was_added_to_a_model(model):
    manifest = str(model / "manifest.json")
    write_records([manifest], [], {"fingerprint": "f"})
    job = ("convert_model", {"model": "tiny"}, [manifest])
    provenance = SimpleNamespace(jobs=lambda _: [job], fingerprint=lambda *_: "f")
    assert verify(provenance, "results/e", ["figures"])[1] == 0
    written(model / "generation_config.json.bak")
    said, status = verify(provenance, "results/e", ["figures"])
    assert status == 1
    assert "1 whole, 0 damaged, 0 missing, 0 stale, 1 foreign" in said
    assert f"  foreign  {model}/generation_config.json.bak: it is no file of the converted" in said
    # A job that reads the model says so as well.
    with pytest.raises(ModelError, match="delete it or move it away, and give the same command"):
        check_inputs([manifest], TABLE)


def test_verify_names_damaged_files_that_jobs_keep(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    provenance = SimpleNamespace(jobs=lambda _: [])
    for name in ("activations/m/shard-00000.json", "play/g/chunks/chunk-a1.json"):
        path = Path("results/e") / name
        write_sealed(path, {"prompt_ids": ["p"]})
        assert verify(provenance, "results/e", []) == (
            "results/e: 0 whole, 0 damaged, 0 missing, 0 stale, 0 foreign, 0 not made",
            0,
        )
        whole = path.read_bytes()
        path.write_bytes(whole.replace(b'"p"', b'"q"'))
        said, status = verify(provenance, "results/e", [])
        assert status == 1
        assert "0 whole, 1 damaged" in said
        why = "its bytes are not those that were written: delete it, the job that needs it makes it"
        assert f"  damaged  {path}: {why}" in said
        assert "figures" not in said
        path.unlink()
