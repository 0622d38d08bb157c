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
from nashlens.factorial import ScenarioBlocks
from nashlens.vocabulary.patching import EXACT, GRADIENT

MAIN_PART = {"payoffs": "action", "history": "action", "labels": "action", "order": "place"}
"""Kind of pairs -> the part of the answer that the other prompt differs in."""


class Patches:
    """Effects of patching between pairs of one kind, in one direction.

    Parameters
    ----------
    patching : DataFrame
        One model's patching table.
    kind : {"payoffs", "history", "labels", "order"}
    direction : {"destroy", "restore"}
    towards : {"other", "nash"}, default "other"
        Where the action part points. `other`: where the other prompt differs: for `history` to what
        the opponent did last there, otherwise to the action that has the Nash action's label (for
        `order` to the action that is not Nash). `nash`: away from the prompt's own Nash action,
        whatever the kind.

    Attributes
    ----------
    places : DataFrame
        The patches' `site`, `layer`, `head` and `group`, by name; why one is exact (`chosen`, see
        `nashlens.circuits.screen.REASONS`), and its `method`: `exact`, or `gradient` where it was
        only screened.
    blocks : ScenarioBlocks
        Those of the pairs that make complete blocks.
    parts : dict of str to ndarray
        `(blocks, 1 + patches)` by part, in logits: the whole difference between the two answers,
        then each patch's effect, by its method. In either direction they point to the other prompt
        of the design's own.
    """

    def __init__(
        self,
        patching: pd.DataFrame,
        kind: str,
        direction: str,
        towards: Literal["other", "nash"] = "other",
    ):
        rows = patching[(patching["kind"] == kind) & (patching["direction"] == direction)]
        first = rows.drop_duplicates("patch").set_index("patch")
        self.kind, self.direction = kind, direction
        # Into the other prompt, values move the answer the other way.
        sign = 1.0 if direction == "destroy" else -1.0
        pairs = rows.drop_duplicates("pair_id").reset_index(drop=True)

        def of_pairs(column: str) -> Array:
            """Return a column of the table as `(pairs, patches)`."""
            wide = rows.pivot(index="pair_id", columns="patch", values=column)
            wide = wide.reindex(index=pairs["pair_id"], columns=first.index)
            return sign * wide.to_numpy(dtype=np.float64)

        effect = of_pairs("effect")
        exact = ~np.isnan(effect).any(axis=0)
        method = np.where(exact, EXACT, GRADIENT)
        self.places = first[["site", "layer", "head", "group", "chosen"]].assign(method=method)
        totals = sign * pairs["total"].to_numpy(dtype=float)
        self.blocks, aim = ScenarioBlocks(pairs), aims(pairs, kind, towards)
        if not exact.all():
            effect = np.where(exact, effect, of_pairs("screened"))
        self.parts = self.blocks.parts(np.column_stack([totals, effect]), aim)
        self._screened = lambda: self.blocks.parts(of_pairs("screened"), aim)

    def __len__(self) -> int:
        return len(self.blocks)

    def screened(self) -> dict[str, Array]:
        """Return `(blocks, patches)` by part: what gradients estimate; missing without a screen."""
        return self._screened()


def aims(pairs: pd.DataFrame, kind: str, towards: Literal["other", "nash"] = "other") -> Array:
    """Return +1 for pairs whose action part points to action 1, else -1; see `Patches`."""
    aim = 1.0 - pairs["nash_action"].to_numpy(dtype=float)
    if kind == "history" and towards == "other":
        aim = pairs["source_opponent_last"].to_numpy(dtype=float)
    return np.where(aim == 1.0, 1.0, -1.0)


def main_part(pairs: pd.DataFrame, kind: str, values: Array) -> Array:
    """Return the average over blocks of the part that the other prompt of a pair differs in.

    Parameters
    ----------
    pairs : DataFrame
        Pairs of one kind.
    kind : str
    values : ndarray, shape (n, k)
        Logits of action 1 over action 0.

    Returns
    -------
    ndarray, shape (k,)
    """
    blocks = ScenarioBlocks(pairs)
    return blocks.estimate(blocks.parts(values, aims(pairs, kind))[MAIN_PART[kind]]).estimate
