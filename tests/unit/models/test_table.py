import json

import pandas as pd
import pytest

from nashlens.errors import ModelError
from nashlens.models.table import models_table, read_models, readable_count

MANIFESTS = {
    "small": {"architecture": "LlamaForCausalLM", "n_parameters": 8_000_000_000},
    "other": {"architecture": "Qwen2ForCausalLM", "n_parameters": 7_000_000_000},
}


def test_a_family_is_the_architecture_unless_the_user_names_one():
    table = models_table(MANIFESTS, {"small": "llama3", "other": None}).set_index("model")
    assert table["family"].to_dict() == {"small": "llama3", "other": "Qwen2ForCausalLM"}
    assert table["n_parameters"].to_dict() == {"small": 8e9, "other": 7e9}


def test_no_model_gives_an_empty_table_with_the_same_columns():
    assert models_table({}, {}).dtypes.equals(models_table(MANIFESTS, {}).dtypes)


def test_models_are_read_from_their_folders(tmp_path):
    for name, manifest in MANIFESTS.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(json.dumps(manifest))
    configured = {"small": {"family": "llama3", "base": "other"}, "other": {"family": None}}
    table = read_models([tmp_path / name / "manifest.json" for name in MANIFESTS], configured)
    assert table.pop("base").tolist() == ["other", ""]
    pd.testing.assert_frame_equal(
        table, models_table(MANIFESTS, {"small": "llama3", "other": None})
    )
    with pytest.raises(ModelError, match="no readable manifest"):
        read_models([tmp_path / "manifest.json"], configured)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [(8.03e9, "8.03B"), (7e10, "70B"), (134_515_008, "135M"), (5_184, "5.18K"), (12, "0.012K")],
)
def test_sizes_in_words(parameters, text):
    assert readable_count(parameters) == text
