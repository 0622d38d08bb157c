"""Parts of the play: batches of matches, each kept on disk once it is played."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from nashlens.errors import StoreError
from nashlens.play.run import Player, Settings, play_matches
from nashlens.play.schedule import Match, chunks
from nashlens.progress import progress
from nashlens.tables import read_metadata, read_table, write_table

log = logging.getLogger(__name__)

# Matches that advance together. Larger batches share more prefixes and hold more keys and values.
CHUNK_MATCHES = 32


def chunk_key(matches: Sequence[Match], settings: Settings, fingerprint: str) -> str:
    """Return a name for a batch that changes with anything its table depends on.

    Parameters
    ----------
    matches : sequence of Match
    settings : Settings
    fingerprint : str
        Of the models and of the code.
    """
    spec = {
        "matches": [asdict(match) for match in matches],
        "settings": asdict(settings),
        "fingerprint": fingerprint,
    }
    text = json.dumps(spec, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def play_part(
    matches: Sequence[Match],
    players: Callable[[], dict[str, Player]],
    settings: Settings,
    *,
    part: int,
    parts: int,
    folder: str | Path,
    fingerprint: str,
) -> pd.DataFrame:
    """Play a part of a schedule; batches already played are read back.

    Parameters
    ----------
    matches : sequence of Match
        The whole schedule of the group.
    players : callable
        Makes the players of one batch by model name; called only when something is to be played,
        and afresh for each batch, so that no batch holds another's keys and values.
    settings : Settings
    part, parts : int
        Which part this is, 1-based, and how many there are; batches are dealt in turn.
    folder : str or Path
        Where played batches are kept.
    fingerprint : str
        Of the models and of the code.

    Returns
    -------
    pandas.DataFrame
        The play table of this part; without rows where parts outnumber batches.
    """
    everything = list(chunks(matches, CHUNK_MATCHES))
    frames = []
    for batch in progress(everything[part - 1 :: parts], "play", unit="batches"):
        key = chunk_key(batch, settings, fingerprint)
        path = Path(folder) / f"chunk-{key}.parquet"
        frame = _kept(path, key)
        if frame is None:
            frame = play_matches(batch, players(), settings)
            write_table(frame, path, config={}, fingerprint=key)
            # Read back, so that a kept batch and a fresh one have the same types.
            frame = read_table(path)
        frames.append(frame)
    log.info("%d batches in part %d of %d", len(frames), part, parts)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _kept(path: Path, key: str) -> pd.DataFrame | None:
    try:
        return read_table(path) if read_metadata(path)["fingerprint"] == key else None
    except StoreError:
        return None
