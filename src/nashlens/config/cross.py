"""Checks that need more than one key of the config.

Each is a rule for one key or for the keys of a pattern. A rule may read values that were refused
by themselves: then it finds nothing, as that may only follow from them. Nothing here looks outside
the config; that is `nashlens.config.preflight`.
"""

from __future__ import annotations

from collections.abc import Mapping

# These two are imported for the rules that they register.
from nashlens.config import setting_rules, stage_rules  # noqa: F401
from nashlens.config.problems import dotted_path, problem_line
from nashlens.config.rules import (
    RULES,
    Accepted,
    Place,
    RefusedError,
    passed,
    places,
    refuse,
)
from nashlens.config.sections import Config
from nashlens.config.values import Section


def check_between(config: Config) -> tuple[Config, list[str]]:
    """Check the sections against each other.

    Parameters
    ----------
    config : Config
        Or what of one passed; reading any other value raises `RefusedError`.

    Returns
    -------
    Config
        Without the values that are wrong; a section or an entry that is wrong as a whole stays.
    list of str
        One line a problem.
    """
    problems, wrong = [], []
    for pattern, shown, find in RULES:
        for path, found, owner in places(config, pattern.split(".")):
            try:
                cure = find(Place(path, found, owner, config))
            except RefusedError:
                continue
            if cure:
                line = problem_line(path, found, cure) if shown else f"{dotted_path(path)}: {cure}"
                problems.append(line)
                if not isinstance(found, Section | Accepted | Mapping):
                    wrong.append(path)
    for path in wrong:
        config = refuse(config, path)
    return config, problems


def used_models(config: Config) -> list[str]:
    """List the keys of `models` that an agent uses, in their order; the others cost nothing."""
    agents, models = (passed(config, section, {}) for section in ("agents", "models"))
    wanted = {passed(agent, "model", None) for agent in agents.values()}
    return [name for name in models if name in wanted]
