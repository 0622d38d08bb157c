"""Sequences beside the decision prompts whose residuals a lens needs.

- a *content-free* prompt asks the same question without a game or a history: what a layer answers
  to it is the labels' own prior;
- where a label has several tokens, the prompt with all but the label's last token, one token after
  another: P(label) is the product over them.

Each is known by the hash of its token ids, as prompts are, and is stored as what follows a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from nashlens.prompts.labels import prompt_id

COLUMNS = ["prompt_id", "after", "tokens", "game"]
NEEDED = [
    "prompt_id",
    "game",
    "dropped",
    "label_tokens_0",
    "label_tokens_1",
    "prior_id",
    "prior_token_ids",
]
"""Columns of the prompts table that `extra_sequences` reads."""


def extra_sequences(prompts: pd.DataFrame, token_ids: Mapping[str, Sequence[int]]) -> pd.DataFrame:
    """Return the sequences that a lens needs beside the prompts.

    Parameters
    ----------
    prompts : DataFrame
        The prompts table, with the columns `NEEDED` at least.
    token_ids : mapping of str to sequence of int
        Token ids of each prompt id. Read for prompts with a label of several tokens alone.

    Returns
    -------
    DataFrame
        One row a sequence: `prompt_id` (its hash), `after` (the prompt that it follows; empty
        where it is whole), `tokens` (what follows), `game` (empty for content-free prompts).
    """
    used = prompts[prompts["dropped"] == ""].drop_duplicates("prompt_id")
    rows: dict[str, dict[str, Any]] = {}
    for row in used.drop_duplicates(["prior_id"]).to_dict("records"):
        whole = [int(token) for token in row["prior_token_ids"]]
        for part in ([], *_parts(row)):
            rows[prompt_id([*whole, *part])] = {"after": "", "tokens": [*whole, *part], "game": ""}
    for row in used.to_dict("records"):
        for part in _parts(row):
            name = prompt_id([*token_ids[row["prompt_id"]], *part])
            rows[name] = {"after": row["prompt_id"], "tokens": part, "game": row["game"]}
    # A sequence may be a prompt of the table itself.
    known = set(used["prompt_id"])
    kept = [{"prompt_id": name, **row} for name, row in rows.items() if name not in known]
    return pd.DataFrame(kept, columns=COLUMNS)


def _parts(row: Mapping[Any, Any]) -> list[list[int]]:
    """Return the labels' beginnings: the first token, the first two, and so on."""
    return [
        [int(token) for token in label[:end]]
        for label in (row["label_tokens_0"], row["label_tokens_1"])
        for end in range(1, len(label))
    ]
