"""How play moves from round to round, against each kind of opponent."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nashlens.figures import cells, intervals, style

TITLE = "P(action 0) from round to round, by opponent"
KINDS = {
    "self-play": (),
    "another model": (),
    "always action 0 (ALLC)": ("ALLC",),
    "always action 1 (ALLD)": ("ALLD",),
    "reciprocal (TFT, GRIM, WSLS)": ("TFT", "GRIM", "WSLS"),
    "random": ("RANDOM",),
    "other script": (),
}
"""Kinds of opponent, and the scripted strategies that make each."""
# fmt: off
_COLUMNS = [
    "match_id", "game", "round", "pairing", "agent", "opponent", "model", "strategy",
    "p_action_0",
]
# fmt: on


def opponent_kinds(play: pd.DataFrame) -> pd.Series:
    """Return the kind of opponent (a key of `KINDS`) of each decision."""
    scripts = play.loc[play["strategy"].notna(), ["agent", "strategy"]].drop_duplicates("agent")
    strategy = play["opponent"].map(dict(zip(scripts["agent"], scripts["strategy"], strict=True)))
    kind = pd.Series("other script", index=play.index, dtype=object)
    for name, members in KINDS.items():
        kind[strategy.isin(members)] = name
    kind[play["pairing"] == "self_play"] = "self-play"
    kind[play["pairing"] == "cross_play"] = "another model"
    return kind


def draw(
    play: pd.DataFrame,
    metrics: pd.DataFrame,
    *,
    palette: str = "colorblind",
    width: float | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> Figure:
    """Draw P(action 0) by round, a panel for each game (and agent).

    Parameters
    ----------
    play, metrics : pandas.DataFrame
        `play.parquet`; `metrics.parquet`, of which the quiz and the invalid decisions are told.
    palette : str
        Colours of the kinds of opponent.
    width : float, optional
        Inches.
    confidence, resamples
        Coverage and resamples of the bootstrap over matches.
    """
    style.require(play, "play", _COLUMNS)
    measured = cells.of_models(metrics)
    data = play.assign(kind=opponent_kinds(play))
    data = data[data["model"].notna()]
    if data.empty:
        return style.nothing(TITLE, "the play table holds no decision of a model", width)
    means = intervals.group_means(
        data,
        "p_action_0",
        ["agent", "game", "kind", "round"],
        confidence=confidence,
        resamples=resamples,
    )
    agents = list(dict.fromkeys(data["agent"]))
    games = list(dict.fromkeys(data["game"]))
    kinds = [name for name in KINDS if (data["kind"] == name).any()]
    panels = _places(agents, games)
    down, across = (max(place[i] for place in panels.values()) + 1 for i in (0, 1))
    with style.theme():
        color = style.colors(palette, list(KINDS))
        width = width or style.WIDTH
        height = 1.3 + (1.4 if len(agents) == 1 else 1.1) * down
        title = TITLE
        if len(agents) == 1:
            title = f"{TITLE}: {agents[0]}, {cells.quality(measured, agents[0])}"
        figure, body = style.canvas(width, height, title)
        grid = body.subplots(down, across, squeeze=False, sharex=True, sharey=True)
        for ax in grid.ravel():
            ax.set_axis_off()
        for (agent, game), place in panels.items():
            ax = grid[place]
            ax.set_axis_on()
            part = means[(means["agent"] == agent) & (means["game"] == game)]
            _panel(ax, part, kinds, color)
            last = place[0] + 1 == down or (place[0] + 1, place[1]) not in panels.values()
            ax.tick_params(labelbottom=last, labelleft=place[1] == 0)
            if last:
                ax.set_xlabel("round")
            mine = data[data["agent"] == agent]
            counts = mine.groupby("game")["match_id"].nunique()
            if len(agents) == 1:
                head = f"{style.words(game)}\nn = {counts[game]} matches"
            elif game == games[0]:
                known = cells.quality(measured, agent)
                head = f"{agent}\n{known}\nn = {style.counted(counts)} matches a game"
            else:
                head = ""
            ax.set_title(style.fit(head, width / across - 0.3), fontsize=style.SMALL)
            if place[1] == 0:
                above = "" if len(agents) == 1 else f"{style.words(game)}\n"
                ax.set_ylabel(f"{above}P(action 0)", fontsize=style.SMALL)
        style.legend(body, _handles(kinds, color, confidence), columns=3)
    return figure


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


def _panel(ax: Axes, means: pd.DataFrame, kinds: list[str], color: dict[str, tuple]) -> None:
    if means.empty:
        style.no_data(ax, "no match")
        return
    few = means["round"].nunique() <= 10
    for index, kind in enumerate(kinds):
        part = means[means["kind"] == kind].sort_values("round")
        marker = style.MARKERS[list(KINDS).index(kind)]
        if few:
            # Bars side by side stay readable where bands of six lines would cover one another.
            x = part["round"] + (index - (len(kinds) - 1) / 2) * 0.09
            ax.plot(x, part["estimate"], color=color[kind], marker=marker, linewidth=1, ms=3)
            ax.vlines(x, part["low"], part["high"], color=color[kind], linewidth=0.8)
        else:
            style.line(
                ax,
                part["round"],
                part["estimate"],
                part["low"],
                part["high"],
                color=color[kind],
                marker=marker,
                markevery=math.ceil(len(part) / 5),
            )
    ax.set(ylim=(-0.04, 1.04), yticks=[0, 0.5, 1])
    rounds = sorted(means["round"].unique())
    ax.set_xticks(rounds if few else np.linspace(rounds[0], rounds[-1], 4).round().astype(int))


def _handles(kinds: list[str], color: dict[str, tuple], confidence: float) -> list[Line2D]:
    handles = [
        Line2D([], [], color=color[k], marker=style.MARKERS[list(KINDS).index(k)], label=k)
        for k in kinds
    ]
    note = f"bars or bands: {confidence:.0%} intervals over matches"
    return [*handles, Line2D([], [], linestyle="none", label=note)]
