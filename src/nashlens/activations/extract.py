"""Computes the shards of a plan."""

from __future__ import annotations

import contextlib
import fcntl
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from nashlens.activations.shards import Dtype, ShardFile, positions_of, read_entry
from nashlens.errors import StoreError
from nashlens.progress import progress
from nashlens.vocabulary.positions import DECISION

if TYPE_CHECKING:
    from nashlens.engine.core import Engine

log = logging.getLogger(__name__)

_IN_FLIGHT = 2  # batches computed and not yet written, before the next one is taken
_RESULT = ("file", "sha256", "present")
FindPlaces = Callable[[str], Mapping[str, int]]
"""From a prompt id to the tokens of its positions, by name; those that it lacks are left out."""


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
    places: FindPlaces | None = None,
) -> dict[str, Any]:
    """Compute and write a part of a plan's new shards; complete ones are skipped.

    A thread encodes and writes a batch of prompts while the model computes the next one. Only few
    batches are in memory, however many prompts and positions a shard has; with a slow disk the
    model waits.

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
    places : callable, optional
        From a prompt id to the token of each of its positions, such as `TokenIds.places`. Needed
        where the plan has more positions than the decision.

    Returns
    -------
    dict
        To be written as JSON: `shards`, the `file` and `sha256` of each, and with further
        positions which prompts have them (`present`); `n_layers`; `width`; `computed`, the number
        of prompts that were run.

    Raises
    ------
    StoreError
        If a shard cannot be stored. Shards that were computed before it are complete.
    """
    folder = Path(folder)
    mine = plan["new"][part - 1 :: parts]
    made: dict[str, dict[str, Any]] = {}
    computed = 0
    folder.mkdir(parents=True, exist_ok=True)
    # A process left over from a killed run may still write a shard, so each shard has a lock: one
    # byte of the lock file. Parts do not wait for one another, and as every process locks shards in
    # the order of their numbers, there is no deadlock. Closing the file would release every lock.
    with open(folder / ".lock", "ab") as locks, ThreadPoolExecutor(1, "write") as writer:
        writing: deque[Future[None]] = deque()

        def finish(number: int, shard: ShardFile) -> None:
            with _unlocked_after(locks, number):
                made[shard.path.name] = shard.finish()

        def submit(work: Callable[..., None], *args: Any) -> None:
            while len(writing) >= _IN_FLIGHT:
                writing.popleft().result()
            writing.append(writer.submit(work, *args))

        for shard in progress(mine, "activations", unit="shard"):
            while writing and writing[0].done():
                writing.popleft().result()
            number = int(shard["file"].removeprefix("shard-").removesuffix(".npy"))
            fcntl.lockf(locks, fcntl.LOCK_EX, 1, number)
            entry = read_entry(folder, shard["file"], plan["fingerprint"])
            if entry is not None and entry["prompt_ids"] == shard["prompt_ids"]:
                with _unlocked_after(locks, number):
                    made[shard["file"]] = entry
                continue
            for left in folder.glob(f"{shard['file']}.*.tmp"):
                left.unlink()  # of a job that was killed: this one has the shard's lock
            sequences = [_sequence(plan, token_ids, prompt) for prompt in shard["prompt_ids"]]
            tokens = _tokens_of(plan, shard, sequences, places)
            file = ShardFile(
                folder,
                shard["file"],
                shard["prompt_ids"],
                (engine.n_layers + 1, engine.width),
                dtype=dtype,
                fingerprint=plan["fingerprint"],
                positions=positions_of(shard),
                present=tokens >= 0,
            )
            try:
                for rows, values in engine.residuals_at(sequences, tokens):
                    submit(file.put, rows, values)
                submit(finish, number, file)
            except BaseException:
                # After what is still being written to it.
                writer.submit(file.discard)
                raise
            computed += len(shard["prompt_ids"])
        for future in writing:
            future.result()
    log.info("%d prompts computed, %d shards in part %d of %d", computed, len(mine), part, parts)
    return {
        "shards": [
            {key: made[shard["file"]][key] for key in _RESULT if key in made[shard["file"]]}
            for shard in mine
        ],
        "n_layers": engine.n_layers,
        "width": engine.width,
        "computed": computed,
    }


def _tokens_of(
    plan: dict[str, Any],
    shard: dict[str, Any],
    sequences: Sequence[Sequence[int]],
    places: FindPlaces | None,
) -> np.ndarray:
    """Return the token of each position of a shard's prompts, (n, positions); -1 for none."""
    names = positions_of(shard)
    tokens = np.full((len(sequences), len(names)), -1, dtype=np.int64)
    for row, (prompt, sequence) in enumerate(zip(shard["prompt_ids"], sequences, strict=True)):
        found: Mapping[str, int] = {}
        if len(names) > 1 and prompt not in plan["extra"]:
            if places is None:
                raise StoreError(f"{shard['file']}: its positions {names} need `places`")
            found = places(prompt)
        own = {DECISION: len(sequence) - 1} | dict(found)
        tokens[row] = [own.get(name, -1) for name in names]
    return tokens
