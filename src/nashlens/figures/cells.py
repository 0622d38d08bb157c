"""What figures of play share: cells of the metrics table, agents in order, what failed.

Numbers are the table's own. A figure of play names beside each agent how well its model knew the
rules and how many of its decisions gave no action, since behaviour means little without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D

from nashlens.figures import style
from nashlens.vocabulary.play import MODES

COLUMNS = [
    "measure", "term", "definition", "agent", "model", "mode", "opponent", "pairing", "game",
    "move_order", "turn", "match_rounds", "estimate", "ci_low", "ci_high", "n", "n_matches",
    "control", "control_measure", "reason", "n_invalid", "quiz_accuracy", "quiz_low", "quiz_high",
    "family", "n_parameters",
]  # fmt: skip
OPPONENTS = {
    "self_play": "itself",
    "cross_play": "other model agents",
    "scripted": "scripted opponents",
}
"""Pairing -> whom an agent meets in it."""
DEFINED = {"cooperation": "Cooperation", "nash_tv": "Nash distance"}
"""Measures whose definitions are written below figures, and their names."""
INTERVALS = "Bars: {:.0%} intervals over matches; none where there is one match."
EMPTY = "the metrics table holds no match of a model"


def of_models(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of model agents, checked to have the columns that figures show.

    Raises
    ------
    DataError
        Naming the missing columns.
    """
    style.require(metrics, "metrics", COLUMNS)
    return metrics[metrics["model"].notna()]


def agents(metrics: pd.DataFrame) -> list[str]:
    """List the agents: by size of their models where it is known, by model, then by mode."""
    known = metrics.drop_duplicates("agent")
    places = {mode: place for place, mode in enumerate(MODES)}
    order = known.assign(place=known["mode"].map(places).fillna(9))
    return (
        order.sort_values(["n_parameters", "model", "place", "agent"])["agent"].astype(str).tolist()
    )


def games(metrics: pd.DataFrame) -> list[str]:
    """List the games of some rows, in the table's order."""
    return [str(game) for game in metrics["game"].dropna().unique()]


def of_measure(metrics: pd.DataFrame, measure: str, term: str | None = None) -> pd.DataFrame:
    """Return the rows of a measure and term."""
    rows = metrics[metrics["measure"] == measure]
    return rows[rows["term"].isna() if term is None else rows["term"] == term]


