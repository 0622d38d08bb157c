"""A converted model's files: damage is named at load, and the advice, followed, mends it."""

from pathlib import Path

import pytest

from nashlens import digests
from nashlens.errors import ModelError
from nashlens.files import write_json
from nashlens.models import intact
from nashlens.models.convert import convert_source
from nashlens.models.load import load_model
from nashlens.models.manifest import read_manifest
from nashlens.models.weights import load_readout
from tests.unit.activations.test_damage import flip

WEIGHTS = "model.safetensors"


@pytest.fixture
def model(tmp_path):
    """A converted model of its own."""
    convert_source("planted:random", tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files that are hashed."""
    names, real = [], digests.sha256_of
    monkeypatch.setattr(
        digests, "sha256_of", lambda path: names.append(Path(path).name) or real(path)
    )
    return names


def load(folder):
    return load_model(folder, device="cpu")


@pytest.mark.parametrize("read", [load, load_readout])
@pytest.mark.parametrize("name", [WEIGHTS, "config.json", "tokenizer.json"])
def test_one_bit_is_named_and_the_next_call_converts_again(model, read, name):
    before = (model / name).read_bytes()
    flip(model / name)
    with pytest.raises(ModelError, match="give the same command again, which converts") as told:
        read(model)
    assert str(told.value).startswith(f"{model / name}: its bytes are not those")
    # Snakemake finds it missing.
    assert not (model / "manifest.json").exists()
    convert_source("planted:random", model)
    assert (model / name).read_bytes() == before
    read(model)


def test_a_missing_file_is_named(model):
    (model / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=rf"{WEIGHTS}: it is missing: give the same command again"):
        load(model)
    convert_source("planted:random", model)
    load(model)


def test_a_file_is_hashed_once_for_each_of_its_states(model, hashed):
    load(model)
    # Conversion knows them.
    assert hashed == []
    (model / intact.CHECKED).write_text("not JSON")
    load(model)
    assert sorted(hashed) == sorted(read_manifest(model)["digests"])
    hashed.clear()
    # As in another process.
    digests._digest.cache_clear()
    load(model)
    assert hashed == []
    (model / WEIGHTS).touch()
    load(model)
    assert hashed == [WEIGHTS]


def test_where_nothing_can_be_remembered_files_are_hashed_again(model, monkeypatch):
    (model / intact.CHECKED).unlink()

    def refuse(*_):
        raise PermissionError("read-only")

    monkeypatch.setattr(digests, "write_sealed", refuse)
    load(model)
    assert not (model / intact.CHECKED).exists()
    flip(model / WEIGHTS)
    with pytest.raises(ModelError, match=WEIGHTS):
        load(model)


def test_a_file_that_is_one_with_the_sources_is_said_to_be(hf_folder, tmp_path):
    convert_source(f"path:{hf_folder}", tmp_path / "model")
    weights = hf_folder / WEIGHTS
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    with weights.open("r+b") as file:
        file.write(content)
    with pytest.raises(ModelError, match=rf"one file with that of path:{hf_folder}: if that is"):
        load(tmp_path / "model")
    convert_source(f"path:{hf_folder}", tmp_path / "model")
    load(tmp_path / "model")


def test_before_any_job_weights_need_only_be_there(model, hashed):
    (model / intact.CHECKED).unlink()
    intact.check_files(model, weights=False)
    assert WEIGHTS not in hashed
    assert "tokenizer.json" in hashed
    (model / WEIGHTS).unlink()
    with pytest.raises(ModelError, match="it is missing"):
        intact.check_files(model, weights=False)


ADDED = [
    "generation_config.json", "chat_template.jinja", "chat_template.json", "tokenizer.model",
    "special_tokens_map.json", "added_tokens.json", "model-00002-of-00002.safetensors",
    "model.safetensors.index.json", "adapter_config.json", "pytorch_model.bin", "notes.txt",
    "additional_chat_templates/tool_use.jinja", "consolidated.safetensors", "tokenizer.4.0.0.json",
]  # fmt: skip
"""Of which conversion writes none for this source: transformers reads most of them."""


@pytest.mark.parametrize("name", ADDED)
def test_a_file_that_was_added_is_refused_until_it_is_gone(model, name):
    path = model / name
    if path.exists():
        # As a model without one of its own is converted.
        path.unlink()
        manifest = read_manifest(model)
        del manifest["digests"][name]
        write_json(model / "manifest.json", manifest)
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")
    shown = model / Path(name).parts[0]
    assert intact.strangers(model) == [shown]
    for read in (load, load_readout, lambda folder: intact.check_files(folder, weights=False)):
        with pytest.raises(intact.StrangerError) as told:
            read(model)
        assert str(told.value) == (
            f"{shown}: it is no file of the converted model, and may be read with it: delete it or"
            " move it away, and give the same command again"
        )
    # It is the user's, and the model is whole.
    assert path.exists()
    assert (model / "manifest.json").exists()
    path.rename(model.parent / path.name)
    if path.parent != model:
        path.parent.rmdir()
    intact.check_files(model)


def test_hidden_files_are_nobodys(model):
    (model / ".DS_Store").touch()
    load(model)
