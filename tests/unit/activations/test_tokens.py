import numpy as np
import pandas as pd
import pytest

from nashlens import tables
from nashlens.activations.tokens import TokenIds
from nashlens.errors import StoreError
from nashlens.prompts.labels import prompt_id


@pytest.fixture
def prompts():
    rng = np.random.default_rng(0)
    ids = [rng.integers(0, 99, rng.integers(1, 9)).astype(np.int32) for _ in range(20)]
    ids[17] = ids[3]
    return pd.DataFrame({"prompt_id": map(prompt_id, ids), "token_ids": ids, "text": "x"})


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_every_prompt_has_its_tokens_whatever_the_row_groups(tmp_path, monkeypatch, prompts, rows):
    monkeypatch.setattr(tables, "_GROUP_ROWS", rows)
    tables.write_table(prompts, tmp_path / "p.parquet", config={}, fingerprint="f")
    found = TokenIds(tmp_path / "p.parquet")
    pairs = list(zip(prompts["prompt_id"], prompts["token_ids"], strict=True))
    for name, ids in [*pairs, *reversed(pairs)]:
        assert found[name] == ids.tolist()
    assert len(found) == 19
    assert set(found) == set(prompts["prompt_id"])
    assert "nope" not in found


def test_prompts_in_table_order_read_each_row_group_once(tmp_path, monkeypatch, prompts):
    monkeypatch.setattr(tables, "_GROUP_ROWS", 4)
    tables.write_table(prompts, tmp_path / "p.parquet", config={}, fingerprint="f")
    found, read = TokenIds(tmp_path / "p.parquet"), []
    column = found._column
    monkeypatch.setattr(found, "_column", lambda *a: read.append(a[0]) or column(*a))
    for name in prompts["prompt_id"].drop_duplicates():
        found[name]
    assert read == [0, 1, 2, 3, 4]


def test_an_empty_and_a_foreign_table(tmp_path, prompts):
    tables.write_table(prompts[:0], tmp_path / "empty.parquet", config={}, fingerprint="f")
    assert len(TokenIds(tmp_path / "empty.parquet")) == 0
    foreign = prompts.drop(columns="token_ids")
    tables.write_table(foreign, tmp_path / "foreign.parquet", config={}, fingerprint="f")
    with pytest.raises(StoreError, match="no column token_ids"):
        TokenIds(tmp_path / "foreign.parquet")
