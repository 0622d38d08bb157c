"""Models by family and number of parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from nashlens.models.table import readable_count

SMALL = 10e9
"""Number of parameters below which a model is small: the paper's small one has 8 billion."""
STEP = 2.0
"""Least ratio of two sizes of a family: the paper's smaller step is 32 to 72 billion."""


class SizedModel(NamedTuple):
    """A model with its family and its number of parameters."""

    name: str
    family: str
    parameters: float

    @property
    def size(self) -> str:
        """Its name with its parameters: llama3_8b (8.03B), smollm2 (135M)."""
        return f"{self.name} ({readable_count(self.parameters)})"


def sized_models(table: pd.DataFrame) -> list[SizedModel]:
    """Return the models of `nashlens.models.table.models_table`, from small to large."""
    rows = table.itertuples(index=False)
    known = (SizedModel(str(m.model), str(m.family), float(m.n_parameters)) for m in rows)  # type: ignore[arg-type]
    return sorted(known, key=lambda model: (model.parameters, model.name))


def families(models: Sequence[SizedModel]) -> Iterator[list[SizedModel]]:
    """Yield each family's models, from small to large, where the last is a step larger.

    Parameters
    ----------
    models : sequence of SizedModel
        From small to large.
    """
    for family in dict.fromkeys(model.family for model in models):
        members = [model for model in models if model.family == family]
        if members[-1].parameters >= STEP * members[0].parameters:
            yield members


def list_sizes_and_families(models: Sequence[SizedModel]) -> str:
    """Return models with their sizes and families, for a message; `none` where there are none."""
    return ", ".join(f"{m.size}, family {m.family}" for m in models) or "none"
