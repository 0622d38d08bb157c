"""Computes the shards of a plan."""

from __future__ import annotations

import contextlib
import fcntl
import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from nashlens.activations.store import Dtype, read_entry, write_shard
from nashlens.progress import progress

if TYPE_CHECKING:
    from nashlens.engine.core import Engine

log = logging.getLogger(__name__)

_IN_FLIGHT = 2  # shards computed and not yet written, before the next one is begun


@contextlib.contextmanager
def _unlocked_after(locks: BinaryIO, number: int) -> Iterator[None]:
    try:
        yield
    finally:
        fcntl.lockf(locks, fcntl.LOCK_UN, 1, number)


def _sequence(
    plan: dict[str, Any], token_ids: Mapping[str, Sequence[int]], prompt: str
) -> Sequence[int]:
    """Return the token ids of a prompt, or of a further sequence of the plan."""
    if prompt not in plan["extra"]:
        return token_ids[prompt]
    after, tokens = plan["extra"][prompt]
    return [*(token_ids[after] if after else ()), *tokens]


def extract(
    engine: Engine,
    token_ids: Mapping[str, Sequence[int]],
    plan: dict[str, Any],
    folder: str | Path,
    *,
    part: int,
    parts: int,
    dtype: Dtype,
) -> dict[str, Any]:
    """Compute and write a part of a plan's new shards; complete ones are skipped.

    A thread encodes, writes and hashes a shard while the model computes the next one. Only these
    two are in memory, so with a slow disk the model waits and memory does not fill.

    Parameters
    ----------
    engine : Engine
    token_ids : mapping of str to sequence of int
        Token ids of each prompt id of the plan, such as `TokenIds`. Only those of one shard are in
        memory at a time.
    plan : dict
        From `plan_shards`.
    folder : str or Path
    part, parts : int
        The number of this part, from 1, and the number of parts; shards are dealt in turn.
    dtype : {"float32", "float16", "bfloat16"}

    Returns
    -------
    dict
        To be written as JSON: `shards`, the `file` and `sha256` of each; `n_layers`; `width`;
        `computed`, the number of prompts that were run.

    Raises
    ------
    StoreError
        If a shard cannot be stored. Shards that were computed before it are complete.
    """
    folder = Path(folder)
    mine = plan["new"][part - 1 :: parts]
    hashes: dict[str, str] = {}
    computed = 0
    folder.mkdir(parents=True, exist_ok=True)
    # A process left over from a killed run may still write a shard, so each shard has a lock: one
    # byte of the lock file. Parts do not wait for one another, and as every process locks shards in
    # the order of their numbers, there is no deadlock. Closing the file would release every lock.
    with open(folder / ".lock", "ab") as locks, ThreadPoolExecutor(1, "write") as writer:

        def write(number: int, shard: dict[str, Any], values: np.ndarray) -> None:
            with _unlocked_after(locks, number):
                entry = write_shard(
                    folder,
                    shard["file"],
                    values,
                    shard["prompt_ids"],
                    dtype=dtype,
                    fingerprint=plan["fingerprint"],
                )
            hashes[shard["file"]] = entry["sha256"]

        writing: deque[Future[None]] = deque()
        for shard in progress(mine, "activations", unit="shard"):
            while len(writing) == _IN_FLIGHT or (writing and writing[0].done()):
                writing.popleft().result()
            number = int(shard["file"].removeprefix("shard-").removesuffix(".npy"))
            fcntl.lockf(locks, fcntl.LOCK_EX, 1, number)
            entry = read_entry(folder, shard["file"], plan["fingerprint"])
            if entry is not None and entry["prompt_ids"] == shard["prompt_ids"]:
                with _unlocked_after(locks, number):
                    hashes[shard["file"]] = entry["sha256"]
                continue
            sequences = [_sequence(plan, token_ids, prompt) for prompt in shard["prompt_ids"]]
            values = _residuals(engine, sequences)
            writing.append(writer.submit(write, number, shard, values))
            del values  # now only the thread holds it, so it is freed when written
            computed += len(shard["prompt_ids"])
        for future in writing:
            future.result()
    log.info("%d prompts computed, %d shards in part %d of %d", computed, len(mine), part, parts)
    return {
        "shards": [{"file": s["file"], "sha256": hashes[s["file"]]} for s in mine],
        "n_layers": engine.n_layers,
        "width": engine.width,
        "computed": computed,
    }


def _residuals(engine: Engine, sequences: list[Sequence[int]]) -> np.ndarray:
    values = np.empty((len(sequences), engine.n_layers + 1, engine.width), dtype=np.float32)
    for indices, residuals in engine.residuals(sequences):
        values[indices] = residuals
    return values
