"""Activation patching (`nashlens.circuits.patching`)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, NamedTuple, get_args

Direction = Literal["destroy", "restore"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
"""Into which prompt of a pair values are patched: into the design's own, or into the other one."""

EXACT, GRADIENT = "exact", "gradient"
"""How the effect of a patch was found: by patching, or only screened."""

PatchSite = Literal["residual", "attention", "mlp"]
SITES: tuple[PatchSite, ...] = get_args(PatchSite)
"""What is patched at a layer, besides single heads."""
_COMPONENT = r"[1-9]\d{0,3}\.(?:attention|mlp|\d{1,4})"
ENDS_PATTERN = rf"(?:embedding|{_COMPONENT})/{_COMPONENT}"
"""Sender/receiver of a path, components as the attribution table names them."""


class Component(NamedTuple):
    """A part of a model, as `nashlens.engine.recording.Site` has it."""

    kind: str
    layer: int
    head: int


def path_parts(path: str) -> tuple[Component, Component, str]:
    """Return the sender, the receiver and the group of tokens of sender/receiver/group."""
    sender, receiver, group = path.split("/")
    return _component(sender), _component(receiver), group


def _component(name: str) -> Component:
    if name == "embedding":
        return Component("residual", 0, -1)
    layer, _, which = name.partition(".")
    if which.isdecimal():
        return Component("head", int(layer), int(which))
    return Component(which, int(layer), -1)


def judged_direction(found: Collection[str]) -> Direction:
    """Return the direction that one number is of, where some were patched.

    `destroy`, where it is among them: the design's own prompt is then the one that answers, as
    everywhere else, so that the number is the same whether `restore` was patched too or not.
    """
    return next((direction for direction in DIRECTIONS if direction in found), DIRECTIONS[0])
