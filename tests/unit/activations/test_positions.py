"""Several positions of a prompt, from the prompts table to the store, against a slow oracle."""

import numpy as np
import pandas as pd
import pytest

from nashlens.activations.store import ActivationStore
from nashlens.activations.tokens import TokenIds
from nashlens.engine.core import Engine
from nashlens.errors import StoreError
from nashlens.games import build_games
from nashlens.prompts.extra import extra_sequences
from nashlens.tables import write_table
from nashlens.vocabulary.positions import expand_positions, position_column
from tests import reference
from tests.designs import make_prompts
from tests.stores import store_activations
from tests.tiny_models import tiny
from tests.unit.prompts.fakes import WordTokenizer

ROUNDS = [1, 2, 4]
EVERY = expand_positions(["decision", "options", "payoffs", "rounds"], ROUNDS)


class Few(WordTokenizer):
    """Words of 61 ids, as many as the tiny models have; so different texts may share ids."""

    def encode(self, text):
        return [token % 61 for token in super().encode(text)]


def prompts_table(games=("pd",), label_sets=None, positions=EVERY):
    spec = {name: {"payoffs": [[[3, 3], [0, k]], [[k, 0], [1, 1]]]} for k, name in
            enumerate(games, start=5)}  # fmt: skip
    tokenizer = Few(bos=True)
    return make_prompts(
        build_games(spec, 1),
        tokenizer,
        label_sets=label_sets or {"jf": ["J", "F"]},
        opponents=["TFT"],
        rounds=ROUNDS,
        histories=2,
        seed=1,
        positions=positions,
    )


@pytest.fixture(scope="module")
def engine():
    return Engine(tiny("LlamaForCausalLM"), 128)


def run(engine, folder, prompts, positions=EVERY, dtype="float32", parts=1):
    """Plan, extract and join as the rules do; return the plan and the number of prompts run."""
    folder.mkdir(exist_ok=True)
    write_table(prompts, folder / "prompts.parquet", config={}, fingerprint="f")
    ids = TokenIds(folder / "prompts.parquet", positions)
    extra = extra_sequences([prompts], ids)
    planned = {"shard_prompts": 5, "extra": extra, "positions": positions}
    return store_activations(engine, folder, prompts, ids, parts=parts, dtype=dtype, **planned)


def expected(prompts, positions):
    """Return the oracle's residuals, (n, positions, layers + 1, width); NaN where absent."""
    columns = [prompts[position_column(name)].fillna(-1) for name in positions]
    places = np.stack(columns, axis=1).astype(int)
    return reference.residuals_at(tiny("LlamaForCausalLM"), prompts["token_ids"].tolist(), places)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 0), ("float16", 1e-3), ("bfloat16", 8e-3)]
)
def test_every_position_equals_the_reference(engine, tmp_path, dtype, tolerance):
    prompts = prompts_table(("pd", "other"))
    run(engine, tmp_path / "a", prompts, dtype=dtype, parts=2)
    store, theirs = ActivationStore(tmp_path / "a"), expected(prompts, EVERY)
    store.verify()
    assert store.positions == EVERY
    ids = prompts["prompt_id"].tolist()
    absent = 0
    for k, name in enumerate(EVERY):
        there = store.at(name)
        rows = there.having(prompts)
        has = ~np.isnan(theirs[:, k, 0, 0])
        absent += (~has).sum()
        assert rows["prompt_id"].tolist() == [p for p, h in zip(ids, has, strict=True) if h]
        for layer in range(5):
            ours = there.layer(layer, rows["prompt_id"].tolist())
            right = theirs[has, k, layer]
            assert np.abs(ours - right).max() <= (tolerance + 1e-5) * np.abs(right).max()
            # Whatever is absent is NaN, and nothing else is.
            assert (np.isnan(there[layer]).any(axis=1) == ~there.present).all()
    # Decisions after no, one and three rounds; all but the first are asked of the mirror image too.
    assert absent == 16 * (3 + 2 * 2 + 0)
    # Without a word about positions it is the decision.
    assert store.position == "decision"
    assert (store.layer(3, ids) == store.at("decision").layer(3, ids)).all()


def test_a_prompt_without_the_position_is_named_and_not_read_as_a_number(engine, tmp_path):
    prompts = prompts_table()
    run(engine, tmp_path / "a", prompts)
    store = ActivationStore(tmp_path / "a").at("round_last-1")
    first = prompts.loc[prompts["round"] == 2, "prompt_id"].iloc[0]
    with pytest.raises(StoreError, match=rf"no round_last-1, first {first}"):
        store.layer(1, [first])
    with pytest.raises(StoreError, match=r"no position round_last-9.*activations\.positions"):
        store.at("round_last-9")


