"""Which equilibrium play settles on, by who moves first, and what moving first is worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nashlens.figures import cells, saying, scales, style, theme
from nashlens.figures.registry import Look
from nashlens.play.metrics.pooled import by_pairing, first_mover_shares
from nashlens.vocabulary.play import PAIRINGS

TITLE = "Which equilibrium is played, by who moves first"
ORDERS = {"simultaneous": "at once", "row_first": "row first", "column_first": "column first"}
_TERMS = {
    "own preferred": "first mover's own equilibrium",
    "not own preferred": "another equilibrium",
    "off": "none",
}
_MEASURE, _ADVANTAGE = "equilibrium_selection", "first_mover_advantage"


def _message(metrics: pd.DataFrame, look: Look) -> str:
    """Say whether moving first brings the equilibrium that the first mover prefers."""
    data = cells.of_models(metrics)
    rows = first_mover_shares(by_pairing(data[data["measure"] == _MEASURE]))
    rows = rows[(rows["term"] == "own preferred") & (rows["move_order"] != "simultaneous")]
    rows = rows[rows["estimate"].notna()].reset_index(drop=True)
    if rows.empty:
        return "No match was played in turn, so nobody moved first"
    more = saying.above(rows, rows["control"])
    far = saying.furthest(rows, more, rows["control"])
    return (
        "Moving first brings one's equilibrium more often than random play in"
        f" {saying.cases(more.sum(), rows['ci_low'], 'cases')}: most"
        f" {saying.interval(far)} of rounds ({far['agent']}, {style.words(far['game'])})"
    )


@style.figure(TITLE, _message, metrics=cells.COLUMNS)
def draw(metrics: pd.DataFrame, look: Look) -> Figure:
    """Draw the shares of the equilibria by move order, and the first mover's advantage."""
    data = cells.of_models(metrics)
    chosen = data[data["measure"] == _MEASURE]
    style.need_rows(chosen, cells.EMPTY)
    pooled = first_mover_shares(by_pairing(chosen))
    style.need_rows(
        pooled, "no game that was played has two pure equilibria that a seat prefers one of"
    )
    gains = data[(data["measure"] == _ADVANTAGE) & data["game"].isin(pooled["game"])]
    games, agents = cells.games(pooled), cells.agents(pooled)
    kinds = [kind for kind in PAIRINGS if (pooled["pairing"] == kind).any()]
    if len(kinds) > 1:
        # Scripts move at once alone, so there is no order to compare.
        kinds = [kind for kind in kinds if kind != "scripted"]
    width = look.width or style.WIDTH
    inches = (width - 2.4) / (len(kinds) + 1) - 0.15
    orders = {game: _orders(pooled, game) for game in games}
    rows = {game: len(agents) * len(orders[game]) for game in games}
    tall = [max(0.7, 0.17 * rows[game]) for game in games]
    color = theme.colors(look.palette, list(_TERMS))
    figure, body = style.canvas(width, 2.5 + sum(tall) + 0.85 * len(games))
    grid = body.subplots(
        len(games), len(kinds) + 1, squeeze=False, sharey="row", height_ratios=tall
    )
    for game, axes in zip(games, grid, strict=True):
        part = pooled[pooled["game"] == game]
        for ax, kind in zip(axes, kinds, strict=False):
            mine = part[part["pairing"] == kind]
            _shares(ax, mine, agents, orders[game], color)
            head = f"{style.words(game)},\nagainst {cells.OPPONENTS[kind]}\n{cells.size(mine)}"
            ax.set_title(style.fit(head, inches), fontsize=theme.SMALL)
        worth = gains[gains["game"] == game]
        _advantage(axes[-1], worth, agents, orders[game])
        _names(axes[0], data, agents, orders[game])
    style.legend(body, _legend_entries(color))
    notes = [cells.INTERVALS.format(look.confidence), *cells.lengths(chosen)]
    style.notes(body, [*notes, *_notes(pooled, gains)])
    return figure


def _orders(rows: pd.DataFrame, game: str) -> list[str]:
    played = set(rows.loc[rows["game"] == game, "move_order"])
    return [order for order in ORDERS if order in played]


def _names(ax: Axes, data: pd.DataFrame, agents: list[str], orders: list[str]) -> None:
    """Name the move orders along the axis, and each agent above its own."""
    texts = []
    for agent in agents:
        first = f"{agent}\n{cells.quality(data, agent)}"
        heads = [first] if len(orders) == 1 else [agent, *cells.quality(data, agent).split(", ")]
        for place, order in enumerate(orders):
            head = heads[place] if place < len(heads) else ""
            texts.append(f"{head}   {ORDERS[order]}" if head else ORDERS[order])
    ax.set_yticks(range(len(texts)), texts)
    ax.set_ylim(len(texts) - 0.5, -0.5)
    ax.set_ylabel("agent, and who moves first", fontsize=theme.SMALL)


