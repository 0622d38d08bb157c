"""Cooperation and Nash distance of every ordered pair of agents, as heat maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch, Rectangle

from nashlens.figures import cells, saying, style, theme
from nashlens.figures.registry import Look
from nashlens.play.metrics.pooled import at_once, longest, of_measure

TITLE = "Cooperation and Nash distance of pairs"
_MEASURES = {"cooperation": ("Cooperation", "Blues"), "nash_tv": ("Nash distance", "Oranges")}
"""Measure -> its name and a colour scale of one hue, light to dark, that all readers can order."""
_ALL = "all scripts"
_AGAINST = "opponent (numbers: the agents of the rows)"
_NO_PROSOCIAL = "the game has no prosocial action"
MOST = 12
"""With more opponents than this, scripted ones share one column."""
ROW, SHORT_ROW = 0.43, 0.18
"""Inches of a row: of three lines of the smallest font, and of one."""
_FULL, _ANY = 0.44, 0.22
"""Inches below which a cell has room for its estimate alone, and for nothing."""
_LABELS = 1.95
"""Inches of the rows' names."""


@dataclass(frozen=True)
class _Axes:
    """What stands on the two axes of every panel."""

    agents: list[str]
    opponents: list[str]
    names: list[str]
    """Of the opponents: agents by the number of their row."""


def _message(metrics: pd.DataFrame, look: Look) -> str:
    """Say how many pairs play off the equilibrium by more than its control, and which most."""
    rows = of_measure(longest(at_once(cells.of_models(metrics))), "nash_tv")
    rows = rows[rows["opponent"].notna() & rows["estimate"].notna()].reset_index(drop=True)
    if rows.empty:
        return "No pair played a whole round, so no distance from an equilibrium is known"
    off = saying.above(rows, rows["control"])
    far = saying.furthest(rows, off)
    return (
        "Play is further from equilibrium than its control in"
        f" {saying.cases(off.sum(), rows['ci_low'], 'pairings')}: at most"
        f" {saying.interval(far)} ({far['agent']} with {far['opponent']},"
        f" {style.words(far['game'])})"
    )


@style.figure(TITLE, _message, metrics=cells.COLUMNS)
def draw(metrics: pd.DataFrame, look: Look) -> Figure:
    """Draw two heat maps a game: rows are agents, columns are whom they meet.

    Both seats together, moves at once. Cooperation is the row agent's; Nash distance is of both
    agents' joint play, so that it is the same in a pair's two cells. The palette is not used:
    shares need an ordered scale.
    """
    theme.colors(look.palette, [])
    data = cells.of_models(metrics)
    shown = longest(at_once(data))
    shown = shown[shown["measure"].isin([*_MEASURES, "action_0"])]
    style.need_rows(shown, f"{cells.EMPTY} that moves at once")
    axes = _axes(shown)
    games = cells.games(shown)
    columns = max(len(axes.opponents), 3)
    width = look.width or style.WIDTH
    # Both measures side by side where cells then have room for all numbers, else stacked.
    beside = (width - _LABELS - 0.3) / 2 / columns >= _FULL
    inches = (width - _LABELS - 0.3) / (2 if beside else 1) / columns
    row = ROW if inches >= _FULL else SHORT_ROW
    tall, down = max(len(axes.agents) * row, 0.7), len(games) * (1 if beside else 2)
    figure, body = style.canvas(width, 2.4 + (tall + 0.62) * down + 0.4 * (not beside))
    ratios = [*[tall] * len(games), 0.09]
    if beside:
        grid = body.subplots(len(games) + 1, 2, squeeze=False, height_ratios=ratios)
    else:
        stacked = body.subplots(2 * (len(games) + 1), 1, height_ratios=ratios * 2)
        grid = stacked.reshape(2, -1).T
    for across, (measure, (name, colormap)) in enumerate(_MEASURES.items()):
        for ax, game in zip(grid[:, across], games, strict=False):
            rows, head, scale = _rows(shown, measure, game)
            _heat_map(ax, rows, axes, scale or colormap, inches)
            head = f"{head or name}, {style.words(game)}{_control(rows)}"
            ax.set_title(style.fit(head, inches * columns), fontsize=theme.SMALL)
            ax.set_yticks(range(len(axes.agents)), [""] * len(axes.agents))
        against = style.fit(_AGAINST, inches * columns)
        grid[-2, across].set_xlabel(against, fontsize=theme.SMALL)
        rows = of_measure(shown, measure)
        _bar(body, grid[-1, across], rows, name, colormap, inches * columns)
    named = [f"{place} {agent}" for place, agent in enumerate(axes.agents, 1)]
    known = [cells.quality(data, agent) for agent in axes.agents]
    texts = [f"{name}\n{text}" for name, text in zip(named, known, strict=True)]
    for ax in grid[:-1, : 1 if beside else 2].flat:
        ax.set_ylabel("agent", fontsize=theme.SMALL)
        some = texts if row == ROW else [name if len(name) < 34 else name[:33] for name in named]
        ax.set_yticks(range(len(some)), [style.fit(text, _LABELS - 0.2) for text in some])
    n = saying.counted(shown.loc[shown["estimate"].notna(), "n_matches"])
    style.legend(body, _legend_entries(look.confidence, inches, n, _ALL in axes.opponents))
    if row != ROW:
        style.notes(body, [", ".join(text.split("\n")) for text in texts])
    return figure


