"""JSON files of a model's folder, which come from anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nashlens.errors import ModelError

MOST_BYTES = 10_000_000
"""Of a file; the longest config.json have 100,000."""


def read_json_object(path: Path, missing: str | None = None) -> dict[str, Any]:
    """Read a JSON object.

    Parameters
    ----------
    path : Path
    missing : str, optional
        What is said where there is no file; without it the object is then empty.

    Raises
    ------
    ModelError
        There is none and should be, it is too large or nested too deep, or it is no JSON object.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ModelError(f"{path}: has more than {MOST_BYTES} bytes; it is no configuration")
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if missing is None:
            return {}
        raise ModelError(f"{path.parent}: no {path.name}{missing}") from None
    except RecursionError:
        raise ModelError(f"{path}: is nested too deep to be a configuration") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({error}); fetch it again") from None
    if not isinstance(found, dict):
        raise ModelError(
            f"{path}: a JSON object is needed, not {type(found).__name__}; fetch it again"
        )
    return found
