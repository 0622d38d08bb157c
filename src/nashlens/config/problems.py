"""Problems in plain words: pydantic's errors as `key.path: found VALUE; allowed: ...` lines."""

from __future__ import annotations

import difflib
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from nashlens.config.sections import Config

Path = tuple[str | int, ...]

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
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


def dotted(path: Iterable[object]) -> str:
    """Write a key's path: `games.mine.payoffs[0][1]`.

    Parameters
    ----------
    path : iterable of str or int
        Keys and list indices, outermost first.

    Returns
    -------
    str
        One line; keys that are not plain words are quoted.
    """
    text = ""
    for part in path:
        if isinstance(part, int) and not isinstance(part, bool):
            text += f"[{part}]"
            continue
        key = part if isinstance(part, str) and _PLAIN_KEY.fullmatch(part) else show(part)
        text += f".{key}" if text else str(key)
    return text or "the configuration"


def show(value: object, limit: int = 60) -> str:
    """Show a value on one line, shortened, as YAML would write true, false and null.

    Parameters
    ----------
    value : object
        Anything that stands in a config.
    limit : int
        Characters at most.

    Returns
    -------
    str
    """
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


def line(path: Iterable[object], found: object, allowed: str) -> str:
    """Compose one problem's line.

    Parameters
    ----------
    path : iterable of str or int
        The key's path.
    found : object
        The value there.
    allowed : str
        What may stand there, or what to do.

    Returns
    -------
    str
    """
    return f"{dotted(path)}: found {show(found)}; {allowed}"


def suggestion(key: object, known: Iterable[str]) -> str:
    """Say which key may have been meant, else which there are.

    Parameters
    ----------
    key : object
        What was found.
    known : iterable of str
        What there is.

    Returns
    -------
    str
        `did you mean 'folds'?` or `allowed: targets, layers, ...`.
    """
    names = list(known)
    lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(str(key)[:80].lower(), lower, n=1)
    if close:
        return f"did you mean {lower[close[0]]!r}?"
    return f"allowed: {', '.join(names)}" if names else "there is none"


def locate(raw: object, loc: Sequence[object]) -> tuple[Path, bool]:
    """Turn a pydantic location into the key's path.

    Parameters
    ----------
    raw : object
        The whole config that was validated.
    loc : sequence
        pydantic's location, which holds names of union branches and `[key]` beside the keys.

    Returns
    -------
    path : tuple
        Keys and indices that exist in `raw`, and perhaps a last one that is missing there.
    is_key : bool
        Whether it is the last key itself that is wrong, not the value under it.
    """
    if loc and loc[-1] == "[key]":
        return tuple(loc[:-1]), True  # type: ignore[arg-type]
    path: list[str | int] = []
    here: Any = raw
    for i, part in enumerate(loc):
        if isinstance(here, Mapping):
            path.append(part)  # type: ignore[arg-type]
            here = here.get(part)
        elif isinstance(here, (list, tuple)) and isinstance(part, int) and part < len(here):
            path.append(part)
            here = here[part]
        elif i == 0:
            path.append(part)  # type: ignore[arg-type]
    return tuple(path), False


def field_at(path: Path) -> tuple[type[BaseModel] | None, str]:
    """Find the section that a key belongs to, and the key's description.

    Parameters
    ----------
    path : tuple
        The key's path.

    Returns
    -------
    section : type or None
        The section that the last key stands in, None where that is not a section.
    description : str
        Of the innermost described key on the path.
    """
    owner: type[BaseModel] | None = Config
    hint: Any = Config
    description = ""
    for part in path:
        owner = _section(hint)
        if owner is not None:
            field = owner.model_fields.get(str(part))
            if field is None:
                return owner, description
            hint, description = field.annotation, field.description or description
        else:
            hint = _inner(hint)
    return owner, description


def _section(hint: Any) -> type[BaseModel] | None:
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return hint
    return None


def _inner(hint: Any) -> Any:
    """Return what a container holds: `V` of `dict[K, V]`, of `list[V]`, of `V | None`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _inner(args[0])
    if origin in (typing.Union, types.UnionType):
        return next((_inner(a) for a in args if typing.get_origin(a) is not None), None)
    return args[-1] if origin in (dict, list) else None


def explain(raw: object, errors: Iterable[ErrorDetails]) -> list[tuple[Path, str]]:
    """Rewrite pydantic's errors.

    Parameters
    ----------
    raw : object
        The config that was validated.
    errors : iterable of ErrorDetails
        From `ValidationError.errors()`.

    Returns
    -------
    list of (tuple, str)
        Paths and lines, in the order of the errors.
    """
    found = [(*locate(raw, error["loc"]), error) for error in errors]
    lines: dict[tuple[Path, bool], str] = {}
    for path, is_key, error in found:
        # pydantic reports each branch of `all or a list`; one line says both.
        deeper = any(p[: len(path)] == path and len(p) > len(path) for p, _, _ in found)
        if error["type"] == "literal_error" and isinstance(error["input"], list) and deeper:
            continue
        if (path, is_key) in lines and error["type"] == "list_type":
            lines[path, is_key] += ", or a list"
            continue
        lines[path, is_key] = _explain(path, error, is_key)
    return [(path, text) for (path, _), text in lines.items()]


def _explain(path: Path, error: ErrorDetails, is_key: bool) -> str:
    kind, context = error["type"], error.get("ctx", {})
    owner, description = field_at(path)
    if kind == "extra_forbidden":
        known = owner.model_fields if owner else {}
        return f"{dotted(path)}: unknown key; {suggestion(path[-1], known)}"
    if kind == "missing":
        return f"{dotted(path)}: missing; {_decapitalise(description)}"
    allowed = _allowed(error, context, description)
    return line(path[:-1] if is_key else path, error["input"], allowed)


def _allowed(error: ErrorDetails, context: Mapping[str, Any], description: str) -> str:
    kind, found = error["type"], error["input"]
    if kind == "value_error":
        return str(context["error"])
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"allowed: {words} {_bound(context[key])}"
    if kind in ("too_short", "too_long"):
        return f"allowed: {_count(kind, context)}, not {context['actual_length']}"
    if kind in ("literal_error", "enum"):
        allowed = str(context["expected"]).replace("'", "").replace(" or ", ", ")
        if isinstance(found, str) and ", " in allowed:
            close = difflib.get_close_matches(found[:80], allowed.split(", "), n=1)
            return f"allowed: {allowed}" + (f" (did you mean {close[0]!r}?)" if close else "")
        return f"allowed: {allowed}"
    if kind in _TYPES:
        return f"allowed: {_TYPES[kind]}{_hint(kind, found)}"
    return f"allowed: {description}" if description else "allowed: something else"


def _count(kind: str, context: Mapping[str, Any]) -> str:
    what = "entry" if context.get("field_type") == "Dictionary" else "value"
    bound = context["min_length"] if kind == "too_short" else context["max_length"]
    plural = what if bound == 1 else {"entry": "entries", "value": "values"}[what]
    return f"{'at least' if kind == 'too_short' else 'at most'} {bound} {plural}"


def _bound(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _hint(kind: str, found: object) -> str:
    if found is None:
        return " (leave the key out for its default)"
    if kind == "string_type" and isinstance(found, (bool, int, float)):
        return f" (quotes make it one; YAML reads this as {_noun(found)})"
    return ""


def _noun(found: object) -> str:
    return "true or false" if isinstance(found, bool) else "a number"


def _decapitalise(text: str) -> str:
    return text[:1].lower() + text[1:]
