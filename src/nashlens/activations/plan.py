"""Which shards exist, which are to be made, and the manifest that joins them.

A plan depends on the prompts and on what lies in the folder, not on how many jobs carry it out,
so the shards are the same for every number of parts.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from nashlens.activations.shards import ONLY_DECISION, Dtype, positions_of, read_entry
from nashlens.errors import AGAIN, StoreError
from nashlens.kept import kept, neutral
from nashlens.seeds import stream
from nashlens.vocabulary.positions import DECISION
from nashlens.vocabulary.prompts import SURFACE_COLUMNS

_ALIKE = ["game", "variant", *SURFACE_COLUMNS]
NEEDED = ["prompt_id", "dropped", *_ALIKE]
"""Columns of the prompts table that `plan_shards` reads."""
_SHARD = re.compile(r"shard-(\d{5,})\.npy")


def used_prompts(prompts: pd.DataFrame) -> pd.DataFrame:
    """Return the prompts to extract: those not dropped, one row for each id, in table order."""
    return kept(prompts).drop_duplicates("prompt_id")


def draw_matches(prompts: pd.DataFrame, most: int, seed: int) -> pd.DataFrame:
    """Draw whole histories in neutral labels, spread over the games, and return their prompts.

    Games take turns to give a history, in an order drawn by seed, until the next one would exceed
    the number of prompts.

    Parameters
    ----------
    prompts : pandas.DataFrame
        The prompts table.
    most : int
        The largest number of prompts.
    seed : int
        The experiment's seed.

    Returns
    -------
    pandas.DataFrame
        Those rows of the table, dropped ones left out, renumbered.
    """
    prompts = neutral(kept(prompts))
    sizes = prompts.groupby("match_id", sort=True).agg(game=("game", "first"), n=("game", "size"))
    order = stream(seed, "untrained", "matches").permutation(len(sizes))
    sizes = sizes.iloc[order]
    sizes["turn"] = sizes.groupby("game").cumcount()
    sizes = sizes.sort_values("turn", kind="stable")
    chosen = sizes.index[sizes["n"].cumsum() <= most]
    return prompts[prompts["match_id"].isin(chosen)].reset_index(drop=True)


def plan_shards(
    folder: str | Path,
    prompts: pd.DataFrame,
    *,
    fingerprint: str,
    shard_prompts: int,
    extra: pd.DataFrame | None = None,
    positions: Sequence[str] = (DECISION,),
) -> dict[str, Any]:
    """Plan an extraction.

    Parameters
    ----------
    folder : str or Path
        The model's activation folder; need not exist. Shards of another fingerprint in it, and
        those that lack a position, are deleted; complete ones of this fingerprint are kept and
        used.
    prompts : pandas.DataFrame
        The prompts table, with at least the columns `NEEDED`.
    fingerprint : str
        Of the model, the stored dtype and the engine's code.
    shard_prompts : int
        Number of prompts in a new shard. A shard holds prompts of one game, so a new game only
        adds shards.
    extra : pandas.DataFrame, optional
        Further sequences, from `nashlens.prompts.extra`. They have the decision only, so with
        further positions they get shards of their own.
    positions : sequence of str
        Positions to extract, `decision` among them.

    Returns
    -------
    dict
        To be written as JSON: `fingerprint`; `positions`; `kept`, the descriptions of shards that
        exist; `new`, the `file`, `prompt_ids` and (where they are more than the decision)
        `positions` of each shard to make; `extra`, for the id of each further sequence the prompt
        that it follows (empty: none) and its tokens.
    """
    folder = Path(folder)
    wanted = used_prompts(prompts).reindex(columns=["prompt_id", *_ALIKE])
    further: dict[str, list[Any]] = {}
    if extra is not None:
        # A further sequence may itself be a prompt of the table.
        extra = extra[~extra["prompt_id"].isin(wanted["prompt_id"])]
        known = wanted.set_index("prompt_id")[_ALIKE[1:]]
        extra = extra.join(known, on="after")
        wanted = pd.concat([wanted, extra[["prompt_id", *_ALIKE]]], ignore_index=True)
        columns = zip(extra["prompt_id"], extra["after"], extra["tokens"], strict=True)
        further = {name: [after, list(tokens)] for name, after, tokens in columns}
    # The positions that each prompt must have; further sequences have the decision only.
    needed = dict.fromkeys(wanted["prompt_id"], frozenset(positions))
    needed |= dict.fromkeys(further, frozenset({DECISION}))
    complete, taken = [], set()
    for path in sorted(folder.glob("shard-*.npy")):
        match = _SHARD.fullmatch(path.name)
        if match is None:
            continue
        entry = read_entry(folder, path.name, fingerprint)
        if entry is None or not _holds(entry, needed):
            path.unlink()
            path.with_suffix(".json").unlink(missing_ok=True)
            continue
        complete.append(entry)
        taken.add(int(match[1]))
    have = {prompt for entry in complete for prompt in entry["prompt_ids"]}
    missing = wanted[~wanted["prompt_id"].isin(have)]
    # Prompts with the same rules and surface form share their first tokens within a shard.
    missing = missing.sort_values(_ALIKE, kind="stable")
    new = []
    # Free numbers from the first on: a shard that was lost is made again under its old name.
    free = (number for number in itertools.count() if number not in taken)
    several = list(positions) != ONLY_DECISION
    apart = missing["prompt_id"].isin(further) & several
    for _, group in missing.groupby([missing["game"], apart], sort=True):
        ids = group["prompt_id"].tolist()
        own = several and ids[0] not in further
        for start in range(0, len(ids), shard_prompts):
            shard = {
                "file": f"shard-{next(free):05d}.npy",
                "prompt_ids": ids[start : start + shard_prompts],
            }
            new.append(shard | ({"positions": list(positions)} if own else {}))
    # Shards of prompts that the experiment no longer has stay on disk for when the prompts return,
    # but not in the manifest.
    complete = [entry for entry in complete if any(name in needed for name in entry["prompt_ids"])]
    return {
        "fingerprint": fingerprint,
        "positions": list(positions),
        "kept": complete,
        "new": new,
        "extra": further,
    }


def _holds(entry: dict[str, Any], needed: dict[str, frozenset[str]]) -> bool:
    """Return whether a shard has every position that its prompts must have."""
    here = set(positions_of(entry))
    return all(needed.get(prompt, here) <= here for prompt in entry["prompt_ids"])


def join_manifest(
    plan: dict[str, Any],
    parts: list[dict[str, Any]],
    *,
    model: str,
    dtype: Dtype,
    fingerprint: str,
) -> dict[str, Any]:
    """Return the manifest of a plan that its parts have carried out.

    Parameters
    ----------
    plan : dict
        From `plan_shards`.
    parts : list of dict
        What `extract` returned for each part.
    model : str
    dtype : {"float32", "float16", "bfloat16"}
    fingerprint : str
        Of the manifest; each shard has one of its own.

    Raises
    ------
    StoreError
        If a planned shard is in no part.
    """
    made = {shard["file"]: shard for part in parts for shard in part["shards"]}
    missing = [shard["file"] for shard in plan["new"] if shard["file"] not in made]
    if missing:
        raise StoreError(
            f"planned shards {missing} are in no part; delete the folder's plan.json, and {AGAIN}"
        )
    new = [
        made[shard["file"]] | shard | {"fingerprint": plan["fingerprint"]} for shard in plan["new"]
    ]
    keys = ("file", "prompt_ids", "sha256", "fingerprint", "positions", "present")
    every = sorted([*plan["kept"], *new], key=lambda one: one["file"])
    shards = [{key: one[key] for key in keys if key in one} for one in every]
    return {
        "fingerprint": fingerprint,
        "model": model,
        "layer_names": layer_names(parts[0]["n_layers"]),
        "positions": plan["positions"],
        "dtype": dtype,
        "width": parts[0]["width"],
        "shards": shards,
    }


def layer_names(n_layers: int) -> list[str]:
    """Return the names of the stored layers: `embedding`, `block_1`, ..."""
    return ["embedding", *(f"block_{layer}" for layer in range(1, n_layers + 1))]
