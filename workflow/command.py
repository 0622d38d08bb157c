"""The commands that make an experiment's files, as its page shows them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """What follows the targets when an experiment is run."""

    configfiles: Sequence[str] = ()
    settings: Sequence[str] = ()
    """Of `--config`."""

    def make(self, *targets: str) -> str:
        """Return the command that makes some targets, as a shell reads it."""
        words = ["snakemake", "--cores", "all", *targets]
        words += ["--configfile", *self.configfiles] if self.configfiles else []
        words += ["--config", *self.settings] if self.settings else []
        return shlex.join(words)

    def ask(self, target: str) -> str:
        """Return the command that asks about the same experiment: `plan`, `status`."""
        return self.make(target).replace("--cores all", "--cores 1", 1)

    def again(self, *paths: str) -> str:
        """Return the command that makes some files again, though they are there."""
        return self.make("--force", *paths)
