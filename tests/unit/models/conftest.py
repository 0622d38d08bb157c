"""Tiny models in folders, and the embedded real model with its manifest."""

import json

import pytest
from safetensors.numpy import load_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from nashlens.models.convert import convert_source
from nashlens.models.manifest import read_manifest

TEXT = "You and the other player each choose an option. Round 1: you chose A and got 3 points."


@pytest.fixture(scope="session")
def planted(tmp_path_factory):
    """Both planted models, converted: name -> folder."""
    root = tmp_path_factory.mktemp("planted")
    for name in ("random", "random_qwen2"):
        convert_source(f"planted:{name}", root / name)
    return {name: root / name for name in ("random", "random_qwen2")}


@pytest.fixture(scope="session")
def embedded(embedded_model):
    """The embedded SmolLM2, converted: folder and manifest."""
    return embedded_model, read_manifest(embedded_model)


@pytest.fixture
def hf_folder(planted, tmp_path):
    """A writable path: model, with its own copies of all files."""
    folder = tmp_path / "hf"
    folder.mkdir()
    for file in planted["random_qwen2"].iterdir():
        if file.name != "manifest.json":
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture
def edit():
    """Change keys of a JSON file; None drops the key."""

    def change(path, **values):
        found = json.loads(path.read_text()) if path.exists() else {}
        found.update(values)
        path.write_text(json.dumps({k: v for k, v in found.items() if v is not None}))

    return change


@pytest.fixture
def tensors():
    """Read all tensors of a single-file model."""
    return lambda folder: load_file(folder / "model.safetensors")


@pytest.fixture
def byte_level(tmp_path):
    """Write a byte-level tokenizer such as Llama 3's; returns a function of its configuration."""

    def write(*, bos_in_processor=True, template=None, **config):
        folder = tmp_path / "tokenizer"
        folder.mkdir(exist_ok=True)
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=300,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator([TEXT] * 3, trainer)
        marks = ["<|begin|>", "<|eot|>", "<|start_header|>", "<|end_header|>"]
        tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in marks])
        if bos_in_processor:
            begin = tokenizer.token_to_id("<|begin|>")
            tokenizer.post_processor = processors.TemplateProcessing(
                single="<|begin|> $A", special_tokens=[("<|begin|>", begin)]
            )
        tokenizer.save(str(folder / "tokenizer.json"))
        known = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|begin|>",
            "eos_token": "<|eot|>",
        }
        if template is not None:
            known["chat_template"] = template
        (folder / "tokenizer_config.json").write_text(json.dumps(known | config))
        return folder

    return write
