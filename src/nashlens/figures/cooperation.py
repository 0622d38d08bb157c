"""How often agents cooperate, and how far play is from an equilibrium, by game and pairing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nashlens.figures import cells, style
from nashlens.vocabulary.play import PAIRINGS

TITLE = "Cooperation and distance from equilibrium, by game and pairing"
_MEASURES = {
    "cooperation": "cooperation (share of decisions)",
    "nash_tv": "Nash distance (total variation)",
}
"""Measure -> the axis that it is drawn on."""


def draw(
    metrics: pd.DataFrame,
    *,
    palette: str = "colorblind",
    width: float | None = None,
    confidence: float = 0.95,
) -> Figure:
    """Draw cooperation and Nash distance by game, agent and pairing, where both move at once.

    Parameters
    ----------
    metrics : pandas.DataFrame
        `metrics.parquet`.
    palette : str
        Colours of the pairings.
    width : float, optional
        Inches.
    confidence : float
        Coverage of the table's intervals.
    """
    data = cells.of_models(metrics)
    wanted = data[data["measure"].isin([*_MEASURES, "action_0"])]
    shown = cells.by_pairing(cells.at_once(wanted))
    if shown.empty:
        return style.nothing(TITLE, f"{cells.EMPTY} that moves at once", width)
    means = {"cooperation": _cooperation(shown), "nash_tv": cells.of_measure(shown, "nash_tv")}
    agents = cells.agents(shown)
    order = cells.games(shown)
    pairings: list[str] = [name for name in PAIRINGS if (shown["pairing"] == name).any()]
    width = width or style.WIDTH
    # One agent: its two measures side by side. Several: agents across, measures down.
    across = 2 if len(agents) == 1 else min(4, len(agents))
    down = 1 if len(agents) == 1 else 2 * math.ceil(len(agents) / across)
    height = 1.6 + down * (0.62 + max(0.5, 0.095 * len(order) * (len(pairings) + 1)))
    with style.theme():
        color = style.colors(palette, PAIRINGS)
        figure, body = style.canvas(width, height, TITLE)
        grid = body.subplots(down, across, squeeze=False, sharey=True, sharex=True)
        for ax in grid.ravel():
            ax.set_axis_off()
        for index, agent in enumerate(agents):
            for which, (measure, label) in enumerate(_MEASURES.items()):
                block, column = divmod(index, across)
                ax = grid[(0, which) if len(agents) == 1 else (2 * block + which, column)]
                ax.set_axis_on()
                part = means[measure][means[measure]["agent"] == agent]
                _panel(ax, part, order, pairings, color)
                ax.tick_params(labelbottom=True)
                ax.set_xlabel(style.fit(label, width / across - 0.6), fontsize=style.SMALL)
                if which == 0 or len(agents) == 1:
                    head = f"{agent}\n{cells.quality(data, agent)}\n{cells.size(part)}"
                    ax.set_title(style.fit(head, width / across - 0.5), fontsize=style.SMALL)
        hollow = bool(means["cooperation"]["hollow"].any())
        style.legend(body, _handles(pairings, color, hollow), columns=4)
        notes = [cells.INTERVALS.format(confidence), *cells.lengths(cells.at_once(wanted))]
        cells.notes(body, [*notes, *cells.definitions(shown)], width)
    return figure


def _cooperation(shown: pd.DataFrame) -> pd.DataFrame:
    """Return cooperation; action 0's share, `hollow`, where there is no prosocial action."""
    found = cells.of_measure(shown, "cooperation")
    undefined = found["estimate"].isna()
    keys = ["agent", "pairing", "game"]
    other = cells.of_measure(shown, "action_0").merge(found.loc[undefined, keys], on=keys)
    return pd.concat([found[~undefined].assign(hollow=False), other.assign(hollow=True)])


def _panel(
    ax: Axes,
    means: pd.DataFrame,
    order: list[str],
    pairings: list[str],
    color: dict[str, tuple],
) -> None:
    step = 0.8 / max(len(pairings), 1)
    for index, pairing in enumerate(pairings):
        part = means[(means["pairing"] == pairing) & means["estimate"].notna()]
        places = part["game"].map(order.index).to_numpy(float)
        places = places + (index - (len(pairings) - 1) / 2) * step
        marker = style.MARKERS[PAIRINGS.index(pairing)]
        hollow = part.get("hollow")
        cells.points(ax, part, places, color=color[pairing], marker=marker, hollow=hollow)
    known = means.loc[means["estimate"].notna(), "game"]
    for place in np.flatnonzero(~np.isin(order, known)):
        ax.text(
            0.5, float(place), "not played", ha="center", va="center", color=style.GREY, fontsize=7
        )
    for line in range(1, len(order)):
        ax.axhline(line - 0.5, color="0.9", linewidth=0.6)
    ax.grid(False, axis="y")
    ax.set_yticks(range(len(order)), [style.words(name) for name in order])
    ax.set(xlim=(-0.03, 1.03), ylim=(len(order) - 0.5, -0.5))
    ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])


def _handles(pairings: list[str], color: dict[str, tuple], hollow: bool) -> list[Any]:
    handles = [
        Line2D(
            [],
            [],
            color=color[name],
            marker=style.MARKERS[PAIRINGS.index(name)],
            label=f"against {cells.OPPONENTS[name]}",
        )
        for name in pairings
    ]
    if hollow:
        note = "hollow: share of action 0, where the game has no prosocial action"
        handles.append(Line2D([], [], linestyle="none", label=note))
    return [*handles, cells.control_handle()]
