"""Damaged files of activations: each is named, and its own advice, followed, mends it alone."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nashlens.activations.store import ActivationStore
from nashlens.errors import StoreError
from nashlens.files import read_json
from tests.unit.activations.test_activations import engine, prompts_table, run

__all__ = ["engine"]


def flip(path, at=-5):
    """Flip one bit."""
    content = bytearray(path.read_bytes())
    content[at] ^= 0b0100
    path.write_bytes(content)


def harm(path, how):
    if how == "one bit":
        flip(path)
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:200])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "another shape":
        np.save(path, np.zeros((2, 5, 32), dtype=np.float32))
    else:
        path.unlink()


def layers(folder):
    store = ActivationStore(folder)
    order = np.argsort(store.prompt_ids)
    return [store[layer][order] for layer in range(store.n_layers + 1)]


WAYS = ("truncated", "empty", "another shape", "missing")
HARM = [*(("one bit", number) for number in range(6)), *((how, n) for how in WAYS for n in (2, 5))]


@pytest.mark.parametrize(("how", "number"), HARM)
def test_a_damaged_shard_is_made_again_and_it_alone(engine, tmp_path, how, number):
    prompts = prompts_table()
    plan, _ = run(engine, tmp_path, prompts)
    (tmp_path / "plan.json").write_text("{}")
    assert len(plan["new"]) == 6
    before = layers(tmp_path)
    shard = tmp_path / f"shard-0000{number}.npy"
    others = {
        path: path.read_bytes() for path in tmp_path.glob("shard-*") if path.stem != shard.stem
    }
    harm(shard, how)
    with pytest.raises(
        StoreError, match="give the same command again, which makes it anew"
    ) as told:
        layers(tmp_path)
    assert str(told.value).startswith(f"{shard}: ")
    assert shard.with_name(f"{shard.name}.damaged").exists() == (how != "missing")
    # Snakemake finds these missing, and so plans, computes and joins again.
    assert not (tmp_path / "plan.json").exists()
    assert not (tmp_path / "manifest.json").exists()
    with pytest.raises(StoreError, match=r"manifest\.json: no such file: give the same command"):
        ActivationStore(tmp_path)
    _, computed = run(engine, tmp_path, prompts)
    assert computed == len(plan["new"][number]["prompt_ids"])
    assert all(path.read_bytes() == content for path, content in others.items())
    for ours, theirs in zip(layers(tmp_path), before, strict=True):
        assert np.array_equal(ours, theirs)


def test_a_plan_keeps_no_damaged_shard(engine, tmp_path):
    prompts = prompts_table()
    run(engine, tmp_path, prompts)
    flip(tmp_path / "shard-00003.npy")
    assert run(engine, tmp_path, prompts)[1] == 3
    ActivationStore(tmp_path).verify()


@given(number=st.integers(0, 5), at=st.integers(0, 10**6), bit=st.integers(0, 7))
@settings(max_examples=30, deadline=None)
def test_a_shard_whose_list_was_changed_is_made_again(finished, number, at, bit):
    """A prompt's name, or whether it has a position, may not change without a word."""
    engine, folder, before = finished
    path = folder / f"shard-0000{number}.json"
    whole = path.read_bytes()
    content = bytearray(whole)
    content[at % len(content)] ^= 1 << bit
    path.write_bytes(content)
    (folder / "plan.json").unlink(missing_ok=True)
    _, computed = run(engine, folder, prompts_table())
    assert computed > 0
    assert path.read_bytes() == whole
    for ours, theirs in zip(layers(folder), before, strict=True):
        assert np.array_equal(ours, theirs)


@pytest.fixture(scope="module")
def finished(engine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    run(engine, folder, prompts_table())
    return engine, folder, layers(folder)


def test_a_shard_is_hashed_once_a_process(engine, tmp_path, monkeypatch):
    run(engine, tmp_path, prompts_table())
    hashed = []
    monkeypatch.setattr(
        "nashlens.digests.sha256_of", lambda path: hashed.append(path) or known[path]
    )
    shards = read_json(tmp_path / "manifest.json")["shards"]
    known = {str(tmp_path / shard["file"]): shard["sha256"] for shard in shards}
    store = ActivationStore(tmp_path)
    assert hashed == []
    for layer in range(5):
        assert store[layer].shape == ActivationStore(tmp_path)[layer].shape
    assert hashed == list(known)


def test_a_manifest_that_is_no_json_is_set_aside(engine, tmp_path):
    prompts = prompts_table()
    run(engine, tmp_path, prompts)
    for text in ("", '{"shards": ['):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(StoreError, match="give the same command again") as told:
            ActivationStore(tmp_path)
        assert re.match(rf"{tmp_path}/manifest\.json: not readable JSON", str(told.value))
        assert not (tmp_path / "manifest.json").exists()
        assert run(engine, tmp_path, prompts)[1] == 0
        ActivationStore(tmp_path).verify()


def test_where_nothing_can_be_renamed_the_files_to_delete_are_named(engine, tmp_path, monkeypatch):
    run(engine, tmp_path, prompts_table())
    flip(tmp_path / "shard-00001.npy")

    def refuse(*_):
        raise PermissionError("read-only")

    monkeypatch.setattr("nashlens.files.os.replace", refuse)
    with pytest.raises(StoreError) as told:
        layers(tmp_path)
    words = str(told.value)
    assert all(
        name in words for name in ("delete ", "shard-00001.npy", "plan.json", "manifest.json")
    )
