"""What a rule between keys of the config is: it sees a key and says what is wrong with it.

Where a configuration is wrong, checks see what of it passed (`Accepted`). One that reads another
value ends there, as what it would find may only follow from what is wrong already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic_core import to_jsonable_python

from nashlens.config.problems import KeyPath, suggestion
from nashlens.config.sections import Config
from nashlens.config.values import Section


class RefusedError(Exception):
    """A check reads a value that was refused."""


class Accepted:
    """The values of a section that passed; reading any other one raises `RefusedError`."""

    def __init__(self, values: Mapping[str, Any]):
        vars(self).update(values)

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if isinstance(value, PartialList):
            raise RefusedError(name)
        return value

    def __getattr__(self, name: str) -> Any:
        raise RefusedError(name)

    def __iter__(self) -> Iterator[Any]:
        raise RefusedError

    def model_dump(self, *, mode: str = "python") -> PartialDict:
        """Return plain values, as a whole section does."""
        return PartialDict({name: _plain(value, mode) for name, value in _whole(vars(self))})


class PartialDict(dict[str, Any]):
    """Plain values that passed; reading any other one raises `RefusedError`."""

    def __missing__(self, name: str) -> Any:
        raise RefusedError(name)


class PartialList(Accepted):
    """A list that is wrong: its entries that passed, by index.

    `places` finds them; whoever reads the list gets a `RefusedError`.
    """

    def __init__(self, entries: Mapping[int, Any]):
        super().__init__({"entries": dict(entries)})

    def __len__(self) -> int:
        raise RefusedError

    def sound(self) -> list[Any]:
        """Return the entries that passed, lists in it likewise."""
        return [sound_entries(entry) for entry in self.entries.values()]


REFUSED = Accepted({})
"""In place of a value of which nothing passed."""


def sound_entries(value: Any) -> Any:
    """Return a value; of a list that is wrong the entries that passed."""
    return value.sound() if isinstance(value, PartialList) else value


def _plain(value: Any, mode: str) -> Any:
    if isinstance(value, Section | Accepted):
        return value.model_dump(mode=mode)
    if isinstance(value, Mapping):
        return PartialDict({name: _plain(entry, mode) for name, entry in _whole(value)})
    return to_jsonable_python(value) if mode == "json" else value


def _whole(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what is not refused as a whole: of a list all must have passed."""
    for name, value in values.items():
        if value is not REFUSED and not isinstance(value, PartialList):
            yield name, value


def refuse(here: Any, path: KeyPath) -> Any:
    """Return a section or map without the value at a path; of a list nothing is left."""
    if here is REFUSED or not path or not isinstance(path[0], str):
        return REFUSED
    key, rest = path[0], path[1:]
    if isinstance(here, Mapping):
        return {**here, key: refuse(here[key], rest)}
    values = dict(here) if isinstance(here, Section) else dict(vars(here))
    below = refuse(values.pop(key, REFUSED), rest)
    return Accepted(values if below is REFUSED else {**values, key: below})


def passed(owner: Any, key: str, otherwise: Any) -> Any:
    """Return a value, or another one where it was refused."""
    try:
        return getattr(owner, key)
    except RefusedError:
        return otherwise


def lines_of(check: Callable[..., Iterable[str]], *args: Any) -> list[str]:
    """Return what a check yields, up to where it reads a value that was refused."""
    lines: list[str] = []
    try:
        for line in check(*args):
            lines.append(line)
    except RefusedError:
        pass
    return lines


class Place(NamedTuple):
    """A key of the config, as a rule sees it."""

    path: KeyPath
    found: Any
    """The value."""
    owner: Any
    """The section, map or list that holds it."""
    config: Config


Rule = Callable[[Place], str | None]
"""Says what is allowed, or what to do; None where all is well."""


RULES: list[tuple[str, bool, Rule]] = []


def places(
    here: Any, keys: list[str], path: KeyPath = (), owner: Any = None, *, partial: bool = False
) -> Iterator[tuple[KeyPath, Any, Any]]:
    """Find the keys of a pattern that passed; * is each entry of a map or list.

    With `partial` also lists of which only some entries passed, as those entries.
    """
    if here is REFUSED:
        return
    if not keys:
        if partial or not isinstance(here, PartialList):
            yield path, sound_entries(here), owner
    elif here is None:
        # A section that is left out.
        return
    elif keys[0] == "*":
        for name, entry in _entries(here):
            yield from places(entry, keys[1:], (*path, name), here, partial=partial)
    else:
        below = vars(here).get(keys[0], REFUSED)
        yield from places(below, keys[1:], (*path, keys[0]), here, partial=partial)


def _entries(here: Any) -> Iterable[tuple[str | int, Any]]:
    if isinstance(here, PartialList):
        here = here.entries
    if isinstance(here, Mapping):
        return here.items()
    return enumerate(here if isinstance(here, list) else ())


def rule(*patterns: str, shown: bool = True) -> Callable[[Rule], Rule]:
    """Register a rule for the keys of some patterns; `shown`: its line shows the value found."""

    def register(find: Rule) -> Rule:
        RULES.extend((pattern, shown, find) for pattern in patterns)
        return find

    return register


def earlier(at: Place, alike: Callable[[str], bool]) -> str | None:
    """Return the first name before this one in its map for which `alike` holds."""
    names = list(at.owner)
    return next(filter(alike, names[: names.index(at.path[-1])]), None)


def no_entry(at: Place, section: str, within: str = "") -> str | None:
    """Say that a section has no entry of the name that was found, if it has none."""
    entries = getattr(at.config.prompts if within else at.config, section)
    if at.found is None or at.found in entries:
        return None
    return f"{within}{section} has no such entry; {suggestion(at.found, entries)}"


def exactly_one(owner: Any, first: str, second: str) -> str | None:
    """Say that one of two keys must be given and not the other, if that is not so."""
    given = [getattr(owner, key) is not None for key in (first, second)]
    if all(given):
        return (
            f"has both {first} and {second}; give exactly one "
            "(in an overlay, set the other one to null)"
        )
    return None if any(given) else f"has neither {first} nor {second}; give exactly one"
