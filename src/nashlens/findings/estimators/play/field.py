"""Who played whom: models with their sizes and families, and the matches that a claim compares.

Two seats of one match are one observation, so each selection has one line a match. Matches of
different lengths are never compared: frequencies of few rounds are farther from any mixed
equilibrium, and play drifts over rounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from nashlens.findings.measurement import Missing
from nashlens.games.equilibria import dominant_action, prosocial_action, solve
from nashlens.games.table import games_from_table

ALL = "all models"
"""The subject of a row that speaks of the whole experiment."""
SMALL = 10e9
"""Parameters below which a model is small: the paper's small one has 8 billion."""
LARGE = 30e9
"""Parameters from which on a partner is large: the paper's three others have 32, 70 and 72."""
LARGEST = 70e9
"""Parameters of what chain of thought is said to help: "above 70B", Llama-3-70B among them."""
STEP = 2.0
"""Least ratio of two sizes of a family: the paper's smaller step is 32 to 72 billion."""
MATCHED = 1.25
"""Largest ratio of two sizes that count as one: the paper's 70 and 72 billion lie well within."""
LABEL_LIMIT = 0.4
"""Change of P(action 0) with a surface form from which on the surface, not the game, decides.

A seat that takes a label with probability 0.7, whatever it stands for, reaches it. By that alone
its Nash distance in the Prisoner's Dilemma is 0.71 and not 0.75, which no claim counts as a change.
"""
_SURFACES = {"label_map": ("identity", "swapped"), "option_order": ("forward", "reversed")}


class Model(NamedTuple):
    """A model with what claims about scale ask for."""

    name: str
    family: str
    parameters: float

    @property
    def size(self) -> str:
        """Its name with its parameters: llama3_8b (8.03B), smollm2 (135M)."""
        units = ((1e9, "B"), (1e6, "M"), (1e3, "k"))
        scale, unit = next((u for u in units if self.parameters >= u[0]), units[-1])
        return f"{self.name} ({self.parameters / scale:.3g}{unit})"


class Field:
    """Matches between models, and the models and games that they were played by.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        `matches` (`matches.parquet`, or some of its rows), `games` (`games.parquet`) and `models`
        (`nashlens.models.table.models_table`).

    Attributes
    ----------
    models : list of Model
        From small to large.
    dilemmas : dict
        (game, variant) to both seats' prosocial actions, where each seat's dominant action is the
        other one: the Prisoner's Dilemma, by whatever name. A payoff variant in which one
        defector raises the sum of payoffs has no such actions and is none.
    contested : set
        (game, variant) with two pure equilibria, of which each seat earns more in another one:
        Battle of the Sexes, Chicken.
    """

    def __init__(self, tables: Mapping[str, pd.DataFrame]):
        matches = tables["matches"]
        self._matches = matches[matches["n_rounds"] > 0]
        rows = tables["models"].itertuples(index=False)
        known = (Model(str(m.model), str(m.family), float(m.n_parameters)) for m in rows)  # type: ignore[arg-type]
        self.models = sorted(known, key=lambda model: (model.parameters, model.name))
        self.dilemmas: dict[tuple[str, int], tuple[int, int]] = {}
        self.contested: set[tuple[str, int]] = set()
        for game in games_from_table(tables["games"]):
            key = (game.name, game.variant)
            own, other = (prosocial_action(game, seat) for seat in ("row", "column"))
            dominant = [dominant_action(game, seat) for seat in ("row", "column")]
            if own is not None and other is not None and dominant == [1 - own, 1 - other]:
                self.dilemmas[key] = (own, other)
            solved = solve(game)
            if len(solved.pure) == 2 and not solved.continuum:
                gains = [
                    game.payoff(*solved.pure[0])[k] - game.payoff(*solved.pure[1])[k]
                    for k in (0, 1)
                ]
                if gains[0] * gains[1] < 0:
                    self.contested.add(key)

    def self_play(self, model: str, mode: str) -> pd.DataFrame:
        """Return a model's matches with itself at once, from the row seat."""
        m = self._rows(model, mode)
        chosen = (m["pairing"] == "self_play") & (m["seat"] == "row")
        return m[chosen & (m["move_order"] == "simultaneous")]

    def cross_play(self, model: str, partner: str) -> pd.DataFrame:
        """Return a model's direct matches at once with another one, from its own seat."""
        m = self.against(model, partner)
        return m[m["move_order"] == "simultaneous"]

    def against(self, model: str, partner: str) -> pd.DataFrame:
        """Return a model's direct matches with another one in all move orders, from its seat."""
        m = self._rows(model, "direct")
        chosen = (m["pairing"] == "cross_play") & (m["opponent_model"] == partner)
        return m[chosen & (m["opponent_mode"] == "direct")]

    def in_turn(self, model: str) -> pd.DataFrame:
        """Return a model's direct matches with itself in all move orders, from the row seat."""
        m = self._rows(model, "direct")
        return m[(m["pairing"] == "self_play") & (m["seat"] == "row")]

    def scripted(self, model: str, strategy: str) -> pd.DataFrame:
        """Return a model's direct matches with a scripted strategy, from its own seat."""
        m = self._rows(model, "direct")
        return m[(m["opponent_strategy"] == strategy) & (m["move_order"] == "simultaneous")]

    def with_mode(self, *modes: str) -> list[Model]:
        """List the models that play themselves in all of some modes, from small to large."""
        return [
            model
            for model in self.models
            if all(len(self.self_play(model.name, mode)) for mode in modes)
        ]

    def families(self, models: Sequence[Model]) -> Iterator[tuple[str, Model, Model]]:
        """Yield each family with its smallest and largest model, where these lie a step apart."""
        for family in dict.fromkeys(model.family for model in models):
            members = [model for model in models if model.family == family]
            if members[-1].parameters >= STEP * members[0].parameters:
                yield family, members[0], members[-1]

    def matched(self, models: Sequence[Model]) -> Iterator[tuple[Model, Model]]:
        """Yield pairs of models of two families and about one size."""
        for one, two in combinations(models, 2):
            if one.family != two.family and two.parameters <= MATCHED * one.parameters:
                yield one, two

    def surface_problem(self, players: Iterable[tuple[str, str]]) -> str:
        """Say whether a surface form decides what a model does in a mode; empty where it does not.

        An action cannot be told from its label, or its place, unless both were swapped. Effects
        are differences of the mean recorded P(action 0), averaged over games, then in size over
        label sets: a liking for J and one for Y do not cancel.
        """
        for model, mode in players:
            rows = self._rows(model, mode)
            for factor, levels in _SURFACES.items():
                effect = _surface_effect(rows, factor, levels)
                if np.isnan(effect):
                    return (
                        f"{model} ({mode}) saw one {factor} alone: what it does cannot be told"
                        " from a liking for a label or a place"
                    )
                if effect >= LABEL_LIMIT:
                    return (
                        f"the {factor} alone moves {model} ({mode}) by {effect:.2f} in P(action 0):"
                        " surface forms, not games, decide its play"
                    )
        return ""

    def _rows(self, model: str, mode: str) -> pd.DataFrame:
        m = self._matches
        return m[(m["model"] == model) & (m["mode"] == mode)]


