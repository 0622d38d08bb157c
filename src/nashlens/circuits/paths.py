"""Path patching between two chosen components, over the pairs of the patching stage.

A patch changes a value for all that follows. A path changes what one component, the *sender*, says
to one later component, the *receiver*: only that one reads the other prompt's value, at some
tokens, and what it then gives goes on (`nashlens.engine.paths`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nashlens.engine.labels import LabelledPrompt
from nashlens.engine.paths import Path, check_paths, path_scores
from nashlens.engine.recording import Site
from nashlens.vocabulary.patching import path_parts

if TYPE_CHECKING:
    from nashlens.engine.core import Engine

SITE = "path"
"""What the column `site` of the patching table says of a path."""


class Paths(NamedTuple):
    """Some paths, by the names that the config has for them."""

    names: Sequence[str]

    @property
    def paths(self) -> list[Path]:
        """What the engine is asked for."""
        found = map(path_parts, self.names)
        return [Path(Site(*sender), Site(*receiver), group) for sender, receiver, group in found]

    @property
    def groups(self) -> list[str]:
        """The group of tokens of each."""
        return [path.group for path in self.paths]

    def among(self, groups: Sequence[str]) -> Paths:
        """Return those whose group is among these."""
        return Paths([name for name in self.names if path_parts(name)[2] in groups])

    def check(self, engine: Engine) -> None:
        """Refuse a path that a model does not have, by a DataError."""
        if self.names:
            check_paths(engine, self.paths)

    def described(self) -> list[tuple[str, str, int, int, str]]:
        """Return `patch`, `site`, `layer`, `head` and `group` of each for the patching table.

        Layer and head are the receiver's.
        """
        found = zip(self.names, self.paths, strict=True)
        return [
            (f"{SITE}/{name}", SITE, path.receiver.layer, path.receiver.head, path.group)
            for name, path in found
        ]

    def scores(
        self,
        engine: Engine,
        prompts: Sequence[LabelledPrompt],
        groups: Sequence[Mapping[str, Sequence[int]]],
        sources: Sequence[Sequence[int]],
        what: str,
    ) -> np.ndarray:
        """Return log P of both labels with each path patched, `(n, paths, 2)`."""
        if not self.names:
            return np.empty((len(prompts), 0, 2))
        return path_scores(engine, prompts, self.paths, groups=groups, sources=sources, what=what)
