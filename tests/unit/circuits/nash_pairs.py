"""Patching between pairs of the planted model that plays Nash from payoffs."""

from nashlens.circuits.patching import patching_table
from nashlens.estimates import Bootstrap
from nashlens.models.tokenizer import ChatTokenizer
from tests.designs import make_pairs

HOW = Bootstrap(0.95, 200, 1)
GROUPS = ["payoffs", "rounds", "options", "question", "decision"]
KINDS = ["payoffs", "history", "labels"]
LAYERS = [2, 3, 4, 5, 12]


def pairs_of(folder):
    design = {"rounds": [4], "histories": 2, "seed": 1}
    return make_pairs(["deadlock"], ChatTokenizer(folder), KINDS, **design)


def patched(engine, pairs, **changes):
    settings = {
        "games": ["deadlock"], "kinds": KINDS, "pairs_per_game": 16, "sites": ["residual"],
        "directions": ["destroy", "restore"], "layers": LAYERS, "groups": GROUPS, "heads": [],
        "screen": None, "paths": [],
    }  # fmt: skip
    return patching_table(engine, pairs, **(settings | changes), seed=1, model="nash")
