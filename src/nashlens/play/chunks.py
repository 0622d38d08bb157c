"""Chunks of the play: batches of matches, each kept on disk when it has been played to its end.

A chunk's matches advance together, and what their prompts begin with is computed once. So matches
of one template, label set and payoff variant come into one chunk where they can.

What is computed together decides the last bits of a number. So a chunk that a job died in is played
from its start: of one that was played on from its middle, other tokens would be computed together.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from nashlens.files import read_sealed, write_sealed
from nashlens.play.player import Player, PlaySettings
from nashlens.play.run import PlayedRound, decisions_table, play_rounds, texts_table
from nashlens.play.schedule import Match
from nashlens.progress import progress
from nashlens.vocabulary.play import WRITING_MODES, matches_of_chunk

log = logging.getLogger(__name__)
_NEARLY_FULL = 0.75  # of a chunk's room, from where on it ends with its game


def split_into_chunks(matches: Sequence[Match], settings: PlaySettings) -> Iterator[list[Match]]:
    """Split matches into the chunks that advance together.

    What is computed together depends only on the matches, not on how many jobs share them, so
    that results are the same to the bit for every number of jobs. A chunk that is nearly full
    ends where its game does. So a game of many matches has chunks of its own, and those of other
    games do not change with it, while games of few matches share a chunk, since a GPU generates
    for thirty matches in the time that eight take.

    Parameters
    ----------
    matches : sequence of Match
        By game, as `schedule` returns them.
    settings : PlaySettings

    Yields
    ------
    list of Match
        `CHUNK_MATCHES` at most, or more short ones in which nobody writes, up to `CHUNK_ROUNDS`
        rounds in all. By game, then by what their prompts begin with.
    """
    chunk: list[Match] = []
    taken = 0.0
    for match in _by_stem(matches):
        share = 1.0 / _most(match, settings)
        game_ends = bool(chunk) and chunk[-1].game.name != match.game.name
        if taken + share > 1.0 + 1e-9 or (game_ends and taken >= _NEARLY_FULL - 1e-9):
            yield chunk
            chunk, taken = [], 0.0
        chunk.append(match)
        taken += share
    if chunk:
        yield chunk


def _by_stem(matches: Sequence[Match]) -> list[Match]:
    """Sort a game's matches by what the first tokens of their prompts depend on."""
    games = {name: k for k, name in enumerate(dict.fromkeys(m.game.name for m in matches))}

    def stem(match: Match) -> tuple[int, str, str, str, int]:
        form = match.surface
        where = games[match.game.name]
        return where, match.move_order, form.template, form.label_set, match.game.variant

    return sorted(matches, key=stem)


def _most(match: Match, settings: PlaySettings) -> float:
    """Return how many matches like this one fill a chunk."""
    modes = {agent.mode for agent in (match.row, match.column) if agent.model is not None}
    writes = bool(settings.talk_tokens or modes & set(WRITING_MODES))
    return matches_of_chunk(match.length(settings.rounds), writes=writes)


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
    chunks = list(split_into_chunks(matches, settings))[job - 1 :: jobs]
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
