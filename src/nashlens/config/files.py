"""Config files as text: read with care, before any parser that trusts them.

A config is a few hundred lines of maps, lists, texts and numbers. What a YAML parser would make of
anything else (a key given twice, aliases that expand to gigabytes, Python objects, ten thousand
levels) is refused here, with the file and the line.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from nashlens.errors import ConfigError

MOST_BYTES = 2_000_000
"""Bytes of a config file; ours have 20,000."""
MOST_LEVELS = 30
"""Levels of nesting; ours have 6."""
MOST_VALUES = 300_000
"""Values of a config, each counted as often as aliases repeat it."""
MOST_DIGITS = 40
"""Digits of a whole number."""

_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null")}
_NODES = {*_TAGS, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq", "!"}
_WHOLE = re.compile(r"[-+]?[0-9][0-9a-fA-F_:xob]*")
# Octal numbers, and numbers in sixties.
_SURPRISING = re.compile(r"[-+]?(0[0-7_]*[1-7][0-7_]*|[1-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Refused(Exception):  # noqa: N818
    """What is wrong with a text, and in which line."""


def read_config_file(path: Path | str) -> dict[str, Any]:
    """Read a config file: YAML or JSON, whose top level is a map.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict
        Empty where the file holds nothing, or comments alone.

    Raises
    ------
    ConfigError
        With one line that names the file and, where there is one, the line in it.
    """
    try:
        return parse_config_text(_decode(_bytes(Path(path))))
    except _Refused as problem:
        raise ConfigError([f"{path}: {problem}"]) from None


def text_problem(text: str) -> str | None:
    """Say what is wrong with a value that is written as YAML, as on the command line."""
    try:
        _check_events(text)
    except _Refused as problem:
        return str(problem)
    except yaml.YAMLError:
        # Snakemake takes it as a text, and the key says whether that will do.
        return None
    return None


def parse_config_text(text: str) -> dict[str, Any]:
    """Parse the text of a config file."""
    if text.lstrip()[:1] == "{" and (found := _as_json(text)) is not None:
        return found
    try:
        _check_events(text)
        found = yaml.load(text, _LOADER)  # the safe one: no objects
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(str(error.problem or error.context or "no YAML").split())
        line = text.splitlines()[mark.line : mark.line + 1] if mark is not None else []
        tab = ": indent with spaces, not tabs" if any("\t" in found for found in line) else ""
        raise _Refused(f"{_line(mark)}{what}{tab}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise _Refused(f"cannot be read as YAML ({' '.join(str(error).split())})") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        kind = "a list" if isinstance(found, list) else "a single value"
        kind = "a text" if isinstance(found, str) else kind
        raise _Refused(f"holds {kind}; keys with values are needed (experiment:, models:, ...)")
    return found


def _bytes(path: Path) -> bytes:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            if os.path.realpath(path) == os.devnull:
                return b""
            raise _Refused("is a pipe or a device; save it as a file, as it is read more than once")
        if found.st_size > MOST_BYTES:
            raise _Refused(f"has {found.st_size} bytes; allowed: at most {MOST_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise _Refused(f"cannot be read ({error.strerror})") from None


def _decode(raw: bytes) -> str:
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in raw[:2]:
        raise _Refused("is UTF-16 or UTF-32 text; save it as UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row, byte = raw[: error.start].count(b"\n") + 1, raw[error.start]
        raise _Refused(f"line {row}: byte 0x{byte:02x} is not UTF-8; save it as UTF-8") from None
    for i, line in enumerate(text.splitlines(), start=1):
        for character in line:
            if (ord(character) < 32 and character != "\t") or ord(character) == 127:
                raise _Refused(f"line {i}: control character {character!r} is not allowed")
    return text


def _as_json(text: str) -> dict[str, Any] | None:
    """Read a text as JSON; None where it is none (it may be YAML)."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise _Refused(f"key {key!r} stands twice in one map")
            found[key] = value
        return found

    def whole(digits: str) -> int:
        if len(digits) > MOST_DIGITS:
            raise _Refused(f"a whole number of {len(digits)} digits; allowed: {MOST_DIGITS}")
        return int(digits)

    try:
        found = json.loads(text, object_pairs_hook=once, parse_int=whole)
    except ValueError:
        return None
    except RecursionError:
        raise _Refused(f"is nested deeper than {MOST_LEVELS} levels") from None
    return found if isinstance(found, dict) else None


