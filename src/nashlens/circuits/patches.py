"""A patching table as a matrix over pairs and patches, and its parts over complete blocks.

An effect is signed so that it points to where the other prompt of the pair differs. In a block it
splits into an *action part*, a *word part* and a *place part* (`nashlens.factorial`): exchanged
payoffs that move the answer through the Nash action move its action part only.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from nashlens.contrasts import Array
from nashlens.factorial import Blocks

MAIN_PART = {"payoffs": "action", "history": "action", "labels": "action", "order": "place"}
"""Kind of pairs -> the part of the answer that the other prompt differs in."""


class Patches:
    """Effects of patching between pairs of one kind.

    Parameters
    ----------
    patching : DataFrame
        One model's patching table.
    kind : {"payoffs", "history", "labels", "order"}
    towards : {"other", "nash"}, default "other"
        Where the action part points. `other`: where the other prompt differs: for `history` to what
        the opponent did last there, otherwise to the action that has the Nash action's label (for
        `order` to the action that is not Nash). `nash`: away from the prompt's own Nash action,
        whatever the kind.

    Attributes
    ----------
    places : DataFrame
        The patches' `site`, `layer`, `head` and `group`, by name.
    blocks : Blocks
        Those of the pairs that make complete blocks.
    parts : dict of str to ndarray
        `(blocks, 1 + patches)` by part, in logits: the whole difference between the two answers,
        then each patch's effect. Where there are both directions, each pair's is their mean.
    """

    def __init__(
        self, patching: pd.DataFrame, kind: str, towards: Literal["other", "nash"] = "other"
    ):
        rows = patching[patching["kind"] == kind]
        first = rows.drop_duplicates("patch").set_index("patch")
        self.kind = kind
        self.places = first[["site", "layer", "head", "group"]]
        # Into the other prompt, values move the answer the other way.
        sign = np.where(rows["direction"] == "destroy", 1.0, -1.0)
        rows = rows.assign(effect=sign * rows["effect"], total=sign * rows["total"])
        by_pair = rows.pivot_table(index="pair_id", columns="patch", values="effect", sort=False)
        by_pair = by_pair.reindex(columns=first.index).dropna()
        totals = rows.groupby("pair_id", sort=False)["total"].mean().loc[by_pair.index]
        pairs = rows.drop_duplicates("pair_id").set_index("pair_id").loc[by_pair.index]
        pairs = pairs.reset_index()
        self.values: Array = np.column_stack([totals.to_numpy(float), by_pair.to_numpy(float)])
        aim = 1.0 - pairs["nash_action"].to_numpy(dtype=float)
        if kind == "history" and towards == "other":
            aim = pairs["source_opponent_last"].to_numpy(dtype=float)
        self.blocks = Blocks(pairs)
        self.parts = self.blocks.parts(self.values, np.where(aim == 1.0, 1.0, -1.0))

    def __len__(self) -> int:
        return len(self.blocks)
