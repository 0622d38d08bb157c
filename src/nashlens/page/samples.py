"""A few matches in plain HTML, for readers without JavaScript: those that the browser has first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

MOST_SAMPLES = 4
MOST_LETTERS = 20_000
"""Length of the samples' texts together, at most; the first match is always there."""


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
                    action="none" if now["a"] is None else game["actions"][now["a"]],
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
