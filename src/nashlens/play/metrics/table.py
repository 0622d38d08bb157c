"""The metrics table: every measure of every cell, with its interval, control and quiz."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from nashlens.contrasts import cluster_sums, percentile_interval, resample_counts
from nashlens.estimates import Bootstrap
from nashlens.games.game import Game
from nashlens.models.table import models_table
from nashlens.play.metrics import mixture, serial
from nashlens.play.metrics.cells import KEYS, Array, PlayCell, RatioMeasures, cells_of
from nashlens.play.metrics.effects import LEVELS, PAIRS, surface_effects
from nashlens.play.metrics.matches import matches_table
from nashlens.play.metrics.measures import measures
from nashlens.play.metrics.mover import advantages
from nashlens.play.metrics.quiz import accuracy_by_model
from nashlens.play.metrics.rounds import DROPPED_KEYS, Rounds, rounds_of
from nashlens.play.metrics.rows import ONE_BLOCK, measure_row

COLUMNS = (
    "measure", "term", "definition", *KEYS, "estimate", "ci_low", "ci_high", "n", "n_matches",
    "control", "control_measure", "reason", "n_invalid", "n_dropped", "label_mass", "quiz_accuracy",
    "quiz_low", "quiz_high", "quiz_n", "family", "n_parameters",
)  # fmt: skip
_NUMBERS = ("estimate", "ci_low", "ci_high", "control")
_TEXTS = (
    "measure", "term", "definition", "agent", "model", "mode", "opponent", "opponent_model",
    "pairing", "game", "move_order", "turn", "control_measure", "reason",
)  # fmt: skip


def measure_play(
    play: pd.DataFrame,
    games: Sequence[Game],
    quiz: pd.DataFrame,
    how: Bootstrap,
    *,
    models: pd.DataFrame | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return every measure of every match, and of every cell of the design.

    Parameters
    ----------
    play : pandas.DataFrame
        The play table.
    games : sequence of Game
        All games of the play table, with their variants.
    quiz : pandas.DataFrame
        The table of `quiz_accuracy`.
    how : Bootstrap
        Whole blocks are resampled.
    models : pandas.DataFrame, optional
        From `models_table`; without it, sizes and families are missing.

    Returns
    -------
    matches : pandas.DataFrame
        See `matches_table`.
    metrics : pandas.DataFrame
        One row a measure, term and cell. Where there is no estimate, `reason` says why.

    Raises
    ------
    DataError
        See `rounds_of`.
    """
    rounds = rounds_of(play, games)
    matches = matches_table(rounds)
    ratios = RatioMeasures(matches, measures())
    quality = partial(_quality, rounds.dropped)
    rows: list[dict[str, Any]] = []
    for cell in cells_of(matches):
        found = [
            *_ratio_rows(ratios, cell, how),
            *_serial_rows(rounds, matches, cell, how),
            *_mixture_rows(rounds, cell, how),
        ]
        shared = cell.keys | quality(matches.iloc[cell.lines])
        rows += [shared | row for row in found]
    rows += [row | quality(matches.iloc[lines]) for row, lines in advantages(matches, how)]
    rows += _effect_rows(matches, games, how, quality)
    table = pd.DataFrame(rows, columns=list(COLUMNS)[: COLUMNS.index("quiz_accuracy")])
    table = table.merge(accuracy_by_model(quiz), on="model", how="left")
    table = table.merge(models_table({}, {}) if models is None else models, on="model", how="left")
    table = table[list(COLUMNS)]
    types: dict[str, Any] = dict.fromkeys(_TEXTS, "str") | dict.fromkeys(_NUMBERS, "float64")
    types |= dict.fromkeys(("n", "n_matches", "n_invalid", "n_dropped"), "int64")
    return matches, table.astype(types | {"match_rounds": "Int64", "quiz_n": "Int64"})


