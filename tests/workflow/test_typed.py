"""Every block of README and docs, typed as its reader would, so that no page must be believed.

What takes seconds runs each time, on the finished tiny experiment. With NASHLENS_LONG=1 all of it
runs, page by page and block by block (15 minutes on two cores). What cannot run here is listed in
ELSEWHERE, NOT_RUN and NOT_PRINTED, with the reason.

In the long form, commands about an experiment of `experiments/` are typed in a clone as it is.
Those about the default, which `.ci/run` carries out, are typed in one whose `config.yaml` has few
prompts and a tiny model, and whose calibration has four models of 64.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import yaml
from transformers import AutoModelForCausalLM

from nashlens.models.convert import convert_source
from tests.configs import merge, plain_merge
from tests.conftest import ROOT
from tests.unit.models.test_adapter import maps_of, sizes, write_adapter
from tests.workflow.pages import BLOCKS, COMMANDS, commands_of
from tests.workflow.test_docs import examples_of, run_examples
from tests.workflow.workspace import Workspace

pytestmark = pytest.mark.workflow
long = pytest.mark.skipif(
    not os.environ.get("NASHLENS_LONG"), reason="takes 15 minutes: NASHLENS_LONG=1"
)

ELSEWHERE = {
    "make figures": "the default study at its full size: .ci/run carries it out",
    "make docs": ".ci/run carries it out",
    "make test": ".ci/run carries it out; this is one of the tests",
    "hf auth login": "asks for a secret of the reader's",
    "squeue *": "asks the reader's cluster",
    "snakemake --profile slurm *": "submits to the reader's cluster; tests/cluster has its own",
}
"""Commands that cannot run here, and why."""
NOT_RUN = {
    "hub:meta-llama/": "a gated model of the hub",
    "quantization: nf4": "needs two GPUs",
    "slurm_partition: main": "a cluster's profile; test_docs compares its keys",
    "model_runtime: 480": "what jobs ask of a cluster; test_docs checks it",
}
"""What marks a config that cannot run here, and why."""
NOT_PRINTED = {
    "docs/howto/cost.md": "lines of a terminal, with times; test_console has their form",
    "docs/reference/config.md": "comments of config.yaml; a test of the docs compares the page",
    "docs/reference/results.md": "a drawing of an array's axes",
}
"""Pages whose blocks of text no command prints."""
SPHINX = {"{toctree}", "{eval-rst}"}
"""What `make docs` runs."""
SHELL = {"snakemake", "make", "python", "."}

SMALL = {
    "models": {"smollm2": {"source": "planted:random", "dtype": "float32", "device": "cpu"}},
    "agents": dict.fromkeys(["smollm2_cot", "smollm2_steered", "grim", "wsls", "random"]),
    "probes": {"random_weights": 0},
    "lens": {"tuned_tokens": 256},
    "circuits": {"everywhere": None},
    "patching": None,
    "attribution": None,
    "spikes": None,
    # Its tokenizer knows the words of our games, and not those of a reader's.
    "prompts": {"label_sets": {"words": None}},
    "resources": {"parts": 1},
}
"""What is small besides the sizes of `experiments/tiny.yaml`."""
CALIBRATED = {"override", "steerable", "inert", "blind_01"}
OWN = ("experiment", "models", "agents")
"""Sections of `experiments/tiny.yaml` that are no sizes."""


BARE = "block.yaml"
"""Where a config is written whose page gives it no name, and what results of it are called."""
NAMED = '--config \'experiment={"name": "block"}\''
FILES = defaultdict(set)
for _command in COMMANDS:
    if _command.words[0] == "snakemake":
        FILES[_command.page] |= {str(path) for path in _command.options.configfile or ()}


def listed(command):
    return next((why for one, why in ELSEWHERE.items() if fnmatchcase(str(command), one)), None)


def of_page(page):
    return [block for block in BLOCKS if block.page == page]


def type_in(folder, line):
    """Type a line into a shell, and return what it said."""
    # As if the package of this clone were installed.
    env = os.environ | {"PYTHONPATH": str(folder / "src")}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, f"{line}\n{said[-4000:]}"
    return said


def read(path):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def write(path, config):
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def test_what_is_listed_is_in_the_pages_and_in_ci():
    steps = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    for one, why in ELSEWHERE.items():
        assert any(fnmatchcase(str(command), one) for command in COMMANDS), one
        assert ".ci/run" not in why or one in steps, one
    for mark in NOT_RUN:
        assert any(mark in block.text for block in BLOCKS if block.language == "yaml"), mark
    for page in NOT_PRINTED:
        assert any(block.language == "text" for block in of_page(page)), page


@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: f"{b.page}:{b.language}")
def test_every_block_is_run_or_listed(block):
    """The long form runs what passes here."""
    before = of_page(block.page)
    before = before[: before.index(block)]
    if block.language == "sh":
        for command in commands_of(block):
            assert listed(command) or command.words[0] in SHELL, f"run {command}, or list it"
    elif block.language == "python":
        assert ">>>" in block.text, "write it as examples, which are run"
    elif block.language == "text":
        typed = [c for one in before for c in commands_of(one) if not listed(c)]
        assert block.page in NOT_PRINTED or typed, "nothing prints it"
    else:
        assert block.language in {"yaml", *SPHINX}


@pytest.fixture(scope="module")
def finished(built, tmp_path_factory):
    """The tiny experiment, carried through."""
    folder = tmp_path_factory.mktemp("finished") / "nashlens"
    shutil.copytree(built.folder, folder, symlinks=True)
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("_build"))
    return folder


QUICK = {str(c): c for c in COMMANDS if not listed(c) and c.takes_seconds}


@pytest.mark.parametrize("command", QUICK.values(), ids=str)
def test_what_takes_seconds_works_as_typed(finished, tiny_model, command):
    config = read("config.yaml")
    if command.words[0] == "snakemake" and not command.options.configfile:
        # What is typed about the default experiment is about the one that is there.
        config = merge(config, read("experiments/tiny.yaml"))
    write(finished / "config.yaml", config)
    for block in of_page(command.page):
        if block.language == "yaml" and block.file:
            write_config(finished, block, tiny_model)
    type_in(finished, str(command))


def write_config(folder, block, model):
    """Write a config of a page; what is a reader's own is a tiny one here."""
    text = re.sub(r"path:/models/[\w.-]+", f"path:{model}", block.text)
    text = text.replace("/models/my-adapter", f"{model}-adapter")
    (folder / (block.file or BARE)).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone with the environment of the tests in the place of an installed one."""
    folder = Workspace.copy(ROOT, tmp_path_factory.mktemp("typed") / "nashlens").folder
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "docs"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
    (folder / ".venv").mkdir()
    (folder / ".venv/bin").symlink_to(Path(sys.executable).parent)
    (folder / ".venv/.installed").touch()
    return folder


@pytest.fixture(scope="module")
def small(clone, tmp_path_factory):
    """A clone in which the default is small, and so is the calibration."""
    folder = tmp_path_factory.mktemp("small") / "nashlens"
    ignore = shutil.ignore_patterns("results", ".snakemake")
    shutil.copytree(clone, folder, symlinks=True, ignore=ignore)
    sizes = {k: v for k, v in read("experiments/tiny.yaml").items() if k not in OWN}
    write(folder / "config.yaml", merge(merge(read("config.yaml"), sizes), SMALL))
    planted = read("experiments/calibration.yaml")
    # It builds on games that are too many for the small default.
    planted["games"] = plain_merge(read("config.yaml")["games"], planted["games"])
    planted["models"] = {
        name: one for name, one in planted["models"].items() if one is None or name in CALIBRATED
    }
    planted["agents"] = {
        name: one
        for name, one in planted["agents"].items()
        if one is None or one.get("model", name) in CALIBRATED
    }
    write(folder / "experiments/calibration.yaml", planted)
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A model of the reader's, and beside it an adapter."""
    folder = tmp_path_factory.mktemp("own") / "model"
    convert_source("planted:random", folder)
    (folder / "manifest.json").unlink()
    maps = maps_of(AutoModelForCausalLM.from_pretrained(folder), ["q_proj", "v_proj"])
    write_adapter(Path(f"{folder}-adapter"), {path: sizes(one) for path, one in maps.items()})
    return folder


# What the tutorial says of a run from nothing, a later page would find done.
PAGES = sorted({block.page for block in BLOCKS}, key=lambda page: ("tutorial" not in page, page))


@long
@pytest.mark.parametrize("page", PAGES)
def test_a_page_works_as_typed(clone, small, own, monkeypatch, page):
    said = ""
    for block in of_page(page):
        if block.language == "yaml" and not any(mark in block.text for mark in NOT_RUN):
            for folder in (clone, small):
                write_config(folder, block, own)
            if block.file not in FILES[page]:
                said = type_in(small, f"snakemake --cores 2 findings --configfile {BARE} {NAMED}")
        if block.language == "text" and page not in NOT_PRINTED:
            parts = " ".join(block.text.split()).split("...")
            assert re.search(".*".join(map(re.escape, parts)), " ".join(said.split())), said[-3000:]
        for command in commands_of(block):
            if not listed(command):
                said = type_in(clone if "experiments/" in str(command) else small, str(command))
    if "results/published" in (text := examples_of(page)):
        monkeypatch.chdir(clone)
        assert not run_examples(text.replace("results/tiny", "results/published"), page)
