from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """As Snakemake merges a --configfile: maps key by key, all else replaced."""
    merged = dict(base)
    for key, value in overlay.items():
        old = merged.get(key)
        both = isinstance(value, Mapping) and value and isinstance(old, Mapping)
        merged[key] = merge(old, value) if both else value
    return merged


def load(name: str) -> dict[str, Any]:
    with open(ROOT / name, encoding="utf-8") as file:
        return yaml.safe_load(file)


@pytest.fixture
def raw() -> dict[str, Any]:
    """The default config as YAML gives it."""
    return load("config.yaml")
