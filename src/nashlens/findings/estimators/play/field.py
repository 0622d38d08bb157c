"""Who played whom: models with their sizes and families, and the matches that a claim may use.

Two seats of one match are one observation, so each selection has one line a match. What may be
held against what is said in `arms`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import pandas as pd

from nashlens.findings.estimators.play import surface
from nashlens.findings.estimators.play.arms import GameKey, of_games
from nashlens.games.equilibria import dominant_action, prosocial_action, solve
from nashlens.games.table import games_from_table
from nashlens.models.table import amount

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


class Model(NamedTuple):
    """A model with what claims about scale ask for."""

    name: str
    family: str
    parameters: float

    @property
    def size(self) -> str:
        """Its name with its parameters: llama3_8b (8.03B), smollm2 (135M)."""
        return f"{self.name} ({amount(self.parameters)})"


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
        self._matches = tables["matches"]
        self._surfaces: dict[tuple[str, str, frozenset[GameKey], float], str] = {}
        rows = tables["models"].itertuples(index=False)
        known = (Model(str(m.model), str(m.family), float(m.n_parameters)) for m in rows)  # type: ignore[arg-type]
        self.models = sorted(known, key=lambda model: (model.parameters, model.name))
        self.dilemmas: dict[GameKey, tuple[int, int]] = {}
        self.contested: set[GameKey] = set()
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

    def surface_problem(
        self, players: Iterable[tuple[str, str]], games: Iterable[GameKey], confidence: float
    ) -> str:
        """Say whether a surface form decides what models do in a claim's games; empty if none does.

        Parameters
        ----------
        players : iterable of (str, str)
            Models by name, each with a mode.
        games : iterable of (str, int)
            (game, variant) that enter the claim.
        confidence : float
        """
        wanted = frozenset(games)
        for model, mode in players:
            key = (model, mode, wanted, confidence)
            if key not in self._surfaces:
                rows = of_games(self._rows(model, mode), wanted)
                self._surfaces[key] = surface.problem(rows, f"{model} ({mode})", confidence)
            if self._surfaces[key]:
                return self._surfaces[key]
        return ""

    def _rows(self, model: str, mode: str) -> pd.DataFrame:
        m = self._matches
        return m[(m["model"] == model) & (m["mode"] == mode)]
