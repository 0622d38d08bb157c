"""Patching between pairs of the planted model that plays Nash from payoffs."""

from nashlens.circuits.patching import patching_table
from nashlens.estimates import Bootstrap
from nashlens.games import CATALOG
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.prompts.pairs import build_pairs
from nashlens.prompts.table import Asked, planned_decisions
from tests.designs import DESIGN

HOW = Bootstrap(0.95, 200, 1)
GROUPS = ["payoffs", "rounds", "options", "question", "decision"]
KINDS = ["payoffs", "history", "labels"]
LAYERS = [2, 3, 4, 5, 12]


def pairs_of(folder):
    design = DESIGN | {"rounds": [4], "histories": 2, "seed": 1}
    decisions = planned_decisions([CATALOG["deadlock"]], **design)
    asked = Asked(ChatTokenizer(folder), None, "I choose option")
    return build_pairs(decisions, asked, kinds=KINDS, games=["deadlock"])


def patched(engine, pairs, **changes):
    settings = {
        "games": ["deadlock"], "kinds": KINDS, "pairs_per_game": 16, "sites": ["residual"],
        "directions": ["destroy", "restore"], "layers": LAYERS, "groups": GROUPS, "heads": [],
        "screen": None, "paths": [],
    }  # fmt: skip
    return patching_table(engine, pairs, **(settings | changes), seed=1, model="nash")
