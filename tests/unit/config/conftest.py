from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nashlens.config import preflight as outside
from nashlens.config import validate
from tests.configs import merge

ROOT = Path(__file__).parents[3]


def load(name: str) -> dict[str, Any]:
    with open(ROOT / name, encoding="utf-8") as file:
        return yaml.safe_load(file)


@pytest.fixture
def raw() -> dict[str, Any]:
    """The default config as YAML gives it."""
    return load("config.yaml")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without a GPU, whatever this one has."""
    monkeypatch.setattr(outside, "visible_gpus", lambda: 0)


def check(overlay: dict[str, Any], converted: Any = None, **options: bool) -> list[str]:
    """Return what the world outside says of the tiny config and an overlay."""
    tiny = merge(load("config.yaml"), load("experiments/tiny.yaml"))
    return outside.preflight(validate(merge(tiny, overlay)), converted or {}, **options)


def of_model(**keys: Any) -> dict[str, Any]:
    """Return an overlay with keys of one of the tiny config's models."""
    return {"models": {"tiny_llama": keys}}
