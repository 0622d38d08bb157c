"""The claim about who moves first in a game of two contested equilibria: X3."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from nashlens.findings.estimators.play.arms import comparable, of_games
from nashlens.findings.estimators.play.field import ALL, Field
from nashlens.findings.estimators.play.means import Means
from nashlens.findings.measurement import Measurement, Missing, Settings

Found = Iterator[tuple[str, Measurement | Missing]]
ORDERS = ("row_first", "column_first", "simultaneous")
COORDINATED = 0.5
"""Share of rounds in an equilibrium under uniformly random play, and with any seat that does not
look."""


def first_mover(field: Field, settings: Settings) -> Found:
    """X3: by how much the equilibrium goes with who moves first.

    With S the share of rounds in the row seat's preferred equilibrium less that in the column
    seat's, half of S when row moves first less S when column does. Whatever is tied to a seat, an
    action or a label is in both and cancels.
    """
    subjects: list[tuple[str, list[tuple[str, str]]]] = []
    names = [model.name for model in field.models]
    subjects += [(name, [(name, name)]) for name in names]
    subjects += [
        (f"{one}--{two}", [(one, two), (two, one)])
        for k, one in enumerate(names)
        for two in names[k + 1 :]
    ]
    found = False
    for subject, pairs in subjects:
        rows = of_games(
            pd.concat([_row_seat(field, own, other) for own, other in pairs]), field.contested
        )
        if rows.empty:
            continue
        found = True
        players = [(name, "direct") for name in dict.fromkeys(pairs[0])]
        yield subject, _order(field, rows, settings.about(subject), players)
    if not found:
        reason = "no match in mode direct of a game with two pure equilibria of which each seat"
        yield ALL, Missing(f"{reason} earns more in another one (Battle of the Sexes, Chicken)")


def _row_seat(field: Field, own: str, other: str) -> pd.DataFrame:
    if own == other:
        return field.in_turn(own)
    rows = field.against(own, other)
    return rows[rows["seat"] == "row"]


def _shares(rows: pd.DataFrame) -> pd.DataFrame:
    """Add whose equilibria a match was in, as shares of its rounds."""
    own, other = rows["n_own_preferred"], rows["n_other_preferred"]
    length = rows["n_rounds"].astype(float)
    return rows.assign(
        # Who sits in the row seat is balanced over orders, and weighs the same.
        cell=rows["game"] + ", row " + rows["model"].astype(str),
        lead=(own - other) / length,
        own=own / length,
        other=other / length,
        either=(own + other) / length / 2,
        coordinated=rows["n_equilibrium"] / length,
    )


def _order(
    field: Field, rows: pd.DataFrame, settings: Settings, players: list[tuple[str, str]]
) -> Measurement | Missing:
    rows = _shares(rows)
    arms = {order: rows[rows["move_order"] == order] for order in ORDERS}
    lacking = [order for order, part in arms.items() if part.empty]
    if lacking:
        return Missing(
            f"matches.move_orders or matches.sequential_games lacks {', '.join(lacking)} here"
        )
    cut = comparable(arms, "cell")
    if isinstance(cut, Missing):
        return cut
    columns = ["lead", "own", "other", "either", "coordinated"]
    means = Means(cut.rows, columns, settings, "X3", cell="cell", ranges={"lead": (-1.0, 1.0)})
    if means.problem is not None:
        return means.problem
    swing = means.of("lead", {"row_first": 0.5, "column_first": -0.5})
    mover = {"row_first": "own", "column_first": "other", "simultaneous": "either"}
    both = {"row_first": 0.5, "column_first": 0.5}
    beyond = means.of(mover, both | {"simultaneous": -1.0})
    coordinated = means.of("coordinated", both)
    low, high = swing.bounds(settings.confidence)
    return Measurement(
        estimate=swing.value,
        low=low,
        high=high,
        n=swing.n,
        n_matches=swing.n_matches,
        control=means.of("lead", {"simultaneous": 1.0}).value,
        p_value=max(
            swing.p_above(0.0, settings.resamples),
            beyond.p_above(0.0, settings.resamples),
            coordinated.p_above(COORDINATED, settings.resamples),
        ),
        detail={
            "row_first": means.of("lead", {"row_first": 1.0}).value,
            "column_first": means.of("lead", {"column_first": 1.0}).value,
            "mover": means.of(mover, both).value,
            "either": means.of("either", {"simultaneous": 1.0}).value,
            "beyond": beyond.value,
            "beyond_low": beyond.bounds(settings.confidence)[0],
            "coordinated": coordinated.value,
            "coordinated_low": coordinated.bounds(settings.confidence)[0],
            "cells": means.cells,
            "left_out": cut.left_out,
            "surface": field.surface_problem(players, cut.games, settings.confidence),
        },
    )
