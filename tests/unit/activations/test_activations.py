import multiprocessing
import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nashlens.activations.extract import extract
from nashlens.activations.plan import join_manifest, plan_shards
from nashlens.activations.shards import decode, encode
from nashlens.activations.store import ActivationStore
from nashlens.engine.core import Engine
from nashlens.errors import StoreError
from nashlens.prompts.labels import prompt_id
from tests import reference
from tests.stores import store_activations
from tests.tiny_models import tiny


def prompts_table(games=("a", "b"), n=7):
    rng = np.random.default_rng(0)
    rows = []
    for game in ("a", "b", "c"):
        for _ in range(n):
            ids = rng.integers(0, 61, 12).astype(np.int32)
            if game in games:
                rows.append(
                    {"prompt_id": prompt_id(ids), "game": game, "token_ids": ids, "dropped": ""}
                )
    return pd.DataFrame(rows)


def tokens(prompts):
    return dict(zip(prompts["prompt_id"], prompts["token_ids"].map(list), strict=True))


@pytest.fixture(scope="module")
def engine():
    return Engine(tiny("LlamaForCausalLM"), 64)


def run(engine, folder, prompts, **how):
    return store_activations(engine, folder, prompts, tokens(prompts), shard_prompts=3, **how)


def test_prompts_that_share_their_rules_lie_in_one_shard(tmp_path):
    """Rounds of a history in one form, and histories with the same rules in the same form."""
    rows = [
        {"prompt_id": f"{history}{label_map}{order}{now}", "game": "g", "dropped": ""}
        | {"variant": history // 2, "template": "t", "label_set": "l"}
        | {"label_map": label_map, "option_order": order}
        for history in range(4)
        for label_map in ("identity", "swapped")
        for order in ("forward", "reversed")
        for now in (3, 7)
    ]
    prompts = pd.DataFrame(rows)
    plan = plan_shards(tmp_path, prompts, fingerprint="f", shard_prompts=4)
    shards = [prompts[prompts["prompt_id"].isin(shard["prompt_ids"])] for shard in plan["new"]]
    assert [len(shard) for shard in shards] == [4] * 8
    alike = ["variant", "label_map", "option_order"]
    assert all((shard[alike].nunique() == 1).all() for shard in shards)
    # Both rounds of both histories of a variant.
    assert all(shard["prompt_id"].str[-1].tolist() == ["3", "7", "3", "7"] for shard in shards)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 0), ("float16", 1e-3), ("bfloat16", 8e-3)]
)
def test_round_trip_equals_the_reference(engine, tmp_path, dtype, tolerance):
    prompts = prompts_table()
    run(engine, tmp_path, prompts, dtype=dtype)
    store = ActivationStore(tmp_path)
    store.verify()
    theirs = reference.residuals(tiny("LlamaForCausalLM"), prompts["token_ids"].tolist())
    for layer in range(5):
        ours = store.layer(layer, prompts["prompt_id"].tolist())
        scale = np.abs(theirs[:, layer]).max()
        assert np.abs(ours - theirs[:, layer]).max() <= (tolerance + 1e-5) * scale
    assert store[0].shape == (14, 32)
    assert np.load(tmp_path / "shard-00000.npy").shape == (3, 5, 32)


def test_shards_are_the_same_for_every_number_of_parts(engine, tmp_path):
    prompts = prompts_table()
    run(engine, tmp_path / "one", prompts)
    run(engine, tmp_path / "three", prompts, parts=3)
    names = sorted(path.name for path in (tmp_path / "one").glob("*.[nj][ps]*"))
    assert names == sorted(path.name for path in (tmp_path / "three").glob("*.[nj][ps]*"))
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "three" / name).read_bytes()


def test_a_new_game_computes_its_own_prompts_alone(engine, tmp_path):
    run(engine, tmp_path, prompts_table(("a", "b")))
    before = {path.name: path.read_bytes() for path in tmp_path.glob("shard-*.npy")}
    plan, computed = run(engine, tmp_path, prompts_table(("a", "b", "c")))
    assert computed == 7
    assert len(plan["kept"]) == len(before)
    for name, content in before.items():
        assert (tmp_path / name).read_bytes() == content
    assert len(ActivationStore(tmp_path)) == 21


def test_a_game_that_leaves_and_returns_computes_nothing(engine, tmp_path):
    run(engine, tmp_path, prompts_table(("a", "b")))
    _, computed = run(engine, tmp_path, prompts_table(("a",)))
    assert computed == 0
    assert len(ActivationStore(tmp_path)) == 7
    assert run(engine, tmp_path, prompts_table(("a", "b")))[1] == 0


def test_another_model_or_dtype_recomputes_everything(engine, tmp_path):
    prompts = prompts_table()
    run(engine, tmp_path, prompts)
    assert run(engine, tmp_path, prompts, fingerprint="g")[1] == len(prompts)
    assert ActivationStore(tmp_path).manifest["shards"][0]["fingerprint"] == "g"


