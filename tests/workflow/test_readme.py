"""What the README tells a new user to type and to write."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nashlens.config.validate import validate
from tests.workflow.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.partition("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]
SNAKEMAKE = [c for c in COMMANDS if c.startswith("snakemake")]
EXAMPLES = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)


def merged(base, overlay):
    """Merge as Snakemake does: mappings deeply, everything else replaced."""
    result = dict(base)
    for key, value in overlay.items():
        deep = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if deep else value
    return result


def test_there_is_something_to_try():
    assert {"make figures", "make test"} <= set(COMMANDS)
    assert len(SNAKEMAKE) >= 6
    assert len(EXAMPLES) == 2


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples_are_valid_over_the_default(text):
    default = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    validate(merged(default, yaml.safe_load(text)))


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return Workspace.copy(ROOT, tmp_path_factory.mktemp("readme") / "nashlens").folder


@pytest.mark.workflow
@pytest.mark.parametrize("command", SNAKEMAKE)
def test_commands_work_as_typed(clone, command):
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command), "-n"],
        cwd=clone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_every_target_of_the_table_exists():
    rows = re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)
    snakefile = (ROOT / "Snakefile").read_text(encoding="utf-8")
    assert len(rows) >= 9
    for target in rows:
        assert f"\nrule {target}:" in snakefile, target
