"""The design that most tests ask of, and a model's residuals at its prompts."""

import numpy as np

from nashlens.games import CATALOG, build_games
from nashlens.prompts.pairs import build_pairs
from nashlens.prompts.table import Asked, build_prompts, planned_decisions

DESIGN = {
    "templates": ["neutral"],
    "label_sets": {"jf": ["J", "F"]},
    "label_maps": ["identity", "swapped"],
    "option_orders": ["forward", "reversed"],
    "opponents": ["RANDOM"],
    "own_cooperation": 0.5,
    "rounds": [3],
    "histories": 8,
    "seed": 3,
}


def make_prompts(games, tokenizer, **changes):
    """Return the prompts of games: of the catalogue, by name, or as `build_games` makes them."""
    if isinstance(games[0], str):
        games = build_games({name: {"canonical": name} for name in games}, 1)
    asked = {"system": None, "assistant_prefix": "I choose option"}
    return build_prompts(games, tokenizer, **(DESIGN | asked | changes))


def make_pairs(games, tokenizer, kinds, **changes):
    """Return pairs of prompts of games of the catalogue."""
    decisions = planned_decisions([CATALOG[name] for name in games], **(DESIGN | changes))
    asked = Asked(tokenizer, None, "I choose option")
    return build_pairs(decisions, asked, kinds=kinds, games=games)


def residuals_of(engine, sequences):
    """Return the residuals of each sequence's last token, (sequences, layers + 1, width)."""
    size = (len(sequences), engine.n_layers + 1, engine.width)
    found = np.full(size, np.nan, dtype=np.float32)
    for which, values in engine.residuals(sequences):
        found[which] = values
    return found


def residuals_at(engine, prompts):
    """Return `residuals_of` prompts."""
    return residuals_of(engine, [ids.tolist() for ids in prompts["token_ids"]])
