"""What a rule between keys of the config is: it sees a key and says what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from nashlens.config.problems import KeyPath, suggestion
from nashlens.config.sections import Config


class RefusedError(Exception):
    """A rule reads a value that was refused."""


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
    here: Any, keys: list[str], path: KeyPath = (), owner: Any = None
) -> Iterator[tuple[KeyPath, Any, Any]]:
    """Find the keys of a pattern, in which * is each entry of a map or list."""
    if not keys:
        yield path, here, owner
    elif here is None:
        # A section that is left out.
        return
    elif keys[0] == "*":
        lists = enumerate(here if isinstance(here, list) else ())
        for name, entry in here.items() if isinstance(here, Mapping) else lists:
            yield from places(entry, keys[1:], (*path, name), here)
    else:
        try:
            below = getattr(here, keys[0])
        except RefusedError:
            return
        yield from places(below, keys[1:], (*path, keys[0]), here)


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