def _quality(dropped: pd.DataFrame, matches: pd.DataFrame) -> dict[str, Any]:
    """Return what says how far the rows behind a measure can be trusted."""
    keys = list(DROPPED_KEYS)
    alike = dropped.merge(matches[keys].drop_duplicates(), on=keys)
    return {
        "n_invalid": int(matches["n_invalid"].sum()),
        "n_dropped": len(alike),
        "label_mass": matches["label_mass"].mean(),
    }


def _ratio_rows(ratios: RatioMeasures, cell: PlayCell, how: Bootstrap) -> Iterator[dict[str, Any]]:
    values = ratios.of_cell(cell, **how.options("metrics", "cell", *cell.name))
    for measure, value in zip(ratios.measures, values, strict=True):
        none = np.isnan(value.estimate)
        yield measure_row(
            measure.name,
            measure.definition,
            term=measure.term,
            n=value.n,
            n_matches=value.n_matches,
            estimate=value.estimate,
            bounds=(value.low, value.high),
            control=np.nan if none else value.control,
            control_measure=""
            if measure.control is None or np.isnan(value.control)
            else measure.control.words,
            reason=measure.reason if none else ONE_BLOCK if value.n_blocks < 2 else "",
        )


def _bounds(draws: Array, how: Bootstrap, blocks: Array) -> dict[str, Any]:
    """Return the bounds of resampled estimates, or why there are none."""
    if len(np.unique(blocks)) < 2:
        return {"reason": ONE_BLOCK}
    low, high = percentile_interval(draws[:, None], how.confidence)
    return {"bounds": (float(low[0]), float(high[0]))}


def _serial_rows(
    rounds: Rounds, matches: pd.DataFrame, cell: PlayCell, how: Bootstrap
) -> list[dict[str, Any]]:
    """Return serial independence, in games whose only equilibrium is mixed."""
    moves = rounds.own[cell.lines]
    steps = serial.transitions(moves)
    stepping = steps.sum(axis=1) > 0
    shown = moves[stepping]
    n, n_matches = int(steps.sum()), len(np.unique(cell.matches[stepping]))
    reason = ""
    if matches["mixed_share"].iloc[cell.lines].isna().any():
        reason = "the game has a pure equilibrium, or a continuum"
    elif not stepping.any():
        reason = "fewer than two rounds"
    elif (np.nanmin(shown, axis=1) == np.nanmax(shown, axis=1)).all():
        reason = "the seat's moves are constant in every match"
    information = partial(
        measure_row,
        "serial_information",
        "mutual information, in bits, of a seat's consecutive moves",
        n=n,
        n_matches=n_matches,
        control_measure="mean over random orders of each match's moves",
    )
    p_value = partial(
        measure_row,
        "serial_p_value",
        "share of random orders of each match's moves with at least as much mutual information of"
        " consecutive moves, the data counting as one",
        n=n,
        n_matches=n_matches,
    )
    if reason:
        return [information(reason=reason), p_value(reason=reason)]
    rng = how.rng("metrics", "serial", *cell.name)
    reference = serial.permuted(shown, how.resamples, rng)
    estimate = float(serial.mutual_information(steps.sum(axis=0)))
    by_block, _ = cluster_sums(steps, cell.blocks)
    draws = serial.mutual_information(resample_counts(len(by_block), how.resamples, rng) @ by_block)
    bounds = _bounds(draws, how, cell.blocks[stepping])
    return [
        information(estimate=estimate, control=float(reference.mean()), **bounds),
        p_value(estimate=serial.p_value(estimate, reference)),
    ]


