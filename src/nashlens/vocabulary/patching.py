"""Activation patching (`nashlens.circuits.patching`)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, get_args

Direction = Literal["destroy", "restore"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
"""Into which prompt of a pair values are patched: into the design's own, or into the other one."""

PatchSite = Literal["residual", "attention", "mlp"]
SITES: tuple[PatchSite, ...] = get_args(PatchSite)
"""What is patched at a layer, besides single heads."""


def judged_direction(found: Collection[str]) -> Direction:
    """Return the direction that one number is of, where some were patched.

    `destroy`, where it is among them: the design's own prompt is then the one that answers, as
    everywhere else, so that the number is the same whether `restore` was patched too or not.
    """
    return next((direction for direction in DIRECTIONS if direction in found), DIRECTIONS[0])
