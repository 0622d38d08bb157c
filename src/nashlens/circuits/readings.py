"""A heads table, or one arm of it, as a matrix over prompts and ablations, and its parts.

The same label stands for the Nash action under one label map and for the other action under the
other. In a block, which asks one scenario in all label maps and option orders, an effect therefore
splits into an *action part*, which moves the Nash action whatever it is called, a *word part*,
which moves the pair's first label whatever it means, and a *place part*, which moves the option
listed first (`nashlens.factorial`).
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from nashlens.contrasts import Array
from nashlens.factorial import ScenarioBlocks
from nashlens.strata import codes_of

KINDS = ("none", "head", "mlp", "candidate", "random")
"""Kinds of ablation: nothing, one head, one MLP, a candidate group, a random group."""
ARMS = {
    ("head", "decision"): "heads at the decision",
    ("mlp", "decision"): "MLPs at the decision",
    ("both", "all"): "heads and MLPs at all positions",
}
"""What a group consists of, and where it is ablated -> that in words."""


Column = Literal["drop", "logit_nash", "label_mass"]


def rows_of_arms(heads: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """Return the rows of each arm's groups, with those of the same prompts unablated.

    Parameters
    ----------
    heads : DataFrame
        One model's heads table.

    Returns
    -------
    dict of (str, str) to DataFrame
        By the keys of `ARMS`, in their order; arms without a candidate group are left out.
    """
    # One choice of rows for each arm: spikes ask for them thousands of times.
    test, kind = (heads["phase"] == "test").to_numpy(bool), heads["kind"]
    unablated, candidate = ((kind == name).to_numpy(bool) for name in ("none", "candidate"))
    found = {}
    for component, positions in ARMS:
        here = test & (heads["positions"] == positions).to_numpy(bool)
        here &= unablated | (heads["component"] == component).to_numpy(bool)
        if (here & candidate).any():
            found[component, positions] = heads[here]
    return found


class Ablations:
    """Effects of some ablations on some prompts.

    Parameters
    ----------
    heads : DataFrame
        One model's heads table, of ablations with a name of their own.
    kind : {"none", "head", "mlp", "candidate", "random"}
    column : {"drop", "logit_nash", "label_mass"}, default "drop"

    Attributes
    ----------
    names : list of str
        The ablations, in the table's order.
    places : DataFrame
        Their `layer`, `head` and `heads`, one row an ablation.
    prompts : DataFrame
        One row for each prompt that has every ablation.
    values : ndarray
        `(prompts, ablations)`: logits of the Nash action over the other, or the label mass.
    """

    def __init__(self, heads: pd.DataFrame, kind: str, column: Column = "drop"):
        # Spikes do this thousands of times, so it is no pivot, and most columns are not touched.
        rows = np.flatnonzero((heads["kind"] == kind).to_numpy(bool))
        ablation = codes_of(heads["ablation"].iloc[rows])
        prompt = codes_of(heads["prompt_id"].iloc[rows], sort=True)
        first = np.unique(ablation, return_index=True)[1]
        places = heads[["ablation", "layer", "head", "heads"]].iloc[rows[first]]
        self.places = places.set_index("ablation")
        names = self.names = [str(name) for name in self.places.index]
        wide = np.full((prompt.max(initial=-1) + 1, len(names)), np.nan)
        cells, once = np.unique(prompt * len(names) + ablation, return_index=True)
        wide.flat[cells] = heads[column].to_numpy(float)[rows[once]]
        whole = ~np.isnan(wide).any(axis=1)
        of_prompts = np.unique(prompt, return_index=True)[1]
        self.prompts = heads.iloc[rows[of_prompts[whole]]].reset_index(drop=True)
        self.values: Array = wide[whole]

    @cached_property
    def blocks(self) -> ScenarioBlocks:
        """Those of the prompts that make complete blocks."""
        return ScenarioBlocks(self.prompts)

    @cached_property
    def parts(self) -> dict[str, Array]:
        """`(blocks, ablations)` by part, in logits, towards the Nash action."""
        towards = np.where(self.prompts["nash_action"].to_numpy(dtype=float) == 1.0, 1.0, -1.0)
        # Parts are of numbers that point to action 1; these point to the Nash action.
        return self.blocks.parts(towards[:, None] * self.values, towards)

    def __len__(self) -> int:
        return len(self.prompts)

    def action_part(self) -> Array:
        """Return each ablation's action part, `(ablations,)`, with games of equal weight.

        Without a complete block, it is the mean over prompts.
        """
        if not len(self.blocks):
            return np.asarray(self.values.mean(axis=0))
        return self.blocks.estimate(self.parts["action"]).estimate
