"""Games, players and pairings."""

from __future__ import annotations

from typing import Literal, get_args

CANONICAL_GAMES = (
    "prisoners_dilemma",
    "stag_hunt",
    "chicken",
    "battle_of_the_sexes",
    "matching_pennies",
    "harmony",
    "deadlock",
    "concord",
)
"""Games of the catalogue (`nashlens.games.catalog`)."""

STRATEGIES = ("ALLC", "ALLD", "TFT", "GRIM", "WSLS", "RANDOM", "TFT_ERRORS")
"""Scripted strategies (`nashlens.strategies`)."""
STRATEGIES_WITH_P = ("RANDOM", "TFT_ERRORS")
"""Strategies that use a number of their own, `p`."""
BELIEF_OPPONENTS = ("ALLC", "ALLD")
"""Whom the histories of belief questions are played against, in turn (`nashlens.play.beliefs`)."""

MODES = ("direct", "cot", "scratchpad", "predict")
"""How a model comes to a decision (`nashlens.play.modes`)."""
WRITING_MODES = ("cot", "scratchpad")
"""Modes in which text is generated before a decision."""

Pairing = Literal["self_play", "cross_play", "scripted"]
PAIRINGS: tuple[Pairing, ...] = get_args(Pairing)
"""Who meets whom (`nashlens.play.schedule`)."""

PAIR = "--"
"""Joins the names of two agents that meet in cross-play, as the name of their files."""

CHUNK_MATCHES = 32
"""Matches that advance together, at most, where an agent writes or a match is long. More share more
prefixes and need more memory."""
CHUNK_ROUNDS = 500
"""Rounds of all matches that advance together, at most, where no agent writes and matches are
short: they keep no more tokens than 32 matches of 50 rounds do."""


def matches_of_chunk(rounds: int, *, writes: bool) -> float:
    """Return how many matches of some rounds fill a chunk.

    Parameters
    ----------
    rounds : int
        Of each match.
    writes : bool
        Whether text is generated in them.
    """
    return CHUNK_MATCHES if writes else max(CHUNK_MATCHES, CHUNK_ROUNDS / rounds)
