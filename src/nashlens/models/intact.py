"""Whether a converted model's files still hold what was converted.

Conversion records each file's SHA-256. A file is compared with it when a model is loaded, once for
each state of the file: what was found is remembered beside the model, for all jobs. A file that
conversion did not write is refused, as the readers of models take any file with a name that they
know: a chat template, say, or a generation config.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nashlens.digests import Digests, sha256_once
from nashlens.errors import AGAIN, ModelError
from nashlens.files import read_object
from nashlens.models.manifest import MANIFEST

CHECKED = ".checked.json"
"""The memory of what was found, see `nashlens.digests`."""
STRANGE = "it is no file of the converted model, and may be read with it: delete it or move it away"
"""What is said of a file that conversion did not write."""


class StrangerError(ModelError):
    """A converted model's folder holds a file that conversion did not write."""


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a folder, by name."""
    return {path.name: sha256_once(path) for path in sorted(folder.iterdir()) if path.is_file()}


def remember(folder: Path, names: Iterable[str]) -> None:
    """Write down the digests that files have now, where the folder can be written to."""
    found = Digests(folder / CHECKED)
    for name in names:
        found.of(folder / name)
    found.save()


def check_files(folder: Path | str, *, weights: bool = True, mend: bool = True) -> None:
    """Compare a converted model's files with what was converted.

    Parameters
    ----------
    folder : path
        A folder without a manifest of ours holds nothing to compare with, and is left alone.
    weights : bool, default True
        Whether the weights are read too, which takes seconds where they are large; without it,
        they need only be there.
    mend : bool, default True
        Whether the manifest of a damaged model is taken away, so that it is converted again.

    Raises
    ------
    ModelError
        A file is missing or has other bytes.
    StrangerError
        A file was added.
    """
    folder = Path(folder)
    manifest = read_object(folder / MANIFEST)
    known = manifest.get("digests")
    if not isinstance(known, dict):
        return
    checked = Digests(folder / CHECKED)
    for name, digest in known.items():
        path = folder / name
        try:
            path.stat()
        except FileNotFoundError:
            raise _damaged(path, manifest, "it is missing", mend) from None
        if (weights or _is_small(path)) and checked.of(path) != digest:
            why = "its bytes are not those that were converted"
            raise _damaged(path, manifest, why, mend)
    checked.save()
    for path in strangers(folder):
        raise StrangerError(f"{path}: {STRANGE}, and {AGAIN}")


def strangers(folder: Path | str) -> list[Path]:
    """List what lies in a converted model's folder and was not put there by its conversion.

    Hidden files are nobody's: no reader of models asks for one.
    """
    folder = Path(folder)
    known = read_object(folder / MANIFEST).get("digests")
    if not isinstance(known, dict):
        return []
    ours = {*known, MANIFEST}
    found = [path for path in folder.iterdir() if path.name not in ours]
    return sorted(path for path in found if not path.name.startswith("."))


def _damaged(path: Path, manifest: Mapping[str, Any], why: str, mend: bool) -> ModelError:
    """Take the manifest away if asked to; return the error that says what is wrong."""
    linked = path.is_symlink() or (path.exists() and path.stat().st_nlink > 1)
    source = (
        f" (it is one file with that of {manifest.get('source')}: if that is damaged, fetch it"
        " again first)"
        if linked
        else ""
    )
    try:
        if mend:
            (path.parent / MANIFEST).unlink(missing_ok=True)
    except OSError:
        return ModelError(f"{path}: {why}; delete {path.parent / MANIFEST} and {AGAIN}{source}")
    return ModelError(f"{path}: {why}: {AGAIN}, which converts the model anew{source}")


def _is_small(path: Path) -> bool:
    return path.suffix != ".safetensors"
