from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]


def load(name: str) -> dict[str, Any]:
    with open(ROOT / name, encoding="utf-8") as file:
        return yaml.safe_load(file)


@pytest.fixture
def raw() -> dict[str, Any]:
    """The default config as YAML gives it."""
    return load("config.yaml")