def _rows(shown: pd.DataFrame, measure: str, game: str) -> tuple[pd.DataFrame, str, str]:
    """Return a panel's rows; with another name and scale where the measure is undefined."""
    rows = of_measure(shown[shown["game"] == game], measure)
    if measure != "cooperation" or rows["reason"].eq(_NO_PROSOCIAL).sum() < len(rows):
        return rows, "", ""
    head = "Share of action 0 (no prosocial action)"
    return of_measure(shown[shown["game"] == game], "action_0"), head, "Greys"


def _axes(shown: pd.DataFrame) -> _Axes:
    agents = cells.agents(shown)
    scripts = sorted(shown.loc[shown["pairing"] == "scripted", "opponent"].dropna().unique())
    if len(agents) + len(scripts) > MOST and len(scripts) > 1:
        scripts = [_ALL]
    met = set(shown["opponent"].dropna())
    models = [agent for agent in agents if agent in met]
    names = [str(agents.index(agent) + 1) for agent in models]
    return _Axes(agents, [*models, *scripts], [*names, *(style.words(s) for s in scripts)])


def _heat_map(ax: Axes, rows: pd.DataFrame, axes: _Axes, colormap: str, inches: float) -> None:
    shape = len(axes.agents), len(axes.opponents)
    ax.set(xlim=(-0.5, shape[1] - 0.5), ylim=(shape[0] - 0.5, -0.5))
    ax.set_xticks(range(shape[1]), [name.replace(" ", "\n") for name in axes.names])
    ax.tick_params(labelbottom=True, length=0)
    ax.grid(False)
    if rows["estimate"].isna().all():
        reason = next(iter(rows["reason"]), "not played")
        ax.add_patch(_hatched(-0.5, -0.5, *shape[::-1]))
        ax.text(
            0.5, 0.5, style.fit(f"undefined: {reason}", max(inches * shape[1] - 0.2, 1.0)),
            transform=ax.transAxes, ha="center", va="center", fontsize=theme.SMALL,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 2},
        )  # fmt: skip
        return
    found = _by_pair(rows)
    colors = matplotlib.colormaps[colormap]
    for i, j in np.ndindex(*shape):
        row = found.get((axes.agents[i], axes.opponents[j]))
        if row is None:
            ax.add_patch(_hatched(j - 0.5, i - 0.5, 1, 1))
        else:
            _cell(ax, i, j, row, colors(row["estimate"]), inches)
    for i, j in np.ndindex(*shape):
        if axes.agents[i] == axes.opponents[j]:
            corner = j - 0.46, i - 0.46
            ax.add_patch(Rectangle(corner, 0.92, 0.92, fill=False, edgecolor="black", linewidth=1))


