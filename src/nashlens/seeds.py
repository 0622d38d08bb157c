"""Random streams spawned by stable names, never by order or process.

One experiment has one seed. Each use asks for the stream of its own name, so a match's
randomness depends on its name, and not on what ran before it or at the same time.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np


def _sequence(seed: int, names: tuple[str | int, ...]) -> np.random.SeedSequence:
    # JSON keeps ("a", "b") apart from ("a, b",), and 1 from "1".
    digest = hashlib.sha256(json.dumps(names).encode()).digest()
    key = np.frombuffer(digest, dtype="<u4").tolist()
    return np.random.SeedSequence(entropy=seed, spawn_key=tuple(key))


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return the random generator of a name.

    Parameters
    ----------
    seed : int
        The experiment's seed, at least 0.
    *names : str or int
        What the stream is for, from general to particular.

    Returns
    -------
    numpy.random.Generator
        The same for the same seed and names, in every process.
    """
    return np.random.Generator(np.random.PCG64(_sequence(seed, names)))


def entropy_hex(seed: int, *names: str | int) -> str:
    """Return 16 hexadecimal digits that identify a name's stream, for tables."""
    low, high = _sequence(seed, names).generate_state(2)
    return f"{int(low):08x}{int(high):08x}"
