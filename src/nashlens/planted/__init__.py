"""Planted models: tiny deterministic models built on the spot, whose mechanism is known.

`build("override", folder)` writes one in Hugging Face layout, with what is true of it in
`planted.json`; `RECIPES` lists them. Importing this package is cheap: torch and transformers are
imported when a model is built.
"""

from nashlens.planted.facts import Facts, read_facts
from nashlens.planted.recipes import RECIPES, Recipe, build

__all__ = ["RECIPES", "Facts", "Recipe", "build", "read_facts"]
