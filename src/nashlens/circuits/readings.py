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

from nashlens.contrasts import Array, cell_mean_draws, student_interval

KINDS = ("none", "head", "candidate", "random")
"""Kinds of ablation: nothing, one head, the candidate group, a random group."""


class Ablations:
    """Effects of some ablations on some prompts.

    Parameters
    ----------
    heads : DataFrame
        One model's heads table.
    kind : {"none", "head", "candidate", "random"}
    phase : {"choose", "test"}, optional
        Only the matches on which heads were chosen, or those on which groups were tested.
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
    cells, matches : list of str
        Game and label map, and match, of each prompt.
    """

    def __init__(
        self,
        heads: pd.DataFrame,
        kind: str,
        phase: str | None = None,
        column: Literal["drop", "logit_nash"] = "drop",
    ):
        rows = heads[heads["kind"] == kind]
        if phase is not None:
            rows = rows[rows["half"] == phase]
        keys = ["prompt_id", "match_id"]
        rows = rows.drop_duplicates([*keys, "ablation"])
        first = rows.drop_duplicates("ablation").set_index("ablation")
        self.places = first[["layer", "head", "heads"]]
        self.names = [str(name) for name in first.index]
        wide = rows.pivot(index=keys, columns="ablation", values=column)
        wide = wide.reindex(columns=first.index).dropna()
        described = rows.drop_duplicates(keys).set_index(keys)
        self.prompts = described.loc[wide.index].reset_index()
        self.values: Array = wide.to_numpy(dtype=float)
        self.cells = (
            self.prompts["game"].astype(str) + "|" + self.prompts["label_map"].astype(str)
        ).tolist()
        self.matches = self.prompts["match_id"].astype(str).tolist()

    def __len__(self) -> int:
        return len(self.prompts)

    def least_matches(self) -> int:
        """Return the number of matches of the smallest cell; 0 without prompts.

        If it is one, every resample of matches that has all cells is the sample itself.
        """
        counts = self.prompts.groupby(["game", "label_map"])["match_id"].nunique()
        return int(counts.min()) if len(counts) else 0

    def cell_means(
        self, values: Array, resamples: int, rng: np.random.Generator
    ) -> tuple[Array, Array]:
        """Return the means of columns, (k,), and of each resample that has every cell, (m, k).

        Games and label maps have equal weight; whole matches are resampled.
        """
        mean, draws = cell_mean_draws(
            values, self.cells, self.matches, resamples=resamples, rng=rng
        )
        return mean, draws[~np.isnan(draws).any(axis=1)]

    @property
    def freedom(self) -> int:
        """Degrees of freedom: the number of matches minus the number of cells."""
        return max(1, len(set(self.matches)) - len(set(self.cells)))

    def errors(self, draws: Array) -> Array:
        """Return standard errors of cell means, `(k,)`, from resamples of matches, `(m, k)`.

        Resamples of few matches in each cell vary less than the matches themselves, by the share
        of degrees of freedom that the cells' means use; this is corrected.
        """
        errors: Array = draws.std(axis=0) * np.sqrt(len(set(self.matches)) / self.freedom)
        return errors

    def interval(
        self, mean: Array, draws: Array, confidence: float, at_once: int = 1
    ) -> tuple[Array, Array]:
        """Return bounds by Student's t, for so many means at once (Bonferroni).

        A bootstrap of the largest mean's distance would treat errors that come from a dozen matches
        as known, and among hundreds of heads find some beyond its bounds by chance.
        """
        return student_interval(mean, self.errors(draws), self.freedom, confidence, at_once)

    def token(self) -> Array:
        """Return the values towards the pair's first label instead, `(prompts, ablations)`."""
        # The sign turns where the first label does not stand for the Nash action.
        nash = self.prompts["nash_action"].to_numpy(dtype=float)
        first = np.where(self.prompts["label_map"] == "swapped", 1.0, 0.0)
        return self.values * np.where(nash == first, 1.0, -1.0)[:, None]


def cell_mean(values: Array, cells: list[str]) -> Array:
    """Return column means, `(k,)`, in which each cell of the design has the same weight."""
    return pd.DataFrame(values).groupby(np.asarray(cells)).mean().mean(axis=0).to_numpy(dtype=float)
