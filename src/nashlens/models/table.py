"""The models of an experiment as a table: what comparisons between models go by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from nashlens.models.manifest import read_manifest

_UNITS = ((1e9, "B"), (1e6, "M"), (1e3, "K"))


def readable_count(parameters: float) -> str:
    """Return a number of parameters as people write it.

    >>> readable_count(8.03e9), readable_count(134_515_008), readable_count(5_184)
    ('8.03B', '135M', '5.18K')
    """
    size, unit = next((u for u in _UNITS if parameters >= u[0]), _UNITS[-1])
    return f"{parameters / size:.3g}{unit}"


def read_models(
    manifests: Iterable[Path | str], configured: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """Read the models' families and sizes.

    Parameters
    ----------
    manifests : iterable of Path or str
        Of converted models, each in a folder of its own name.
    configured : mapping of str to mapping
        The config's `models`: each one's `family`, which may be None, and its `base` where that is
        asked about.

    Returns
    -------
    pandas.DataFrame
        Of `models_table`, with `base`: the model that it was trained from, empty for none.

    Raises
    ------
    ModelError
        A folder is no converted model.
    """
    folders = [Path(manifest).parent for manifest in manifests]
    read = {folder.name: read_manifest(folder) for folder in folders}
    table = models_table(read, {name: model["family"] for name, model in configured.items()})
    bases = [configured[name].get("base") or "" for name in table["model"]]
    return table.assign(base=pd.Series(bases, index=table.index, dtype="str"))


def models_table(
    manifests: Mapping[str, Mapping[str, Any]], families: Mapping[str, str | None]
) -> pd.DataFrame:
    """Return the models' families and sizes.

    Parameters
    ----------
    manifests : mapping of str to mapping
        Each converted model's manifest.
    families : mapping of str to str or None
        A model's family; the default is its architecture.

    Returns
    -------
    pandas.DataFrame
        `model`, `family`, `n_parameters`.
    """
    rows = [
        (name, families.get(name) or manifest["architecture"], float(manifest["n_parameters"]))
        for name, manifest in manifests.items()
    ]
    table = pd.DataFrame(rows, columns=["model", "family", "n_parameters"])
    return table.astype({"model": "str", "family": "str", "n_parameters": "float64"})
