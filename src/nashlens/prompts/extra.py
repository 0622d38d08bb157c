"""Sequences beside the decision prompts whose residuals a lens needs.

- a *content-free* prompt asks the same question without a game or a history: what a layer answers
  to it is the labels' own prior;
- where a label has several tokens, the prompt with all but the label's last token, one token after
  another: P(label) is the product over them.

Each is known by the hash of its token ids, as prompts are, and is stored as what follows a prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from nashlens.kept import kept
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


def extra_sequences(
    parts: Iterable[pd.DataFrame], token_ids: Mapping[str, Sequence[int]]
) -> pd.DataFrame:
    """Return the sequences that a lens needs beside the prompts.

    Parameters
    ----------
    parts : iterable of DataFrame
        The prompts table in parts, with the columns `NEEDED` at least. One part is held at a time.
    token_ids : mapping of str to sequence of int
        Token ids of each prompt id. Read for prompts with a label of several tokens alone.

    Returns
    -------
    DataFrame
        One row a sequence: `prompt_id` (its hash), `after` (the prompt that it follows; empty
        where it is whole), `tokens` (what follows), `game` (empty for content-free prompts).
    """
    rows: dict[str, dict[str, Any]] = {}
    for part in parts:
        used = kept(part)
        for row in used.drop_duplicates(["prior_id"]).to_dict("records"):
            whole = [int(token) for token in row["prior_token_ids"]]
            for begun in ([], *_begun(row)):
                ids = [*whole, *begun]
                rows[prompt_id(ids)] = {"after": "", "tokens": ids, "game": ""}
        longest = used[["label_tokens_0", "label_tokens_1"]].map(len).max(axis=1)
        for row in used[longest > 1].drop_duplicates(["prompt_id"]).to_dict("records"):
            for begun in _begun(row):
                name = prompt_id([*token_ids[row["prompt_id"]], *begun])
                rows[name] = {"after": row["prompt_id"], "tokens": begun, "game": row["game"]}
    found = [{"prompt_id": name, **row} for name, row in rows.items()]
    return pd.DataFrame(found, columns=COLUMNS)


def _begun(row: Mapping[Any, Any]) -> list[list[int]]:
    """Return the labels' beginnings: the first token, the first two, and so on."""
    return [
        [int(token) for token in label[:end]]
        for label in (row["label_tokens_0"], row["label_tokens_1"])
        for end in range(1, len(label))
    ]
