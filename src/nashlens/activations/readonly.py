"""Opens activations for people: nothing is moved or deleted where a file is damaged."""

from __future__ import annotations

from pathlib import Path

from nashlens.activations.store import ActivationStore
from nashlens.errors import StoreError
from nashlens.files import parse_json


class ReadOnlyStore(ActivationStore):
    """A model's activations, read by memory map; a damaged file is an error and stays as it is."""

    def __init__(self, path: str | Path):
        folder = Path(path)
        manifest = folder / "manifest.json"
        again = "`snakemake --cores all activations` with this experiment's config makes it"
        if not manifest.is_file():
            shards = len(list(folder.glob("shard-*.npy")))
            found = f"half-made, {shards} shards and no list of them" if shards else "no such file"
            raise StoreError(f"{manifest}: {found}; {again}")
        # The store itself would set a damaged manifest aside.
        parse_json(manifest, f"delete it, {again}")
        super().__init__(folder)

    def _damaged(self, path: Path, why: str) -> StoreError:
        return StoreError(
            f"{path}: {why}; delete it, the .json of the same name, plan.json and manifest.json:"
            " `snakemake --cores all activations` with this experiment's config makes them anew"
        )
