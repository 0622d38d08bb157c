"""From the merged YAML to a checked `Config`, or one line for each thing that is wrong.

pydantic checks the whole. Where it refuses anything, each key is checked by itself, and the checks
between keys (`nashlens.config.cross`) see the values that passed: one that needs another value is
left out, as what it would find may not be real. So all problems are reported at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from nashlens.config.cross import check_between
from nashlens.config.problems import KeyPath, dotted_path, explain_errors, problem_line, suggestion
from nashlens.config.rules import REFUSED, Accepted, PartialList
from nashlens.config.sections import Config
from nashlens.config.values import MOST_ENTRIES, MOST_VALUES, Section
from nashlens.errors import ConfigError

# Maps from names to entries; an overlay drops an entry by setting it to null.
NAMED_MAPS: tuple[KeyPath, ...] = (
    ("models",),
    ("games",),
    ("agents",),
    ("prompts", "label_sets"),
    ("figures", "styles"),
)
_WHOLE = re.compile(r"[-+]?[0-9]{1,30}")
_NUMBER = re.compile(r"[-+]?([0-9]{1,30}(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,5})?")
_READERS: dict[str, tuple[re.Pattern[str], Callable[[str], Any]]] = {
    "int_type": (_WHOLE, int),
    "float_type": (_NUMBER, float),
    "layer_type": (_NUMBER, lambda text: (int if _WHOLE.fullmatch(text) else float)(text)),
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
    config, problems = check(raw)
    if problems:
        raise ConfigError(problems)
    return config


def check(raw: Mapping[str, Any]) -> tuple[Config, list[str]]:
    """Return what of a configuration passed, and what is wrong with the rest.

    Parameters
    ----------
    raw : mapping
        The merged YAML. It is not changed.

    Returns
    -------
    Config
        Where there are problems, reading a value that is wrong raises `RefusedError`.
    list of str
        One line a problem, as of `validate`.
    """
    if not isinstance(raw, Mapping):
        line = problem_line((), raw, "allowed: sections (experiment, models, games, ...)")
        return cast(Config, REFUSED), [line]
    problems: list[str] = []
    tree = _clean(raw, (), problems)
    try:
        config = Config.model_validate(tree)
    except ValidationError:
        config = cast(Config, _check_section(Config, tree, (), problems))
    config, found = check_between(config)
    return config, problems + found


def own_problems(raw: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with keys by themselves, where a part of the config is not known.

    Parameters
    ----------
    raw : mapping
        The part that is. It is not changed.

    Returns
    -------
    list of str
        One line a problem, as of `validate`.
    """
    problems: list[str] = []
    tree = _clean(raw, (), problems)
    for *above, key in NAMED_MAPS:
        holder = tree
        for name in above:
            holder = holder.get(name) if isinstance(holder, dict) else None
        # Of entries that are dropped others may be left.
        if isinstance(holder, dict) and holder.get(key) == {}:
            del holder[key]
    _check_section(Config, tree, (), problems)
    return [line for line in problems if not line.partition(": ")[2].startswith("missing; ")]


def _clean(value: Any, path: KeyPath, problems: list[str]) -> Any:
    """Copy maps without null entries of named maps, and without keys that are no texts."""
    # No section is nested deeper; what is deeper is refused later, or contains itself.
    if not isinstance(value, Mapping) or len(path) > 4:
        return value
    kept = {}
    for key, entry in value.items():
        if not isinstance(key, str):
            problems.append(f"{dotted_path((*path, str(key)))}: {_KEY}")
        elif entry is not None or path not in NAMED_MAPS:
            kept[key] = _clean(entry, (*path, key), problems)
    return kept


def _check_section(section: type[Section], raw: Any, path: KeyPath, problems: list[str]) -> Any:
    """Return the section, or what of it passed."""
    if not isinstance(raw, Mapping):
        cure = " (leave the key out for its default)" if raw is None else ""
        problems.append(problem_line(path, raw, f"allowed: keys with values{cure}"))
        return Accepted({})
    before, values = len(problems), {}
    for name, field in section.model_fields.items():
        place, description = (*path, name), field.description or ""
        if name in raw:
            hint = field.rebuild_annotation()
            values[name] = _check(hint, raw[name], place, description, problems)
        elif field.is_required():
            what = description[:1].lower() + description[1:]
            problems.append(f"{dotted_path(place)}: missing; {what}")
        else:
            values[name] = field.default
    unknown = [key for key in raw if key not in section.model_fields]
    for number, key in enumerate(unknown):
        # What was meant by each of thousands takes seconds, and nobody reads them all.
        cure = suggestion(key, section.model_fields) if number < 100 else "leave it out"
        problems.append(f"{dotted_path((*path, key))}: unknown key; {cure}")
    if len(problems) == before:
        return section.model_validate(values)
    return Accepted({name: value for name, value in values.items() if value is not REFUSED})


