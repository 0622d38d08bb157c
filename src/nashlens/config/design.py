"""How many histories, blocks and prompts the design of a config has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress

from nashlens.config.rules import REFUSED, RefusedError, passed
from nashlens.config.sections import Config, GameConfig
from nashlens.errors import NashlensError
from nashlens.vocabulary.prompts import ACTION_LABELS

MOST_PROMPTS = 200_000
"""Prompts of a model; the default has 512. Their activations would fill a disk."""


def history_count(config: Config, game: str) -> int:
    """Return the number of a game's histories."""
    return config.games[game].histories or config.prompts.histories


def block_size(config: Config) -> int:
    """Return the number of prompts of a block: its label maps and option orders."""
    return len(config.prompts.label_maps) * len(config.prompts.option_orders)


def mirrored_size(config: Config) -> int:
    """Return the number of prompts of a block and of its mirror image, which are taken together."""
    return 2 * block_size(config)


def neutral_labels(config: Config) -> list[str]:
    """Return the names of the label sets that say nothing about a game."""
    return [name for name, pair in config.prompts.label_sets.items() if pair != ACTION_LABELS]


def neutral_histories(config: Config, game: str) -> int:
    """Return how many of a game's histories are asked in neutral labels, at least."""
    histories, prompts = history_count(config, game), config.prompts
    if "label_sets" in prompts.crossed:
        return histories
    return histories * len(neutral_labels(config)) // len(prompts.label_sets)


def neutral_prompts(config: Config, game: str) -> int:
    """Return the number of a game's prompts in neutral labels, at least."""
    prompts = config.prompts
    wordings = len(prompts.templates) if "templates" in prompts.crossed else 1
    if "label_sets" in prompts.crossed:
        wordings *= len(neutral_labels(config))
    pairs = neutral_histories(config, game) * wordings * len(prompts.rounds)
    return pairs * mirrored_size(config)


def prompt_count(config: Config) -> int:
    """Return the number of prompts that each model is asked, in games that are right."""
    prompts, histories = config.prompts, 0
    for game in config.games:
        with suppress(RefusedError):
            histories += history_count(config, game)
    sizes = [len(getattr(prompts, factor)) for factor in prompts.crossed]
    return math.prod([histories, len(prompts.rounds), block_size(config), *sizes])


def action_labels(game: GameConfig) -> Sequence[str]:
    """Return what agents see for a game's actions in a label set of the kind `actions`."""
    # Here, as the config is read by many jobs that never build a game.
    from nashlens.games.catalog import CATALOG
    from nashlens.games.game import Game

    canonical = CATALOG.get(game.canonical or "")
    actions = game.actions or (canonical.actions if canonical else Game.actions)
    return tuple(name[:1].upper() + name[1:] for name in actions)


def nash_actions(config: Config, name: str) -> set[int] | None:
    """Return the Nash actions of a game's seats; None where the game itself is wrong."""
    found = _nash_and_prosocial(config, name)
    return None if found is None else {nash for nash, _ in found if nash is not None}


def seat_nash_actions(config: Config, name: str) -> list[int | None]:
    """Return the Nash action of each seat of a game, None where it has none."""
    return [nash for nash, _ in _nash_and_prosocial(config, name) or ()]


def has_conflict(config: Config, name: str) -> bool | None:
    """Say whether a seat's prosocial action is another one than its Nash action.

    None where the game itself is wrong.
    """
    found = _nash_and_prosocial(config, name)
    return None if found is None else any(None not in pair and pair[0] != pair[1] for pair in found)


def _nash_and_prosocial(config: Config, name: str) -> list[tuple[int | None, int | None]] | None:
    """Return both actions of each seat, which are the same in all variants of a game."""
    # Here, as the config is read by many jobs that never build a game.
    from nashlens.games import build_games, nash_action, prosocial_action

    entry = config.games.get(name, REFUSED)
    # The game's names do not matter, and no variant is drawn, so that the seed does not either.
    given = {key: passed(entry, key, None) for key in ("canonical", "payoffs")}
    if (given["canonical"] is None) == (given["payoffs"] is None):
        return None
    try:
        games = build_games({name: given}, seed=0)
    except NashlensError:
        return []
    seats = [(game, seat) for game in games for seat in ("row", "column")]
    return [(nash_action(*one), prosocial_action(*one)) for one in seats]
