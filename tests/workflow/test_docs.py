"""What README and docs tell a reader to type and to write.

Commands that take longer than seconds are carried out as dry runs, those that differ in their
target alone in one; `test_typed` runs all of them. Configs are checked; examples of Python are run
on the finished tiny experiment.
"""

import doctest
import importlib.util
import re
import subprocess
import sys
from collections import defaultdict

import pytest
import yaml

from nashlens.config.validate import validate
from tests.configs import merge
from tests.workflow.pages import BLOCKS, COMMANDS, PAGES, ROOT
from tests.workflow.test_results import FLAGS
from tests.workflow.workspace import TARGETS, Workspace

# Files of `yaml` blocks that are no experiment, and those whose keys they may have.
PROFILES = {"slurm/config.yaml": "workflow/profiles/slurm/config.yaml"}
SNAKEMAKE = [c for c in COMMANDS if c.words[0] == "snakemake"]
CONFIGS = [b for b in BLOCKS if b.language == "yaml" and b.file not in PROFILES]


SAME = ("-n", "--rerun-incomplete", "--forceall")
"""Options that change nothing that a dry run could refuse."""


def files_before(block):
    """Return the config files that commands on a block's page name before its own."""
    for command in SNAKEMAKE:
        files = [str(path) for path in command.options.configfile or ()]
        if command.page == block.page and block.file in files:
            return files[: files.index(block.file)]
    return []


def groups():
    """Group Snakemake's commands by all that they say but the targets and the cores."""
    found = defaultdict(set)
    for command in SNAKEMAKE:
        words = [word for word in command.words[1:] if word not in SAME]
        # test_typed runs them.
        if command.takes_seconds or "compare" in words:
            continue
        targets = set(command.options.targets)
        rest = [word for word in words if word not in targets]
        if "--cores" in rest:
            del rest[rest.index("--cores") : rest.index("--cores") + 2]
        # This target, found on the command line, brings a config of its own.
        own = tuple(targets & {"calibration"})
        found[(own, *rest)] |= targets
    return {key: sorted(targets) for key, targets in found.items()}


GROUPS = groups()


def test_there_is_something_to_try():
    typed = {str(c) for c in COMMANDS if c.page == "README.md"}
    assert {"make figures", "make test"} <= typed
    assert len([c for c in typed if c.startswith("snakemake")]) >= 6
    assert len([b for b in CONFIGS if b.page == "README.md"]) == 2


def test_the_readme_is_short_and_begins_with_what_was_found():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    first = "\n".join(lines[:20])
    assert "**What it found" in first
    assert "](docs/explanation/ladder.png)" in first


@pytest.mark.parametrize("block", CONFIGS, ids=lambda b: b.page)
def test_examples_are_valid_over_what_they_are_given_with(block):
    """That is the default, and the files that a command on the page names before them."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    for path in files_before(block):
        config = merge(config, yaml.safe_load((ROOT / path).read_text(encoding="utf-8")))
    validate(merge(config, yaml.safe_load(block.text)))


def test_files_of_the_pages_have_names_of_their_own():
    written = [(block.file, block.page) for block in CONFIGS if block.file is not None]
    assert len({file for file, _ in written}) == len({*written})


def test_examples_of_profiles_have_its_keys():
    for block in BLOCKS:
        if block.file in PROFILES:
            real = (ROOT / PROFILES[block.file]).read_text(encoding="utf-8")
            for key in yaml.safe_load(block.text):
                assert re.search(rf"^#? ?{key}:", real, re.MULTILINE), key


@pytest.mark.parametrize("command", sorted({*COMMANDS}, key=str), ids=str)
def test_a_command_is_there(command):
    """Each names a target, file or module that there is."""
    program, *rest = command.words
    made = (ROOT / "Makefile").read_text(encoding="utf-8")
    if program == "make":
        for target in (word for word in rest if "=" not in word):
            assert re.search(rf"^[\w ]*\b{target}\b[\w ]*:", made, re.MULTILINE)
    elif program == "python" and rest[:1] == ["-m"]:
        assert importlib.util.find_spec(rest[1])
    elif program == "snakemake":
        options = command.options
        assert {t for t in options.targets if not t.startswith("results/")} <= TARGETS
        for path in options.configfile or []:
            written = {b.file for b in BLOCKS if b.page == command.page}
            assert (ROOT / path).is_file() or str(path) in written


@pytest.fixture(scope="module")
def clone(tmp_path_factory, tiny_model):
    folder = Workspace.copy(ROOT, tmp_path_factory.mktemp("docs") / "nashlens").folder
    for block in CONFIGS:
        if block.file is not None:
            # A reader's own model is a tiny one here.
            text = re.sub(r"path:/models/[\w.-]+", f"path:{tiny_model}", block.text)
            (folder / block.file).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.workflow
@pytest.mark.parametrize(("key", "targets"), GROUPS.items(), ids=lambda x: str(x)[:60])
def test_commands_work_as_typed(clone, key, targets):
    _, *rest = key
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *targets, *rest, "-n"],
        cwd=clone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def examples_of(page):
    return "\n".join(b.text for b in BLOCKS if b.page == page and b.language == "python")


def run_examples(text, name):
    """Run examples, and return what was printed that should not be."""
    test = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
    said = []
    # Or else it is verbose where pytest was called with -v.
    doctest.DocTestRunner(verbose=False, optionflags=FLAGS).run(test, out=said.append)
    return "".join(said)


@pytest.mark.workflow
@pytest.mark.parametrize("page", sorted({b.page for b in BLOCKS if b.language == "python"}))
def test_examples_in_python_run(built, monkeypatch, page):
    """Those of one page share their names, and what they print is compared."""
    monkeypatch.chdir(built.folder)
    assert not run_examples(examples_of(page), page)


def test_every_target_of_the_table_exists():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    snakefile = (ROOT / "Snakefile").read_text(encoding="utf-8")
    assert len(rows) >= 9
    for target in rows:
        assert f"\nrule {target}:" in snakefile, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target