def _surface_effect(rows: pd.DataFrame, factor: str, levels: tuple[str, str]) -> float:
    # Where what the model wrote decides, no probability may be recorded: then what it did.
    acted = (rows["n_00"] + rows["n_01"]) / rows["n_rounds"].astype(float)
    p = (rows["sum_p_action_0"] / rows["n_p_action_0"].replace(0, np.nan)).fillna(acted)
    cells = p.groupby([rows["label_set"], rows["game"], rows[factor]]).mean().unstack()
    if not set(levels) <= set(cells.columns):
        return float("nan")
    found = (cells[levels[0]] - cells[levels[1]]).dropna()
    sets = found.groupby("label_set").mean().abs()
    return float(sets.mean()) if len(sets) else float("nan")


def of_games(rows: pd.DataFrame, wanted: Iterable[tuple[str, int]]) -> pd.DataFrame:
    """Return the matches of some (game, variant)."""
    keys = set(wanted)
    pairs = zip(rows["game"], rows["variant"], strict=True)
    return rows[[(str(game), int(variant)) in keys for game, variant in pairs]]


def comparable(
    arms: Mapping[str, pd.DataFrame], cell: str = "game"
) -> dict[str, pd.DataFrame] | Missing:
    """Cut selections of matches down to one length and to the cells that all of them have.

    Parameters
    ----------
    arms : mapping of str to DataFrame
        By name, for messages.
    cell : str
        The column whose values weigh the same.

    Returns
    -------
    dict of str to DataFrame or Missing
        Of the longest matches that all arms have.
    """
    empty = [name for name, rows in arms.items() if rows.empty]
    if empty:
        return Missing(f"no matches: {', '.join(empty)}")
    lengths = [set(rows["match_rounds"].astype(int)) for rows in arms.values()]
    common = set.intersection(*lengths)
    if not common:
        told = "; ".join(
            f"{name}: {', '.join(map(str, sorted(found)))} rounds"
            for name, found in zip(arms, lengths, strict=True)
        )
        return Missing(
            f"matches of different lengths are not compared: {told}; give the agents the same"
        )
    for length in sorted(common, reverse=True):
        cut = {name: rows[rows["match_rounds"] == length] for name, rows in arms.items()}
        shared = set.intersection(*(set(rows[cell]) for rows in cut.values()))
        if shared:
            return {name: rows[rows[cell].isin(shared)] for name, rows in cut.items()}
    return Missing(f"no game was played by all of: {', '.join(arms)}")
