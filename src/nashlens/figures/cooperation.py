"""How often models take action 0, and how far their mix is from an equilibrium of the game."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nashlens.figures import intervals, style

TITLE = "Cooperation and distance from equilibrium, by game and pairing"
PAIRINGS = ("self_play", "cross_play", "scripted")
_PLAY = ["match_id", "game", "variant", "pairing", "seat", "agent", "model", "p_action_0"]
_GAMES = ["game", "variant", "pure_equilibria", "mixed_row", "mixed_col", "continuum"]
_MEASURES = {
    "p_action_0": "P(action 0), mean over decisions",
    "nash_distance": "Nash distance: |P(action 0) - nearest equilibrium's|",
}


def nash_distance(p_action_0: np.ndarray, equilibria: list[float]) -> np.ndarray:
    """Return the total variation from a seat's mix to the nearest equilibrium of the stage game.

    With two actions it is ``min_e |p - e|`` over the seat's P(action 0) in every equilibrium,
    pure or mixed.

    Parameters
    ----------
    p_action_0 : ndarray, shape (n,)
        The seat's own mix.
    equilibria : list of float
        P(action 0) of the seat in each equilibrium; empty gives missing values.
    """
    p = np.asarray(p_action_0, dtype=float)
    if not equilibria:
        return np.full(p.shape, np.nan)
    return np.abs(p[:, None] - np.asarray(equilibria)[None, :]).min(axis=1)


def equilibrium_mixes(game: pd.Series, seat: str) -> list[float]:
    """Return P(action 0) of a seat in each equilibrium; none where there is a continuum."""
    if game["continuum"]:
        return []
    index = 0 if seat == "row" else 1
    cells = [cell.split(",") for cell in str(game["pure_equilibria"]).split(";") if cell]
    mixes = {1.0 - int(cell[index]) for cell in cells}
    mixed = game["mixed_row" if seat == "row" else "mixed_col"]
    if pd.notna(mixed):
        mixes.add(float(mixed))
    return sorted(mixes)


def draw(
    play: pd.DataFrame,
    games: pd.DataFrame,
    *,
    palette: str = "colorblind",
    width: float | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> Figure:
    """Draw P(action 0) and Nash distance by game, agent and pairing.

    Parameters
    ----------
    play, games : pandas.DataFrame
        `play.parquet`, `games.parquet`.
    palette : str
        Colours of the pairings.
    width : float, optional
        Inches.
    confidence, resamples
        Coverage and resamples of the bootstrap over matches.
    """
    style.require(play, "play", _PLAY)
    style.require(games, "games", _GAMES)
    data = play[play["model"].notna()]
    if data.empty:
        return style.nothing(TITLE, "the play table holds no decision of a model", width)
    data = data.assign(nash_distance=_distances(data, games))
    means = {
        measure: intervals.group_means(
            data, measure, ["agent", "pairing", "game"], confidence=confidence, resamples=resamples
        )
        for measure in _MEASURES
    }
    agents = list(dict.fromkeys(data["agent"]))
    order = [g for g in games["game"].unique() if g in set(data["game"])]
    pairings = [name for name in PAIRINGS if (data["pairing"] == name).any()]
    width = width or style.WIDTH
    # One agent: its two measures side by side. Several: agents across, measures down.
    across = 2 if len(agents) == 1 else min(4, len(agents))
    blocks = 1 if len(agents) == 1 else math.ceil(len(agents) / across)
    down = 1 if len(agents) == 1 else 2 * blocks
    height = 1.2 + down * (0.55 + 0.095 * len(order) * (len(pairings) + 1))
    with style.theme():
        color = style.colors(palette, PAIRINGS)
        figure, body = style.canvas(width, height, TITLE)
        grid = body.subplots(down, across, squeeze=False, sharey=True, sharex=True)
        used = set()
        for index, agent in enumerate(agents):
            for which, (measure, label) in enumerate(_MEASURES.items()):
                place = (
                    (0, which)
                    if len(agents) == 1
                    else (2 * (index // across) + which, index % across)
                )
                used.add(place)
                ax = grid[place]
                part = means[measure][means[measure]["agent"] == agent]
                _panel(ax, part, order, pairings, color)
                if which == 0 or len(agents) == 1:
                    ax.set_title(_heading(data[data["agent"] == agent], str(agent), width / across))
                ax.set_xlabel(_wrap(label, width / across), fontsize=style.SMALL)
                ax.tick_params(labelbottom=True)
        for place, ax in np.ndenumerate(grid):
            if place not in used:
                ax.set_axis_off()
        style.legend(body, _handles(pairings, color, confidence), columns=4)
    return figure


def _distances(data: pd.DataFrame, games: pd.DataFrame) -> pd.Series:
    known = {(g["game"], g["variant"]): g for _, g in games.iterrows()}
    found = pd.Series(np.nan, index=data.index, dtype=float)
    for (game, variant, seat), part in data.groupby(["game", "variant", "seat"], sort=False):
        row = known.get((game, variant))
        if row is not None:
            found[part.index] = nash_distance(
                part["p_action_0"].to_numpy(float), equilibrium_mixes(row, str(seat))
            )
    return found


def _panel(
    ax: Axes,
    means: pd.DataFrame,
    order: list[str],
    pairings: list[str],
    color: dict[str, tuple],
) -> None:
    step = 0.8 / max(len(pairings), 1)
    for index, pairing in enumerate(pairings):
        part = means[means["pairing"] == pairing].set_index("game").reindex(order)
        y = np.arange(len(order)) + (index - (len(pairings) - 1) / 2) * step
        marker = style.MARKERS[PAIRINGS.index(pairing)]
        ax.plot(part["estimate"], y, marker, color=color[pairing], markersize=3.5)
        ax.hlines(y, part["low"], part["high"], color=color[pairing], linewidth=1.3)
    for place in np.flatnonzero(~np.isin(order, means["game"])):
        ax.text(
            0.5, float(place), "undefined", ha="center", va="center", color=style.GREY, fontsize=7
        )
    for line in range(1, len(order)):
        ax.axhline(line - 0.5, color="0.9", linewidth=0.6)
    ax.grid(False, axis="y")
    ax.set_yticks(range(len(order)), [style.words(name) for name in order])
    ax.set(xlim=(-0.03, 1.03), ylim=(len(order) - 0.5, -0.5))
    ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])


def _heading(data: pd.DataFrame, agent: str, inches: float) -> str:
    counts = style.sizes(len(data), "decisions", data["match_id"].nunique())
    return style.fit(f"{agent}\n{counts}", inches - 0.5)


def _wrap(label: str, inches: float) -> str:
    return (
        label
        if inches > 2.6
        else label.replace(", ", ",\n").replace(": ", ":\n").replace(" - ", " -\n")
    )


def _handles(pairings: list[str], color: dict[str, tuple], confidence: float) -> list[Any]:
    handles = [
        Line2D(
            [],
            [],
            color=color[name],
            marker=style.MARKERS[PAIRINGS.index(name)],
            label=style.words(name),
        )
        for name in pairings
    ]
    note = f"bars: {confidence:.0%} intervals over matches"
    return [*handles, Line2D([], [], linestyle="none", label=note)]
