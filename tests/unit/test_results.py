"""Results for people: lazily, read-only, and clear about what is missing or half-made."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import nashlens
from nashlens.activations.shards import ShardFile
from nashlens.files import sha256_of, write_json, write_sealed
from nashlens.records import record_of
from nashlens.tables import write_table

CONFIG = {"experiment": {"seed": 1}, "lens": {"positions": ["decision"]}, "figures": {"styles": {}}}


def plant(folder, name, frame, config=CONFIG):
    write_table(frame, folder / f"{name}.parquet", config=config, fingerprint="f")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "mine"
    plant(folder, "games", pd.DataFrame({"game": ["a"], "nash_row": pd.array([None], "Int64")}))
    for model in ("one", "two"):
        plant(folder, f"prompts/{model}", pd.DataFrame({"prompt_id": ["p", "q"]}))
        plant(folder, f"lens/{model}", pd.DataFrame({"model": [model], "layer": [0], "p": [0.5]}))
    write_json(folder / "config.json", {**CONFIG, "resources": {"parts": 2}})
    return folder


def extract(folder, model="one"):
    place = folder / "activations" / model
    values = np.arange(12, dtype=np.float32).reshape(2, 1, 3, 2)
    shard = ShardFile(
        place, "shard-00000.npy", ["p", "q"], (3, 2), dtype="float32", fingerprint="f"
    )
    shard.put(np.arange(2), values)
    entry = shard.finish()
    manifest = {
        "dtype": "float32", "width": 2, "layer_names": ["embedding", "block_1", "block_2"],
        "positions": ["decision"], "shards": [entry], "model": model, "fingerprint": "f",
    }  # fmt: skip
    write_json(place / "manifest.json", manifest)
    return place, values[:, 0]


def listing(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_tables_by_name_and_by_model(folder):
    study = nashlens.open(folder)
    assert list(study) == ["games", "prompts", "lens"]
    assert study.models == ["one", "two"]
    assert study["lens"]["model"].tolist() == ["one", "two"]
    assert study["lens/two"]["model"].tolist() == ["two"]
    # A table without the model's name gets it, in front.
    assert study["prompts"].columns.tolist() == ["model", "prompt_id"]
    assert study["games"]["nash_row"].dtype == study.columns("games")["nash_row"] == "Int64"
    assert study.tables.set_index("table")["rows"].to_dict() == {
        "games": 1,
        "prompts": 4,
        "lens": 2,
    }


def test_a_changed_frame_changes_nothing_else(folder):
    study = nashlens.open(folder)
    games = study["games"]
    games["game"] = "other"
    assert study["games"]["game"].tolist() == ["a"]


def test_one_bit_is_seen_before_a_number_is_shown(folder):
    """A table, and the list of shards, are compared with their records, where they have one."""
    manifest = extract(folder)[0] / "manifest.json"
    reads = {
        folder / "games.parquet": lambda study: study["games"],
        manifest: lambda study: study.activations("one"),
    }
    for path, read in reads.items():
        record = record_of(path, folder)
        for sealed in (False, True):
            if sealed:
                write_sealed(record, {"sha256": sha256_of(path)})
            read(nashlens.open(folder))
        whole = path.read_bytes()
        # In the middle of the values; the name of the first prompt.
        at = whole.index(b'"p"') + 1 if path == manifest else 8
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(nashlens.StoreError, match="its bytes are not those that its record"):
            read(nashlens.open(folder))
        path.write_bytes(whole)
        read(nashlens.open(folder))
    manifest.unlink()
    with pytest.raises(nashlens.StoreError, match="half-made, 1 shards and no list of them"):
        reads[manifest](nashlens.open(folder))


def test_only_the_asked_columns(folder):
    study = nashlens.open(folder)
    assert study.table("lens", columns=["p"]).columns.tolist() == ["model", "p"]
    with pytest.raises(nashlens.StoreError, match=r"one\.parquet: has no column q; it has model"):
        study.table("lens", columns=["q"])


def test_the_config_and_what_a_table_was_made_from(folder):
    study = nashlens.open(folder)
    assert study.config["resources"] == {"parts": 2}
    assert study.provenance("lens", model="one")["config"] == CONFIG
    with pytest.raises(nashlens.StoreError, match="name a model"):
        study.provenance("lens")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("lnes", "no table is called lnes; did you mean lens?"),
        ("zzz", "no table is called zzz; `list\\(study\\)` has their names"),
        ("findings", "findings.parquet: no such table; `snakemake --cores all findings`"),
        ("heads", "heads/MODEL.parquet: no such table; `snakemake --cores all circuits`"),
        ("choir", "unless the config leaves it out \\(attribution\\)"),
        ("steered_summary", "unless the config leaves it out \\(agents.NAME.intervention\\)"),
        ("lens/three", "lens/three.parquet: no such table"),
        ("games/one", "one table for all models"),
    ],
)
def test_what_is_missing_is_named_with_what_makes_it(folder, name, says):
    with pytest.raises(nashlens.StoreError, match=says):
        nashlens.open(folder)[name]


def test_a_table_that_lacks_a_model_is_half_made(folder):
    (folder / "lens/two.parquet").unlink()
    with pytest.raises(nashlens.StoreError, match=r"lens/two\.parquet: no such table"):
        nashlens.open(folder)["lens"]
    # What one model has can be read all the same.
    assert len(nashlens.open(folder)["lens/one"]) == 1


def test_a_table_that_a_config_can_leave_out_is_whole_or_an_error(folder):
    steered = {"model": "one", "intervention": {"value": 1.0}}
    agents = {"one": {"model": "one", "intervention": None}, "one_pushed": steered}
    write_json(folder / "config.json", {**CONFIG, "agents": agents})
    for table in ("heads", "patching", "choir", "spikes", "steered_quiz"):
        plant(folder, f"{table}/one", pd.DataFrame({"layer": [0]}))
    study = nashlens.open(folder)
    for table in ("heads", "patching", "choir", "spikes"):
        # A stage is left out for all models: what one has, the other lacks.
        with pytest.raises(nashlens.StoreError, match=rf"{table}/two\.parquet: no such table"):
            study.table(table)
    assert study["steered_quiz"]["model"].tolist() == ["one"]
    agents["two_pushed"] = {**steered, "model": "two"}
    write_json(folder / "config.json", {**CONFIG, "agents": agents})
    with pytest.raises(nashlens.StoreError, match=r"steered_quiz/two\.parquet: no such table"):
        study.table("steered_quiz")


def test_a_table_of_another_config_than_the_last_runs_is_half_made(folder):
    frame = pd.DataFrame({"model": ["two"], "layer": [0], "p": [0.5]})
    plant(folder, "lens/two", frame, {**CONFIG, "experiment": {"seed": 2}})
    with pytest.raises(
        nashlens.StoreError,
        match=r"two\.parquet: half-made: experiment\.seed was 2 .* and 1 at the last run",
    ):
        nashlens.open(folder)["lens"]
    assert len(nashlens.open(folder)["lens/one"]) == 1


def test_no_config_is_named(folder):
    (folder / "config.json").unlink()
    study = nashlens.open(folder)
    assert len(study["lens"]) == 2
    with pytest.raises(nashlens.StoreError, match=r"config\.json: no such file"):
        _ = study.config


def test_a_wrong_folder_names_the_experiments_beside_it(folder):
    root = folder.parent
    with pytest.raises(nashlens.StoreError, match=r"no such folder; .* the experiments mine"):
        nashlens.open(root / "other")
    with pytest.raises(nashlens.StoreError, match=r"holds no table; .* the experiments mine"):
        nashlens.open(root)


def test_activations_by_model_layer_and_position(folder):
    _, values = extract(folder)
    store = nashlens.open(folder).activations("one")
    assert isinstance(store, nashlens.ActivationStore)
    np.testing.assert_array_equal(store[1], values[:, 1])
    np.testing.assert_array_equal(store.layer(2, ["q"]), values[1:, 2])
    with pytest.raises(nashlens.StoreError, match="no position round_last"):
        nashlens.open(folder).activations("one", "round_last")


def test_activations_that_are_missing_or_half_made(folder):
    study = nashlens.open(folder)
    with pytest.raises(nashlens.StoreError, match=r"manifest\.json: no such file; .* activations"):
        study.activations("one")
    place, _ = extract(folder)
    (place / "manifest.json").unlink()
    with pytest.raises(nashlens.StoreError, match="half-made, 1 shards and no list of them"):
        study.activations("one")


@pytest.mark.parametrize("damaged", ["manifest.json", "shard-00000.npy"])
def test_what_is_damaged_is_named_and_left_alone(folder, damaged):
    place, _ = extract(folder)
    path = place / damaged
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    before = listing(folder)
    with pytest.raises(nashlens.StoreError, match=damaged):
        _ = nashlens.open(folder).activations("one")[1]
    assert listing(folder) == before


def test_a_shard_with_other_bytes_is_named_and_left_alone(folder):
    place, _ = extract(folder)
    path = place / "shard-00000.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    before = listing(folder)
    with pytest.raises(nashlens.StoreError, match="SHA-256"):
        _ = nashlens.open(folder).activations("one")[1]
    assert listing(folder) == before


def test_reading_writes_nothing(folder):
    extract(folder)
    before = listing(folder)
    study = nashlens.open(folder)
    _ = study.tables, study.config, study["lens"], study.activations("one")[0], repr(study)
    assert listing(folder) == before


def test_the_public_names_are_there_and_cost_no_import_before_they_are_used():
    for name in nashlens.__all__:
        assert getattr(nashlens, name).__doc__
    with pytest.raises(AttributeError, match="nothing"):
        _ = nashlens.nothing
    code = "import json, sys, nashlens; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "pandas", "pyarrow", "torch"} & set(json.loads(done.stdout))
