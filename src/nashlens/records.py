"""Records beside results: where they lie, and whether a result is still what its record says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nashlens.digests import sha256_once
from nashlens.files import unsealed

FOLDER = ".provenance"


def record_of(path: Path, home: Path) -> Path:
    """Return where the record of a result lies, in the folder of the experiment that has it."""
    return home / FOLDER / path.relative_to(home).with_name(f"{path.name}.json")


def is_changed(path: Path, home: Path) -> bool:
    """Return whether a result holds other bytes than its record says; not where one is missing."""
    try:
        record = unsealed(record_of(path, home).read_bytes())
        return sha256_once(path) != record.get("sha256")
    except (OSError, ValueError):
        return False


def record_beside(path: str | Path) -> dict[str, Any]:
    """Return what a result was made from and with; nothing where no record tells."""
    path = Path(path)
    home = next((folder for folder in path.parents if (folder / FOLDER).is_dir()), None)
    if home is None:
        return {}
    try:
        return dict(unsealed(record_of(path, home).read_bytes()))
    except (OSError, ValueError):
        return {}
