"""Models and pairs that cannot fit on the GPUs that they ask for are refused, with arithmetic."""

import re

import pytest
import yaml

from nashlens.models.shapes import SHAPES
from nashlens.plan.fits import gpu_problems
from nashlens.plan.sizes import find_size
from nashlens.play.experiment import own_devices
from tests.configs import merge, resolved
from tests.conftest import ROOT
from workflow.groups import play_groups

PAPER = ("llama3_8b", "llama3_70b", "qwen25_32b", "qwen25_72b")


@pytest.fixture
def paper():
    files = (ROOT / "config.yaml", ROOT / "experiments/paper.yaml")
    raw = merge(*(yaml.safe_load(file.read_text()) for file in files))
    return resolved(raw)


def problems(config, each=80e9, most=None):
    shapes = {name: find_size(config["models"][name]["source"]) for name in PAPER}
    return gpu_problems(
        config, play_groups(config["agents"], config["matches"]), shapes, each, most
    )


def test_the_papers_own_study_fits(paper):
    assert problems(paper) == []


def test_a_model_that_is_too_large_for_its_gpu_is_refused_by_name(paper):
    paper["models"]["llama3_70b"] |= {"gpus": 1, "parallel": "none"}
    (line,) = problems(paper)
    assert line.startswith("models.llama3_70b.gpus: found 1; it takes 10")
    assert line.endswith("has 1 x 80 GB: set gpus: 2 with parallel: pipeline")


def test_the_agent_that_keeps_most_decides_wherever_it_stands_in_its_group(paper):
    """Two agents of one model play each other: what the second writes is kept as well."""
    paper["agents"] = {
        "short": paper["agents"]["llama3_8b"] | {"rounds": 2},
        "long": paper["agents"]["llama3_8b"] | {"mode": "cot", "rounds": 50},
    }
    paper["modes"]["cot"]["tokens"] = 4000
    shapes = {"llama3_8b": SHAPES["llama-3-8b"]}
    lines = {
        order: gpu_problems(paper, {"both": order}, shapes, 30e9)
        for order in (("short", "long"), ("long", "short"))
    }
    assert len(set(map(tuple, lines.values()))) == 1
    assert lines["short", "long"][0].startswith("models.llama3_8b.gpus: found 1; it takes ")


def test_a_pair_that_cannot_fit_is_refused_by_name(paper):
    """Each fits by itself on such a GPU, and a machine has only one of them."""
    for name in PAPER:
        paper["models"][name] |= {"gpus": 1, "parallel": "none"}
    assert problems(paper, each=120e9) == []
    lines = problems(paper, each=120e9, most=1)
    pairs = {line.partition(":")[0] for line in lines}
    assert "agents llama3_70b_cot--qwen25_72b_cot" in pairs
    (line,) = [line for line in lines if line.startswith("agents llama3_70b_cot--qwen25_72b_cot:")]
    needs = [float(number) for number in re.findall(r"[0-9]+\.[0-9]", line)]
    assert sum(needs[:2]) == pytest.approx(needs[2], abs=0.11)
    assert line.endswith("GB, and their job gets 1 x 120 GB: set matches.cross_play: false")


def test_a_pair_is_refused_on_fewer_gpus_than_it_needs(paper):
    paper["models"]["qwen25_72b"]["gpus"] = 2
    paper["models"]["llama3_70b"] |= {"gpus": 1, "parallel": "none"}
    paper["matches"]["self_play"] = False
    lines = problems(paper, each=90e9)
    assert "agents llama3_70b_cot--qwen25_72b_cot" in {line.partition(":")[0] for line in lines}
    assert all("their job asks for" in line for line in lines)


def test_models_that_ask_for_no_gpu_or_are_unknown_are_passed_over(paper):
    groups = play_groups(paper["agents"], paper["matches"])
    assert gpu_problems(paper, groups, {}, 1e9) == []
    paper["models"]["llama3_8b"]["gpus"] = 0
    assert gpu_problems(paper, groups, {"llama3_8b": SHAPES["llama-3-8b"]}, 1e9) == []


def test_on_a_machine_with_a_gpu_a_model_takes_it_without_asking(paper):
    """So one that cannot fit there is refused as well, and one that is on the CPU is not."""
    paper["models"]["llama3_70b"] |= {"gpus": 0, "parallel": "none", "device": "auto"}
    (line,) = [line for line in problems(paper, most=2) if line.startswith("models.llama3_70b")]
    assert line.startswith("models.llama3_70b.gpus: found 0; it takes 10")
    assert not any(line.startswith("models.llama3_70b") for line in problems(paper))
    paper["models"]["llama3_70b"]["device"] = "cpu"
    assert not any(line.startswith("models.llama3_70b") for line in problems(paper, most=2))


ONE = {"device": "cuda", "parallel": "none", "dtype": "bfloat16"}


@pytest.mark.parametrize(
    ("options", "gpus", "devices"),
    [
        ({"a": ONE, "b": ONE}, 2, ["cuda:0", "cuda:1"]),
        ({"a": ONE, "b": ONE}, 1, ["cuda", "cuda"]),
        ({"a": ONE}, 2, ["cuda"]),
        ({"a": ONE, "b": ONE | {"device": "cuda:1"}}, 2, ["cuda:0", "cuda:1"]),
        ({"a": ONE, "b": ONE | {"parallel": "pipeline"}}, 3, ["cuda:0", "cuda"]),
        ({"a": ONE | {"device": "cpu"}, "b": ONE}, 2, ["cpu", "cuda:0"]),
    ],
)
def test_each_model_of_a_pair_has_a_gpu_of_its_own(options, gpus, devices):
    found = own_devices(options, gpus)
    assert [how["device"] for how in found.values()] == devices
    assert all(how["dtype"] == "bfloat16" for how in found.values())
