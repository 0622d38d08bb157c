"""Who played whom: models with their sizes and families, and the matches that a claim may use.

Two seats of one match are one observation, so each selection has one line a match. Which of them
may be compared is decided in `arms`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import pandas as pd

from nashlens.findings.shared.arms import GameKey, rows_of_games
from nashlens.findings.shared.sizes import (
    STEP,
    SizedModel,
    list_sizes_and_families,
    sized_models,
)
from nashlens.findings.shared.surface import surface_problem
from nashlens.games.equilibria import dominant_action, prosocial_action, solve
from nashlens.games.table import games_from_table
from nashlens.kept import neutral

ModelInMode = tuple[SizedModel, str]
"""A model and the mode in which it plays."""


class PlayField:
    """Matches between models, and the models and games that they were played by.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        `matches` (`matches.parquet`, or some of its rows), `games` (`games.parquet`) and `models`
        (`nashlens.models.table.models_table`).

    Attributes
    ----------
    models : list of SizedModel
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
        self._matches = neutral(tables["matches"])
        # A dozen claims ask for the same players.
        self._rows = cache(self._rows_of)
        self._surface_problems: dict[tuple[str, str, frozenset[GameKey], float], str] = {}
        self.models = sized_models(tables["models"])
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
                # What each seat gains in the first equilibrium over the second.
                gains = [
                    game.payoff(*solved.pure[0])[k] - game.payoff(*solved.pure[1])[k]
                    for k in (0, 1)
                ]
                if gains[0] * gains[1] < 0:
                    self.contested.add(key)

    def self_play(self, model: str, mode: str) -> pd.DataFrame:
        """Return a model's simultaneous matches with itself, from the row seat."""
        m = self._rows(model, mode)
        chosen = (m["pairing"] == "self_play") & (m["seat"] == "row")
        return m[chosen & (m["move_order"] == "simultaneous")]

    def self_play_in_all_orders(self, model: str) -> pd.DataFrame:
        """Return a model's direct matches with itself in all move orders, from the row seat."""
        m = self._rows(model, "direct")
        return m[(m["pairing"] == "self_play") & (m["seat"] == "row")]

    def cross_play(self, model: str, partner: str) -> pd.DataFrame:
        """Return a model's direct simultaneous matches with another one, from its own seat."""
        m = self.cross_play_in_all_orders(model, partner)
        return m[m["move_order"] == "simultaneous"]

    def cross_play_in_all_orders(self, model: str, partner: str) -> pd.DataFrame:
        """Return a model's direct matches with another one in all move orders, from its seat."""
        m = self._rows(model, "direct")
        chosen = (m["pairing"] == "cross_play") & (m["opponent_model"] == partner)
        return m[chosen & (m["opponent_mode"] == "direct")]

    def scripted(self, model: str, strategy: str) -> pd.DataFrame:
        """Return a model's direct simultaneous matches with a scripted strategy, from its seat."""
        m = self._rows(model, "direct")
        return m[(m["opponent_strategy"] == strategy) & (m["move_order"] == "simultaneous")]

    def with_mode(self, *modes: str) -> list[SizedModel]:
        """List the models that play themselves in all of some modes, from small to large."""
        return [
            model
            for model in self.models
            if all(len(self.self_play(model.name, mode)) for mode in modes)
        ]

    def first_surface_problem(
        self, players: Iterable[ModelInMode], games: Iterable[GameKey], confidence: float
    ) -> str:
        """Say whether a surface form decides what players do in a claim's games.

        Parameters
        ----------
        players : iterable of (SizedModel, str)
        games : iterable of (str, int)
            (game, variant) that enter the claim.
        confidence : float
            As in `surface_problem`.

        Returns
        -------
        str
            The `surface_problem` of the first player that has one; empty where none has.
        """
        wanted = frozenset(games)
        for model, mode in players:
            key = (model.name, mode, wanted, confidence)
            if key not in self._surface_problems:
                rows = rows_of_games(self._rows(model.name, mode), wanted)
                self._surface_problems[key] = surface_problem(
                    rows, f"{model.name} ({mode})", confidence
                )
            if self._surface_problems[key]:
                return self._surface_problems[key]
        return ""

    def _rows_of(self, model: str, mode: str) -> pd.DataFrame:
        m = self._matches
        return m[(m["model"] == model) & (m["mode"] == mode)]


def modes_lacking(play: PlayField, *modes: str) -> str:
    """Say that no model plays itself in both of two modes, and which ones do in each."""
    have = {mode: [m.name for m in play.with_mode(mode)] for mode in modes}
    listed = "; ".join(f"{mode}: {', '.join(names) or 'none'}" for mode, names in have.items())
    return f"no model plays itself in both of the modes {' and '.join(modes)} ({listed})"


def sizes_lacking(models: Sequence[SizedModel], modes: str) -> str:
    """Say that no family has two sizes a step apart, and which models there are."""
    return (
        f"no family has two models that play themselves ({modes}) and whose sizes lie {STEP:g}"
        f" times apart or more; there are {list_sizes_and_families(models)}"
    )
