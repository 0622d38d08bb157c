"""From the merged YAML to a checked `Config`, or one line for each thing that is wrong.

Everything is told at once: what pydantic finds, and what only the sections together show
(`nashlens.config.cross`). For the second, values that pydantic refused are replaced by their
defaults, and problems that hang on such a value are left out, as they may not be real.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from nashlens.config.cross import STAND_IN, cross_problems
from nashlens.config.problems import Path, dotted, explain, line, locate
from nashlens.config.sections import Config
from nashlens.errors import ConfigError

# Maps from names to entries; an overlay drops an entry by setting it to null.
NAMED_MAPS: tuple[tuple[str, ...], ...] = (
    ("models",),
    ("games",),
    ("agents",),
    ("prompts", "label_sets"),
    ("figures", "styles"),
)
# What stands in for a required value that was refused, so that the other checks can be made.
_STAND_INS: dict[str, Mapping[str, Any]] = {
    "models": {"source": "planted:random"},
    "games": {"canonical": "prisoners_dilemma"},
    "agents": {"strategy": "ALLC"},
}
_READERS: dict[str, tuple[re.Pattern[str], Callable[[str], Any]]] = {
    "int_type": (re.compile(r"[-+]?[0-9]{1,30}"), int),
    "float_type": (
        re.compile(r"[-+]?([0-9]{1,30}(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,5})?"),
        float,
    ),
    "bool_type": (re.compile(r"true|false", re.IGNORECASE), lambda text: text.lower() == "true"),
}
_KEY = "the key must be a text, not a number, switch or date; put it in quotes"


def validate(raw: Mapping[str, Any]) -> Config:
    """Check a configuration and return it with its defaults filled in.

    Parameters
    ----------
    raw : mapping
        The merged YAML. It is not changed.

    Returns
    -------
    Config
        Frozen; entries that were null are gone.

    Raises
    ------
    ConfigError
        With every problem found, one line each: key path, value found, what is allowed.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError([line((), raw, "allowed: sections (experiment, models, games, ...)")])
    problems: list[tuple[Path, str]] = []
    cleaned = drop_null_entries(_with_text_keys(raw, (), problems))
    config, found = _parse(cleaned)
    problems += found
    refused = {path for path, _ in problems}
    if config is None:
        config = _repair(cleaned, refused)
    lines = [text for _, text in problems]
    if config is not None:
        lines += [p.line for p in cross_problems(config) if not _hangs_on(p.depends, refused)]
    if lines or config is None:
        raise ConfigError(lines)
    return config


def drop_null_entries(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy without the null entries of the named maps.

    Parameters
    ----------
    raw : mapping
        The merged YAML.

    Returns
    -------
    dict
        Models, games, agents, label sets and figure styles that are null are gone; null
        elsewhere stays, as it may be a value (`prompts.system: null`).
    """
    cleaned: Any = dict(raw)
    for path in NAMED_MAPS:
        cleaned = _without_nulls(cleaned, path)
    return cleaned


def _without_nulls(value: Any, path: tuple[str, ...]) -> Any:
    if not isinstance(value, Mapping):
        return value
    if not path:
        return {name: entry for name, entry in value.items() if entry is not None}
    if path[0] not in value:
        return value
    return {**value, path[0]: _without_nulls(value[path[0]], path[1:])}


def _with_text_keys(value: Any, path: Path, problems: list[tuple[Path, str]]) -> Any:
    """Copy the maps without the keys that YAML read as numbers or switches (`no: ...`)."""
    # No section is nested deeper; what is deeper is refused later, or contains itself.
    if not isinstance(value, Mapping) or len(path) > 4:
        return value
    for key in value:
        if not isinstance(key, str):
            problems.append(((*path, key), f"{dotted((*path, str(key)))}: {_KEY}"))
    return {
        key: _with_text_keys(entry, (*path, key), problems)
        for key, entry in value.items()
        if isinstance(key, str)
    }


def _parse(raw: Mapping[str, Any]) -> tuple[Config | None, list[tuple[Path, str]]]:
    tree = copy.deepcopy(dict(raw))
    try:
        return Config.model_validate(tree), []
    except ValidationError as error:
        changed = _read_numbers(tree, error.errors(include_url=False))
        found = explain(tree, error.errors(include_url=False))
    if not changed:
        return None, found
    try:
        return Config.model_validate(tree), []
    except ValidationError as error:
        return None, explain(tree, error.errors(include_url=False))


def _read_numbers(tree: dict[str, Any], errors: Sequence[ErrorDetails]) -> bool:
    """Read texts where a number or switch is needed; return whether there were any.

    PyYAML takes `1e-3` for a text, and Snakemake takes every value within `--config 'probes={C:
    0.1}'` for one. Types are strict otherwise, so that `true` is never a 1.
    """
    changed = False
    for error in errors:
        form, read = _READERS.get(error["type"], (None, None))
        text = error["input"]
        if form is None or read is None or not isinstance(text, str) or not form.fullmatch(text):
            continue
        path, _ = locate(tree, error["loc"])
        holder: Any = tree
        for part in path[:-1]:
            holder = holder[part]
        # A tuple, which no YAML gives, stays as it is and is refused.
        if not isinstance(holder, tuple):
            holder[path[-1]] = read(text)
            changed = True
    return changed


def _repair(raw: Mapping[str, Any], refused: set[Path]) -> Config | None:
    """Parse with the refused values replaced; `refused` grows by what that brings to light."""
    for _ in range(4):
        tree = copy.deepcopy(dict(raw))
        for path in refused:
            _replace(tree, path)
        for name, stand_in in _STAND_INS.items():
            if not tree.get(name):
                tree[name] = {STAND_IN: dict(stand_in)}
        config, more = _parse(tree)
        if config is not None:
            return config
        refused |= {path for path, _ in more}
    return None


def _replace(tree: dict[str, Any], path: Path) -> None:
    """Take out a refused value, with as much around it as has a default or a stand-in."""
    if not path:
        return
    # Below an entry of a named map (models.mine) or a section (probes), a key has a default.
    root = next((m for m in NAMED_MAPS if path[: len(m)] == m), path[:1])
    entries = len(root) + (root in NAMED_MAPS)
    keys = path[: entries + (root[0] in _STAND_INS or root not in NAMED_MAPS)]
    parent: Any = tree
    for part in keys[:-1]:
        parent = parent.get(part) if isinstance(parent, dict) else None
    if not isinstance(parent, dict):
        return
    parent.pop(keys[-1], None)
    if root == ("models",) and len(keys) == 3:
        parent.setdefault("source", _STAND_INS["models"]["source"])
    if root == ("prompts", "label_sets") and not parent:
        tree["prompts"].pop("label_sets")


def _hangs_on(depends: Sequence[Path], refused: set[Path]) -> bool:
    return any(r[: len(d)] == d[: len(r)] for d in depends for r in refused)