def _mixture_rows(rounds: Rounds, cell: PlayCell, how: Bootstrap) -> list[dict[str, Any]]:
    """Return weights of classical strategies, or of classes that are alike, and the error."""
    own, other = rounds.own[cell.lines], rounds.other[cell.lines]
    moves = ~np.isnan(own)
    played = moves.any(axis=1)
    n_matches = len(np.unique(cell.matches[played]))
    n = int(moves.sum())
    weight = partial(
        measure_row,
        "strategy_weight",
        "weight in a mixture of ALLC, ALLD, TFT, GRIM, WSLS and RANDOM with a common error, by"
        " maximum likelihood (Dal Bo and Frechette 2011); C is action 0",
        n=n,
        n_matches=n_matches,
        control_measure="equal weights",
    )
    if not played.any():
        return [weight(term=name, reason="no whole round was played") for name in mixture.NAMES]
    # A match without a whole round counts as drawn, and adds nothing to the likelihood.
    counts = resample_counts(
        int(cell.blocks.max()) + 1, how.resamples, how.rng("metrics", "mixture", *cell.name)
    )
    found = mixture.fit_mixture(own, other, cell.blocks, counts)
    rows = []
    for members, weights in zip(found.classes, found.weights.T, strict=True):
        term, control = "+".join(members), len(members) / len(mixture.NAMES)
        bounds = _bounds(weights[1:], how, cell.blocks[played])
        rows.append(weight(term=term, estimate=float(weights[0]), control=control, **bounds))
        if len(members) > 1:
            same = f"all its moves are those of others: see the term {term}"
            rows += [weight(term=name, reason=same) for name in members]
    error = partial(
        measure_row,
        "strategy_error",
        "chance that a strategy's move is carried out wrongly, in the same mixture",
        n=n,
        n_matches=n_matches,
    )
    if np.isnan(found.error[0]):
        return [*rows, error(reason="all weight is RANDOM's, which has no error")]
    bounds = _bounds(found.error[1:], how, cell.blocks[played])
    return [*rows, error(estimate=float(found.error[0]), **bounds)]


def _effect_rows(
    matches: pd.DataFrame,
    games: Sequence[Game],
    how: Bootstrap,
    quality: Callable[[pd.DataFrame], dict[str, Any]],
) -> list[dict[str, Any]]:
    """Return surface effects of each agent, over all games and in each."""
    asymmetric = {game.name for game in games if game.transpose().payoffs != game.payoffs}
    rows: list[dict[str, Any]] = []
    for agent, of_agent in matches.groupby("agent", sort=True):
        everything: list[tuple[Any, pd.DataFrame]] = [(None, of_agent)]
        for game, chosen in [*everything, *of_agent.groupby("game", sort=True)]:
            shared = dict.fromkeys(KEYS, None) | {
                "agent": agent,
                "model": chosen["model"].iloc[0],
                "mode": chosen["mode"].iloc[0],
                "game": game,
            }
            shared |= quality(chosen)
            stream_name = ("metrics", "effects", str(agent), str(game or ""))
            found = _agent_effects(chosen, asymmetric, how, stream_name)
            rows += [shared | row for row in found]
    return rows


def _agent_effects(
    matches: pd.DataFrame, asymmetric: set[str], how: Bootstrap, stream_name: tuple[str, ...]
) -> list[dict[str, Any]]:
    used = matches[matches["n_p_action_0"] > 0]
    n_matches = used["match_id"].nunique()
    row = partial(
        measure_row,
        n=int(used["n_p_action_0"].sum()),
        n_matches=n_matches,
        control_measure="an agent that the surface does not move",
    )
    problem = ""
    if not len(used):
        problem = "no probability was recorded"
    elif used["model"].isna().all():
        problem = "scripted agents see no labels, options or templates"
    if problem:
        return [row(f"{factor}_effect", "", reason=problem) for factor in (*PAIRS, *LEVELS)]
    return [
        row(
            f"{effect.factor}_effect",
            effect.definition,
            term=effect.term,
            estimate=effect.estimate,
            bounds=(effect.low, effect.high),
            control=np.nan if np.isnan(effect.estimate) else 0.0,
            reason=effect.reason or (ONE_BLOCK if used["block_id"].nunique() < 2 else ""),
        )
        for effect in surface_effects(used, asymmetric, **how.options(*stream_name))
    ]
