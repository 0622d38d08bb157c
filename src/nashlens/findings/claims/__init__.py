"""The claims, one module each: adding a claim is adding one file here.

Claims about what happens inside a model are in `m*.py`, those about a model's play in `b*.py`,
those about play between models in `x*.py`, those about steered players in `s*.py`, and those about
what models of one descent differ in, in `c*.py`.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from nashlens.findings.claim import Claim

LETTERS = "mbxsc"
"""What the modules of claims start with, in the order of the findings."""


def claim_modules(letters: str = LETTERS) -> list[ModuleType]:
    """Return the modules of claims that start with one of some letters, by letter and number."""
    names = [module.name for module in iter_modules(__path__) if module.name[0] in letters]
    names.sort(key=lambda name: (letters.index(name[0]), int(name[1 : name.index("_")])))
    return [import_module(f"{__name__}.{name}") for name in names]


def load(letters: str) -> tuple[Claim[Any], ...]:
    """Return the claims of `claim_modules`."""
    return tuple(module.CLAIM for module in claim_modules(letters))


CLAIMS = load("m")
"""The claims about models, M1 first."""
PLAY_CLAIMS = load("bxs")
"""The claims about play: B, then X, then S."""
LINEAGE_CLAIMS = load("c")
"""The claims about models of one descent: base and trained, small and large."""
ALL_CLAIMS = (*CLAIMS, *PLAY_CLAIMS, *LINEAGE_CLAIMS)
"""All of them, in the order of the findings."""
