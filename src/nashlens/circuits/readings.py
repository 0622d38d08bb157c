"""A heads table as a matrix over prompts and ablations, and its parts over complete blocks.

The same label stands for the Nash action under one label map and for the other action under the
other. In a block, which asks one scenario in all label maps and option orders, an effect therefore
splits into an *action part*, which moves the Nash action whatever it is called, a *word part*,
which moves the pair's first label whatever it means, and a *place part*, which moves the option
listed first (`nashlens.factorial`).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from nashlens.contrasts import Array
from nashlens.factorial import Blocks

KINDS = ("none", "head", "candidate", "random")
"""Kinds of ablation: nothing, one head, the candidate group, a random group."""


class Ablations:
    """Effects of some ablations on some prompts.

    Parameters
    ----------
    heads : DataFrame
        One model's heads table.
    kind : {"none", "head", "candidate", "random"}
    column : {"drop", "logit_nash"}, default "drop"

    Attributes
    ----------
    names : list of str
        The ablations, in the table's order.
    places : DataFrame
        Their `layer`, `head` and `heads`, one row an ablation.
    prompts : DataFrame
        One row for each prompt that has every ablation.
    values : ndarray
        `(prompts, ablations)`, in logits of the Nash action over the other.
    blocks : Blocks
        Those of the prompts that make complete blocks.
    parts : dict of str to ndarray
        `(blocks, ablations)` by part, in logits.
    """

    def __init__(
        self, heads: pd.DataFrame, kind: str, column: Literal["drop", "logit_nash"] = "drop"
    ):
        rows = heads[heads["kind"] == kind]
        keys = ["prompt_id", "block_id"]
        rows = rows.drop_duplicates([*keys, "ablation"])
        first = rows.drop_duplicates("ablation").set_index("ablation")
        self.places = first[["layer", "head", "heads"]]
        self.names = [str(name) for name in first.index]
        wide = rows.pivot(index=keys, columns="ablation", values=column)
        wide = wide.reindex(columns=first.index).dropna()
        described = rows.drop_duplicates(keys).set_index(keys)
        self.prompts = described.loc[wide.index].reset_index()
        self.values: Array = wide.to_numpy(dtype=float)
        towards = np.where(self.prompts["nash_action"].to_numpy(dtype=float) == 1.0, 1.0, -1.0)
        self.blocks = Blocks(self.prompts)
        # Parts are of numbers that point to action 1; these point to the Nash action.
        self.parts = self.blocks.parts(towards[:, None] * self.values, towards)

    def __len__(self) -> int:
        return len(self.prompts)

    def action_part(self) -> Array:
        """Return each ablation's action part, `(ablations,)`, with games of equal weight.

        Without a complete block, it is the mean over prompts.
        """
        if not len(self.blocks):
            return np.asarray(self.values.mean(axis=0))
        return self.blocks.estimate(self.parts["action"]).estimate
