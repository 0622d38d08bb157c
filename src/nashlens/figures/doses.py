"""Dose and response of the Nash direction: the figures steering (adding) and clamping.

One panel a layer has P(action 1) against the dose; a first panel has, for *every* layer of the
table, how far the response moves from the smallest dose to the largest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nashlens.figures import style
from nashlens.figures.registry import Look

_COLUMNS = ("model", "kind", "quantity", "direction", "game", "layer", "value",
            *style.ESTIMATE, "n", "n_matches", "n_directions")  # fmt: skip
_DASHES: tuple[Any, ...] = ("--", ":", "-.", (0, (1, 3)), (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))


@dataclass(frozen=True)
class _DoseFigure:
    """What one of the figures shows."""

    kind: str
    """Of the table's rows."""
    title: str
    axis: str
    symbol: str
    """Of the dose."""


FIGURES = {
    "steering": _DoseFigure(
        "add",
        "Steering: P(action 1) when the Nash direction is added, held-out games",
        r"$\alpha$ (mean residual norms)",
        r"$\alpha$",
    ),
    "clamping": _DoseFigure(
        "clamp",
        "Clamping: P(action 1) when the Nash projection is set, held-out games",
        "clamped at (training SD)",
        "c",
    ),
}
_TITLES = {name: shown.title for name, shown in FIGURES.items()}


@style.figure(_TITLES, steering_summary=_COLUMNS)
def draw(steering_summary: pd.DataFrame, look: Look) -> Figure:
    """Draw P(action 1) against the dose, by layer, with random directions as the control."""
    shown = FIGURES[look.figure]
    data = steering_summary[steering_summary["kind"] == shown.kind]
    if data.empty:
        raise style.NothingToShowError(
            f"the steering table has no row of kind '{shown.kind}' along the Nash direction"
        )
    models = list(dict.fromkeys(data["model"]))
    games = list(dict.fromkeys(data["game"].dropna()))
    single = len(models) == 1
    layers = {
        model: _spread(data.loc[data["model"] == model, "layer"], 8 if single else 4)
        for model in models
    }
    panels = 1 + max(map(len, layers.values()))
    across = min(3 if single else 5, panels)
    down = math.ceil(panels / across) if single else len(models)
    color = style.colors(look.palette, ["nash"])["nash"]
    title = f"{shown.title}: {models[0]}" if single else shown.title
    width = look.width or style.WIDTH
    figure, body = style.canvas(width, 1.35 + (1.6 if single else 1.9) * down, title)
    grid = body.subplots(down, across, squeeze=False)
    style.hide(grid.ravel())
    for row, model in enumerate(models):
        part = data[data["model"] == model]
        axes = grid.ravel() if single else grid[row]
        head = f"{'all layers' if single else model}\n{_counts(part)}"
        axes[0].set_title(style.fit(head, width / across - 0.3), fontsize=style.SMALL)
        _changes(axes[0], part[part["quantity"] == "change"], shown, color, _ends(part))
        for place, (ax, layer) in enumerate(zip(axes[1:], layers[model], strict=False), 1):
            _response(ax, part[(part["layer"] == layer) & part["value"].notna()], games, color)
            ax.set_title(f"after layer {layer}", fontsize=style.SMALL)
            ax.set_xlabel(style.fit(shown.axis, width / across - 0.4), fontsize=style.SMALL)
            first = place == 1 or (single and place % across == 0)
            ax.set_ylabel("P(action 1)" if first else "", fontsize=style.SMALL)
            ax.tick_params(labelleft=first)
    directions = data.loc[data["direction"] == "random", "n_directions"].max()
    controls = 0 if pd.isna(directions) else int(directions)
    handles = _legend_entries(color, games, controls, look.confidence)
    most = max(part["layer"].nunique() for _, part in data.groupby("model"))
    if most > panels - 1:
        handles.append(style.note(f"single layers: {panels - 1} of up to {most} are shown"))
    style.legend(body, handles, columns=2)
    return figure


def _spread(layers: pd.Series, most: int) -> list[int]:
    """Return at most so many layers, evenly spread, the first and the last among them."""
    found = sorted(int(layer) for layer in layers.unique())
    if len(found) <= most:
        return found
    return [found[i] for i in np.linspace(0, len(found) - 1, most).round().astype(int)]


