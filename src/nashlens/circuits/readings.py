"""A heads table as a matrix over prompts and ablations, and its action and token parts.

The same label stands for the Nash action under one label map and for the other action under the
other. Averages that give games and label maps equal weight therefore split an effect in two: its
*action part*, which moves the Nash action whatever it is called, and its *token part*, which moves
the pair's first label whatever it means.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]

KINDS = ("none", "head", "candidate", "random")
"""Kinds of ablation: nothing, one head, the candidate group, a random group."""


class Ablations:
    """Effects of some ablations on some prompts.

    Parameters
    ----------
    heads : DataFrame
        One model's heads table.
    kind : {"none", "head", "candidate", "random"}
    half : {"choose", "test"} or None
        Of the matches; None for all of them.
    column : {"drop", "logit_nash"}, default "drop"

    Attributes
    ----------
    names : list of str
        The ablations, in the table's order.
    places : DataFrame
        Their rows `layer`, `head`, `heads`.
    prompts : DataFrame
        One row per prompt that has all of them.
    values : ndarray
        `(prompts, ablations)`, in logits of the Nash action over the other.
    """

    def __init__(
        self,
        heads: pd.DataFrame,
        kind: str,
        half: str | None = None,
        column: Literal["drop", "logit_nash"] = "drop",
    ):
        rows = heads[heads["kind"] == kind]
        if half is not None:
            rows = rows[rows["half"] == half]
        keys = ["prompt_id", "match_id"]
        rows = rows.drop_duplicates([*keys, "ablation"])
        first = rows.drop_duplicates("ablation").set_index("ablation")
        self.places = first[["layer", "head", "heads"]]
        self.names = [str(name) for name in first.index]
        wide = rows.pivot(index=keys, columns="ablation", values=column)
        wide = wide.reindex(columns=first.index).dropna()
        about = rows.drop_duplicates(keys).set_index(keys)
        self.prompts = about.loc[wide.index].reset_index()
        self.values: Array = wide.to_numpy(dtype=float)
        self.cells = (
            self.prompts["game"].astype(str) + "|" + self.prompts["label_map"].astype(str)
        ).tolist()
        self.matches = self.prompts["match_id"].astype(str).tolist()

    def __len__(self) -> int:
        return len(self.prompts)

    def token(self) -> Array:
        """Return the values towards the pair's first label instead, `(prompts, ablations)`."""
        nash = self.prompts["nash_action"].to_numpy(dtype=float)
        first = np.where(self.prompts["label_map"] == "swapped", 1.0, 0.0)
        return self.values * np.where(nash == first, 1.0, -1.0)[:, None]


def cell_mean(values: Array, cells: list[str]) -> Array:
    """Return column means, `(k,)`, each cell of the design weighing the same."""
    return pd.DataFrame(values).groupby(np.asarray(cells)).mean().mean(axis=0).to_numpy(dtype=float)
