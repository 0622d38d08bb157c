import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from nashlens import __version__
from nashlens.errors import StoreError
from nashlens.tables import read_metadata, read_table, read_tables, write_csv, write_table
from nashlens.versions import installed_versions

FRAME = pd.DataFrame(
    {
        "name": ["a", None],
        "action": pd.array([1, None], dtype="Int64"),
        "ids": [np.array([1, 2], np.int32), np.array([], np.int32)],
        "p": [0.5, np.nan],
    }
)


def test_a_table_keeps_types_missing_values_and_provenance(tmp_path):
    path = tmp_path / "new" / "t.parquet"
    write_table(FRAME, path, config={"probes": {"C": 0.1}}, fingerprint="abc")
    back = read_table(path)
    assert back["action"].dtype == "Int64"
    assert back["action"].isna().tolist() == [False, True]
    assert back["name"].isna().tolist() == [False, True]
    assert back["ids"][0].tolist() == [1, 2]
    assert read_metadata(path) == {
        "config": {"probes": {"C": 0.1}},
        "fingerprint": "abc",
        "version": __version__,
        "versions": installed_versions(),
    }
    assert {"torch", "numpy", "scikit-learn"} <= set(installed_versions())


def test_the_same_table_is_the_same_file(tmp_path):
    for name in ("a", "b"):
        write_table(FRAME, tmp_path / name, config={}, fingerprint="f")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_provenance_that_is_not_json_leaves_the_old_table(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(FRAME, path, config={}, fingerprint="old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_table(FRAME, path, config={"x": float("inf")}, fingerprint="new")
    assert read_metadata(path)["fingerprint"] == "old"


def test_missing_damaged_and_foreign_tables_are_named(tmp_path):
    with pytest.raises(StoreError, match=r"none\.parquet: no such table"):
        read_table(tmp_path / "none.parquet")
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(StoreError, match=r"damaged\.parquet: not a readable"):
        read_table(damaged)
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pq.read_table(_written(tmp_path)).replace_schema_metadata({}), foreign)
    with pytest.raises(StoreError, match="no nashlens provenance"):
        read_metadata(foreign)


def _written(folder):
    write_table(FRAME, folder / "t.parquet", config={}, fingerprint="f")
    return folder / "t.parquet"


def test_a_large_table_has_several_row_groups_and_columns_can_be_picked(tmp_path):
    frame = pd.DataFrame({"k": np.arange(10_000), "text": "x"})
    write_table(frame, tmp_path / "t.parquet", config={}, fingerprint="f")
    assert pq.ParquetFile(tmp_path / "t.parquet").num_row_groups == 3
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.parquet"), frame)
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.parquet", ["k"]), frame[["k"]])


def test_several_tables_are_read_as_one_and_written_for_people(tmp_path):
    paths = [tmp_path / f"{name}.parquet" for name in "ba"]
    for n, path in enumerate(paths):
        write_table(pd.DataFrame({"n": [n, 9]}), path, config={}, fingerprint="f")
    table = read_tables(paths)
    assert table["n"].tolist() == [0, 9, 1, 9]
    assert table.index.tolist() == [0, 1, 2, 3]
    for one in (paths[0], str(paths[0])):
        pd.testing.assert_frame_equal(read_tables(one), read_table(paths[0]))
    write_csv(table, tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "n\n0\n9\n1\n9\n"
