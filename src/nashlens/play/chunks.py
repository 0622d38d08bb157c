"""Chunks of the play: batches of matches, each kept on disk when it has been played to its end.

What is computed together decides the last bits of a number. So a chunk that a job died in is played
from its start: of one that was played on from its middle, other tokens would be computed together.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from nashlens.files import read_sealed, write_sealed
from nashlens.play.player import Player, PlaySettings
from nashlens.play.run import PlayedRound, decisions_table, play_rounds, texts_table
from nashlens.play.schedule import Match, split_into_chunks
from nashlens.progress import progress
from nashlens.vocabulary.play import CHUNK_MATCHES

log = logging.getLogger(__name__)


def chunk_key(matches: Sequence[Match], settings: PlaySettings, fingerprint: str) -> str:
    """Return a name for a chunk that changes with anything its table depends on.

    Parameters
    ----------
    matches : sequence of Match
    settings : PlaySettings
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


def play_job(
    matches: Sequence[Match],
    players: Callable[[], Mapping[str, Player]],
    settings: PlaySettings,
    *,
    job: int,
    jobs: int,
    folder: str | Path,
    fingerprint: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Play one job's chunks of a schedule; those already played are read back.

    Parameters
    ----------
    matches : sequence of Match
        The whole schedule of the group.
    players : callable
        Makes the players of one chunk by model name; called only when something is to be played,
        and anew for each chunk, so that no chunk holds another's keys and values.
    settings : PlaySettings
    job, jobs : int
        Number of this job, from 1, and of all jobs among which the chunks are dealt in turn.
    folder : str or Path
        Where chunks are kept.
    fingerprint : str
        Of the models and of the code.

    Returns
    -------
    decisions, texts : pandas.DataFrame
        The play table and the texts table of this job; the first has no columns where jobs
        outnumber chunks.
    """
    chunks = list(split_into_chunks(matches, CHUNK_MATCHES))[job - 1 :: jobs]
    rounds: list[PlayedRound] = []
    for chunk in progress(chunks, "play", unit="batches"):
        key = chunk_key(chunk, settings, fingerprint)
        path = Path(folder) / f"chunk-{key}.json"
        played = _read(path, key)
        if played is None:
            played = play_rounds(chunk, players, settings)
            write_sealed(path, {"key": key, "rounds": played})
        else:
            log.info("%s: it was played before", path.name)
        rounds += played
    log.info("%d batches in part %d of %d", len(chunks), job, jobs)
    return decisions_table(rounds), texts_table(rounds)


def _read(path: Path, key: str) -> list[PlayedRound] | None:
    """Return a chunk's rounds; None where there are none, or not those that were written."""
    found = read_sealed(path)
    if found is None or found["key"] != key:
        return None
    return [PlayedRound(rows, texts) for rows, texts in found["rounds"]]
