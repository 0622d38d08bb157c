"""Fingerprints: what a file was made from, as one hash.

Snakemake tracks a script only by its mtime and never sees the modules that it imports. So each
rule gets in its `params:` a hash over the *code closure* of its script: the script itself and
every first-party module that it imports, directly or not. The closure is found by reading the
source, never by importing it, so it costs no import of torch and is the same in every process.

Comments, formatting, docstrings and imports under `if TYPE_CHECKING:` do not count. Of alternatives
that the config names, such as the wordings of prompts, only the named ones do.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from nashlens.files import read_sealed, sha256_of, write_sealed

PACKAGE = "nashlens"
IGNORED = frozenset(
    {
        *("nashlens", "nashlens.logs", "nashlens.progress", "nashlens.config"),
        "nashlens.prompts.samples",
    }
)
"""Modules that no result depends on: the package's version, how jobs report, a package's `__init__`
of re-exports, and prompts on which chat templates are only tried."""

OPTIONAL = ("nashlens.planted", "nashlens.models.random_weights", "nashlens.models.shapes")
"""What counts only where it is named: a planted or a random model is no part of a real one."""


class Entries(NamedTuple):
    """Some entries of a mapping at the top of a module, of which each is an alternative."""

    table: str
    """Its name in the module."""
    names: frozenset[str]
    """Keys of those that count."""


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


class Code:
    """What first-party code does: each file read once for each of its contents, in all calls.

    To read a file is to parse it, which takes some seconds for all of them together.

    Parameters
    ----------
    source : Path
        The folder that holds the package (`src`).
    memory : Path, optional
        Where what was found in a file is remembered by the file's bytes, if its folder is there and
        can be written to.
    """

    def __init__(self, source: Path, memory: Path | None = None):
        self._source = source
        self._memory = memory
        self._known: dict[str, list[Any]] = {}
        with contextlib.suppress(OSError):
            self._known = (read_sealed(memory) if memory else None) or {}
        self._used: dict[str, list[Any]] = {}
        self._before = set(self._known)
        self._read = cache(self._read_file)
        self.find = cache(self._find)

    def hash(
        self,
        script: Path | None,
        modules: Iterable[str] = (),
        entries: Mapping[str, Entries] = MappingProxyType({}),
    ) -> str:
        """Hash the code closure of a script and of modules that it imports by name at run time.

        Parameters
        ----------
        script : Path or None
            The rule's script.
        modules : iterable of str
            Dotted names that the source does not show (`importlib.import_module(name)`).
        entries : mapping of str to Entries
            Module -> which entries of a mapping in it count.

        Returns
        -------
        str
            sha256, hexadecimal.

        Raises
        ------
        ModuleNotFoundError
            If one of `modules` has no file: a rule names a module that is gone.
        ValueError
            If a module has no mapping of the name in `entries`.
        """
        named = self.closure(self.imports(script, "")) if script is not None else {}
        for module in modules:
            if self.find(module) is None:
                raise ModuleNotFoundError(f"{module}: no such module under {self._source}")
            named |= self.closure([module])
        own = [] if script is None else [self._read(script, "").does]
        hashes = [
            [name, self._read(path, name, entries.get(name)).does]
            for name, path in sorted(named.items())
        ]
        return digest([own, hashes])

    def closure(self, modules: Iterable[str]) -> dict[str, Path]:
        """Find modules and every first-party module that they import, parents included.

        Parameters
        ----------
        modules : iterable of str
            Dotted names; what is no first-party module is passed over.

        Returns
        -------
        dict of str to Path
            Dotted name -> file; without `IGNORED`, and without `OPTIONAL` ones unless they are
            among `modules`.
        """
        found: dict[str, Path] = {}
        queue = list(modules)
        optional = [name for name in OPTIONAL if not any(_within(m, name) for m in queue)]
        while queue:
            name = queue.pop()
            path = self.find(name)
            if path is None or name in found or name in IGNORED:
                continue
            if any(_within(name, package) for package in optional):
                continue
            found[name] = path
            queue.extend(self.imports(path, name))
            if "." in name:
                queue.append(name.rpartition(".")[0])
        return found

    def _find(self, name: str) -> Path | None:
        """Return the file of a first-party module, or None where there is none of that name."""
        if name.partition(".")[0] != PACKAGE:
            return None
        stem = self._source.joinpath(*name.split("."))
        for path in (stem / "__init__.py", stem.with_suffix(".py")):
            if path.is_file():
                return path
        return None

    def imports(self, path: Path, name: str) -> list[str]:
        """List the dotted names that a file imports anywhere, functions included.

        `from nashlens.games import solve` gives both `nashlens.games` and `nashlens.games.solve`:
        whether the latter is a module is for `find` to say.

        Parameters
        ----------
        path : Path
        name : str
            The module's own, from which its relative imports start.
        """
        return self._read(path, name).imports

    def _read_file(self, path: Path, name: str, entries: Entries | None = None) -> _Read:
        content = path.read_bytes()
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        which = [] if entries is None else [entries.table, *sorted(entries.names)]
        key = digest([_read_by(), hashlib.sha256(content).hexdigest(), package, which])
        if key not in self._known:
            tree = ast.parse(content, filename=str(path))
            self._known[key] = [_imported(tree, package), _done(tree, entries, path)]
        self._used[key] = self._known[key]
        return _Read(*self._used[key])

    def save(self) -> None:
        """Remember what was used, and nothing of files as they were before."""
        if self._memory is not None and set(self._used) != self._before:
            if self._memory.parent.is_dir():
                with contextlib.suppress(OSError):
                    write_sealed(self._memory, self._used)
            self._before = set(self._used)


class _Read(NamedTuple):
    imports: list[str]
    does: str


@cache
def _read_by() -> str:
    """Return what changes when files are read in another way: this file, and Python's own trees."""
    return digest([sha256_of(__file__), *sys.version_info[:2]])


