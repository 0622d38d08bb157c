"""Token ids and positions by prompt id, read from disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nashlens.errors import AGAIN, StoreError
from nashlens.tables import open_table
from nashlens.vocabulary.positions import DECISION, position_column


class TokenIds(Mapping[str, list[int]]):
    """Token ids of a prompts table, of which only one row group is in memory at a time.

    In the table's order each row group is read once; any other order gives the same ids, more
    slowly. For each row its prompt id (32 bytes) and its number stay in memory.

    Parameters
    ----------
    path : str or Path
        The prompts table.
    positions : sequence of str
        Positions that `places` gives, apart from the decision.

    Raises
    ------
    StoreError
        If the table is missing or damaged, or lacks a column.
    """

    def __init__(self, path: str | Path, positions: Sequence[str] = ()):
        self._path = path
        self._file = open_table(path)
        self._positions = [name for name in positions if name != DECISION]
        found = set(self._file.schema_arrow.names)
        missing = {"prompt_id", "token_ids"} - found
        if missing:
            raise StoreError(f"{path}: has no column {min(missing)}; it is no prompts table")
        unknown = [name for name in self._positions if position_column(name) not in found]
        if unknown:
            raise StoreError(
                f"{path}: has no column {position_column(unknown[0])};"
                f" add the position to activations.positions, and {AGAIN}"
            )
        groups = range(self._file.num_row_groups)
        names = [self._column(group, "prompt_id").to_pylist() for group in groups]
        self._ends = np.cumsum([len(part) for part in names])
        # Fixed-width bytes take a quarter of what strings do.
        packed = [np.array(part, dtype="S") for part in names]
        ids = np.concatenate(packed) if packed else np.array([], dtype="S")
        # Equal ids have equal tokens, so the first row serves for all.
        self._ids, self._rows = np.unique(ids, return_index=True)
        self._group, self._start = -1, 0
        self._offsets = self._values = np.empty(0, dtype=np.int64)
        self._places: dict[str, np.ndarray] = {}

    def _column(self, group: int, name: str) -> Any:
        return self._file.read_row_group(group, columns=[name]).column(name).combine_chunks()

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[str]:
        return (name.decode() for name in self._ids)

    def __getitem__(self, prompt: str) -> list[int]:
        row = self._row(prompt)
        first, last = self._offsets[row : row + 2]
        tokens: list[int] = self._values[first:last].tolist()
        return tokens

    def places(self, prompt: str) -> dict[str, int]:
        """Return the token of each position that a prompt has, by name."""
        row = self._row(prompt)
        found = ((name, values[row]) for name, values in self._places.items())
        return {name: int(token) for name, token in found if token >= 0}

    def _row(self, prompt: str) -> int:
        """Load the row group of a prompt; return its row there."""
        at = int(np.searchsorted(self._ids, prompt.encode()))
        if at == len(self._ids) or self._ids[at] != prompt.encode():
            raise KeyError(prompt)
        row = int(self._rows[at])
        self._load(int(np.searchsorted(self._ends, row, side="right")))
        return row - self._start

    def _load(self, group: int) -> None:
        """Read a row group's token ids, one flat array with the offset of each row, and places."""
        if group == self._group:
            return
        column = self._column(group, "token_ids")
        self._offsets, self._values = column.offsets.to_numpy(), column.values.to_numpy()
        for name in self._positions:
            places = self._column(group, position_column(name)).fill_null(-1)
            self._places[name] = places.to_numpy(zero_copy_only=False)
        self._group, self._start = group, int(self._ends[group - 1]) if group else 0
