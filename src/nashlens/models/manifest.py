"""What a converted model's folder says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nashlens.errors import AGAIN, ModelError

MANIFEST = "manifest.json"
CONVERT_AGAIN = f"delete its {MANIFEST}, and {AGAIN}"
"""What to do where a model was not converted into what its files should hold."""


def read_manifest(folder: Path | str, *, mend: bool = True) -> dict[str, Any]:
    """Read a converted model's manifest.

    Raises
    ------
    ModelError
        It is missing or damaged; then `mend` deletes it, so that the model is converted again.
    """
    path = Path(folder) / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path}: no readable manifest ({error}): {AGAIN}") from None
    except ValueError as error:
        raise _no_manifest(path, f"no readable manifest ({error})", mend) from None
    if not isinstance(manifest, dict):
        raise _no_manifest(path, "no JSON object", mend)
    return manifest


def _no_manifest(path: Path, why: str, mend: bool) -> ModelError:
    try:
        if mend:
            path.unlink(missing_ok=True)
    except OSError:
        return ModelError(f"{path}: {why}; delete it, and {AGAIN}")
    return ModelError(f"{path}: {why}: {AGAIN}, which converts the model anew")
