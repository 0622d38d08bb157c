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
from matplotlib.lines import Line2D

from nashlens.figures import saying, theme
from nashlens.play.metrics.pooled import of_measure
from nashlens.vocabulary.play import MODES

COLUMNS = (
    "measure", "term", "definition", "agent", "model", "mode", "opponent", "pairing", "game",
    "move_order", "turn", "match_rounds", "estimate", "ci_low", "ci_high", "n", "n_matches",
    "control", "control_measure", "reason", "n_invalid", "quiz_accuracy", "quiz_low", "quiz_high",
    "family", "n_parameters",
)  # fmt: skip
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
    """Return the rows of model agents."""
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


def lengths(metrics: pd.DataFrame) -> list[str]:
    """Return a note where `by_pairing` chose among matches of several lengths."""
    keys = ["agent", "pairing", "game", "move_order", "turn"]
    several = metrics.groupby(keys, dropna=False)["match_rounds"].nunique().gt(1).any()
    return ["Where an agent's matches differ in length, the longest are shown."] if several else []


def size(metrics: pd.DataFrame) -> str:
    """Return how many matches stand behind each point of some rows."""
    return f"n\u00a0=\u00a0{saying.counted(metrics['n_matches'])}, matches a\u00a0point"


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


def control_entry(label: str = "control", marker: str = "|") -> Line2D:
    """Return the legend's entry of the ticks at controls."""
    return Line2D([], [], color="black", marker=marker, linestyle="none", label=label)


def opponent_entries(
    pairings: Sequence[str], color: dict[str, Any], order: Sequence[str]
) -> list[Line2D]:
    """Return the legend's entries of whom agents meet; `order` gives each pairing its marker."""
    return [
        Line2D(
            [], [], color=color[name], marker=theme.MARKERS[order.index(name)],
            label=f"against {OPPONENTS[name]}",
        )
        for name in pairings
    ]  # fmt: skip


def separate(ax: Axes, blocks: int, color: str, rows: int = 1) -> None:
    """Draw a thin rule between blocks of so many rows, which are listed from top to bottom."""
    for block in range(1, blocks):
        ax.axhline(block * rows - 0.5, color=color, linewidth=0.6)
    ax.grid(False, axis="y")


def share_axis(ax: Axes, margin: float = 0.03) -> None:
    """Give a panel of shares its horizontal axis."""
    ax.set_xlim(-margin, 1 + margin)
    ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])


def definitions(metrics: pd.DataFrame) -> list[str]:
    """Return what exactly the numbers of some rows are, and their controls, as sentences."""
    found = []
    for measure, name in DEFINED.items():
        known = metrics[(metrics["measure"] == measure) & metrics["estimate"].notna()]
        if len(known):
            row = known.iloc[0]
            found.append(f"{name}: {row['definition']}. Control: {row['control_measure']}.")
    return found


def short(value: float) -> str:
    """Return a share as `.41`, or `1.0`."""
    text = f"{value:.2f}" if abs(value) < 0.995 else f"{value:.1f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def bounds(low: float, high: float) -> str:
    """Return bounds as `.41`, a dash and `.79`: as short as can be."""
    return f"{short(low)}\N{EN DASH}{short(high)}"