def _check(hint: Any, raw: Any, path: KeyPath, description: str, problems: list[str]) -> Any:
    """Return a key's value, what of it passed, or `REFUSED`."""
    kind, *limits = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    # A section that may be null: null leaves its stage out.
    one_of = [one for one in get_args(kind) if one is not NoneType]
    if len(one_of) == 1 and isinstance(one_of[0], type) and issubclass(one_of[0], Section):
        return None if raw is None else _check_section(one_of[0], raw, path, problems)
    if isinstance(kind, type) and issubclass(kind, Section):
        return _check_section(kind, raw, path, problems)
    if get_origin(kind) is not dict:
        found = _check_value(hint, raw, path, description, problems)
        if found is REFUSED:
            return _check_list(hint, raw, path, description, problems)
        return found
    names, entry = get_args(kind)
    shell = Annotated[(dict[names, Any], *limits)] if limits else dict[names, Any]  # type: ignore[valid-type]
    found = _check_value(shell, raw, path, description, problems)
    if not isinstance(raw, Mapping) or not raw or len(raw) > MOST_ENTRIES:
        return found
    entries = {
        name: _check(entry, value, (*path, name), description, problems)
        for name, value in raw.items()
    }
    sound = {name: value for name, value in entries.items() if _passes(names, name)}
    return sound or REFUSED


def _check_list(hint: Any, raw: Any, path: KeyPath, description: str, problems: list[str]) -> Any:
    """Return what of a list passed that is wrong as a whole, or else `REFUSED`.

    pydantic looks at a list as a whole only where it finds nothing wrong with its entries.
    """
    kind, *limits = _list_hint(hint)
    if kind is None or not isinstance(raw, list) or len(raw) > MOST_VALUES:
        return REFUSED
    (entry,), value, said = get_args(kind), _readable(TypeAdapter(hint), raw), list[str]()
    found = [_check(entry, one, (*path, i), description, said) for i, one in enumerate(value)]
    if limits:
        _check_value(Annotated[(list[Any], *limits)], value, path, description, said)
    problems += [line for line in said if line not in problems]
    return PartialList({i: one for i, one in enumerate(found) if one is not REFUSED})


def _list_hint(hint: Any) -> tuple[Any, ...]:
    """Return the list of a hint and its limits; (None,) where it has none."""
    kind, *limits = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if get_origin(kind) is list:
        return kind, *limits
    if get_origin(kind) in (Union, UnionType):
        found = (_list_hint(one) for one in get_args(kind))
        return next((one for one in found if one[0] is not None), (None,))
    return (None,)


def _passes(hint: Any, value: Any) -> bool:
    return _check_value(hint, value, (), "", []) is not REFUSED


def _check_value(hint: Any, raw: Any, path: KeyPath, description: str, problems: list[str]) -> Any:
    adapter = TypeAdapter(hint)
    value = _readable(adapter, raw)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        problems += explain_errors(path, value, error.errors(include_url=False), description)
        return REFUSED


def _readable(adapter: TypeAdapter[Any], raw: Any) -> Any:
    """Return a value with its texts read, where it is not valid as it is."""
    value = raw
    try:
        adapter.validate_python(raw)
    except ValidationError as error:
        for kind in dict.fromkeys(e["type"] for e in error.errors()):
            value = _read_texts(value, kind)
    return value


def _read_texts(value: Any, kind: str, depth: int = 4) -> Any:
    """Read texts where numbers or switches are needed.

    PyYAML takes `1e-3` for a text, and Snakemake takes every value within `--config 'probes={C:
    0.1}'` for one. Types are strict otherwise, so that `true` is never a 1.
    """
    if isinstance(value, list) and depth:
        return [_read_texts(entry, kind, depth - 1) for entry in value]
    pattern, read = _READERS.get(kind, (None, None))
    if pattern and read and isinstance(value, str) and pattern.fullmatch(value):
        return read(value)
    return value
