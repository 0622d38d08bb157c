"""Shards are written by a thread while the next one is computed."""

import threading

import numpy as np
import pandas as pd
import pytest

from nashlens.activations.extract import extract
from nashlens.activations.plan import plan_shards
from nashlens.activations.shards import ShardFile, decode, read_entry
from nashlens.errors import StoreError
from nashlens.files import read_sealed, sha256_of


class Counted:
    """An engine whose residual is the prompt's only token; it says when it starts a shard."""

    n_layers, width = 2, 3

    def __init__(self, on_start=lambda shard: None):
        self.started, self.on_start = 0, on_start

    def residuals_at(self, sequences, places):
        self.started += 1
        self.on_start(self.started)
        values = np.array([ids[0] for ids in sequences], dtype=np.float32)
        # In batches of one, the last prompt first.
        for row in reversed(range(len(sequences))):
            yield np.array([row]), np.broadcast_to(values[row], (1, places.shape[1], 3, 3))


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
    finish = ShardFile.finish

    def slow(self):
        # Would wait for ever, and the test fail, if computing waited for writing.
        assert second.wait(20)
        return finish(self)

    monkeypatch.setattr(ShardFile, "finish", slow)
    plan, ids = plan_of(tmp_path)
    engine = Counted(lambda shard: second.set() if shard == 2 else None)
    done = extract(engine, ids, plan, tmp_path, part=1, parts=1, dtype="float32")
    assert whole(tmp_path, plan) == [0, 1, 2, 3, 4]
    assert [shard["file"] for shard in done["shards"]] == [s["file"] for s in plan["new"]]
    assert done["computed"] == 10


def test_a_slow_disk_holds_the_model_up(tmp_path, monkeypatch):
    written, most = [], []
    put = ShardFile.put
    plan, ids = plan_of(tmp_path, shards=2, size=20)

    class Batches(Counted):
        def residuals_at(self, sequences, places):
            for batch in super().residuals_at(sequences, places):
                self.taken = getattr(self, "taken", 0) + 1
                most.append(self.taken - len(written))
                yield batch

    def slow(self, *args):
        threading.Event().wait(0.01)
        put(self, *args)
        written.append(1)

    monkeypatch.setattr(ShardFile, "put", slow)
    extract(Batches(), ids, plan, tmp_path, part=1, parts=1, dtype="float32")
    assert len(written) == 40
    # Batches in memory: two that wait or are being written, and the one just computed. An
    # unbounded queue would reach nearly forty.
    assert max(most) <= 3


def test_an_error_of_the_thread_reaches_the_caller_and_leaves_whole_shards(tmp_path, monkeypatch):
    finish = ShardFile.finish

    def failing(self):
        if self.path.name == "shard-00001.npy":
            self.discard()
            raise StoreError("disk full")
        return finish(self)

    monkeypatch.setattr(ShardFile, "finish", failing)
    plan, ids = plan_of(tmp_path, shards=9)
    engine = Counted()
    with pytest.raises(StoreError, match="disk full"):
        extract(engine, ids, plan, tmp_path, part=1, parts=1, dtype="float32")
    assert engine.started < 9
    kept = whole(tmp_path, plan)
    # All but the one that failed, and perhaps the one that was being computed.
    assert 0 in kept
    assert set(range(engine.started - 1)) - {1} <= set(kept) <= set(range(engine.started)) - {1}
    monkeypatch.setattr(ShardFile, "finish", finish)
    again = extract(Counted(), ids, plan, tmp_path, part=1, parts=1, dtype="float32")
    assert again["computed"] == 2 * (9 - len(kept))
    assert whole(tmp_path, plan) == list(range(9))


@pytest.mark.parametrize("method", ["put", "finish"])
def test_an_error_in_the_last_shard_is_not_lost(tmp_path, monkeypatch, method):
    def failing(self, *_args):
        self.discard()
        raise StoreError("disk full")

    monkeypatch.setattr(ShardFile, method, failing)
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


def test_what_a_killed_job_left_is_cleared(tmp_path):
    plan, ids = plan_of(tmp_path)
    left = tmp_path / "shard-00002.npy.4711.tmp"
    left.write_bytes(b"half a shard")
    extract(Counted(), ids, plan, tmp_path, part=1, parts=1, dtype="float32")
    assert not left.exists()
    assert whole(tmp_path, plan) == [0, 1, 2, 3, 4]


def test_a_shard_that_lacks_a_row_does_not_appear(tmp_path):
    shard = ShardFile(tmp_path, "s.npy", ["a", "b"], (3, 3), dtype="float32", fingerprint="f")
    shard.put(np.array([1]), np.zeros((1, 1, 3, 3), np.float32))
    with pytest.raises(StoreError, match=r"s\.npy: not all"):
        shard.finish()
    assert not list(tmp_path.iterdir())


def test_a_shards_description_is_the_files_own(tmp_path):
    plan, ids = plan_of(tmp_path, shards=1)
    extract(Counted(), ids, plan, tmp_path, part=1, parts=1, dtype="bfloat16")
    entry = read_sealed(tmp_path / "shard-00000.json")
    assert entry["shape"] == [2, 3, 3]
    assert entry["prompt_ids"] == ["p00", "p01"]
    assert entry["sha256"] == sha256_of(tmp_path / "shard-00000.npy")