def test_an_interrupted_extraction_resumes(engine, tmp_path, monkeypatch):
    prompts = prompts_table()
    plan = plan_shards(tmp_path, prompts, fingerprint="f", shard_prompts=3)
    residuals, calls = Engine.residuals_at, []

    def failing(self, sequences, places):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return residuals(self, sequences, places)

    monkeypatch.setattr(Engine, "residuals_at", failing)
    with pytest.raises(KeyboardInterrupt):
        extract(engine, tokens(prompts), plan, tmp_path, part=1, parts=1, dtype="float32")
    monkeypatch.setattr(Engine, "residuals_at", residuals)
    assert not list(tmp_path.glob("*.tmp"))
    again = extract(engine, tokens(prompts), plan, tmp_path, part=1, parts=1, dtype="float32")
    assert again["computed"] == len(prompts) - 6


@pytest.mark.parametrize("harm", ["truncate", "no description", "foreign description"])
def test_a_damaged_shard_is_made_again(engine, tmp_path, harm):
    prompts = prompts_table()
    run(engine, tmp_path, prompts)
    shard = tmp_path / "shard-00001.npy"
    whole = shard.read_bytes()
    if harm == "truncate":
        shard.write_bytes(whole[:50])
    elif harm == "no description":
        shard.with_suffix(".json").unlink()
    else:
        shard.with_suffix(".json").write_text("{}")
    assert run(engine, tmp_path, prompts)[1] == 3
    ActivationStore(tmp_path).verify()


def test_a_reader_names_what_is_missing(engine, tmp_path):
    with pytest.raises(StoreError, match=r"manifest\.json"):
        ActivationStore(tmp_path)
    prompts = prompts_table()
    run(engine, tmp_path, prompts)
    store = ActivationStore(tmp_path)
    with pytest.raises(StoreError, match="no layer 9"):
        store[9]
    with pytest.raises(StoreError, match="not extracted, first nope"):
        store.layer(1, ["nope"])
    (tmp_path / "shard-00000.npy").unlink()
    with pytest.raises(StoreError, match="shard-00000"):
        ActivationStore(tmp_path)


def test_a_store_of_many_shards_holds_none_of_them_open(engine, tmp_path):
    run(engine, tmp_path, prompts_table(n=20))
    before = len(os.listdir("/proc/self/fd"))
    store = ActivationStore(tmp_path)
    assert len(store.manifest["shards"]) == 14
    assert store[1].shape == (40, 32)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_part_that_is_missing_is_named(engine, tmp_path):
    prompts = prompts_table()
    plan = plan_shards(tmp_path, prompts, fingerprint="f", shard_prompts=3)
    one = extract(engine, tokens(prompts), plan, tmp_path, part=1, parts=2, dtype="float32")
    with pytest.raises(StoreError, match="in no part"):
        join_manifest(plan, [one], model="m", dtype="float32", fingerprint="x")


def test_duplicated_and_dropped_prompts(engine, tmp_path):
    prompts = prompts_table()
    doubled = pd.concat([prompts, prompts.iloc[:2]], ignore_index=True)
    doubled.loc[5, "dropped"] = "too long"
    run(engine, tmp_path, doubled)
    store = ActivationStore(tmp_path)
    assert len(store) == 13
    ids = [doubled["prompt_id"][0]] * 2
    assert (store.layer(2, ids)[0] == store.layer(2, ids)[1]).all()


def _extract_in_process(folder, prompts, plan):
    extract(
        Engine(tiny("LlamaForCausalLM"), 64),
        tokens(prompts),
        plan,
        folder,
        part=1,
        parts=1,
        dtype="float32",
    )


def test_an_orphan_and_a_new_run_do_not_harm_each_other(engine, tmp_path):
    prompts = prompts_table()
    plan = plan_shards(tmp_path, prompts, fingerprint="f", shard_prompts=3)
    context = multiprocessing.get_context("spawn")
    both = [
        context.Process(target=_extract_in_process, args=(tmp_path, prompts, plan))
        for _ in range(2)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join()
        assert process.exitcode == 0
    assert run(engine, tmp_path, prompts)[1] == 0
    ActivationStore(tmp_path).verify()


@given(hnp.arrays(np.float32, (4, 5), elements=st.floats(-(2.0**99), 2.0**99, width=32)))
def test_bfloat16_is_torchs_own_rounding(values):
    import torch

    theirs = torch.from_numpy(values).to(torch.bfloat16).float().numpy()
    assert (decode(encode(values, "bfloat16"), "bfloat16") == theirs).all()


def test_values_beyond_float16_are_refused():
    with pytest.raises(StoreError, match=r"activations\.dtype"):
        encode(np.full((1, 1, 1), 1e6, np.float32), "float16")