def _ends(rows: pd.DataFrame) -> tuple[float, float]:
    """Return the smallest and the largest dose."""
    return rows["value"].min(), rows["value"].max()


def _band(ax: Axes, x: Any, random: pd.DataFrame) -> None:
    """Draw where random directions lie."""
    bounds = random["ci_low"], random["ci_high"]
    ax.fill_between(x, *bounds, color="0.7", alpha=0.7, linewidth=0)


def _response(ax: Axes, rows: pd.DataFrame, games: list[str], color: Any) -> None:
    ax.set_axis_on()
    random = rows[rows["direction"] == "random"]
    if len(random):
        _band(ax, random["value"], random)
    nash = rows[rows["direction"] == "nash"]
    for dashes, game in zip(_DASHES * len(games), games if len(games) > 1 else (), strict=False):
        mean = nash[nash["game"] == game]
        ax.plot(
            mean["value"], mean["estimate"], color=color, linewidth=0.9, alpha=0.7, linestyle=dashes
        )
    whole = nash[nash["game"].isna()]
    style.line(ax, whole, "value", color=color, marker="o")
    ax.axvline(0, color="0.6", linewidth=0.7)
    ax.axhline(0.5, color="0.6", linewidth=0.7, linestyle=":")
    ax.set(ylim=(-0.04, 1.04), yticks=[0, 0.5, 1])
    ends = sorted({*_ends(whole), 0.0})
    ax.set_xticks(ends, [f"{value:g}" for value in ends])


def _changes(
    ax: Axes, rows: pd.DataFrame, shown: _DoseFigure, color: Any, ends: tuple[float, float]
) -> None:
    """Draw how far each layer moves the response."""
    ax.set_axis_on()
    if rows.empty:
        problem = "no prompt has both the smallest and the largest dose"
        style.no_data(ax, "one dose only" if ends[0] == ends[1] else problem)
        return
    nash, random = (rows[rows["direction"] == name] for name in ("nash", "random"))
    if len(random):
        _band(ax, random["layer"], random)
    ax.axhline(0, color="0.6", linewidth=0.7)
    ax.plot(nash["layer"], nash["estimate"], color=color, marker="o")
    ax.vlines(nash["layer"], nash["ci_low"], nash["ci_high"], color=color)
    values = pd.concat([nash["estimate"], rows["ci_low"], rows["ci_high"]])
    limit = 1.05 * max(0.1, float(values.abs().max()))
    ax.set_ylim(-limit, limit)
    ax.set_xlabel("layer", fontsize=style.SMALL)
    low, high = ends
    ax.set_ylabel(
        f"P(action 1) at {shown.symbol} = {high:g}\nminus at {low:g}", fontsize=style.SMALL
    )
    style.ticks(ax.xaxis, 4, integer=True)


def _counts(rows: pd.DataFrame) -> str:
    nash = rows[(rows["direction"] == "nash") & rows["game"].isna()]
    return style.sizes(nash["n"].max(), "prompts", nash["n_matches"].max())


def _legend_entries(color: Any, games: list[str], controls: int, confidence: float) -> list[Any]:
    names = ", ".join(style.words(game) for game in games)
    few = f"Nash direction; held out: {names}"
    several = f"Nash direction, mean of {len(games)} held-out games"
    handles: list[Any] = [
        Line2D([], [], color=color, marker="o", label=few if len(games) <= 3 else several),
        Patch(
            color=color,
            alpha=0.2,
            label=f"{confidence:.0%} interval over matches (percentile; all layers: simultaneous)",
        ),
    ]
    for dashes, game in zip(_DASHES, games if len(games) > 1 else (), strict=False):
        single = {"alpha": 0.7, "linewidth": 0.9, "linestyle": dashes}
        handles.append(Line2D([], [], color=color, label=f"{style.words(game)} alone", **single))
    tail = 50 * (1 - confidence)
    text = f"{controls} random directions, {tail:g} to {100 - tail:g} %"
    if not controls:
        text = "no random directions"
    return [*handles, Patch(color="0.7", alpha=0.7 if controls else 0, label=text)]