def _by_pair(rows: pd.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the rows that have a number by agent and opponent, pooled scripts as `_ALL`."""
    scripted = rows["opponent"].isna() & (rows["pairing"] == "scripted")
    keyed = rows.assign(opponent=rows["opponent"].where(~scripted, _ALL))
    known = keyed[keyed["opponent"].notna() & keyed["estimate"].notna()]
    records: list[dict[str, Any]] = known.to_dict("records")  # type: ignore[assignment]
    return {(row["agent"], row["opponent"]): row for row in records}


def _cell(ax: Axes, i: int, j: int, row: dict[str, Any], face: Any, inches: float) -> None:
    corner = j - 0.5, i - 0.5
    ax.add_patch(Rectangle(corner, 1, 1, facecolor=face, edgecolor="white", linewidth=0.8))
    dark = np.dot(face[:3], (0.299, 0.587, 0.114)) < 0.5
    # Where the interval has no room, letters say whether it leaves out the control.
    sure = row["ci_low"] > row["control"] or row["ci_high"] < row["control"]
    ax.text(
        j, i, _text(row, inches), ha="center", va="center", color="white" if dark else "black",
        linespacing=1.05, fontsize=theme.SMALL, gid=f"{row['agent']} {row['opponent']}",
        fontweight="bold" if sure and inches < _FULL else "normal",
    )  # fmt: skip


def _text(row: dict[str, Any], inches: float) -> str:
    """Return estimate, interval and number of matches, as far as the cell's width allows."""
    if inches < _ANY:
        return ""
    if inches < _FULL:
        return cells.short(row["estimate"])
    between = cells.bounds(row["ci_low"], row["ci_high"]) if pd.notna(row["ci_low"]) else "?"
    return f"{row['estimate']:.2f}\n{between}\nn\u00a0{int(row['n_matches'])}"


def _hatched(x: float, y: float, across: float, down: float) -> Rectangle:
    return Rectangle(
        (x, y), across, down, facecolor="0.93", edgecolor="0.7", hatch="////", linewidth=0.0
    )


def _control(rows: pd.DataFrame) -> str:
    known = rows.loc[rows["estimate"].notna(), "control"].dropna()
    if not len(known):
        return ""
    low, high = f"{known.min():.2f}", f"{known.max():.2f}"
    return f"\ncontrol: {low if low == high else f'{low} to {high}'}"


def _bar(
    body: SubFigure, ax: Axes, rows: pd.DataFrame, name: str, colormap: str, inches: float
) -> None:
    bar = body.colorbar(ScalarMappable(Normalize(0, 1), colormap), cax=ax, orientation="horizontal")
    bar.outline.set_visible(False)
    text = next(iter(cells.definitions(rows)), f"{name}, 0 to 1")
    bar.set_label(style.fit(text, inches), fontsize=theme.SMALL)


def _legend_entries(confidence: float, inches: float, n: str, pooled: bool) -> list[Any]:
    inside = f"in a cell: estimate, {confidence:.0%} interval over matches, n = matches"
    if inches < _FULL:
        inside = (
            f"in a cell: estimate over n = {n} matches (too narrow for its {confidence:.0%}"
            " interval and n); bold: the interval leaves out the control"
        )
    if inches < _ANY:
        inside = f"cells (n = {n} matches) are too narrow for numbers: see metrics.parquet"
    handles = [
        style.note(inside),
        Patch(fill=False, edgecolor="black", linewidth=1.2, label="an agent with itself"),
        Patch(
            facecolor="0.93", edgecolor="0.7", hatch="////",
            label="not played at once",
        ),
        style.note("?: one match, no interval"),
    ]  # fmt: skip
    if pooled:
        note = f"{_ALL}: their matches together; each by itself: metrics.parquet"
        handles.append(style.note(note))
    return handles
