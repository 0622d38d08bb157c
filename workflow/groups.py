"""Groups of play: the matches that one job plays, named so that files can be named after them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from nashlens.vocabulary.play import PAIR


def play_groups(
    agents: Mapping[str, Mapping[str, Any]], matches: Mapping[str, Any]
) -> dict[str, list[str]]:
    """Return the groups of play.

    Parameters
    ----------
    agents, matches : mapping
        The config's sections, as plain values.

    Returns
    -------
    dict of str to list of str
        Group -> its agents. A model agent's own group (`NAME`) holds its self-play and its matches
        with every scripted agent; `A--B` holds the cross-play of A and B in both orders of seats:
        so both models are loaded once, and more matches advance together.

        Steered agents meet unsteered ones of their own mode only: between two steered ones nothing
        would say who changed whom. All doses of a player are in one group, which also holds their
        matches with its own model's agents; those with another model's agent B are in `PLAYER--B`.
    """
    models = {name: agent for name, agent in agents.items() if agent["model"] is not None}
    scripted = [name for name, agent in agents.items() if agent["model"] is None]
    if not matches["scripted"]:
        scripted = []
    plain = [name for name, agent in models.items() if not agent.get("intervention")]
    players: dict[str, list[str]] = {}
    for name, agent in models.items():
        if agent.get("intervention"):
            players.setdefault(agent["intervention"]["player"], []).append(name)
    groups: dict[str, list[str]] = {}
    if matches["self_play"] or scripted:
        groups |= {name: [name, *scripted] for name in plain}
    if matches["cross_play"]:
        groups |= {
            f"{a}{PAIR}{b}": [a, b]
            for a, b in combinations(plain, 2)
            if matches["cross_modes"] or agents[a]["mode"] == agents[b]["mode"]
        }
    for player, doses in players.items():
        own = models[doses[0]]
        met = plain if matches["cross_play"] else []
        alike = [name for name in met if agents[name]["mode"] == own["mode"]]
        partners = [name for name in alike if agents[name]["model"] == own["model"]]
        if matches["self_play"] or scripted or partners:
            groups[player] = [*doses, *scripted, *partners]
        others = [name for name in alike if name not in partners]
        groups |= {f"{player}{PAIR}{name}": [*doses, name] for name in others}
    return groups
