"""What a claim's module says about it: how it was measured, its thresholds, its measured values.

A module is read as text: the docstring, the numbers in capitals that its rule reads with the
strings below them, and the fields of the claim's evidence with theirs.
"""

from __future__ import annotations

import ast
import dis
import inspect
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from types import CodeType
from typing import Any, NamedTuple

from nashlens.findings.claim import Evidence
from nashlens.findings.claims import claim_modules

SCALARS = (int, float)


class Threshold(NamedTuple):
    """A number that a rule compares with."""

    name: str
    means: str
    value: float


class Method(NamedTuple):
    """What a claim's module says."""

    title: str
    """Two or three words: the module's name."""
    module: str
    text: str
    """How the claim is measured: its module's docstring without the headline."""
    thresholds: list[Threshold]
    """Those that a condition of its rule reads."""
    fields: dict[str, str]
    """Measured value -> what it is, in words."""


MODULES = {module.CLAIM.id: module for module in claim_modules()}
"""Claim -> its module."""
CLAIMS = {name: module.CLAIM for name, module in MODULES.items()}


@cache
def method_of(claim_id: str) -> Method | None:
    """Return what a claim's module says; None for a claim that this version does not know."""
    module = MODULES.get(claim_id)
    if module is None:
        return None
    tree = _tree(module.__name__)
    _, _, how = (ast.get_docstring(tree) or "").partition("\n\n")
    names = module.__name__.rpartition(".")[2].partition("_")[2]
    return Method(
        title=names.replace("_", " "),
        module=module.__name__,
        text=" ".join(how.split()),
        thresholds=_thresholds(module.CLAIM.rule),
        fields=_fields(module),
    )


def _thresholds(rule: Callable[..., Any]) -> list[Threshold]:
    """Return the numbers in capitals that a rule reads, in its order.

    So those of an estimate stay out: no condition compares with them.
    """
    found: dict[str, Threshold] = {}
    seen: set[Callable[..., Any]] = set()
    waiting = [rule]
    while waiting:
        function = waiting.pop(0)
        seen.add(function)
        for name in _names(function.__code__):
            value = function.__globals__.get(name)
            if inspect.isfunction(value) and value.__module__.startswith("nashlens.findings."):
                waiting += [value] if value not in seen else []
            elif name.isupper() and isinstance(value, SCALARS) and not isinstance(value, bool):
                found.setdefault(name, Threshold(name, _said_of(name, function.__module__), value))
    return list(found.values())


def _names(code: CodeType) -> Iterator[str]:
    """Yield the global names that a function reads, those of its comprehensions among them."""
    for step in dis.get_instructions(code):
        if step.opname == "LOAD_GLOBAL":
            yield str(step.argval)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _said_of(name: str, module: str) -> str:
    """Return what stands below a number, in a module or in the one that it is imported from."""
    for node in _tree(module).body:
        if isinstance(node, ast.ImportFrom) and any(a.name == name for a in node.names):
            return _said_of(name, str(node.module))
    return _said_in(module, name)


def _said_in(module: str, name: str) -> str:
    """Return what stands below a number where it is defined."""
    return _documented(_tree(module).body).get(name, "")


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(import_module(module)))


def _fields(module: Any) -> dict[str, str]:
    """Return the documented fields of the evidence classes that a claim's module uses."""
    found: dict[str, str] = {}
    for value in vars(module).values():
        if inspect.isclass(value) and issubclass(value, Evidence):
            for kind in reversed(value.__mro__):
                if kind is not object and kind.__module__.startswith("nashlens."):
                    found |= _class_fields(kind)
    return found


@cache
def _class_fields(kind: type) -> dict[str, str]:
    tree = _tree(kind.__module__)
    body = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == kind.__name__)
    return _documented(body.body)


def _documented(body: list[ast.stmt]) -> dict[str, str]:
    """Return assigned name -> the string that stands right below it."""
    found: dict[str, str] = {}
    for node, below in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
        else:
            continue
        is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        value = below.value.value if is_text else ""  # type: ignore[union-attr]
        found[name] = " ".join(value.split()) if isinstance(value, str) else ""
    return found
