"""The project's exceptions: each message names the key or file, what was found, what to do."""

from __future__ import annotations

from collections.abc import Sequence

AGAIN = "give the same command again"
"""What to do where a file that a rule makes is gone: Snakemake makes what is missing."""


def printable(text: str) -> str:
    """Return a text on one line that a terminal shows and does not obey, escapes written out."""
    return unescaped(" ".join(text.split()))


def unescaped(text: str) -> str:
    """Return a text of any lines that a terminal shows and does not obey."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text
    )


class NashlensError(Exception):
    """Base of every error that nashlens raises on purpose."""


class ConfigError(NashlensError):
    """The configuration is wrong; every problem found is listed, one line each.

    Parameters
    ----------
    problems : sequence of str
        One line a problem: the key's path, the value found, what is allowed.
    """

    def __init__(self, problems: Sequence[str]):
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class ModelError(NashlensError):
    """A model source cannot be found, read, converted or loaded."""


class LabelError(NashlensError):
    """A label set cannot be scored with a model's tokenizer."""


class StoreError(NashlensError):
    """A table, shard or manifest is missing, damaged, or made from something else."""


class StoppedError(NashlensError):
    """A job was told to end before it was done."""


class DataError(NashlensError):
    """A table does not hold what an analysis needs."""
