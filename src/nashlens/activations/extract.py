"""Computing the shards of a plan."""

from __future__ import annotations

import contextlib
import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nashlens.activations.store import Dtype, read_entry, write_shard
from nashlens.progress import progress

if TYPE_CHECKING:
    from nashlens.engine.core import Engine

log = logging.getLogger(__name__)


@contextlib.contextmanager
def _shard_lock(folder: Path, number: int) -> Iterator[None]:
    """Wait for whoever else writes this shard: an orphan of a killed run may still be at it."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "ab") as file:
        # One byte of the lock file stands for one shard, so parts do not wait for one another.
        fcntl.lockf(file, fcntl.LOCK_EX, 1, number)
        try:
            yield
        finally:
            fcntl.lockf(file, fcntl.LOCK_UN, 1, number)


def extract(
    engine: Engine,
    prompts: pd.DataFrame,
    plan: dict[str, Any],
    folder: str | Path,
    *,
    part: int,
    parts: int,
    dtype: Dtype,
) -> dict[str, Any]:
    """Compute and write a part of a plan's new shards; complete ones are skipped.

    Parameters
    ----------
    engine : Engine
    prompts : pandas.DataFrame
        The prompts table that the plan was made from.
    plan : dict
        Of `plan_shards`.
    folder : str or Path
    part, parts : int
        Which part this is, 1-based, and how many there are; shards are dealt in turn.
    dtype : {"float32", "float16", "bfloat16"}

    Returns
    -------
    dict
        JSON: `shards`, their descriptions; `n_layers`; `width`; `computed`, how many prompts ran.
    """
    folder = Path(folder)
    token_ids = dict(zip(prompts["prompt_id"], prompts["token_ids"], strict=True))
    mine = plan["new"][part - 1 :: parts]
    entries, computed = [], 0
    for shard in progress(mine, "activations", unit="shard"):
        number = int(shard["file"].removeprefix("shard-").removesuffix(".npy"))
        with _shard_lock(folder, number):
            entry = read_entry(folder, shard["file"], plan["fingerprint"])
            if entry is None or entry["prompt_ids"] != shard["prompt_ids"]:
                sequences = [token_ids[prompt].tolist() for prompt in shard["prompt_ids"]]
                values = np.empty(
                    (len(sequences), engine.n_layers + 1, engine.width), dtype=np.float32
                )
                for indices, residuals in engine.residuals(sequences):
                    values[indices] = residuals
                entry = write_shard(
                    folder,
                    shard["file"],
                    values,
                    shard["prompt_ids"],
                    dtype=dtype,
                    fingerprint=plan["fingerprint"],
                )
                computed += len(sequences)
        entries.append(entry)
    log.info("%d prompts computed, %d shards in part %d of %d", computed, len(mine), part, parts)
    return {
        "shards": entries,
        "n_layers": engine.n_layers,
        "width": engine.width,
        "computed": computed,
    }
