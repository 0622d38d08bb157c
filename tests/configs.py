"""Configs of experiments, as Snakemake merges them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """As Snakemake merges a --configfile: maps key by key, all else replaced."""
    merged = dict(base)
    for key, value in overlay.items():
        old = merged.get(key)
        both = isinstance(value, Mapping) and value and isinstance(old, Mapping)
        merged[key] = merge(old, value) if both else value
    return merged
