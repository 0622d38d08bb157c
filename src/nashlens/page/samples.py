"""Matches in plain HTML, for readers without JavaScript: those that the browser has first.

A few in full, and of more what was done.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

MOST_SAMPLES = 4
MOST_LETTERS = 20_000
"""Length of the samples' texts together, at most; the first match is always there."""

MOST_LINES = 200
"""Matches of which a line says what was done: some 30 kB."""


class Move(NamedTuple):
    """What one agent did in one round."""

    agent: str
    action: str
    p_first: float | None
    """P(first action)."""
    payoff: float | None
    wrote: list[tuple[str, str]]
    """Kind and text."""


class Sample(NamedTuple):
    """One match."""

    title: str
    form: str
    first_action: str
    rules: list[str]
    """What the first agent was told before the first round."""
    question: str
    rounds: list[list[Move]]


class MatchLine(NamedTuple):
    """What was done in one match."""

    game: str
    agents: str
    order: str
    rounds: list[str]
    """Of each round, both actions."""


def lines(data: Mapping[str, Any]) -> list[MatchLine]:
    """Return what was done in the first matches of `matches.browse`.

    Parameters
    ----------
    data : mapping
        `Browser.data`.
    """
    found = []
    for match in data["matches"][:MOST_LINES]:
        game = data["games"][match["game"]]
        both = zip(*(seat["n"] for seat in match["seats"]), strict=True)
        rounds = [", ".join(_action(now, game) for now in moves) for moves in both]
        agents = f"{match['agents'][0]} with {match['agents'][1]}"
        found.append(MatchLine(game["title"], agents, match["order"].replace("_", " "), rounds))
    return found


def _action(now: Mapping[str, Any], game: Mapping[str, Any]) -> str:
    return "none" if now["a"] is None else str(game["actions"][now["a"]])


def samples(data: Mapping[str, Any]) -> list[Sample]:
    """Return the first matches of `matches.browse`: of as many games and agents as there are.

    Parameters
    ----------
    data : mapping
        `Browser.data`.
    """
    found: list[Sample] = []
    letters = 0
    for match in data["matches"][:MOST_SAMPLES]:
        one = _sample(match, data)
        letters += len(str(one))
        if found and letters > MOST_LETTERS:
            break
        found.append(one)
    return found


def _sample(match: Mapping[str, Any], data: Mapping[str, Any]) -> Sample:
    lines, game = data["lines"], data["games"][match["game"]]
    rounds = []
    for k in range(len(match["seats"][0]["n"])):
        moves = []
        for agent, seat in zip(match["agents"], match["seats"], strict=True):
            now = seat["n"][k]
            moves.append(
                Move(
                    agent=agent,
                    action=_action(now, game),
                    p_first=now["p"][0],
                    payoff=now["pay"],
                    wrote=[(kind, text) for kind, text in now.get("w", ())],
                )
            )
        rounds.append(moves)
    first = match["seats"][0]
    return Sample(
        title=f"{game['title']}: {match['agents'][0]} with {match['agents'][1]}",
        form=f"{match['form']}; {match['order'].replace('_', ' ')}",
        first_action=game["actions"][0],
        rules=[lines[k] for k in data["rules"][first["r"]]],
        question=lines[first["n"][0]["q"]],
        rounds=rounds,
    )
