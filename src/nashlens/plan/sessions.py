"""What play keeps of its prompts, about: a quicker figure than to count them (`plan.play`).

Each call of Snakemake asks it for every job, so that nothing is built here. The tokens of prompts
are those of the default's templates, the longest of them: tests hold what follows against counts
and against what jobs took.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nashlens.vocabulary.play import CHUNK_MATCHES, WRITING_MODES, matches_of_chunk

RULES = 182
"""Tokens of a prompt that shows no round."""
OWN = 84
"""Those of a match that no other of its chunk shares: prompts of a game begin alike."""
LINE = 23
"""A round in the history."""
QUESTION = 14
"""Asked anew after each round, and kept with it by who writes nothing."""
STEP = 64
"""Slots of generation hold so many tokens, or a multiple."""


@dataclass(frozen=True)
class Kept:
    """What the players of one model keep of a chunk of matches, in tokens."""

    sessions: float = 0.0
    """Of prompts that grow from round to round."""
    slots: int = 0
    """Texts that are written at a time."""
    text: int = 0
    """The longest prompt with its text."""
    first: float = 0.0
    """New in the first round of one of them, in which all matches begin together."""


@dataclass(frozen=True)
class _Pair:
    """Matches of two agents, side by side in a chunk."""

    agents: tuple[str, str]
    matches: int
    rounds: int


def kept_of_play(config: Mapping[str, Any], model: str, players: Sequence[str]) -> Kept:
    """Return what a model's players keep of the longest chunk of a group's matches.

    Parameters
    ----------
    config : mapping
        The checked config, doses of agents written out.
    model : str
    players : sequence of str
        The group's agents.
    """
    agents, talk = config["agents"], config["matches"]["talk_tokens"]
    sessions = 0.0
    slots = text = 0
    begun: dict[str, int] = {}
    pairs = list(_pairs(config, players))
    every = {name for pair in pairs for name in pair.agents}
    writes = talk > 0 or any(agents[name]["mode"] in WRITING_MODES for name in every)
    share = 1.0
    for pair in sorted(pairs, key=lambda pair: -pair.rounds):
        full = matches_of_chunk(pair.rounds, writes=writes)
        matches = min(pair.matches, round(share * full))
        share -= matches / full
        mine = [name for name in pair.agents if agents[name]["model"] == model]
        for name in dict.fromkeys(mine):
            seats = mine.count(name)
            shown, copies = _shown(config, name, pair.rounds)
            mode = config["modes"].get(agents[name]["mode"])
            written = (mode["tokens"] if mode else 0) + 2 * talk * (shown + 1)
            if not written:
                sessions += matches * (OWN + seats * (LINE + QUESTION) * shown)
            else:
                after = QUESTION + copies * written
                # What no later prompt shares stays until the next round's is there.
                sessions += matches * (OWN + seats * (LINE * shown + 2 * after))
                slots = min(2 * CHUNK_MATCHES, slots + matches * seats)
                text = max(text, RULES + LINE * shown + QUESTION + after)
            begun[name] = begun.get(name, 0) + matches
    if not begun:
        return Kept()
    sessions, first = RULES + sessions, RULES + OWN * max(begun.values())
    return Kept(sessions, slots, text, first)


def _shown(config: Mapping[str, Any], name: str, rounds: int) -> tuple[int, int]:
    """Return the rounds that an agent's prompts show, and how often what it writes is in them."""
    window = config["matches"]["history_window"]
    shown = rounds - 1 if window is None else min(rounds - 1, window)
    return shown, 2 if config["agents"][name]["mode"] == "scratchpad" else 1


def _pairs(config: Mapping[str, Any], players: Sequence[str]) -> Iterator[_Pair]:
    """Yield the pairs of a group with their matches, both orders of seats together.

    They are those of `play.schedule.pairs_of`, which needs more than a plan has at hand.
    """
    agents, matches = config["agents"], config["matches"]
    doses = [name for name in players if agents[name].get("intervention")]
    own = doses or list(players[:1])
    others = list(players[len(own) :])
    model = agents[own[0]]["model"] if own else None
    met = [agents[name]["model"] for name in others if agents[name]["model"]]
    alone = not any(not doses or one != model for one in met)
    for first in own:
        if matches["self_play"] and alone:
            yield from _pair(config, first, first, "self_play")
        for other in others:
            scripted = agents[other]["model"] is None
            yield from _pair(config, first, other, "scripted" if scripted else "cross_play")


def _pair(config: Mapping[str, Any], first: str, second: str, kind: str) -> Iterator[_Pair]:
    matches, agents = config["matches"], [config["agents"][name] for name in (first, second)]
    bounds = [*agents, *(agent[kind] for agent in agents if agent.get(kind))]
    scripted = kind == "scripted"
    most = matches["scripted_repetitions" if scripted else "repetitions"]
    count = min([most, *(b["repetitions"] for b in bounds if b.get("repetitions") is not None)])
    rounds = min([matches["rounds"], *(b["rounds"] for b in bounds if b.get("rounds"))])
    games = set(config["games"]) - set(matches["skip_games"])
    for agent in agents:
        games &= set(agent.get("games") or games)
    total = count * len(games)
    if not scripted and all(b.get("sequential", True) for b in bounds):
        turns = matches["sequential_repetitions"]
        named = matches["sequential_games"]
        playing = games if named == "all" else games & set(named)
        orders = sum(order != "simultaneous" for order in matches["move_orders"])
        total += len(playing) * orders * min(count, count if turns is None else turns)
    if total:
        yield _Pair((first, second), total * (1 if first == second else 2), rounds)
