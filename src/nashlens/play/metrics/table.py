"""The metrics table: every measure of every cell, beside its interval, control and quiz."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from nashlens.contrasts import percentile_interval, resample_counts
from nashlens.games.game import Game
from nashlens.models.table import models_table
from nashlens.play.metrics import mixture, serial
from nashlens.play.metrics.cells import KEYS, Array, Cell, RatioMeasures, cells_of
from nashlens.play.metrics.effects import LEVELS, PAIRS, surface_effects
from nashlens.play.metrics.matches import matches_table
from nashlens.play.metrics.measures import measures
from nashlens.play.metrics.mover import advantages
from nashlens.play.metrics.quiz import accuracy_by_model
from nashlens.play.metrics.rounds import Rounds, rounds_of
from nashlens.seeds import stream

COLUMNS = (
    "measure", "term", "definition", *KEYS, "estimate", "ci_low", "ci_high", "n", "n_matches",
    "control", "control_measure", "reason", "n_invalid", "label_mass", "quiz_accuracy", "quiz_low",
    "quiz_high", "quiz_n", "family", "n_parameters",
)  # fmt: skip
ONE_MATCH = "one match: no interval"
_NUMBERS = ("estimate", "ci_low", "ci_high", "control")
_TEXTS = (
    "measure", "term", "definition", "agent", "model", "mode", "opponent", "opponent_model",
    "pairing", "game", "move_order", "turn", "control_measure", "reason",
)  # fmt: skip


@dataclass(frozen=True)
class Resampling:
    """How intervals are made."""

    confidence: float
    resamples: int
    seed: int

    def rng(self, *names: str) -> np.random.Generator:
        """Return the random stream of a use."""
        return stream(self.seed, "metrics", *names)

    def options(self, *names: str) -> dict[str, Any]:
        """Return what a bootstrap takes."""
        return {
            "confidence": self.confidence, "resamples": self.resamples, "rng": self.rng(*names)
        }  # fmt: skip


def measure_play(
    play: pd.DataFrame,
    games: Sequence[Game],
    quiz: pd.DataFrame,
    *,
    models: pd.DataFrame | None = None,
    confidence: float,
    resamples: int,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return every measure of every match, and of every cell of the design.

    Parameters
    ----------
    play : pandas.DataFrame
        The play table.
    games, quiz, models, confidence, resamples, seed
        See `metrics_table`.

    Returns
    -------
    matches, metrics : pandas.DataFrame
        See `matches_table` and `metrics_table`.

    Raises
    ------
    DataError
        See `rounds_of`.
    """
    rounds = rounds_of(play, games)
    matches = matches_table(rounds)
    metrics = metrics_table(
        rounds,
        matches,
        games,
        quiz,
        models=models,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )
    return matches, metrics


