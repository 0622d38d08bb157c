"""Play tables for the tests of the measures."""

from itertools import product

import numpy as np
import pandas as pd

from nashlens.estimates import Bootstrap
from nashlens.games.catalog import CATALOG
from nashlens.play.metrics.matches import matches_table
from nashlens.play.metrics.rounds import rounds_of
from nashlens.play.metrics.table import measure_play
from nashlens.play.schedule import Agent

from ..fakes import ALL_FORMS, MODEL, matches_of, play_matches, players, plays, settings

QUIZ = pd.DataFrame(
    {
        "model": ["m", "m", "m"],
        "template": ["neutral", "table", "table"],
        "kind": ["all", "all", "rule_own"],
        "n": [10, 30, 5],
        "accuracy": [0.5, 0.7, 1.0],
        "ci_low": [0.3, 0.6, 1.0],
        "ci_high": [0.7, 0.8, 1.0],
    }
)


def scripted(name, p=None):
    return Agent(name.lower(), strategy=name, p=p)


def played(*pairs, strategy="TFT", p=None, rounds=6, games=None, repetitions=2, **more):
    games = games or [CATALOG["prisoners_dilemma"]]
    matches = matches_of(*pairs, games=games, forms=ALL_FORMS, repetitions=repetitions, **more)
    return play_matches(matches, players(plays(strategy, p)), settings(rounds=rounds))


def measured_matches(play, games):
    return matches_table(rounds_of(play, list(games)))


def measured(play, games=None, resamples=40, quiz=QUIZ):
    games = games or [CATALOG["prisoners_dilemma"]]
    return measure_play(play, games, quiz, Bootstrap(0.9, resamples, 5))


def value(table, measure, term=None, column="estimate", **cell):
    rows = table[table["measure"] == measure]
    rows = rows[rows["term"].isna()] if term is None else rows[rows["term"] == term]
    for key, wanted in cell.items():
        rows = rows[rows[key].isna()] if wanted is None else rows[rows[key] == wanted]
    assert len(rows) == 1, rows
    return rows[column].iloc[0]


def by_hand(pairs_of_moves, game, agents=("x", "y"), **columns):
    """A play table of matches that are written out: [(row moves, column moves), ..]."""
    rows = []
    for number, (row, column) in enumerate(pairs_of_moves):
        for t, seat in product(range(len(row)), (0, 1)):
            moves = (row[t], column[t])
            pay = (np.nan, np.nan) if None in moves else game.payoff(*moves)
            rows.append(
                {
                    "match_id": f"m{number}", "block_id": f"b{number}",
                    "scenario_id": f"s{number}", "game": game.name, "variant": game.variant,
                    "repetition": number, "pairing": "cross_play", "move_order": "simultaneous",
                    "horizon": "unknown", "match_rounds": len(row), "round": t + 1,
                    "seat": ("row", "column")[seat], "agent": agents[seat],
                    "opponent": agents[1 - seat], "model": agents[seat], "mode": "direct",
                    "strategy": None, "template": "neutral", "label_set": "jf",
                    "label_kind": "neutral",
                    "label_map": "identity", "option_order": "forward", "label_mass": 0.5,
                    "p_action_0": np.nan if moves[seat] is None else 1.0 - moves[seat],
                    "action": moves[seat], "opponent_action": moves[1 - seat],
                    "payoff": pay[seat],
                }
                | columns
            )  # fmt: skip
    frame = pd.DataFrame(rows)
    return frame.astype({"action": "Int64", "opponent_action": "Int64"})


__all__ = [
    "MODEL",
    "QUIZ",
    "by_hand",
    "measured",
    "measured_matches",
    "played",
    "scripted",
    "value",
]
