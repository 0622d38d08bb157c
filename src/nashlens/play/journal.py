"""A chunk of matches on disk, round by round: nothing that was played is played again.

A journal is a file of JSON lines, one a round, each written and synced before the next round
starts. A line that was cut off by a crash, changed since, or written twice by a job that was
thought dead, is skipped, so no lock is needed.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from nashlens.play.run import PlayedRound


class Journal:
    """The rounds of one chunk.

    Parameters
    ----------
    path : str or Path
        The file; made with its folder for the first round.
    key : str
        What the rounds depend on. Lines of another key are skipped, and those that hold something
        else than was written, by their SHA-256: what follows them is played again.
    """

    def __init__(self, path: str | Path, key: str):
        self.path, self.key = Path(path), key
        self.rounds: list[PlayedRound] = []
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        for line in lines:
            found = _read(line)
            if found.get("key") == key and found.get("round") == len(self.rounds) + 1:
                self.rounds.append(PlayedRound(found["rows"], found["texts"]))

    def append(self, played: PlayedRound) -> None:
        """Add a round; it is on disk when this returns."""
        self.rounds.append(played)
        entry = {"key": self.key, "round": len(self.rounds), **played._asdict()}
        # A line that a crash has cut off must not run into this one.
        line = b"\n" + json.dumps(entry | {"sha256": _digest(entry)}).encode() + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def _read(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    if not isinstance(found, dict) or found.pop("sha256", None) != _digest(found):
        return {}
    return found


def _digest(entry: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entry).encode()).hexdigest()
