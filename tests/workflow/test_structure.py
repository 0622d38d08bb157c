"""What every rule and every script has, and that the checks on them pass."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml

from workflow.fingerprint import Code, runtime_nodes

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
CODE = Code(SOURCE)
ORDER = [
    "name", "input", "output", "log", "benchmark", "threads", "resources", "params", "conda",
    "message", "priority", "script",
]  # fmt: skip
RULE_FILES = sorted((ROOT / "rules").glob("*.smk"))
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))


def rules():
    """Yield (file, name, {directive: text}) for every rule of rules/."""
    for path in RULE_FILES:
        # A rule's body goes on to the first line that is not indented further.
        for match in re.finditer(
            r"^( *)rule(?: (\w+))?:\n((?:\1 +.*\n|\n)+)", path.read_text(), re.MULTILINE
        ):
            indent = " " * (len(match[1]) + 4)
            parts = re.split(rf"^{indent}(\w+):", match[3], flags=re.MULTILINE)
            body = dict(zip(parts[1::2], parts[2::2], strict=True))
            yield path.name, match[2] or body["name"], body


RULES = list(rules())


def test_the_rules_are_found():
    assert len(RULES) == len(SCRIPTS)


@pytest.mark.parametrize(("file", "name", "body"), RULES, ids=[r[1].strip() for r in RULES])
def test_a_rule_has_all_it_needs_in_order(file, name, body):
    directives = list(body)
    assert directives == [d for d in ORDER if d in directives]
    required = {"output", "log", "benchmark", "resources", "params", "conda", "message", "script"}
    assert required <= set(directives)
    assert "**provenance(" in body["params"]
    # A try that failed is followed by one that asks for more.
    assert re.match(r"\s*\*\*(model|light|converting)_job\(\),", body["resources"])
    script = re.search(r"scripts/(\w+)\.py", body["script"])[1]
    stage = re.search(r'provenance\(\s*f?"([^"]+)"', body["params"])[1]
    if "draw_" in name:
        assert (script, f'f"{stage}"') == ("draw_figure", name.strip())
    else:
        assert script == name == stage


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_thin(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree).startswith(("Rule ", "Rules "))
    assert not re.search(r"snakemake\.config\b|(?<!from )workflow\.", text)
    last = tree.body[-1]
    assert ast.unparse(last.test) == "'snakemake' in globals()"
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert functions == ["main"]
    inside = next(node for node in tree.body if isinstance(node, ast.FunctionDef))
    assert "snakemake" not in {n.id for n in ast.walk(inside) if isinstance(n, ast.Name)}
    # Everything reaches `main` by name, its log's start included.
    assert [ast.unparse(statement) for statement in last.body] == ["run_job(main, snakemake)"]
    assert len(text.splitlines()) <= 40


def test_no_run_no_checkpoint_no_directory():
    for path in [ROOT / "Snakefile", *RULE_FILES]:
        text = path.read_text()
        assert not re.search(r"^\s*run:|^checkpoint |directory\(|snakemake\.config", text, re.M)


def test_environments_hold_the_pins_of_the_constraints():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    pins = {name.lower(): version for name, version in pins.items()}
    for path in (ROOT / "envs").glob("*.yaml"):
        packages = yaml.safe_load(path.read_text())["dependencies"][-1]["pip"]
        assert packages
        for package in packages:
            name, version = package.split("==")
            assert pins[name.lower()] == version, f"{path.name}: {name}"


def test_figures_of_the_config_are_those_of_the_registry():
    from nashlens.figures.registry import FIGURES
    from nashlens.vocabulary.figures import FIGURES as CONFIGURED

    assert set(CONFIGURED) == set(FIGURES)
    for name in FIGURES:
        assert (ROOT / "workflow" / "report" / f"{name}.rst").is_file()


def imported(path):
    """Yield the first-party modules that a module imports, in functions too, but not for types."""
    for node in runtime_nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            members = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if CODE.find(name) else node.module for name in members]
        else:
            continue
        yield from (name for name in names if CODE.find(name))


def test_no_modules_import_one_another_in_a_circle():
    graph = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        graph[name] = set(imported(path))
    assert len(graph) > 100
    # Raises CycleError, which names the circle.
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.workflow
def test_lint_and_format():
    for command in (
        ["-m", "snakemake", "--lint"],
        ["-m", "snakefmt", "--check", "--config", "workflow/snakefmt.toml", "Snakefile", "rules"],
    ):
        done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
