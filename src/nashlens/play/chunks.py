"""Parts of the play: batches of matches, each kept on disk round by round."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from nashlens.play.journal import Journal
from nashlens.play.player import Player, Settings
from nashlens.play.run import Round, decisions_table, play_rounds, texts_table
from nashlens.play.schedule import Match, chunks
from nashlens.progress import progress

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
    players: Callable[[], Mapping[str, Player]],
    settings: Settings,
    *,
    part: int,
    parts: int,
    folder: str | Path,
    fingerprint: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Play a part of a schedule; rounds already played are read back.

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
        Where the batches' rounds are kept.
    fingerprint : str
        Of the models and of the code.

    Returns
    -------
    decisions, texts : pandas.DataFrame
        The play table and the texts table of this part; the first has no columns where parts
        outnumber batches.
    """
    everything = list(chunks(matches, CHUNK_MATCHES))
    rounds: list[Round] = []
    for batch in progress(everything[part - 1 :: parts], "play", unit="batches"):
        key = chunk_key(batch, settings, fingerprint)
        journal = Journal(Path(folder) / f"chunk-{key}.jsonl", key)
        if journal.rounds:
            log.info("%s: %d rounds were played before", journal.path.name, len(journal.rounds))
        done = tuple(journal.rounds)
        rounds += play_rounds(batch, players, settings, done=done, keep=journal.keep)
    log.info("%d batches in part %d of %d", len(everything[part - 1 :: parts]), part, parts)
    return decisions_table(rounds), texts_table(rounds)
