"""Tests whether language models compute the Nash action and then suppress it.

The package is the science tier: it knows arrays, frames and models, and neither Snakemake nor
the layout of `results/`, but for `results`, which opens them for people. Data flows one way: games,
prompts, then play beside activations; from activations to probes, lens and directions; from
directions to steering; all to findings, and findings to figures.

What `__all__` lists is public and stable. For the rest, import the stage you need (`from
nashlens.games import solve`); nothing heavy is imported here.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nashlens.activations.store import ActivationStore
    from nashlens.errors import ConfigError, NashlensError, StoreError
    from nashlens.results import Results, open

__version__ = "0.1.0"
__all__ = [
    "ActivationStore",
    "ConfigError",
    "NashlensError",
    "Results",
    "StoreError",
    "open",
]

_HOMES = {"open": "results", "Results": "results", "ActivationStore": "activations.store"}


def __getattr__(name: str) -> Any:
    # On first use, since most jobs need none of it.
    if name not in __all__:
        raise AttributeError(f"module 'nashlens' has no attribute {name!r}")
    return getattr(importlib.import_module(f"nashlens.{_HOMES.get(name, 'errors')}"), name)
