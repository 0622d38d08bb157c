"""Fingerprints: what a file was made from, as one hash.

Snakemake tracks a script only by its mtime and never sees the modules that it imports. So each
rule gets in its `params:` a hash over the *code closure* of its script: the script itself and
every first-party module that it imports, directly or not. The closure is found by reading the
source, never by importing it, so it costs no import of torch and is the same in every process.

Comments, formatting, docstrings and imports under `if TYPE_CHECKING:` do not count.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = "nashlens"
IGNORED = frozenset({"nashlens", "nashlens.logs", "nashlens.progress", "nashlens.config"})
"""Modules that no result depends on: the package's version, how jobs report, and a package's
`__init__` of re-exports."""

OPTIONAL = ("nashlens.planted", "nashlens.models.random_weights", "nashlens.models.shapes")
"""What counts only where it is named: a planted or a random model is no part of a real one."""


def digest(value: Any) -> str:
    """Hash a JSON value.

    Parameters
    ----------
    value : JSON value
        The order of a mapping's keys counts, since the order of games, agents and label sets in
        the config is the order of the rows in the tables.

    Returns
    -------
    str
        sha256, hexadecimal.
    """
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def code_hash(source: Path, script: Path | None, modules: Iterable[str] = ()) -> str:
    """Hash the code closure of a script and of modules that it imports by name at run time.

    Parameters
    ----------
    source : Path
        The folder that holds the package (`src`).
    script : Path or None
        The rule's script.
    modules : iterable of str
        Dotted names that the source does not show (`importlib.import_module(name)`).

    Returns
    -------
    str
        sha256, hexadecimal.

    Raises
    ------
    ModuleNotFoundError
        If one of `modules` has no file: a rule names a module that is gone.
    """
    named = closure(source, imports(source, script, "") if script is not None else ())
    for module in modules:
        if find_module(source, module) is None:
            raise ModuleNotFoundError(f"{module}: no such module under {source}")
        named |= closure(source, [module])
    own = [] if script is None else [file_hash(script)]
    return digest([own, [[name, file_hash(path)] for name, path in sorted(named.items())]])


def closure(source: Path, modules: Iterable[str]) -> dict[str, Path]:
    """Find modules and every first-party module that they import, parents included.

    Parameters
    ----------
    source : Path
        The folder that holds the package.
    modules : iterable of str
        Dotted names; what is no first-party module is passed over.

    Returns
    -------
    dict of str to Path
        Dotted name -> file; without `IGNORED`, and without `OPTIONAL` ones unless they are among
        `modules`.
    """
    found: dict[str, Path] = {}
    queue = list(modules)
    optional = [name for name in OPTIONAL if not any(_within(m, name) for m in queue)]
    while queue:
        name = queue.pop()
        path = find_module(source, name)
        if path is None or name in found or name in IGNORED:
            continue
        if any(_within(name, package) for package in optional):
            continue
        found[name] = path
        queue.extend(imports(source, path, name))
        if "." in name:
            queue.append(name.rpartition(".")[0])
    return found


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@cache
def find_module(source: Path, name: str) -> Path | None:
    """Return the file of a first-party module, or None where there is none of that name."""
    if name.partition(".")[0] != PACKAGE:
        return None
    stem = source.joinpath(*name.split("."))
    for path in (stem / "__init__.py", stem.with_suffix(".py")):
        if path.is_file():
            return path
    return None


@cache
def imports(source: Path, path: Path, name: str) -> tuple[str, ...]:
    """List the dotted names that a file imports anywhere, functions included.

    `from nashlens.games import solve` gives both `nashlens.games` and `nashlens.games.solve`:
    whether the latter is a module is for `find_module` to say.
    """
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    names: list[str] = []
    for node in runtime_nodes(_parse(path)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return tuple(dict.fromkeys(n for n in names if n.partition(".")[0] == PACKAGE))


@cache
def file_hash(path: Path) -> str:
    """Hash what a Python file does: its syntax tree without strings that only document."""
    tree = _parse(path)
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(node, field, None)
            if isinstance(statements, list):
                setattr(node, field, [s for s in statements if not _documents(s)])
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _documents(statement: ast.stmt) -> bool:
    # Docstrings, and the attribute docstrings that describe fields and constants.
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a syntax tree's nodes, but for those that only serve type checkers."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for alternative in child.orelse:
                yield from runtime_nodes(alternative)
        else:
            yield from runtime_nodes(child)
