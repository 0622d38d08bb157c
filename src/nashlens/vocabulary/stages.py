"""Stages that a config can leave out, by setting their section to null."""

from __future__ import annotations

NULLABLE = {
    "circuits": ("heads", "heads_summary"),
    "patching": ("pairs", "patching", "patching_summary"),
    "attribution": ("attribution", "override", "attribution_summary", "choir"),
    "spikes": ("spikes", "spikes_summary"),
}
"""Key of the config -> the tables of the stage, by model. Claims that read one of them are then
not applicable, and figures of them are not drawn."""


INTERVENTION = "agents.NAME.intervention"
STEERED = (
    *("steered_play", "steered_texts", "steered_matches"),
    *("steered_quiz", "steered_text", "steered_summary"),
)
"""Tables that are there where an agent has an intervention."""


def left_out_by(table: str) -> str | None:
    """Return the key of the config that can leave a table out; None if nothing can."""
    keys = {**NULLABLE, INTERVENTION: STEERED}
    return next((key for key, tables in keys.items() if table in tables), None)
