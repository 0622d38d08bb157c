"""What a converted model's folder says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nashlens.errors import ModelError

MANIFEST = "manifest.json"


def read_manifest(folder: Path | str) -> dict[str, Any]:
    """Read a converted model's manifest.

    Raises
    ------
    ModelError
        It is missing or damaged: the folder is no converted model.
    """
    path = Path(folder) / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: no readable manifest ({error}); convert the model") from None
    if not isinstance(manifest, dict):
        raise ModelError(f"{path}: a JSON object is needed; convert the model again")
    return manifest
