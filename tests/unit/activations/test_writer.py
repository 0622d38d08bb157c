"""Shards are written by a thread while the next one is computed."""

import json
import threading

import numpy as np
import pandas as pd
import pytest

from nashlens.activations import extract as module
from nashlens.activations.extract import extract
from nashlens.activations.plan import plan_shards
from nashlens.activations.store import decode, read_entry
from nashlens.errors import StoreError
from nashlens.files import sha256_of


class Counted:
    """An engine whose residual is the prompt's only token; it says when it starts a shard."""

    n_layers, width = 2, 3

    def __init__(self, on_start=lambda shard: None):
        self.started, self.on_start = 0, on_start

    def residuals(self, sequences):
        self.started += 1
        self.on_start(self.started)
        values = np.array([ids[0] for ids in sequences], dtype=np.float32)
        yield np.arange(len(sequences)), np.broadcast_to(values[:, None, None], (len(values), 3, 3))


def plan_of(folder, shards=5, size=2):
    ids = [f"p{k:02d}" for k in range(shards * size)]
    prompts = pd.DataFrame({"prompt_id": ids, "game": "g", "dropped": ""})
    plan = plan_shards(folder, prompts, fingerprint="f", shard_prompts=size)
    return plan, {name: [k] for k, name in enumerate(ids)}


def whole(folder, plan):
    """Return which shards are complete, having checked that each holds its own prompts."""
    found = []
    for number, shard in enumerate(plan["new"]):
        entry = read_entry(folder, shard["file"], "f")
        if entry is not None:
            assert entry["sha256"] == sha256_of(folder / shard["file"])
            values = decode(np.load(folder / shard["file"]), "float32")
            assert values[:, 0, 0].tolist() == [2 * number, 2 * number + 1]
            found.append(number)
    assert not list(folder.glob("*.tmp"))
    return found


def test_the_next_shard_is_computed_while_one_is_written(tmp_path, monkeypatch):
    second = threading.Event()
    write = module.write_shard

    def slow(*args, **kwargs):
        # Would wait for ever, and the test fail, if computing waited for writing.
        assert second.wait(20)
        return write(*args, **kwargs)

    monkeypatch.setattr(module, "write_shard", slow)
    plan, ids = plan_of(tmp_path)
    engine = Counted(lambda shard: second.set() if shard == 2 else None)
    done = extract(engine, ids, plan, tmp_path, part=1, parts=1, dtype="float32")
    assert whole(tmp_path, plan) == [0, 1, 2, 3, 4]
    assert [shard["file"] for shard in done["shards"]] == [s["file"] for s in plan["new"]]
    assert done["computed"] == 10


def test_a_slow_disk_holds_the_model_up(tmp_path, monkeypatch):
    written, most = [], []
    write = module.write_shard
    engine = Counted(lambda shard: most.append(shard - 1 - len(written)))

    def slow(*args, **kwargs):
        threading.Event().wait(0.05)
        entry = write(*args, **kwargs)
        written.append(1)
        return entry

    monkeypatch.setattr(module, "write_shard", slow)
    plan, ids = plan_of(tmp_path, shards=8)
    extract(engine, ids, plan, tmp_path, part=1, parts=1, dtype="float32")
    assert len(written) == 8
    # Computed and not yet written when the next one is begun; an unbounded queue would reach seven.
    assert max(most) == 1


def test_an_error_of_the_thread_reaches_the_caller_and_leaves_whole_shards(tmp_path, monkeypatch):
    write = module.write_shard

    def failing(folder, file, *args, **kwargs):
        if file == "shard-00001.npy":
            raise StoreError("disk full")
        return write(folder, file, *args, **kwargs)

    monkeypatch.setattr(module, "write_shard", failing)
    plan, ids = plan_of(tmp_path, shards=9)
    engine = Counted()
    with pytest.raises(StoreError, match="disk full"):
        extract(engine, ids, plan, tmp_path, part=1, parts=1, dtype="float32")
    assert engine.started < 9
    kept = whole(tmp_path, plan)
    assert kept == [k for k in range(engine.started) if k != 1]
    monkeypatch.setattr(module, "write_shard", write)
    again = extract(Counted(), ids, plan, tmp_path, part=1, parts=1, dtype="float32")
    assert again["computed"] == 2 * (9 - len(kept))
    assert whole(tmp_path, plan) == list(range(9))


def test_an_error_in_the_last_shard_is_not_lost(tmp_path, monkeypatch):
    def failing(*_args, **_kwargs):
        raise StoreError("disk full")

    monkeypatch.setattr(module, "write_shard", failing)
    plan, ids = plan_of(tmp_path, shards=1)
    with pytest.raises(StoreError, match="disk full"):
        extract(Counted(), ids, plan, tmp_path, part=1, parts=1, dtype="float32")


def test_an_interrupt_loses_no_computed_shard(tmp_path):
    def interrupt(shard):
        if shard == 4:
            raise KeyboardInterrupt

    plan, ids = plan_of(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        extract(Counted(interrupt), ids, plan, tmp_path, part=1, parts=1, dtype="float32")
    assert whole(tmp_path, plan) == [0, 1, 2]


def test_values_that_cannot_be_stored_name_their_shard(tmp_path):
    plan, ids = plan_of(tmp_path)
    ids["p03"] = [float("nan")]
    with pytest.raises(StoreError, match=r"shard-00001\.npy: 1 prompts .* first p03"):
        extract(Counted(), ids, plan, tmp_path, part=1, parts=1, dtype="float32")
    assert not (tmp_path / "shard-00001.npy").exists()


def test_a_shards_description_is_the_files_own(tmp_path):
    plan, ids = plan_of(tmp_path, shards=1)
    extract(Counted(), ids, plan, tmp_path, part=1, parts=1, dtype="bfloat16")
    entry = json.loads((tmp_path / "shard-00000.json").read_text())
    assert entry["shape"] == [2, 3, 3]
    assert entry["prompt_ids"] == ["p00", "p01"]
    assert entry["sha256"] == sha256_of(tmp_path / "shard-00000.npy")