def metrics_table(
    rounds: Rounds,
    matches: pd.DataFrame,
    games: Sequence[Game],
    quiz: pd.DataFrame,
    *,
    models: pd.DataFrame | None = None,
    confidence: float,
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """Return every measure of every cell.

    Parameters
    ----------
    rounds : Rounds
        Of `rounds_of`.
    matches : pandas.DataFrame
        From `matches_table`, of the same rounds.
    games : sequence of Game
    quiz : pandas.DataFrame
        Of `quiz.parquet`.
    models : pandas.DataFrame, optional
        Of `models_table`; without it, sizes and families are missing.
    confidence, resamples
        Of the bootstrap over matches.
    seed : int
        The experiment's seed.

    Returns
    -------
    pandas.DataFrame
        One row a measure, term and cell. Where there is no estimate, `reason` says why.
    """
    how = Resampling(confidence, resamples, seed)
    ratios = RatioMeasures(matches, measures())
    rows: list[dict[str, Any]] = []
    for cell in cells_of(matches):
        found = [*_ratios(ratios, cell, how)]
        found += _serial(rounds, matches, cell, how)
        found += _mixture(rounds, cell, how)
        rows += _with_cell(found, cell.keys, matches.iloc[cell.lines])
    rows += [
        {**row, **_quality(matches.iloc[lines])}
        for row, lines in advantages(matches, how.confidence, how.resamples, how.rng)
    ]
    rows += _effects(matches, games, how)
    table = pd.DataFrame(rows, columns=list(COLUMNS)[: COLUMNS.index("quiz_accuracy")])
    known = models_table({}, {}) if models is None else models
    for beside in (accuracy_by_model(quiz), known):
        table = table.merge(beside, on="model", how="left")
    table = table[list(COLUMNS)]
    types: dict[str, Any] = dict.fromkeys(_TEXTS, "str") | dict.fromkeys(_NUMBERS, "float64")
    types |= dict.fromkeys(("n", "n_matches", "n_invalid"), "int64")
    return table.astype(types | {"match_rounds": "Int64", "quiz_n": "Int64"})


def _quality(part: pd.DataFrame) -> dict[str, Any]:
    return {"n_invalid": int(part["n_invalid"].sum()), "label_mass": part["label_mass"].mean()}


def _with_cell(
    rows: Iterable[dict[str, Any]], keys: dict[str, object], part: pd.DataFrame
) -> list[dict[str, Any]]:
    quality = _quality(part)
    return [{**keys, **row, **quality} for row in rows]


def _ratios(ratios: RatioMeasures, cell: Cell, how: Resampling) -> Iterator[dict[str, Any]]:
    values = ratios.of(cell, **how.options("cell", *cell.name))
    for measure, value in zip(ratios.measures, values, strict=True):
        none = np.isnan(value.estimate)
        yield {
            "measure": measure.name,
            "term": measure.term,
            "definition": measure.definition,
            "estimate": value.estimate,
            "ci_low": value.low,
            "ci_high": value.high,
            "n": value.n,
            "n_matches": value.n_matches,
            "control": np.nan if none else value.control,
            "control_measure": "" if np.isnan(value.control) else measure.control_measure,
            "reason": measure.reason if none else ONE_MATCH if value.n_matches < 2 else "",
        }


def _serial(
    rounds: Rounds, matches: pd.DataFrame, cell: Cell, how: Resampling
) -> list[dict[str, Any]]:
    """Return serial independence, in games whose only equilibrium is mixed."""
    moves = rounds.own[cell.lines]
    steps = serial.transitions(moves)
    whole = steps.sum(axis=1) > 0
    row: dict[str, Any] = {
        "measure": "serial_information",
        "definition": "mutual information, in bits, of a seat's consecutive moves",
        "n": int(steps.sum()), "n_matches": len(np.unique(cell.matches[whole])),
        "control": np.nan, "control_measure": "mean over random orders of each match's moves",
        "estimate": np.nan, "ci_low": np.nan, "ci_high": np.nan, "reason": "", "term": None,
    }  # fmt: skip
    chance: dict[str, Any] = row | {
        "measure": "serial_p_value",
        "definition": "share of random orders of each match's moves with at least as much"
        " mutual information of consecutive moves, the data counting as one",
        "control_measure": "",
    }
    shown = moves[whole]
    if matches["mixed_share"].iloc[cell.lines].isna().any():
        row["reason"] = "the game has a pure equilibrium, or a continuum"
    elif not whole.any():
        row["reason"] = "fewer than two rounds"
    elif (np.nanmin(shown, axis=1) == np.nanmax(shown, axis=1)).all():
        row["reason"] = "the seat's moves are constant in every match"
    if row["reason"]:
        return [row, chance | {"reason": row["reason"]}]
    rng = how.rng("serial", *cell.name)
    reference = serial.permuted(shown, how.resamples, rng)
    row["estimate"] = float(serial.mutual_information(steps.sum(axis=0)))
    row["control"] = float(reference.mean())
    by_match = _by_match(steps, cell)
    draws = serial.mutual_information(resample_counts(len(by_match), how.resamples, rng) @ by_match)
    row |= _bounds(draws, how, row["n_matches"])
    return [row, chance | {"estimate": serial.p_value(row["estimate"], reference)}]


def _by_match(values: Array, cell: Cell) -> Array:
    sums = np.zeros((int(cell.matches.max()) + 1, values.shape[1]))
    np.add.at(sums, cell.matches, values)
    return sums


def _bounds(draws: Array, how: Resampling, n_matches: int) -> dict[str, Any]:
    if n_matches < 2:
        return {"reason": ONE_MATCH}
    low, high = percentile_interval(draws[:, None], how.confidence)
    return {"ci_low": float(low[0]), "ci_high": float(high[0])}


def _mixture(rounds: Rounds, cell: Cell, how: Resampling) -> list[dict[str, Any]]:
    """Weights of the classical strategies, of classes that cannot be told apart, and the error."""
    own, other = rounds.own[cell.lines], rounds.other[cell.lines]
    moves = ~np.isnan(own)
    played = moves.any(axis=1)
    definition = (
        "weight in a mixture of ALLC, ALLD, TFT, GRIM, WSLS and RANDOM with a common error, by"
        " maximum likelihood (Dal Bo and Frechette 2011); C is action 0"
    )
    n_matches = len(np.unique(cell.matches[played]))
    base: dict[str, Any] = {
        "measure": "strategy_weight", "definition": definition, "n": int(moves.sum()),
        "n_matches": n_matches, "control": 1 / len(mixture.NAMES),
        "control_measure": "equal weights", "estimate": np.nan, "ci_low": np.nan,
        "ci_high": np.nan, "reason": "",
    }  # fmt: skip
    if not played.any():
        reason = {"reason": "no whole round was played", "control": np.nan}
        return [base | reason | {"term": name} for name in mixture.NAMES]
    counts = resample_counts(
        int(cell.matches.max()) + 1, how.resamples, how.rng("mixture", *cell.name)
    )
    # A match without a whole round says nothing, whatever weight it has.
    found = mixture.fit(own, other, cell.matches, counts)
    rows = []
    for k, members in enumerate(found.classes):
        values = found.weights[:, k]
        fitted = {"estimate": float(values[0])} | _bounds(values[1:], how, n_matches)
        fitted["control"] = len(members) / len(mixture.NAMES)
        rows.append(base | fitted | {"term": "+".join(members)})
        if len(members) > 1:
            same = f"all its moves are those of others: see the term {'+'.join(members)}"
            none = {"reason": same, "control": np.nan}
            rows += [base | none | {"term": name} for name in members]
    error = {
        "measure": "strategy_error", "term": None, "control": np.nan, "control_measure": "",
        "definition": "chance that a strategy's move is carried out wrongly, in the same mixture",
    }  # fmt: skip
    if np.isnan(found.error[0]):
        return [*rows, base | error | {"reason": "all weight is RANDOM's, which has no error"}]
    fitted = {"estimate": float(found.error[0])} | _bounds(found.error[1:], how, n_matches)
    return [*rows, base | error | fitted]


def _effects(matches: pd.DataFrame, games: Sequence[Game], how: Resampling) -> list[dict[str, Any]]:
    """Surface effects of each agent, over all games and in each."""
    asymmetric = {game.name for game in games if game.transpose().payoffs != game.payoffs}
    rows: list[dict[str, Any]] = []
    for agent, part in matches.groupby("agent", sort=True):
        whole: list[tuple[Any, pd.DataFrame]] = [(None, part)]
        for game, own in [*whole, *part.groupby("game", sort=True)]:
            keys = dict.fromkeys(KEYS, None) | {
                "agent": agent, "model": own["model"].iloc[0], "mode": own["mode"].iloc[0],
                "game": game,
            }  # fmt: skip
            used = own[own["n_p_action_0"] > 0]
            rng_names = ("effects", str(agent), str(game or ""))
            rows += _with_cell(_effect_rows(used, asymmetric, how, rng_names), keys, own)
    return rows


def _effect_rows(
    used: pd.DataFrame, asymmetric: set[str], how: Resampling, names: tuple[str, ...]
) -> list[dict[str, Any]]:
    n_matches = used["match_id"].nunique()
    base: dict[str, Any] = {
        "n": int(used["n_p_action_0"].sum()), "n_matches": n_matches, "control": 0.0,
        "control_measure": "an agent that the surface does not move",
    }  # fmt: skip
    problem = ""
    if not len(used):
        problem = "no probability was recorded"
    elif used["model"].isna().all():
        problem = "scripted agents see no labels, options or templates"
    if problem:
        none = dict.fromkeys(("estimate", "ci_low", "ci_high", "control"), np.nan)
        return [
            base | none | {"measure": f"{factor}_effect", "term": None, "definition": "",
                           "reason": problem}
            for factor in (*PAIRS, *LEVELS)
        ]  # fmt: skip
    found = surface_effects(used, asymmetric, **how.options(*names))
    return [
        base
        | {
            "measure": f"{effect.factor}_effect", "term": effect.term,
            "definition": effect.definition, "estimate": effect.estimate,
            "ci_low": effect.low, "ci_high": effect.high,
            "control": np.nan if np.isnan(effect.estimate) else 0.0,
            "reason": effect.reason or (ONE_MATCH if n_matches < 2 else ""),
        }
        for effect in found
    ]  # fmt: skip
