"""Checks that need more than one key of the config.

Each is a rule for one key or for the keys of a pattern. A rule may read values that were refused
by themselves: then it finds nothing, as that may only follow from them. Nothing here looks outside
the config; that is `nashlens.config.preflight`.
"""

from __future__ import annotations

# These two are imported for the rules that they register.
from nashlens.config import setting_rules, stage_rules  # noqa: F401
from nashlens.config.problems import dotted_path, problem_line
from nashlens.config.rules import (
    RULES,
    Place,
    RefusedError,
    places,
)
from nashlens.config.sections import Config


def cross_problems(config: Config) -> list[str]:
    """Check the sections against each other.

    Parameters
    ----------
    config : Config
        Or what of one passed; reading any other value raises `RefusedError`.

    Returns
    -------
    list of str
        Empty where all is well.
    """
    problems = []
    for pattern, shown, find in RULES:
        for path, found, owner in places(config, pattern.split(".")):
            try:
                cure = find(Place(path, found, owner, config))
            except RefusedError:
                continue
            if cure:
                problems.append(
                    problem_line(path, found, cure) if shown else f"{dotted_path(path)}: {cure}"
                )
    return problems


def used_models(config: Config) -> list[str]:
    """List the keys of `models` that an agent uses, in their order; the others cost nothing."""
    wanted = {agent.model for agent in config.agents.values()}
    return [name for name in config.models if name in wanted]
