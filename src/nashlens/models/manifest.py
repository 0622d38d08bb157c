"""What a converted model's folder says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nashlens.errors import ModelError
from nashlens.files import AGAIN

MANIFEST = "manifest.json"


def read_manifest(folder: Path | str) -> dict[str, Any]:
    """Read a converted model's manifest.

    Raises
    ------
    ModelError
        It is missing or damaged; then it is deleted, so that the model is converted again.
    """
    path = Path(folder) / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path}: no readable manifest ({error}): {AGAIN}") from None
    except ValueError as error:
        raise _no_manifest(path, f"no readable manifest ({error})") from None
    if not isinstance(manifest, dict):
        raise _no_manifest(path, "no JSON object")
    return manifest


def _no_manifest(path: Path, why: str) -> ModelError:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return ModelError(f"{path}: {why}; delete it, and {AGAIN}")
    return ModelError(f"{path}: {why}: {AGAIN}, which converts the model anew")
