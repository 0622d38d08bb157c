"""Configs of experiments, as Snakemake merges them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nashlens.config.doses import dose_agents
from nashlens.config.overlays import follow_drops
from nashlens.config.validate import validate


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """As a run reads a --configfile: what an overlay drops takes with it what refers to it."""
    return follow_drops(plain_merge(base, overlay), [base, overlay])[0]


def plain_merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """As Snakemake merges a --configfile: maps key by key, all else replaced."""
    merged = dict(base)
    for key, value in overlay.items():
        old = merged.get(key)
        both = isinstance(value, Mapping) and value and isinstance(old, Mapping)
        merged[key] = plain_merge(old, value) if both else value
    return merged


def resolved(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config as jobs read it: checked, with one agent for each dose of a player."""
    config = validate(raw).model_dump(mode="json")
    config["agents"] = dose_agents(config["agents"], config["steering"]["units"])
    return config
