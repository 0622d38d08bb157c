"""How play moves from round to round, against each kind of opponent."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nashlens.figures import cells, saying, style, theme
from nashlens.figures.registry import Look
from nashlens.play.metrics.by_round import OPPONENT_KINDS

TITLE = "P(action 0) from round to round"
_COLUMNS = ("agent", "game", "opponent_kind", "round", *style.ESTIMATE, "n_matches")
_FEW = 10
"""With more rounds than this, bands are drawn in place of bars."""


def _message(rounds: pd.DataFrame, metrics: pd.DataFrame, look: Look) -> str:
    """Say what moves most between the first and the last round, if anything moves."""
    known = rounds[rounds["estimate"].notna() & rounds["round"].notna()].sort_values("round")
    keys = ["agent", "game", "opponent_kind"]
    first, last = (known.groupby(keys).nth(k).set_index(keys).sort_index() for k in (0, -1))
    if known.empty or (first["round"] == last["round"]).all():
        return "No series has two rounds with a decision, so nothing can move between them"
    apart = saying.above(last, first["ci_high"]) | saying.below(last, first["ci_low"])
    # Of a series, both ends need an interval.
    both = first["ci_low"] + last["ci_low"]
    if not apart.any():
        return (
            "P(action 0) differs between the first and the last round, beyond their intervals, in"
            f" {saying.cases(0, both, 'series')}"
        )
    moved = last.reset_index()
    end = saying.furthest(moved, apart.reset_index(drop=True), first["estimate"].array)
    agent, game, kind = (str(end[key]) for key in keys)
    start = first.reset_index().iloc[moved.index.get_loc(end.name)]
    return (
        f"P(action 0) moves between the rounds in {saying.cases(apart.sum(), both, 'series')}: most"
        f" from {saying.interval(start)} to {saying.interval(end)} ({agent}, {style.words(game)},"
        f" opponent: {kind})"
    )


@style.figure(TITLE, _message, rounds=_COLUMNS, metrics=cells.COLUMNS)
def draw(rounds: pd.DataFrame, metrics: pd.DataFrame, look: Look) -> Figure:
    """Draw P(action 0) by round, a panel for each game (and agent)."""
    style.need_rows(rounds, "the play table holds no decision of a model")
    measured = cells.of_models(metrics)
    agents = list(dict.fromkeys(rounds["agent"]))
    games = list(dict.fromkeys(rounds["game"]))
    kinds = [name for name in OPPONENT_KINDS if (rounds["opponent_kind"] == name).any()]
    panels = _places(agents, games)
    down, across = (max(place[i] for place in panels.values()) + 1 for i in (0, 1))
    color = theme.colors(look.palette, list(OPPONENT_KINDS))
    width = look.width or style.WIDTH
    single = len(agents) == 1
    figure, body = style.canvas(width, 1.5 + (1.4 if single else 1.1) * down)
    grid = body.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    style.hide(grid.ravel())
    for (agent, game), place in panels.items():
        ax = grid[place]
        ax.set_axis_on()
        part = rounds[(rounds["agent"] == agent) & (rounds["game"] == game)]
        _lines(ax, part[part["estimate"].notna()], kinds, color)
        last = place[0] + 1 == down or (place[0] + 1, place[1]) not in panels.values()
        ax.tick_params(labelbottom=last, labelleft=place[1] == 0)
        if last:
            ax.set_xlabel("round")
        mine = rounds[(rounds["agent"] == agent) & rounds["round"].isna()].set_index("game")
        counts = mine["n_matches"]
        if single:
            head = f"{style.words(game)}\nn = {counts[game]} matches"
        elif game == games[0]:
            known = cells.quality(measured, agent)
            head = f"{agent}\n{known}\nn = {saying.counted(counts)} matches a game"
        else:
            head = ""
        ax.set_title(style.fit(head, width / across - 0.3), fontsize=theme.SMALL)
        if place[1] == 0:
            above = "" if single else f"{style.words(game)}\n"
            ax.set_ylabel(f"{above}P(action 0)", fontsize=theme.SMALL)
    handles = [
        Line2D([], [], color=color[kind], marker=_marker(kind), label=kind) for kind in kinds
    ]
    note = f"{look.confidence:.0%} percentile intervals over matches"
    if single:
        note += f"; {agents[0]}: {cells.quality(measured, agents[0])}"
    style.legend(body, [*handles, style.note(note)])
    return figure


def _marker(kind: str) -> str:
    return theme.MARKERS[list(OPPONENT_KINDS).index(kind)]


def _places(agents: list[str], games: list[str]) -> dict[tuple[str, str], tuple[int, int]]:
    """One agent: games wrap over four columns. Several: a row a game, a column an agent."""
    if len(agents) == 1:
        across = min(4, len(games))
        return {(agents[0], game): divmod(i, across) for i, game in enumerate(games)}
    across = min(4, len(agents))
    return {
        (agent, game): (index // across * len(games) + row, index % across)
        for index, agent in enumerate(agents)
        for row, game in enumerate(games)
    }


def _lines(ax: Axes, means: pd.DataFrame, kinds: list[str], color: dict[str, tuple]) -> None:
    if means.empty:
        style.no_data(ax, "no match")
        return
    few = means["round"].nunique() <= _FEW
    for index, kind in enumerate(kinds):
        part = means[means["opponent_kind"] == kind].sort_values("round")
        look: dict[str, Any] = {"color": color[kind], "marker": _marker(kind)}
        if few:
            # Bars side by side stay readable where bands of six lines would cover one another.
            x = part["round"].to_numpy(float) + (index - (len(kinds) - 1) / 2) * 0.09
            ax.plot(x, part["estimate"], linewidth=1, ms=3, **look)
            ax.vlines(x, part["ci_low"], part["ci_high"], color=color[kind], linewidth=0.8)
        else:
            style.line(ax, part, "round", markevery=math.ceil(len(part) / 5), **look)
    ax.set(ylim=(-0.04, 1.04), yticks=[0, 0.5, 1])
    rounds = sorted(means["round"].unique())
    ax.set_xticks(rounds if few else np.linspace(rounds[0], rounds[-1], 4).round().astype(int))
