"""The bundled text, on which a tuned lens is fitted and steered players are read."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Protocol

from nashlens.errors import DataError

CORPUS = "eb7d6bfd1fc152b6520eb0767bf12907ecddb21ebf954968f93b359a1d236da6"
"""SHA-256 of the bundled passages; as it is code, a change of the text reruns the stage."""


class Encoder(Protocol):
    """What reads the text: a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Return token ids, with a BOS where the model has one."""


def corpus() -> list[str]:
    """Return the bundled passages.

    Raises
    ------
    DataError
        If the file is not the one for which this code was written.
    """
    text = resources.files("nashlens.lens").joinpath("corpus.txt").read_text(encoding="utf-8")
    lines = [line for line in text.split("\n") if not line.startswith("#")]
    passages = [passage for passage in "\n".join(lines).split("\n\n") if passage.strip()]
    digest = hashlib.sha256("\n\n".join(passages).encode()).hexdigest()
    if digest != CORPUS:
        raise DataError(f"corpus.txt has SHA-256 {digest}, not {CORPUS}: install nashlens again")
    return passages
