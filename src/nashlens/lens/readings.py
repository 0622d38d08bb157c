"""A lens table as matrices over prompts and layers, with what cancels token preferences.

Label maps give the same label token to action 0 in half of the prompts and to action 1 in the
others, and option orders do the same for the place in the list. In averages that give these cells
equal weight, a preference for a token or a place cancels: what is left follows the action.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from nashlens.contrasts import Array, cell_mean_draws
from nashlens.kept import at_position

FAVOURED = 0.51
"""A layer favours an action whose probability is larger than this."""


class Readings:
    """The lens of some prompts as matrices, (n, layers), layers from 1.

    Parameters
    ----------
    lens : DataFrame
        One lens table of one model.
    prompts : DataFrame
        Its prompts; others are left out.
    """

    def __init__(self, lens: pd.DataFrame, prompts: pd.DataFrame):
        keys = ["prompt_id", "match_id"]
        prompts = prompts.drop_duplicates(keys).set_index(keys)
        lens = at_position(lens)
        table = lens[lens["layer"] >= 1].drop_duplicates([*keys, "layer"])
        table = table.assign(odds=table["logit_1"] - table["logit_0"])
        self.layers = np.array(sorted(table["layer"].unique()), dtype=int)
        columns = ["odds", "p_action_1", "label_mass"]
        # One row for each prompt with all layers; the columns' matrices lie side by side.
        wide = table.pivot(index=keys, columns="layer", values=columns)
        wide = wide.reindex(columns=pd.MultiIndex.from_product([columns, self.layers]))
        wide = wide.loc[wide.index.isin(prompts.index)].dropna()
        self.prompts = prompts.loc[wide.index].reset_index()
        matrices = np.split(wide.to_numpy(dtype=float), len(columns), axis=1)
        self.odds: Array = matrices[0]
        """Logit of action 1 over action 0."""
        self.p_1: Array = matrices[1]
        self.mass: Array = matrices[2]
        self.cells = (
            self.prompts["label_map"].astype(str) + "|" + self.prompts["option_order"].astype(str)
        ).tolist()
        self.matches = self.prompts["match_id"].astype(str).tolist()
        # +1 where the pair's first label stands for action 1.
        self.first_is_1 = np.where(self.prompts["label_map"] == "swapped", 1.0, -1.0)[:, None]

    def __len__(self) -> int:
        return len(self.prompts)

    def towards(self, column: str) -> Array:
        """Return +1 where a column of the prompts is action 1, else -1, (n, 1)."""
        return np.where(self.prompts[column].to_numpy(dtype=float) == 1, 1.0, -1.0)[:, None]

    def probability(self, towards: Array) -> Array:
        """Return P of the action that `towards` points to, (n, layers)."""
        return np.where(towards > 0, self.p_1, 1.0 - self.p_1)

    def cell_means(
        self, values: Array, resamples: int, rng: np.random.Generator
    ) -> tuple[Array, Array]:
        """Return the means of columns, (k,), and of each resample that has every cell, (m, k).

        Label maps and option orders have equal weight; whole matches are resampled.
        """
        mean, draws = cell_mean_draws(
            values, self.cells, self.matches, resamples=resamples, rng=rng
        )
        return mean, draws[~np.isnan(draws).any(axis=1)]

    def problem(self, what: str) -> str | None:
        """Return why these readings cannot be judged; None if they can."""
        if not len(self.layers):
            return "the lens table holds no layer after the embedding"
        if not len(self):
            return f"no prompt has {what}"
        if len(set(self.prompts["label_map"])) < 2:
            return (
                "prompts.label_maps has one value: without the swap an action cannot be told"
                " from its token"
            )
        if self.prompts.groupby(self.cells)["match_id"].nunique().min() < 2:
            return "a label map and option order has fewer than two matches: no interval"
        return None


def defined(prompts: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Return the prompts for which all the columns are defined."""
    return prompts[prompts[list(columns)].notna().all(axis=1)]


def conflicting(prompts: pd.DataFrame) -> pd.DataFrame:
    """Return the prompts whose prosocial action is not their Nash action."""
    known = defined(prompts, "nash_action", "prosocial_action")
    return known[known["nash_action"].ne(known["prosocial_action"])]
