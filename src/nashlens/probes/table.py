"""What the tables of probes have in common: types of columns, and rows gathered by layer."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nashlens.activations.store import LoadLayer
from nashlens.contrasts import Array, rank_p
from nashlens.errors import DataError
from nashlens.probes.design import ProbeSettings
from nashlens.probes.questions import ProbeQuestion

Row = dict[str, object]
LayerRow = tuple[Hashable, Row, Array | None]
"""What a row belongs to at every layer, the row, and the scores of its permutations if any."""


@dataclass(frozen=True)
class ProbeColumns:
    """The columns of a table of probes: what names a row, its counts, and its other numbers."""

    keys: tuple[str, ...]
    counts: tuple[str, ...]
    numbers: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All columns in the table's order."""
        return (*self.keys, *self.counts, *self.numbers, "folds", "permutations", "confidence")

    def table(self, rows: list[Row], settings: ProbeSettings) -> pd.DataFrame:
        """Return rows as a table with the settings, all columns in order, and their types."""
        frame = pd.DataFrame.from_records(rows, columns=None if rows else list(self.names))
        frame = frame.assign(
            model=settings.model,
            position=settings.position,
            folds=settings.folds,
            permutations=settings.permutations,
            confidence=settings.confidence,
        ).reindex(columns=list(self.names))
        frame[list(self.numbers)] = frame[list(self.numbers)].astype(np.float64)
        frame[list(self.counts)] = frame[list(self.counts)].astype("Int64")
        return frame


class LayerRows:
    """Rows that are gathered layer by layer for several keys, with their permutations' scores."""

    def __init__(self) -> None:
        self._rows: dict[Hashable, list[Row]] = {}
        self._nulls: dict[Hashable, list[Array]] = {}

    def add(self, rows: Iterable[LayerRow]) -> None:
        """Add a layer's rows."""
        for name, row, null in rows:
            # One that has been kept on disk is a list.
            key = tuple(name) if isinstance(name, list) else name
            self._rows.setdefault(key, []).append(row)
            if null is not None:
                self._nulls.setdefault(key, []).append(null)

    def rows(self, confidence: float) -> list[Row]:
        """Return all rows, those of one key together, each compared with the largest null score."""
        for key, rows in self._rows.items():
            nulls = self._nulls.get(key, [])
            if not nulls or not all(len(null) for null in nulls):
                continue
            # Permutations are the same at every layer, so each has a largest score over layers.
            largest = np.max(nulls, axis=0)
            for row in rows:
                score = float(row[str(row["measure"])])  # type: ignore[arg-type]
                row["permutation_max_high"] = float(np.quantile(largest, confidence))
                row["p_value_max"] = rank_p(score, largest)
        return [row for rows in self._rows.values() for row in rows]


def question_columns(question: ProbeQuestion) -> Row:
    """Return what a row says of its question: sizes, and whether it can be asked."""
    target, labels = question.target, question.target.labels
    n = len(labels)
    row: Row = {
        "target": target.name,
        "split": question.split,
        "measure": "r2" if target.regression else "balanced_accuracy",
        "status": "degenerate" if question.reason else "ok",
        "reason": question.reason,
        "n": n,
        "n_missing": target.n_missing,
        "n_matches": len(np.unique(question.matches)),
        "n_parts": len(np.unique(question.held_out.groups)),
    }
    if not target.regression:
        ones = int(labels.sum())
        row |= {"n_class_0": n - ones, "n_class_1": ones}
        row["majority"] = max(ones, n - ones) / n if n else np.nan
    return row


def load_features(load_layer: LoadLayer, layer: int, rows: int) -> Array:
    """Load a layer's activations in float64, (rows, width).

    Raises
    ------
    DataError
        If they do not fit the prompts, or are not finite.
    """
    features = np.asarray(load_layer(layer), dtype=np.float64)
    if features.ndim != 2 or len(features) != rows:
        raise DataError(
            f"activations of layer {layer}: found shape {features.shape}, need ({rows}, width),"
            " one row for each prompt that is not dropped"
        )
    if not np.isfinite(features).all():
        raise DataError(
            f"activations of layer {layer} hold values that are not finite;"
            " extract them in float32 or bfloat16"
        )
    return features
