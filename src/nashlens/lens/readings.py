"""A lens table on blocks: matrices over prompts and layers, and what they follow.

A block asks one scenario under both label maps and in both option orders, so the part of a logit
that follows the action, the part that follows the word and the part that follows the place are
told apart within it (`nashlens.factorial`). Prompts of blocks that are not whole are left out.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from nashlens.contrasts import Array
from nashlens.factorial import BlockEstimate, ScenarioBlocks
from nashlens.kept import at_position, neutral

PREFERENCE = 0.2
"""Logits from which on a layer prefers something: P moves from 0.50 to 0.55."""


class LensShift(NamedTuple):
    """What is added to readings, each (n, layers)."""

    odds: Array
    """Logits for action 1."""
    mass: Array
    """To the log-odds of the label mass."""

    def on(self, rows: NDArray[np.intp]) -> LensShift:
        """Return what is added to some rows."""
        return LensShift(self.odds[rows], self.mass[rows])


class Readings:
    """The lens of some prompts as matrices, (n, layers).

    Parameters
    ----------
    lens : DataFrame
        One lens table of one model; the decision position is read.
    prompts : DataFrame
        Its prompts; others are left out, and so are prompts whose labels have a meaning.
    first : int
        First layer to read: 1, or 0 for the embedding too.
    further : sequence of str
        Further columns of the lens table to read; they may be missing anywhere.

    Attributes
    ----------
    blocks : ScenarioBlocks
        Of the prompts below.
    prompts : DataFrame
        One row a prompt of a whole block, (n rows).
    layers : ndarray of int, shape (layers,)
    odds : ndarray, shape (n, layers)
        Logit of action 1 over action 0.
    p_1 : ndarray, shape (n, layers)
        P(action 1).
    mass : ndarray, shape (n, layers)
        Label mass.
    further : dict of str to ndarray, shape (n, layers)
    asked : int
        Number of prompts, those of blocks that are not whole included.
    """

    def __init__(
        self,
        lens: pd.DataFrame,
        prompts: pd.DataFrame,
        *,
        first: int = 1,
        further: Sequence[str] = (),
    ):
        keys, own = ["prompt_id", "match_id"], ["odds", "p_action_1", "label_mass"]
        prompts = neutral(prompts).drop_duplicates(keys).set_index(keys)
        table = at_position(lens)
        table = table[table["layer"] >= first].drop_duplicates([*keys, "layer"])
        table = table.assign(odds=table["logit_1"] - table["logit_0"])
        self.layers = np.array(sorted(table["layer"].unique()), dtype=int)
        columns = [*own, *further]
        # One row for each prompt with all layers; the columns' matrices lie side by side.
        wide = table.pivot(index=keys, columns="layer", values=columns)
        wide = wide.reindex(columns=pd.MultiIndex.from_product([columns, self.layers]))
        known = wide.iloc[:, : len(own) * len(self.layers)].notna().all(axis=1)
        wide = wide.loc[wide.index.isin(prompts.index) & known]
        rows = prompts.loc[wide.index].reset_index()
        whole = ScenarioBlocks(rows).used
        self.asked = len(rows)
        self.prompts = rows[whole].reset_index(drop=True)
        self.blocks = ScenarioBlocks(self.prompts)
        matrices = np.split(wide.to_numpy(dtype=float)[whole], len(columns), axis=1)
        self.odds: Array = matrices[0]
        self.p_1: Array = matrices[1]
        self.mass: Array = matrices[2]
        self.further: dict[str, Array] = dict(zip(further, matrices[3:], strict=True))

    def __len__(self) -> int:
        return len(self.prompts)

    def drawn(self, rows: NDArray[np.intp], names: NDArray[np.str_]) -> Readings:
        """Return readings of some rows, whole blocks of them, as of other histories.

        Parameters
        ----------
        rows : ndarray of int, shape (m,)
            Rows may be drawn repeatedly.
        names : ndarray of str, shape (m,)
            What is added to the names of a row's prompt, block and history.
        """
        new = copy.copy(self)
        table = self.prompts.iloc[rows].reset_index(drop=True)
        for column in ("prompt_id", "block_id", "match_id"):
            table[column] = table[column].astype(str) + names
        new.prompts, new.blocks, new.asked = table, ScenarioBlocks(table), len(rows)
        new.odds, new.p_1, new.mass = self.odds[rows], self.p_1[rows], self.mass[rows]
        new.further = {name: values[rows] for name, values in self.further.items()}
        return new

    def shifted(self, shift: LensShift) -> Readings:
        """Return the same with something added to each reading."""
        new = copy.copy(self)
        new.odds = self.odds + shift.odds
        new.p_1 = expit(new.odds)
        grown = self.mass * np.exp(shift.mass)
        new.mass = grown / (1.0 - self.mass + grown)
        return new

    def parts(self, column: str) -> dict[str, Array]:
        """Return each part of each block's logits, (blocks, layers).

        Parameters
        ----------
        column : str
            Column of the prompts that holds the action of interest.
        """
        return self.blocks.parts(self.odds, self._towards(column))

    def probability(self, column: str) -> Array:
        """Return each block's mean P of the action that a column holds, (blocks, layers)."""
        towards = self._towards(column)[:, None]
        return self.blocks.means(np.where(towards > 0, self.p_1, 1.0 - self.p_1))

    def has(self, *columns: str) -> NDArray[np.bool_]:
        """Return in which blocks all these columns are defined, (blocks,)."""
        return self.blocks.frame[list(columns)].notna().all(axis=1).to_numpy()

    def estimate(self, *per_block: Array) -> BlockEstimate:
        """Average columns of blocks, side by side, over strata of equal weight."""
        return self.blocks.estimate(np.hstack(per_block))

    def _towards(self, column: str) -> Array:
        """Return +1 where a column of the prompts is action 1, else -1, (n,)."""
        actions = self.prompts[column].to_numpy(dtype=float, na_value=np.nan)
        return np.where(actions == 1, 1.0, -1.0)

    def problem(self, what: str) -> str | None:
        """Return why these readings cannot be judged; None if they can."""
        if not len(self.layers):
            return "the lens table holds no layer after the embedding"
        if not self.asked:
            return f"no prompt has {what}"
        if not len(self):
            return (
                "no scenario is asked under both label maps and in both option orders, so an action"
                " cannot be told from its word and its place: give prompts.label_maps and"
                " prompts.option_orders both of their values"
            )
        histories = self.blocks.frame.groupby("game")["match_id"].nunique()
        few = [str(game) for game in histories.index[histories < 2]]
        if few:
            return (
                f"{', '.join(few)}: one history only, and so no interval: raise prompts.histories"
            )
        return None


def defined(prompts: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Return the prompts for which all the columns are defined."""
    return prompts[prompts[list(columns)].notna().all(axis=1)]


def conflicting(prompts: pd.DataFrame) -> pd.DataFrame:
    """Return the prompts whose prosocial action is not their Nash action."""
    known = defined(prompts, "nash_action", "prosocial_action")
    return known[known["nash_action"].ne(known["prosocial_action"])]
