"""Who may import what of the engine."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
GENERATION = "nashlens.engine.generation"


def imported(path):
    """Names of the modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_nothing_outside_generation_imports_its_inner_modules():
    inside = ROOT / "src/nashlens/engine/generation"
    inner = {f"{GENERATION}.{path.stem}" for path in inside.glob("[!_]*.py")}
    assert len(inner) > 4
    others = [
        path
        for folder in ("src", "scripts", "benchmarks", "workflow")
        for path in (ROOT / folder).rglob("*.py")
        if inside not in path.parents
    ]
    found = [(str(path), name) for path in others for name in imported(path) if name in inner]
    assert found == []
