"""Activation patching (`nashlens.circuits.patching`)."""

from __future__ import annotations

from typing import Literal, get_args

Direction = Literal["destroy", "restore"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
"""Into which prompt of a pair values are patched: into the design's own, or into the other one."""

PatchSite = Literal["residual", "attention", "mlp"]
SITES: tuple[PatchSite, ...] = get_args(PatchSite)
"""What is patched at a layer, besides single heads."""
