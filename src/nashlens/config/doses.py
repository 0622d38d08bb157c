"""Agents with several doses: one agent for each, under a name of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def dose_name(agent: str, value: float) -> str:
    """Return the name of an agent's dose, which is part of file names."""
    return f"{agent}_{value:g}"


def dose_agents(agents: Mapping[str, Mapping[str, Any]], units: str) -> dict[str, dict[str, Any]]:
    """Return the agents that play, in order: of one with `intervention.values`, one a dose.

    Parameters
    ----------
    agents : mapping
        The section `agents` of a checked config, as plain values.
    units : str
        `steering.units`, which each intervention takes along: only these agents depend on it.
        Also the name that all doses of an agent share, as `player`.
    """
    result: dict[str, dict[str, Any]] = {}
    for name, agent in agents.items():
        intervention = agent["intervention"]
        if intervention is None:
            result[name] = dict(agent)
            continue
        values = intervention["values"]
        same = {k: v for k, v in intervention.items() if k not in ("value", "values")}
        for value in values or [intervention["value"]]:
            own = same | {"value": value or 0.0, "units": units, "player": name}
            dose = dose_name(name, value) if values else name
            result[dose] = {**agent, "intervention": own}
    return result
