"""Stages that a config can leave out, by setting their section to null."""

from __future__ import annotations

NULLABLE = {"patching": ("pairs", "patching", "patching_summary")}
"""Key of the config -> the tables of the stage, by model. Claims that read one of them are then
not applicable, and figures of them are not drawn."""


def left_out_by(table: str) -> str | None:
    """Return the key of the config that can leave a table out; None if nothing can."""
    return next((key for key, tables in NULLABLE.items() if table in tables), None)
