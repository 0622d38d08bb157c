"""Versions of the packages that compute results, and the device on which they did."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

MODULES = {
    "torch": "torch",
    "transformers": "transformers",
    "sklearn": "scikit-learn",
    "numpy": "numpy",
    "bitsandbytes": "bitsandbytes",
}
"""Module -> the package that it is installed by."""


@cache
def installed(package: str) -> str | None:
    """Return the version of a package here, or None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def installed_versions() -> dict[str, str]:
    """Return the versions of the packages that compute, of those that are installed."""
    found = {package: installed(package) for package in MODULES.values()}
    return {package: version for package, version in found.items() if version is not None}


def used_versions() -> dict[str, str | None]:
    """Return the versions of the packages that this process has imported."""
    return {package: installed(package) for name, package in MODULES.items() if name in sys.modules}


def used_device() -> str:
    """Return the name of the GPU that this process has used, or `cpu`."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return "cpu"
    return str(torch.cuda.get_device_name())


def changed_versions(record: Mapping[str, Any]) -> list[str]:
    """List the packages that computed a result and have another version now, in words."""
    return [
        f"{package} was {version} and is {installed(package)}"
        for package, version in record.get("versions", {}).items()
        if installed(package) != version
    ]
