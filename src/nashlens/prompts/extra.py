"""Sequences whose residuals a lens needs in addition to those of the decision prompts.

- A *content-free* prompt asks the same question without a game or a history: what a layer answers
  to it is the labels' own prior.
- A label of several tokens needs the prompt followed by the label's first token, by its first two,
  and so on without the last: P(label) is the product over its tokens.

Each has the hash of its token ids as its name, as prompts have, and is stored as what follows a
prompt.
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
    row_groups: Iterable[pd.DataFrame], token_ids: Mapping[str, Sequence[int]]
) -> pd.DataFrame:
    """Return the sequences that a lens needs in addition to the prompts.

    Parameters
    ----------
    row_groups : iterable of DataFrame
        The prompts table in groups of rows, with at least the columns `NEEDED`. Only one group is
        in memory at a time.
    token_ids : mapping of str to sequence of int
        Token ids of each prompt id. Read only for prompts with a label of several tokens.

    Returns
    -------
    DataFrame
        One row a sequence: `prompt_id` (its hash), `after` (the prompt that it follows; empty
        where it is whole), `tokens` (what follows), `game` (empty for content-free prompts).
    """
    rows: dict[str, dict[str, Any]] = {}
    for group in row_groups:
        used = kept(group)
        for row in used.drop_duplicates(["prior_id"]).to_dict("records"):
            prior = [int(token) for token in row["prior_token_ids"]]
            for beginning in ([], *_label_beginnings(row)):
                ids = [*prior, *beginning]
                rows[prompt_id(ids)] = {"after": "", "tokens": ids, "game": ""}
        longest = used[["label_tokens_0", "label_tokens_1"]].map(len).max(axis=1)
        for row in used[longest > 1].drop_duplicates(["prompt_id"]).to_dict("records"):
            for tokens in _label_beginnings(row):
                name = prompt_id([*token_ids[row["prompt_id"]], *tokens])
                rows[name] = {"after": row["prompt_id"], "tokens": tokens, "game": row["game"]}
    found = [{"prompt_id": name, **row} for name, row in rows.items()]
    return pd.DataFrame(found, columns=COLUMNS)


def _label_beginnings(row: Mapping[Any, Any]) -> list[list[int]]:
    """Return both labels' first token, first two and so on, without the whole labels."""
    return [
        [int(token) for token in label[:end]]
        for label in (row["label_tokens_0"], row["label_tokens_1"])
        for end in range(1, len(label))
    ]
