"""What an overlay means beside what it says: what goes with an entry that it drops, and the order.

An overlay drops an entry by setting it to null. What earlier configs said about that entry goes
with it: agents of the model, and the game in lists of games. What the same overlay says, or a later
one, stays as written, so that a name without an entry is still an error there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from nashlens.config.problems import dotted_path

_Path = tuple[str, ...]

_GAME_LISTS: dict[_Path, bool] = {
    ("matches", "skip_games"): True,
    ("matches", "sequential_games"): True,
    ("steering", "train_games"): False,
    ("steering", "concept_games"): True,
    ("steering", "test_games"): False,
    ("circuits", "games"): False,
    ("patching", "games"): False,
    ("attribution", "games"): False,
}
"""Lists of games, and whether they may be empty."""


def in_order(merged: Any, configs: Sequence[Any]) -> Any:
    """Return a merged config with the keys of each mapping in the order in which configs name them.

    Snakemake puts what an overlay names first. But the order of games, agents and label sets is
    that of the tables' rows: an overlay that only says a word about one game would be another
    study, and all of it would run again.

    Parameters
    ----------
    merged : mapping or other value
        All configs in one. It is not changed.
    configs : sequence
        What it was merged from; later ones win.
    """
    if not isinstance(merged, Mapping):
        return merged
    maps = [one for one in configs if isinstance(one, Mapping)]
    names = dict.fromkeys([*(name for one in maps for name in one if name in merged), *merged])
    return {name: in_order(merged[name], [one.get(name) for one in maps]) for name in names}


def follow_drops(
    merged: Mapping[str, Any], configs: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], str | None]:
    """Take out of a config what refers to models and games that an overlay dropped.

    Parameters
    ----------
    merged : mapping
        All configs in one. It is not changed.
    configs : sequence of mapping
        What it was merged from; later ones win.

    Returns
    -------
    dict
        The config without agents of dropped models, and without dropped games in lists. A list that
        needs a game and would lose its last one stays, for the checks to refuse.
    str or None
        One line that names what went; None where nothing did.
    """
    drops = _Drops(merged, configs)
    found = {key: dict(value) if _is_map(value) else value for key, value in merged.items()}
    for name, agent in _entries(merged, "agents").items():
        kept = drops.agent(name, agent)
        if kept is None:
            del found["agents"][name]
        else:
            found["agents"][name] = kept
    for name, model in _entries(merged, "models").items():
        base = ("models", name, "base")
        if drops.takes("models", model.get("base"), base):
            found["models"][name] = {**model, "base": None}
            drops.note("models", [model["base"]], dotted_path(base))
    for path, may_be_empty in _GAME_LISTS.items():
        listed = _entry(merged, path)
        lost = drops.games_lost(listed, path)
        if lost and (may_be_empty or len(lost) < len(listed)):
            found[path[0]][path[1]] = drops.without(lost, listed, path)
    return found, drops.line()


class _Drops:
    """Which config drops what, and what has gone with it."""

    def __init__(self, merged: Mapping[str, Any], configs: Sequence[Mapping[str, Any]]):
        self.configs = configs
        self.at = {
            (section, name): self.last((section, name))
            for section in ("models", "games")
            for name, entry in _section(merged, section).items()
            if entry is None
        }
        """Section and name -> number of the config that drops it."""
        self.causes: dict[_Path, None] = {}
        self.went: list[str] = []

    def last(self, path: _Path) -> int:
        """Return the number of the last config that says anything of a key."""
        return max((i for i, config in enumerate(self.configs) if _says(config, path)), default=-1)

    def takes(self, section: str, name: object, path: _Path) -> bool:
        """Say whether a name was dropped after what stands at a path was written."""
        dropped = self.at.get((section, name), -1) if isinstance(name, str) else -1
        return dropped > self.last(path)

    def games_lost(self, listed: object, path: _Path) -> list[str]:
        """List the games that a list loses."""
        names = listed if isinstance(listed, list) else []
        return [name for name in names if self.takes("games", name, path)]

    def agent(self, name: str, agent: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what of an agent stays; None where it goes."""
        path, key = ("agents", name), ("agents", name, "games")
        if self.takes("models", agent.get("model"), path):
            self.note("models", [agent["model"]], dotted_path(path))
            return None
        listed = agent.get("games")
        lost = self.games_lost(listed, key)
        if lost and len(lost) < len(agent["games"]):
            return {**agent, "games": self.without(lost, agent["games"], key)}
        if lost and self.games_lost(listed, path) == lost:
            self.note("games", lost, dotted_path(path))
            return None
        return dict(agent)

    def without(self, lost: list[str], listed: list[Any], path: _Path) -> list[Any]:
        """Return a list without the games that it loses, and note it."""
        self.note("games", lost, f"{', '.join(lost)} in {dotted_path(path)}")
        return [name for name in listed if name not in lost]

    def note(self, section: str, names: list[str], what: str) -> None:
        """Note what goes with some entries of a section."""
        self.causes.update(dict.fromkeys((section, name) for name in names))
        self.went.append(what)

    def line(self) -> str | None:
        """Name what went, and with what."""
        if not self.went:
            return None
        *others, last = map(dotted_path, self.causes)
        causes, them = (f"{', '.join(others)} and {last}", "them") if others else (last, "it")
        return f"an overlay drops {causes}, and with {them} go {', '.join(self.went)}"


def _is_map(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping)


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = config.get(name)
    return found if _is_map(found) else {}


def _entries(config: Mapping[str, Any], section: str) -> dict[str, Mapping[str, Any]]:
    return {name: entry for name, entry in _section(config, section).items() if _is_map(entry)}


def _entry(config: Any, path: _Path) -> Any:
    for key in path:
        config = config.get(key) if _is_map(config) else None
    return config


def _says(config: Any, path: _Path) -> bool:
    *above, last = path
    owner = _entry(config, tuple(above))
    return _is_map(owner) and last in owner
