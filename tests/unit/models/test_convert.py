import json
import select
import subprocess
import sys

import gguf
import numpy as np
import pytest

from nashlens.errors import ModelError
from nashlens.models import convert as module
from nashlens.models.convert import convert_source
from nashlens.models.inspect import ModelFacts, inspect_source, local_files
from nashlens.models.intact import CHECKED
from nashlens.models.manifest import read_manifest
from nashlens.models.shapes import SHAPES
from nashlens.models.weights import WeightReader
from tests.conftest import EMBEDDED, ROOT
from tests.unit.models.test_inspect import write_gguf


def snapshot(folder):
    """The files' bytes; when they were last looked at is no part of a model."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != CHECKED}


def _shown(folder):
    """Names of what conversions left there, without the lock that they wait at."""
    return [file.name for file in folder.iterdir() if file.suffix != ".lock"]


def test_a_planted_model_and_its_manifest(planted):
    manifest = read_manifest(planted["random"])
    assert {k: manifest[k] for k in ("source", "kind", "architecture", "n_layers", "width")} == {
        "source": "planted:random",
        "kind": "planted",
        "architecture": "LlamaForCausalLM",
        "n_layers": 4,
        "width": 32,
    }
    assert manifest["dtype"] == "float32"
    assert manifest["bos_token"] == "<bos>"
    assert manifest["chat_template"] is True
    assert manifest["context_length"] == 4096
    assert len(manifest["sha256"]) == 64
    other = read_manifest(planted["random_qwen2"])
    assert (other["bos_token"], other["chat_template"]) == (None, False)


def test_converting_twice_gives_the_same_bytes(planted, tmp_path):
    target = tmp_path / "random"
    convert_source("planted:random", target)
    first = snapshot(target)
    convert_source("planted:random", target)
    assert snapshot(target) == first == snapshot(planted["random"])
    assert _shown(tmp_path) == ["random"]


def test_a_folder_is_linked_and_keeps_its_weights(hf_folder, tmp_path):
    target = tmp_path / "out" / "model"
    target.mkdir(parents=True)  # Snakemake makes it beforehand
    manifest = convert_source(f"path:{hf_folder}", target)
    assert manifest == read_manifest(target)
    assert (target / "model.safetensors").samefile(hf_folder / "model.safetensors")
    assert (target / "tokenizer.json").read_bytes() == (hf_folder / "tokenizer.json").read_bytes()
    assert not (target / "tokenizer.json").samefile(hf_folder / "tokenizer.json")


def test_without_hard_links_it_links_symbolically(hf_folder, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("cross-device")

    monkeypatch.setattr(module.os, "link", refuse)
    convert_source(f"path:{hf_folder}", tmp_path / "model")
    link = tmp_path / "model" / "model.safetensors"
    assert link.is_symlink()
    assert link.readlink().is_absolute()


def test_sharded_weights(hf_folder, tmp_path, planted):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(hf_folder, dtype=torch.float32)
    (hf_folder / "model.safetensors").unlink()
    model.save_pretrained(hf_folder, max_shard_size="50KB")
    manifest = convert_source(f"path:{hf_folder}", tmp_path / "model")
    assert len(manifest["files"]) > 1
    whole, parts = WeightReader(planted["random_qwen2"]), WeightReader(tmp_path / "model")
    assert whole.names == parts.names
    assert all(np.array_equal(whole.tensor(n), parts.tensor(n)) for n in whole.names)


def test_a_consolidated_file_beside_the_weights_counts_for_nothing(hf_folder, tmp_path):
    """It holds the same weights in another layout; Mistral's repositories have both."""
    before = local_files(f"path:{hf_folder}")
    for name in ("consolidated.safetensors", "training_args.json", "pytorch_model.bin"):
        (hf_folder / name).write_bytes(b"\0" * 100)
    assert local_files(f"path:{hf_folder}") == before
    assert inspect_source(f"path:{hf_folder}").problems == ()
    manifest = convert_source(f"path:{hf_folder}", tmp_path / "model")
    assert list(manifest["files"]) == ["model.safetensors"]
    assert not (tmp_path / "model" / "consolidated.safetensors").exists()


def test_of_a_hub_repository_no_consolidated_file_is_fetched(hf_folder, tmp_path, monkeypatch):
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    weights = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    there = [*weights, "consolidated.safetensors", "original/model.safetensors", "config.json"]
    fetched = []

    def download(*_, allow_patterns, ignore_patterns, **__):
        how = {"allow_patterns": allow_patterns, "ignore_patterns": ignore_patterns}
        fetched.extend(filter_repo_objects(there, **how))
        return str(hf_folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    convert_source("hub:org/model@main", tmp_path / "model")
    assert fetched == [*weights, "config.json"]


def test_pickled_and_unsupported_sources_leave_nothing(hf_folder, tmp_path, edit):
    edit(hf_folder / "config.json", architectures=["BloomForCausalLM"])
    with pytest.raises(ModelError, match="BloomForCausalLM is not supported"):
        convert_source(f"path:{hf_folder}", tmp_path / "out" / "model")
    edit(hf_folder / "config.json", architectures=["Qwen2ForCausalLM"])
    (hf_folder / "model.safetensors").rename(hf_folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="only pickled weights"):
        convert_source(f"path:{hf_folder}", tmp_path / "out" / "model")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError, SystemExit])