def at_once(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of play in which both seats move at once."""
    return metrics[metrics["move_order"] == "simultaneous"]


def longest(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return, of an agent's cells that differ in the matches' length alone, the longest.

    Agents may bound their own matches, so a cell over several opponents has one row a length.
    """
    keys = ["measure", "term", "agent", "opponent", "pairing", "game", "move_order", "turn"]
    most = metrics.groupby(keys, dropna=False)["match_rounds"].transform("max")
    return metrics[metrics["match_rounds"] == most]


def by_pairing(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return one cell for each agent, pairing, game, move order and turn.

    It is the one over all opponents of the pairing, or over the only opponent where there is one.
    """
    keys = ["measure", "term", "agent", "pairing", "game", "move_order", "turn", "match_rounds"]
    pooled = metrics.groupby(keys, dropna=False)["opponent"].transform(lambda x: x.isna().any())
    one = metrics[metrics["opponent"].isna() | ~pooled.astype(bool)]
    return longest(one.assign(opponent=None))


def lengths(metrics: pd.DataFrame) -> list[str]:
    """Return a note where `by_pairing` chose among matches of several lengths."""
    keys = ["agent", "pairing", "game", "move_order", "turn"]
    several = metrics.groupby(keys, dropna=False)["match_rounds"].nunique().gt(1).any()
    return ["Where an agent's matches differ in length, the longest are shown."] if several else []


def size(metrics: pd.DataFrame) -> str:
    """Return how many matches stand behind each point of some rows."""
    return f"n\u00a0=\u00a0{style.counted(metrics['n_matches'])}, matches a\u00a0point"


def quality(metrics: pd.DataFrame, agent: str, game: str | None = None) -> str:
    """Return an agent's quiz and `2 invalid`, over all its matches (of a game)."""
    return f"{quiz(metrics, agent)}, {invalid(metrics, agent, game)}\u00a0invalid"


def invalid(metrics: pd.DataFrame, agent: str, game: str | None = None) -> int:
    """Return how many of an agent's decisions gave no action, over all its matches (of a game)."""
    rows = of_measure(metrics[metrics["agent"] == agent], "action_0")
    if game is not None:
        rows = rows[rows["game"] == game]
    # Cells over several opponents hold the matches of the others once more.
    return int(rows.loc[rows["opponent"].notna(), "n_invalid"].sum())


def quiz(metrics: pd.DataFrame, agent: str) -> str:
    """Return `quiz 0.71 [.60 to .80]`, with a dash, of an agent's model."""
    known = metrics[(metrics["agent"] == agent) & metrics["quiz_accuracy"].notna()]
    if known.empty:
        return "no quiz"
    row = known.iloc[0]
    text = f"quiz {row['quiz_accuracy']:.2f}"
    return text + (
        f" [{bounds(row['quiz_low'], row['quiz_high'])}]" if pd.notna(row["quiz_low"]) else ""
    )


def points(
    ax: Axes,
    rows: pd.DataFrame,
    places: Any,
    *,
    color: Any,
    marker: str = "o",
    hollow: Any = None,
    upright: bool = False,
) -> None:
    """Draw estimates with their intervals, and a tick at each control.

    Parameters
    ----------
    ax : Axes
    rows : pandas.DataFrame
        `estimate`, `ci_low`, `ci_high`, `control`.
    places : array_like
        Where each row stands on the other axis.
    color, marker
    hollow : array_like of bool, optional
        Rows whose marker is not filled.
    upright : bool
        Estimates along the vertical axis.
    """
    places = np.asarray(places, dtype=float)
    values = {
        name: rows[name].to_numpy(float) for name in ("estimate", "ci_low", "ci_high", "control")
    }
    empty = np.zeros(len(rows), dtype=bool) if hollow is None else np.asarray(hollow, dtype=bool)
    lines = ax.vlines if upright else ax.hlines
    lines(places, values["ci_low"], values["ci_high"], color=color, linewidth=1.2)
    for mask, face in ((~empty, color), (empty, "white")):
        x, y = values["estimate"][mask], places[mask]
        if upright:
            x, y = y, x
        ax.plot(
            x, y, marker, color=color, markerfacecolor=face, markersize=3.8, markeredgewidth=0.9
        )
    known = ~np.isnan(values["control"]) & ~np.isnan(values["estimate"])
    x, y, tick = values["control"][known], places[known], "|"
    if upright:
        x, y, tick = y, x, "_"
    ax.plot(x, y, tick, color="black", markersize=5, markeredgewidth=1.0, zorder=1.5)


def control_handle(label: str = "control") -> Line2D:
    """Return the legend's entry of the ticks at controls."""
    return Line2D([], [], color="black", marker="|", linestyle="none", label=label)


def definitions(metrics: pd.DataFrame) -> list[str]:
    """Return what exactly the numbers of some rows are, and their controls, as sentences."""
    found = []
    for measure, name in DEFINED.items():
        known = metrics[(metrics["measure"] == measure) & metrics["estimate"].notna()]
        if len(known):
            row = known.iloc[0]
            found.append(f"{name}: {row['definition']}. Control: {row['control_measure']}.")
    return found


def notes(body: SubFigure, lines: Sequence[str], width: float) -> None:
    """Write below all panels what the reader must know to read them."""
    text = "\n".join(style.fit(line, width - 0.2) for line in lines)
    body.supxlabel(text, x=0.008, ha="left", fontsize=style.SMALL)


def short(value: float) -> str:
    """Return a share as `.41`, or `1.0`."""
    text = f"{value:.2f}" if abs(value) < 0.995 else f"{value:.1f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def bounds(low: float, high: float) -> str:
    """Return bounds as `.41`, a dash and `.79`: as short as can be."""
    return f"{short(low)}\N{EN DASH}{short(high)}"
