"""Problems in plain words: pydantic's errors as `key.path: found VALUE; allowed: ...` lines."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails

KeyPath = tuple[str | int, ...]
"""Keys and list indices, outermost first."""

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "layer_type": "a whole number, or a share of the model's depth between 0 and 1 (0.5)",
    "bool_type": "true or false",
    "string_type": "a text",
    "string_unicode": "a text of whole characters",
    "list_type": "a list",
    "dict_type": "keys with values",
    "model_type": "keys with values",
    "recursion_loop": "a value that does not contain itself",
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def dotted_path(path: Iterable[object]) -> str:
    """Write a key's path on one line, `games.mine.payoffs[0][1]`, with unusual keys in quotes."""
    text = ""
    for part in path:
        if isinstance(part, int) and not isinstance(part, bool):
            text += f"[{part}]"
            continue
        key = part if isinstance(part, str) and _PLAIN_KEY.fullmatch(part) else show_value(part)
        text += f".{key}" if text else str(key)
    return text or "the configuration"


def show_value(value: object, limit: int = 60) -> str:
    """Show a value on one line of at most `limit` characters, much as YAML would write it."""
    text = _yaml(value, 3)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _yaml(value: object, depth: int) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a whole number of more than 40 digits"
    if isinstance(value, Mapping):
        if depth == 0:
            return "{...}"
        items = [f"{_yaml(k, 0)}: {_yaml(v, depth - 1)}" for k, v in list(value.items())[:12]]
        return "{" + ", ".join(items) + "}"
    if isinstance(value, (list, tuple)):
        return "[...]" if depth == 0 else f"[{', '.join(_yaml(v, depth - 1) for v in value[:40])}]"
    # ascii, as a log may be read where the value's characters cannot be shown.
    return ascii(value)


def problem_line(path: Iterable[object], found: object, allowed: str) -> str:
    """Compose one problem's line: the key, the value found, and what is allowed or what to do."""
    return f"{dotted_path(path)}: found {show_value(found)}; {allowed}"


def suggestion(key: object, known: Iterable[str]) -> str:
    """Say which key may have been meant (`did you mean 'folds'?`), else which there are."""
    names = list(known)
    lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(str(key)[:80].lower(), lower, n=1)
    if close:
        return f"did you mean {lower[close[0]]!r}?"
    return f"allowed: {', '.join(names)}" if names else "there is none"


def explain_errors(
    path: KeyPath, value: object, errors: Sequence[ErrorDetails], description: str
) -> list[str]:
    """Rewrite pydantic's errors about one key.

    Parameters
    ----------
    path : tuple
        The key's path.
    value : object
        What was found there.
    errors : sequence of ErrorDetails
        From `ValidationError.errors()`.
    description : str
        What the key is, for errors that say little.

    Returns
    -------
    list of str
        One line for each wrong value.
    """
    lines: dict[tuple[object, ...], str] = {}
    for error in errors:
        loc, found = error["loc"], error["input"]
        place = path + _place(value, loc)
        key = loc if loc[-1:] == ("[key]",) else place
        if str(loc[-1:][0] if loc else "").startswith("literal[") and isinstance(found, list):
            continue  # of `a word or a list`, a list has errors of its own
        if key in lines and error["type"] == "list_type":
            lines[key] += ", or a list"
        else:
            lines[key] = problem_line(place, found, _allowed(error, description))
    return list(lines.values())


def _place(value: Any, loc: Sequence[object]) -> KeyPath:
    """Keep of pydantic's location the keys and indices, without the names of union branches."""
    if loc and loc[-1] == "[key]":
        return ()
    place: list[str | int] = []
    for part in loc:
        listed = isinstance(value, (list, tuple)) and part in range(len(value))
        if listed or (isinstance(value, Mapping) and part in value):
            place.append(part)  # type: ignore[arg-type]
            value = value[part]
    return tuple(place)


def _allowed(error: ErrorDetails, description: str) -> str:
    kind, found, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        bound = context[key]
        return f"allowed: {words} {f'{bound:g}' if isinstance(bound, float) else bound}"
    if kind in ("too_short", "too_long"):
        # Of a map that is far too long pydantic does not say.
        actual = context["actual_length"]
        return f"allowed: {_count(kind, context)}, not {len(found) if actual is None else actual}"
    if kind == "literal_error":
        names = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
        close = difflib.get_close_matches(found[:80], names, n=1) if isinstance(found, str) else []
        meant = f" (did you mean {close[0]!r}?)" if close and len(names) > 1 else ""
        return f"allowed: {', '.join(names)}{meant}"
    return f"allowed: {_TYPES.get(kind, description)}{_hint(kind, found)}"


def _count(kind: str, context: Mapping[str, Any]) -> str:
    entries = context["field_type"] == "Dictionary"
    one, many = ("entry", "entries") if entries else ("value", "values")
    words, key = ("at least", "min") if kind == "too_short" else ("at most", "max")
    bound = context[f"{key}_length"]
    return f"{words} {bound} {one if bound == 1 else many}"


def _hint(kind: str, found: object) -> str:
    if found is None:
        return " (leave the key out for its default)"
    if kind == "string_type" and isinstance(found, (bool, int, float)):
        noun = "true or false" if isinstance(found, bool) else "a number"
        return f" (quotes make it one; YAML reads this as {noun})"
    return ""