def _imported(tree: ast.Module, package: str) -> list[str]:
    names: list[str] = []
    for node in runtime_nodes(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return list(dict.fromkeys(n for n in names if n.partition(".")[0] == PACKAGE))


def _done(tree: ast.Module, entries: Entries | None, path: Path) -> str:
    """Hash what a file does: its syntax tree without strings that only document."""
    if entries is not None:
        _keep(tree, entries, path)
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(node, field, None)
            if isinstance(statements, list):
                setattr(node, field, [s for s in statements if not _documents(s)])
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def _keep(tree: ast.Module, entries: Entries, path: Path) -> None:
    """Drop a mapping's other entries, with the functions that only these name."""
    table = next((found for node in tree.body if (found := _mapping(node, entries.table))), None)
    if table is None:
        raise ValueError(f"{path}: no mapping of the name {entries.table}")
    pairs = list(zip(table.keys, table.values, strict=True))
    kept = [pair for pair in pairs if getattr(pair[0], "value", None) in entries.names]
    table.keys, table.values = [key for key, _ in kept], [value for _, value in kept]
    named = {value.id for _, value in pairs if isinstance(value, ast.Name)}
    own = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name in named}
    queue: list[ast.AST] = [node for node in tree.body if node not in own.values()]
    used: set[str] = set()
    while queue:
        names = {node.id for node in ast.walk(queue.pop()) if isinstance(node, ast.Name)}
        queue += [own[name] for name in (names & set(own)) - used]
        used |= names
    unused = [node for name, node in own.items() if name not in used]
    tree.body = [node for node in tree.body if node not in unused]


def _mapping(node: ast.stmt, name: str) -> ast.Dict | None:
    """Return the mapping that a statement gives a name to, if it is such a one."""
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    value = getattr(node, "value", None)
    named = any(isinstance(target, ast.Name) and target.id == name for target in targets)
    return value if named and isinstance(value, ast.Dict) else None


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
