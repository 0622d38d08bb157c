"""What a job asks of GPUs: the memory of its models, as its rule states it before anything runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nashlens.gpus import MB
from nashlens.models.shapes import Shape
from nashlens.plan.memory import CONTEXT, peak_bytes, readout_bytes

MARGIN = 1.15
"""Of what is computed: measured peaks lie within 15% (docs/benchmarks.md)."""


@dataclass(frozen=True)
class Ask:
    """What a job asks for.

    Attributes
    ----------
    shares : tuple of int
        MB that each of its models takes of one GPU.
    whole : int
        Or this many whole GPUs; -1 for all.
    pins : tuple of int
        The GPU that each share must be on, as its place among those visible; empty where any does.
    """

    shares: tuple[int, ...] = ()
    whole: int = 0
    pins: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Ask:
        """Read `45000+47000`, `45000@1` or `2 whole`, as a rule's resources state it."""
        number, _, unit = text.partition(" ")
        if unit == "whole":
            return cls(whole=int(number))
        parts = [part.partition("@") for part in text.split("+")]
        pins = tuple(int(pin) for _, _, pin in parts if pin)
        return cls(tuple(int(share) for share, _, _ in parts), pins=pins)

    def __str__(self) -> str:
        if self.whole:
            return f"{self.whole} whole"
        pins = [f"@{pin}" for pin in self.pins] or [""] * len(self.shares)
        return "+".join(f"{share}{pin}" for share, pin in zip(self.shares, pins, strict=True))


def model_ask(
    config: Mapping[str, Any],
    rule: str,
    models: Sequence[str],
    shapes: Mapping[str, Shape],
    players: Sequence[str] = (),
) -> Ask | None:
    """Return what a job asks for that runs some models.

    Parameters
    ----------
    config : mapping
        The checked config, doses of agents written out.
    rule : str
    models : sequence of str
    shapes : mapping of str to Shape
        Those that are known; a model of unknown size takes a whole GPU.
    players : sequence of str
        The agents that play, where it plays.

    Returns
    -------
    Ask or None
        None where all models are on the CPU. A model that is spread over GPUs takes whole ones: as
        many as its `gpus` says, all where that is less than two.
    """
    sections = {m: config["models"][m] for m in models if config["models"][m]["device"] != "cpu"}
    if not sections:
        return None
    spread = [how for how in sections.values() if how["parallel"] != "none"]
    if spread and any(how["gpus"] < 2 for how in spread):
        return Ask(whole=-1)
    if spread or any(name not in shapes for name in sections):
        single = len(sections) - len(spread)
        return Ask(whole=single + sum(how["gpus"] for how in spread))
    shares = [
        _share(peak_bytes(config, rule, name, shapes[name], True, players)) for name in sections
    ]
    return Ask(tuple(shares), pins=_pins(sections))


def readout_ask(model: Mapping[str, Any], shape: Shape | None, *, tuned: bool) -> Ask | None:
    """Return what a job asks for that reads stored residuals through a model's unembedding.

    Parameters
    ----------
    model : mapping
        Its section in the config.
    shape : Shape or None
    tuned : bool
        Whether they are translated first.
    """
    if model["device"] == "cpu":
        return None
    if shape is None:
        return Ask(whole=1)
    return Ask((_share(readout_bytes(shape, tuned=tuned)),), pins=_pins({"": model}))


def _share(size: float) -> int:
    return math.ceil((MARGIN * size + CONTEXT) / MB)


def _pins(sections: Mapping[str, Mapping[str, Any]]) -> tuple[int, ...]:
    """Return the GPUs that models name; those that name none are on the first then."""
    named = [how["device"].partition(":")[2] for how in sections.values()]
    return tuple(int(name or 0) for name in named) if any(named) else ()
