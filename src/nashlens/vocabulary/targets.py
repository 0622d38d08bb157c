"""What probes decode and whom they are tested on (`nashlens.probes`).

A new target is one entry here; its column is computed in `nashlens.prompts.targets` and described
in `docs/reference/results.md`.
"""

from __future__ import annotations

from typing import NamedTuple


class TargetColumn(NamedTuple):
    """A column that probes decode, missing where it is undefined."""

    name: str
    about: str
    """One of `KINDS`: what a probe has to read for it."""
    share: bool = False
    """A share from 0 to 1, decoded by ridge regression and scored by R2; else an action, 0 or 1."""
    from_lens: bool = False
    """Read from the lens table of the model; else a column of the prompts table."""


KINDS = {
    "history": "the past moves, and what follows from them",
    "action": "an action in the game's own order, whatever it is called",
    "label": "the word for it: the pair's first label, or its second",
    "place": "where it stands: listed first, or second",
}
"""An action of the game, Nash or prosocial, follows from the kind of game. Which label or place it
has differs within a block, so a probe must bind the action to its word or its place."""

TARGET_COLUMNS = (
    TargetColumn("own_last", "history"),
    TargetColumn("opponent_last", "history"),
    TargetColumn("opponent_cooperation", "history", share=True),
    TargetColumn("nash_action", "action"),
    TargetColumn("nash_label", "label"),
    TargetColumn("nash_place", "place"),
    TargetColumn("prosocial_action", "action"),
    TargetColumn("prosocial_label", "label"),
    TargetColumn("prosocial_place", "place"),
    TargetColumn("best_response", "history"),
    TargetColumn("opponent_next", "history"),
    TargetColumn("chosen_action", "action", from_lens=True),
    TargetColumn("chosen_label", "label", from_lens=True),
    TargetColumn("chosen_place", "place", from_lens=True),
)
TARGETS = tuple(column.name for column in TARGET_COLUMNS)
SHARE_TARGETS = tuple(column.name for column in TARGET_COLUMNS if column.share)
GAINS = ("own_gain", "other_gain")
"""Columns of the prompts table beside the targets: the action that gives the seat, or the other,
more on average. Directions separate them; no probe does, since in a game whose Nash action is
dominant the first is that action."""
PROMPT_TARGETS = {
    column.name: "float64" if column.share else "Int64"
    for column in TARGET_COLUMNS
    if not column.from_lens
} | dict.fromkeys(GAINS, "Int64")
"""Targets in the prompts table, and gains, with the types of their columns."""

SPLITS = ("match", "game", "label_set", "template")
"""What is held out together: folds of whole matches, or every value of a column in turn."""

CLAIM_TARGETS = ("opponent_last", "nash_label", "nash_place")
"""Targets of the claims in `nashlens.findings`: their probes are also scored on parts of the
prompts, so that the claims can be judged there."""
