"""The models of an experiment as a table: what comparisons between models go by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd


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
