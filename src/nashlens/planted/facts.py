"""What is true of a planted model, written next to its weights as `planted.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from nashlens.errors import ModelError
from nashlens.files import read_json
from nashlens.models.manifest import CONVERT_AGAIN

FILE = "planted.json"
_TUPLES = ("claims", "denied", "contradicted", "joint_layers")
_COMPONENTS = ("components", "answered_by")
Component = tuple[str, int, int]
"""Kind (head, mlp), layer from 1, head from 0 (-1 for an MLP): the fields of a `Site`."""
Layer = int | Literal["unknown"] | None


@dataclass(frozen=True)
class Facts:
    """What is true of a planted model: layers from 1, None (nowhere) or "unknown" (not planted)."""

    history_from: Layer = None
    """First layer at which the opponent's last action is linearly readable at the decision."""
    history_until: Layer = None
    """Last such layer."""
    nash_from: Layer = None
    """First layer at which the Nash action is linearly readable at the decision."""
    nash_until: Layer = None
    """Last such layer."""
    nash_label_from: Layer = None
    """First layer at which the Nash action's label, first or second of its pair, is readable."""
    nash_label_until: Layer = None
    """Last such layer."""
    nash_place_from: Layer = None
    """First layer at which it is readable whether the Nash action is listed first."""
    computed_at: Layer = None
    """Lowest layer at which tokens before the decision hold the Nash label, or what it follows
    from: with their values of other payoffs the answer is another."""
    computed_group: str | None = None
    """Their token group."""
    favoured_from: Layer = None
    """First layer whose residual, unembedded, favours the Nash action."""
    override_at: Layer = None
    """First layer from which on the prosocial action is favoured instead of the Nash action."""
    steerable_from: Layer = None
    """First layer after which a push along the Nash direction moves the answer."""
    steerable_until: Layer = None
    """Last such layer."""
    label_from: Layer = "unknown"
    """First layer after which a push along the label direction moves the answer to that label."""
    label_until: Layer = "unknown"
    """Last such layer."""
    label_words: Literal["all", "fitted", "unknown"] = "unknown"
    """Whether it does so for all pairs of labels, or for those only that it was fitted on."""
    joint_layers: tuple[int, ...] = ()
    """Layers at which such pushes move the answer together, where one of them does not."""
    follows: Literal["action", "word", "unknown"] = "unknown"
    """What the answer follows when labels are swapped."""
    answering_heads: bool | Literal["unknown"] = False
    """Whether few heads or MLPs answer the Nash action, so that claim M4 is contradicted."""
    components: tuple[Component, ...] = ()
    """What writes the answer that is planted: without all of them it is gone."""
    answered_by: tuple[Component, ...] = ()
    """Heads at the decision that bring the Nash answer and write it, where these are known."""
    component_group: str | None = None
    """The token group at which the first of them writes."""
    component_layer: Layer = None
    """The layer at which the first of them writes."""
    alone: bool | Literal["unknown"] = "unknown"
    """Whether each of them is needed, so that without any one of them the answer is gone."""
    claims: tuple[str, ...] = ()
    """Claims of `nashlens.findings` that hold by construction."""
    denied: tuple[str, ...] = ()
    """Claims that do not hold, by construction."""
    contradicted: tuple[str, ...] = ()
    """Those of them of which a study must say so, and not only leave them open."""
    null: bool = False
    """The model has nothing about actions at all: whatever is found is a false positive."""


def write_facts(folder: Path | str, recipe: str, seed: int, summary: str, facts: Facts) -> None:
    """Write a model's `planted.json`."""
    record = {"recipe": recipe, "seed": seed, "summary": summary, "facts": asdict(facts)}
    text = json.dumps(record, indent=2, sort_keys=True)
    (Path(folder) / FILE).write_text(text + "\n", encoding="utf-8")


def read_facts(folder: Path | str) -> Facts:
    """Read a converted planted model's facts.

    Raises
    ------
    ModelError
        There is no such file, or it holds other keys: the model is not a planted one.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise ModelError(f"{path}: missing; only models of the source planted:NAME can be checked")
    record: dict[str, Any] = read_json(path)
    try:
        facts = dict(record["facts"])
        facts |= {key: tuple(facts[key]) for key in _TUPLES}
        for key in _COMPONENTS:
            facts[key] = tuple((str(k), int(a), int(b)) for k, a, b in facts[key])
        return Facts(**facts)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path}: not a planted model's facts ({error}): {CONVERT_AGAIN}"
        ) from None