def test_an_interrupted_conversion_leaves_what_was_there(tmp_path, monkeypatch, failure):
    target = tmp_path / "model"
    convert_source("planted:random", target)
    before = snapshot(target)

    def interrupt(*_):
        raise failure("stop")

    monkeypatch.setattr(module, "_describe", interrupt)
    with pytest.raises(failure):
        convert_source("planted:random", target)
    with pytest.raises(failure):
        convert_source("planted:random", tmp_path / "new")
    assert snapshot(target) == before
    assert _shown(tmp_path) == ["model"]


def test_what_a_killed_conversion_left_is_cleared(tmp_path):
    left = tmp_path / ".model.partial"
    left.mkdir()
    (left / "model-00001-of-00002.safetensors").write_bytes(b"half")
    convert_source("planted:random", tmp_path / "model")
    assert _shown(tmp_path) == ["model"]
    assert "model-00001-of-00002.safetensors" not in snapshot(tmp_path / "model")


def test_damaged_weights_are_refused(hf_folder, tmp_path):
    weights = hf_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(ModelError, match="not an intact safetensors file"):
        convert_source(f"path:{hf_folder}", tmp_path / "model")
    weights.write_bytes(b"not safetensors")
    with pytest.raises(ModelError, match="not an intact safetensors file"):
        convert_source(f"path:{hf_folder}", tmp_path / "model")


def test_expected_facts_are_checked(hf_folder, tmp_path):
    with pytest.raises(ModelError, match="n_layers came out as 4, and 5 was expected"):
        convert_source(f"path:{hf_folder}", tmp_path / "model", expected=ModelFacts(n_layers=5))


def test_a_model_does_not_replace_itself(hf_folder):
    with pytest.raises(ModelError, match="replace itself"):
        convert_source(f"path:{hf_folder}", hf_folder)
    assert (hf_folder / "model.safetensors").is_file()


def test_a_hub_model_out_of_the_cache(hf_folder, tmp_path, monkeypatch):
    import huggingface_hub.constants

    repo = tmp_path / "cache" / "models--org--model"
    commit = "a" * 40
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    (repo / "snapshots").mkdir()
    hf_folder.rename(repo / "snapshots" / commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    manifest = convert_source("hub:org/model@main", tmp_path / "model")
    assert manifest["revision"] == commit
    assert manifest["source"] == "hub:org/model@main"


@pytest.mark.embedded
def test_the_embedded_model(embedded):
    folder, manifest = embedded
    assert manifest["source"] == EMBEDDED
    assert manifest["revision"] == "0.1.2"
    assert (manifest["n_layers"], manifest["width"], manifest["vocab_size"]) == (30, 576, 49152)
    assert manifest["n_parameters"] == SHAPES["smollm2-135m"].parameters()
    assert (manifest["dtype"], manifest["chat_template"], manifest["bos_token"]) == (
        "float32",
        True,
        None,
    )
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["tie_word_embeddings"] is True
    assert "lm_head.weight" not in WeightReader(folder).names


@pytest.mark.embedded
def test_the_embedded_weights_are_the_files_own(embedded):
    import gguf

    from nashlens.models.source import gguf_file, parse_source

    file = gguf.GGUFReader(gguf_file(parse_source(EMBEDDED)))
    stored = {tensor.name: tensor for tensor in file.tensors}
    reader = WeightReader(embedded[0])
    for theirs, ours in {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "blk.3.ffn_down.weight": "model.layers.3.mlp.down_proj.weight",
        "blk.29.attn_v.weight": "model.layers.29.self_attn.v_proj.weight",
    }.items():
        tensor = stored[theirs]
        exact = gguf.dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(exact.reshape(reader.tensor(ours).shape), reader.tensor(ours)), ours


def test_the_fields_of_a_gguf_file_are_read_once_a_conversion(tmp_path):
    path, reader = write_gguf(tmp_path / "m.gguf"), gguf.GGUFReader
    with module._read_once():
        assert gguf.GGUFReader(path) is gguf.GGUFReader(path)
    assert gguf.GGUFReader is reader


CONVERTING = """
import sys
from nashlens.models import convert

describe = convert._describe

def held(partial):
    print("in", flush=True)
    sys.stdin.readline()
    return describe(partial)

convert._describe = held
print("begins", flush=True)
convert.convert_source("planted:random", sys.argv[1])
"""
"""Converts a model, and is held before it is done until a line comes."""


def test_of_two_processes_that_convert_one_model_at_once_the_second_waits(tmp_path, planted):
    folder, before = tmp_path / "models" / "m", snapshot(planted["random"])
    command = [sys.executable, "-c", CONVERTING, str(folder)]
    # Unbuffered: what was not read yet is seen.
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    calls = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(2)]
    try:
        assert [call.stdout.readline() for call in calls] == [b"begins\n"] * 2
        ready, _, _ = select.select([call.stdout for call in calls], [], [])
        # One alone is at it, until it is done.
        (first,) = (call for call in calls if call.stdout in ready)
        (second,) = (call for call in calls if call is not first)
        assert first.communicate(b"\n", timeout=100) == (b"in\n", None)
        assert snapshot(folder) == before
        assert second.communicate(b"\n", timeout=100) == (b"in\n", None)
    finally:
        for call in calls:
            call.kill()
            call.wait()
    assert [call.returncode for call in calls] == [0, 0]
    assert snapshot(folder) == before
    assert sorted(path.name for path in folder.parent.iterdir()) == [".m.lock", "m"]
