"""Configs of experiments, as Snakemake merges them."""

from __future__ import annotations

from typing import Any


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return an experiment's config over the default one, section by section."""
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        base[key] = merged(dict(base[key]), value) if both else value
    return base
