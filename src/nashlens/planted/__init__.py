"""Planted models: tiny deterministic models built on the spot, with known contents.

`build("random", folder)` writes one in Hugging Face layout; `RECIPES` lists them. Importing this
package is cheap: torch and transformers are imported when a model is built.
"""

from nashlens.planted.recipes import RECIPES, Recipe, build

__all__ = ["RECIPES", "Recipe", "build"]