class _Level:
    """A map or list that is being read."""

    def __init__(self, event: Any):
        self.mapping = isinstance(event, yaml.MappingStartEvent)
        self.anchor: str | None = event.anchor
        self.keys: dict[str, int] = {}
        """Key -> its line."""
        self.values = 1
        self.at_key = self.mapping


class _Known(NamedTuple):
    """What an anchor stands for."""

    values: int


def _check_events(text: str) -> None:
    """Go through a text without building anything from it; no call is nested."""
    levels: list[_Level] = []
    anchors: dict[str, _Known] = {}
    documents = 0
    for event in _events(text):
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _Refused(f"{_line(event.start_mark)}a second document starts (---); give one")
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            _check_tag(event)
            levels.append(_Level(event))
            if len(levels) > MOST_LEVELS:
                raise _Refused(
                    f"{_line(event.start_mark)}is nested deeper than {MOST_LEVELS} levels"
                )
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            done = levels.pop()
            if done.anchor is not None:
                anchors[done.anchor] = _Known(done.values)
            _add(levels, done.values, event)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                inside = any(level.anchor == event.anchor for level in levels)
                what = "contains itself" if inside else "is not defined before"
                raise _Refused(f"{_line(event.start_mark)}*{event.anchor} {what}")
            _add(levels, anchors[event.anchor].values, event)
        elif isinstance(event, yaml.ScalarEvent):
            _check_tag(event)
            digits = len(event.value)
            if event.implicit[0] and digits > MOST_DIGITS and _WHOLE.fullmatch(event.value):
                raise _Refused(
                    f"{_line(event.start_mark)}a whole number of {digits} digits; "
                    f"allowed: {MOST_DIGITS}"
                )
            if event.implicit[0] and _SURPRISING.fullmatch(event.value):
                raise _Refused(
                    f"{_line(event.start_mark)}YAML reads {event.value} as"
                    f" {yaml.safe_load(event.value)}; write that, or quotes around it"
                )
            if event.anchor is not None:
                anchors[event.anchor] = _Known(1)
            _check_key(levels, event)
            _add(levels, 1, event)


def _events(text: str) -> Iterator[Any]:
    yield from yaml.parse(text, _LOADER)


def _check_tag(event: Any) -> None:
    if event.tag is not None and event.tag not in _NODES:
        tag = event.tag.replace("tag:yaml.org,2002:", "!!")[:60]
        raise _Refused(f"{_line(event.start_mark)}tag {tag} is not allowed")


def _check_key(levels: list[_Level], event: Any) -> None:
    """Refuse a key that its map has already; its first line is named too."""
    if not levels or not levels[-1].at_key or event.value == "<<":
        return
    keys, line = levels[-1].keys, event.start_mark.line + 1
    if event.value in keys:
        raise _Refused(
            f"key {event.value[:60]!r} stands twice, in lines {keys[event.value]} and {line}; "
            "leave one out"
        )
    keys[event.value] = line


def _add(levels: list[_Level], values: int, event: Any) -> None:
    """Count a value that is complete to what holds it."""
    if levels:
        level = levels[-1]
        level.values += values
        level.at_key = level.mapping and not level.at_key
        values = level.values
    if values > MOST_VALUES:
        raise _Refused(
            f"{_line(event.start_mark)}more than {MOST_VALUES} values, aliases (*) expanded; "
            "write fewer"
        )


def _line(mark: Any) -> str:
    return "" if mark is None else f"line {mark.line + 1}: "
