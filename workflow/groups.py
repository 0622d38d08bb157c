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
        so both models are loaded once, and more matches advance together. Steered agents meet
        unsteered ones only: between two of them nothing would say who changed whom.
    """
    models = [name for name, agent in agents.items() if agent["model"] is not None]
    scripted = [name for name, agent in agents.items() if agent["model"] is None]
    if not matches["scripted"]:
        scripted = []
    groups: dict[str, list[str]] = {}
    if matches["self_play"] or scripted:
        groups |= {name: [name, *scripted] for name in models}
    if matches["cross_play"]:
        groups |= {
            f"{a}{PAIR}{b}": [a, b]
            for a, b in combinations(models, 2)
            if matches["cross_modes"] or agents[a]["mode"] == agents[b]["mode"]
            if not (agents[a].get("intervention") and agents[b].get("intervention"))
        }
    return groups