def _places(rows: pd.DataFrame, agents: list[str], orders: list[str]) -> np.ndarray:
    agent = rows["agent"].map(agents.index).to_numpy(float)
    order = rows["move_order"].map(orders.index).to_numpy(float)
    return agent * len(orders) + order


def _rules(ax: Axes, agents: list[str], orders: list[str]) -> None:
    cells.separate(ax, len(agents), "0.75", len(orders))
    ax.tick_params(axis="y", length=0)


def _shares(
    ax: Axes,
    rows: pd.DataFrame,
    agents: list[str],
    orders: list[str],
    color: dict[str, tuple],
) -> None:
    _rules(ax, agents, orders)
    for index, term in enumerate(_TERMS):
        part = rows[(rows["term"] == term) & rows["estimate"].notna()]
        places = _places(part, agents, orders) + (index - 1) * 0.24
        cells.points(ax, part, places, color=color[term], marker=theme.MARKERS[index])
    ax.set_xlabel("share of rounds")
    cells.share_axis(ax, 0.04)
    known = rows[rows["estimate"].notna()]
    seen = set(_places(known, agents, orders).astype(int)) if len(known) else set()
    for place in sorted(set(range(len(agents) * len(orders))) - seen):
        style.centred(ax, "not played", 0.5, place, ax.transData)


def _advantage(ax: Axes, rows: pd.DataFrame, agents: list[str], orders: list[str]) -> None:
    ax.set_title("first mover's advantage", fontsize=theme.SMALL)
    known = rows[rows["estimate"].notna()]
    if known.empty:
        reasons = [reason for reason in rows["reason"] if reason]
        why = reasons[0] if reasons else "the seats never move in turn"
        ax.grid(False)
        ax.tick_params(axis="y", length=0)
        ax.set_xticks([])
        style.shade_empty(ax, style.fit(f"no data: {why}", 1.4))
        return
    _rules(ax, agents, orders)
    ax.set_xlabel("difference in\nshare of payoffs")
    ax.axvline(0, color="0.3", linewidth=0.8)
    for kind, offset, size in (("cross_play", 0.18, 2.5), ("self_play", -0.12, 3.8)):
        part = known[known["pairing"] == kind]
        places = _places(part, agents, orders) + offset
        marker = theme.MARKERS[PAIRINGS.index(kind)]
        thin = kind == "cross_play"
        ax.hlines(
            places, part["ci_low"], part["ci_high"], color="0.25", linewidth=0.5 if thin else 1.2
        )
        ax.plot(
            part["estimate"], places, marker, color="0.25", markersize=size,
            markerfacecolor="white" if thin else "0.25", markeredgewidth=0.7,
        )  # fmt: skip
    reach = max(0.05, float(np.nanmax(known[["estimate", "ci_low", "ci_high"]].abs().to_numpy())))
    ax.set_xlim(-1.1 * reach, 1.1 * reach)
    scales.ticks(ax.xaxis, 4)


def _legend_entries(color: dict[str, tuple]) -> list[Any]:
    handles = [
        Line2D([], [], color=color[term], marker=theme.MARKERS[index], label=label)
        for index, (term, label) in enumerate(_TERMS.items())
    ]
    one = Line2D([], [], color="0.25", marker="o", label="against itself")
    each = Line2D(
        [], [], color="0.25", marker="s", markersize=3, markerfacecolor="white", linewidth=0.5,
        label="another",
    )  # fmt: skip
    return [*handles, cells.control_entry("random play"), one, each]


def _notes(pooled: pd.DataFrame, gains: pd.DataFrame) -> list[str]:
    own = pooled[(pooled["term"] == "own preferred") & pooled["estimate"].notna()]
    notes = []
    if len(own):
        notes.append(
            "Own equilibrium: the one in which the first mover earns most (at once: the seat)."
            " In turn, a row is the matches in which the agent moves first; at once, it is seen"
            " from the agent's seat, against itself from the row's."
        )
    known = gains[gains["estimate"].notna()]
    if len(known):
        text = known["definition"].iloc[0].replace("the row seat", "the same seat")
        notes.append(
            f"Advantage: {text.replace('the column seat', 'the same seat')}; 0:"
            f" {known['control_measure'].iloc[0]}."
        )
    missing = gains.loc[gains["estimate"].isna(), "reason"].unique()
    if len(known) and len(missing):
        notes.append(f"Where there is no advantage: {'; '.join(missing)}.")
    return notes
