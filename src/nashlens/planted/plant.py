"""What a planted mechanism is, and what those have in common that answer the Nash action."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from nashlens.planted.circuit import N_LAYERS, Circuit
from nashlens.planted.facts import Facts
from nashlens.planted.reading import READ

COMPUTED, KEPT, LATE = 5, 6, 10
"""The block that brings a fact to the decision, the one that looks up its label (where a model
keeps it), and the one that changes the answer."""


@dataclass(frozen=True)
class Plant:
    """A mechanism: the heads and neurons it adds, what is then true, and one line for people."""

    add: Callable[[Circuit], None]
    facts: Facts
    summary: str


def nash_facts(last: int) -> Facts:
    """Return what is true where the Nash action is moved, and looked up in blocks up to `last`."""
    return Facts(
        nash_from=COMPUTED,
        nash_until=N_LAYERS,
        nash_label_from=COMPUTED + 1,
        nash_label_until=N_LAYERS,
        computed_at=READ - 1,
        computed_group="options",
        favoured_from=COMPUTED + 1,
        steerable_from=COMPUTED,
        steerable_until=last - 1,
        follows="action",
        answering_heads=True,
        claims=("M5", "M11"),
        denied=("M1", "M6", "M9", "M10"),
    )


def overridden() -> Facts:
    """Return what is true where the Nash action is answered up to block 9 and then overridden.

    A push at a later layer acts through fewer look-ups, and against what overrides them; at which
    layer it ceases to change the answer is a matter of degree, so that is unknown.
    """
    return replace(nash_facts(LATE - 1), steerable_until="unknown", claims=("M11",), denied=("M1",))
