"""How often agents cooperate, and how far play is from an equilibrium, by game and pairing."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nashlens.figures import cells, saying, style, theme
from nashlens.figures.registry import Look
from nashlens.play.metrics.pooled import at_once, by_pairing, of_measure
from nashlens.vocabulary.play import PAIRINGS

TITLE = "Cooperation and distance from equilibrium, by game and pairing"
_MEASURES = {
    "cooperation": "cooperation (share of decisions)",
    "nash_tv": "Nash distance (total variation)",
}
"""Measure -> the axis that it is drawn on."""


def _shown(metrics: pd.DataFrame) -> pd.DataFrame:
    data = cells.of_models(metrics)
    return by_pairing(at_once(data[data["measure"].isin([*_MEASURES, "action_0"])]))


def _message(metrics: pd.DataFrame, look: Look) -> str:
    """Say where agents cooperate more or less than random play, with themselves if they met."""
    found = _cooperation(_shown(metrics))
    found = found[~found["hollow"] & found["estimate"].notna()].reset_index(drop=True)
    own = found[found["pairing"] == "self_play"].reset_index(drop=True)
    rows, whom = (own, "with themselves") if len(own) else (found, "with others")
    if rows.empty:
        return "No game that was played has a prosocial action: agents have no way to cooperate"
    more, less = (test(rows, rows["control"]) for test in (saying.above, saying.below))
    far = saying.furthest(rows, more | less, rows["control"])
    number = (
        f"{saying.interval(far, '.0%')} of decisions ({far['agent']}, {style.words(far['game'])})"
    )
    if not (more | less).any():
        return (
            f"Agents cooperate {whom} more or less than random play in"
            f" {saying.cases(0, rows['ci_low'], 'cases')}: furthest from it {number}"
        )
    return (
        f"Agents cooperate {whom} more than random play in"
        f" {saying.cases(more.sum(), rows['ci_low'], 'cases')}, less in {less.sum() or 'none'}:"
        f" furthest from it {number}"
    )


@style.figure(TITLE, _message, metrics=cells.COLUMNS)
def draw(metrics: pd.DataFrame, look: Look) -> Figure:
    """Draw cooperation and Nash distance by game, agent and pairing, where both move at once."""
    data = cells.of_models(metrics)
    wanted = at_once(data[data["measure"].isin([*_MEASURES, "action_0"])])
    shown = by_pairing(wanted)
    style.need_rows(shown, f"{cells.EMPTY} that moves at once")
    means = {"cooperation": _cooperation(shown), "nash_tv": of_measure(shown, "nash_tv")}
    agents = cells.agents(shown)
    order = cells.games(shown)
    pairings: list[str] = [name for name in PAIRINGS if (shown["pairing"] == name).any()]
    width = look.width or style.WIDTH
    # One agent: its two measures side by side. Several: agents across, measures down.
    across = 2 if len(agents) == 1 else min(4, len(agents))
    down = 1 if len(agents) == 1 else 2 * math.ceil(len(agents) / across)
    height = 1.6 + down * (0.62 + max(0.5, 0.095 * len(order) * (len(pairings) + 1)))
    color = theme.colors(look.palette, PAIRINGS)
    figure, body = style.canvas(width, height)
    grid = body.subplots(down, across, squeeze=False, sharey=True, sharex=True)
    style.hide(grid.ravel())
    for index, agent in enumerate(agents):
        for which, (measure, label) in enumerate(_MEASURES.items()):
            block, column = divmod(index, across)
            ax = grid[(0, which) if len(agents) == 1 else (2 * block + which, column)]
            ax.set_axis_on()
            part = means[measure][means[measure]["agent"] == agent]
            _pairings(ax, part, order, pairings, color)
            ax.tick_params(labelbottom=True)
            ax.set_xlabel(style.fit(label, width / across - 0.6), fontsize=theme.SMALL)
            if which == 0 or len(agents) == 1:
                head = f"{agent}\n{cells.quality(data, agent)}\n{cells.size(part)}"
                ax.set_title(style.fit(head, width / across - 0.5), fontsize=theme.SMALL)
    handles = cells.opponent_entries(pairings, color, PAIRINGS)
    if means["cooperation"]["hollow"].any():
        hollow = "hollow: share of action 0, where the game has no prosocial action"
        handles.append(style.note(hollow))
    style.legend(body, [*handles, cells.control_entry()])
    notes = [cells.INTERVALS.format(look.confidence), *cells.lengths(wanted)]
    style.notes(body, [*notes, *cells.definitions(shown)])
    return figure


def _cooperation(shown: pd.DataFrame) -> pd.DataFrame:
    """Return cooperation; action 0's share, `hollow`, where there is no prosocial action."""
    found = of_measure(shown, "cooperation")
    undefined = found["estimate"].isna()
    keys = ["agent", "pairing", "game"]
    other = of_measure(shown, "action_0").merge(found.loc[undefined, keys], on=keys)
    return pd.concat([found[~undefined].assign(hollow=False), other.assign(hollow=True)])


def _pairings(
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
        marker = theme.MARKERS[PAIRINGS.index(pairing)]
        hollow = part.get("hollow")
        cells.points(ax, part, places, color=color[pairing], marker=marker, hollow=hollow)
    known = means.loc[means["estimate"].notna(), "game"]
    for place in np.flatnonzero(~np.isin(order, known)):
        style.centred(ax, "not played", 0.5, float(place), ax.transData)
    cells.separate(ax, len(order), "0.9")
    ax.set_yticks(range(len(order)), [style.words(name) for name in order])
    ax.set_ylim(len(order) - 0.5, -0.5)
    cells.share_axis(ax)