def test_with_the_decision_only_nothing_changes_on_disk(engine, tmp_path):
    plain = prompts_table(positions=["decision"])
    assert not [name for name in plain.columns if name.endswith("_position")][1:]
    plan, _ = run(engine, tmp_path / "a", plain, ["decision"])
    run(engine, tmp_path / "b", prompts_table(), EVERY)
    assert all("positions" not in shard for shard in plan["new"])
    for shard in ActivationStore(tmp_path / "a").manifest["shards"]:
        assert set(shard) == {"file", "prompt_ids", "sha256", "fingerprint"}
        assert np.load(tmp_path / "a" / shard["file"]).ndim == 3
    # The same residuals, whatever else is taken from the prompt.
    ids = plain["prompt_id"].tolist()
    for layer in range(5):
        one, other = (ActivationStore(tmp_path / name).layer(layer, ids) for name in "ab")
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_further_sequences_have_the_decision_only(engine, tmp_path):
    prompts = prompts_table(label_sets={"w": ["left side", "right side"]})
    plan, _ = run(engine, tmp_path / "a", prompts)
    assert plan["extra"]
    for shard in plan["new"]:
        kinds = {prompt in plan["extra"] for prompt in shard["prompt_ids"]}
        assert len(kinds) == 1
        dimensions = np.load(tmp_path / "a" / shard["file"]).ndim
        assert dimensions == (3 if kinds == {True} else 4)
    store = ActivationStore(tmp_path / "a")
    prior = prompts["prior_id"].iloc[0]
    assert np.isfinite(store.layer(2, [prior])).all()
    with pytest.raises(StoreError, match=f"no option_first, first {prior}"):
        store.at("option_first").layer(2, [prior])


def test_a_position_more_computes_anew_and_one_less_computes_nothing(engine, tmp_path):
    prompts = prompts_table()
    _, everything = run(engine, tmp_path / "a", prompts, ["decision"])
    _, again = run(engine, tmp_path / "a", prompts, ["decision", "round_last"])
    # The content-free prompts are there already.
    assert again == prompts["prompt_id"].nunique() < everything
    store = ActivationStore(tmp_path / "a")
    assert len(store) == len(set(store.prompt_ids)) == everything
    _, computed = run(engine, tmp_path / "a", prompts, ["decision"])
    assert computed == 0
    store = ActivationStore(tmp_path / "a")
    assert store.positions == ["decision"]
    with pytest.raises(StoreError, match="no position round_last"):
        store.at("round_last")
    ids = prompts["prompt_id"].tolist()
    np.testing.assert_allclose(
        store.layer(4, ids), expected(prompts, ["decision"])[:, 0, 4], atol=1e-4
    )


def test_a_table_without_the_column_is_named(tmp_path):
    prompts = prompts_table(positions=["decision"])
    write_table(prompts, tmp_path / "p.parquet", config={}, fingerprint="f")
    with pytest.raises(StoreError, match=r"no column option_first_position.*activations\.pos"):
        TokenIds(tmp_path / "p.parquet", EVERY)


def test_not_finite_is_refused_where_present_and_only_there(engine, tmp_path):
    from nashlens.activations.shards import ShardFile, decode

    def shard(values, present, dtype="float16"):
        file = ShardFile(tmp_path, "s.npy", ["a", "b"], (1, 2), dtype=dtype, fingerprint="f",
                         positions=["decision", "round_last"], present=present)  # fmt: skip
        file.put(np.arange(2), values)
        return file.finish()

    values = np.zeros((2, 2, 1, 2), np.float32)
    values[1, 1] = np.nan
    present = np.array([[True, True], [True, False]])
    entry = shard(values, present)
    assert entry["present"] == {"round_last": "10"}
    assert entry["shape"] == [2, 2, 1, 2]
    assert np.isnan(decode(np.load(tmp_path / "s.npy"), "float16")[1, 1]).all()
    with pytest.raises(StoreError, match=r"1 prompts .* not finite, first b"):
        shard(values, np.ones((2, 2), bool))
    values[0, 0] = 1e6
    with pytest.raises(StoreError, match="beyond float16"):
        shard(values, present)


def test_reading_a_position_maps_only_that_position(engine, tmp_path):
    prompts = prompts_table()
    run(engine, tmp_path / "a", prompts)
    store = ActivationStore(tmp_path / "a")
    shard = next(s for s in store.manifest["shards"] if "positions" in s)
    assert isinstance(store._open(shard), np.memmap)
    frame = pd.DataFrame({"prompt_id": prompts["prompt_id"]})
    assert store.at("payoff_3").reader(frame)(2).shape == (len(prompts), 32)
