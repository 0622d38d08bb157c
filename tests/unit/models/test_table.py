from nashlens.models.table import models_table

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
