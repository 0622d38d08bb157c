"""How far surface forms (labels, order, template) move the choice, in prompts and in play."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nashlens.figures import saying, scales, style, theme
from nashlens.figures.registry import Look

TITLE = "Surface biases"
SOURCES = {"prompts": "decision prompts (lens, last layer)", "play": "play"}
_COLUMNS = ("model", "source", "factor", "contrast", "label_set", *style.ESTIMATE,
            "n", "n_matches")  # fmt: skip
_KEYS = ["factor", "contrast", "label_set"]
_FACTORS = ["label_map", "option_order", "template", "label_set"]


def _message(surface_summary: pd.DataFrame, look: Look) -> str:
    """Say how far labels and places move the answer, at most."""
    said, moved = [], []
    for factor, what in (("label_map", "labels"), ("option_order", "places")):
        rows = surface_summary[surface_summary["factor"] == factor]
        rows = rows[rows["estimate"].notna()].reset_index(drop=True)
        if len(rows):
            apart = saying.beyond(rows)
            moved.append(bool(apart.any()))
            said.append(f"{what} at most by {saying.interval(saying.furthest(rows, apart))}")
    if not said:
        return "Neither labels nor places were exchanged in whole blocks"
    verb = "moves" if any(moved) else "does not move beyond its interval"
    return f"In one game, P(action 0) {verb} when forms are exchanged: {saying.listed(said)}"


@style.figure(TITLE, _message, surface_summary=_COLUMNS)
def draw(surface_summary: pd.DataFrame, look: Look) -> Figure:
    """Draw differences in P(action 0) between surface forms, a panel for each model."""
    counts = surface_summary[surface_summary["factor"] == ""]
    if not counts["n"].sum():
        raise style.NothingToShowError("neither table holds a decision of a model")
    data = surface_summary[surface_summary["factor"] != ""].fillna({"label_set": ""})
    rows = data[_KEYS].drop_duplicates()
    style.need_rows(
        rows, "nothing comes in whole blocks (both label maps in both option orders) to be compared"
    )
    rows = rows.sort_values("factor", key=lambda names: names.map(_FACTORS.index), kind="stable")
    models = list(dict.fromkeys(counts["model"]))
    across = min(4, len(models))
    color = theme.colors(look.palette, list(SOURCES))
    height = 1.15 + -(-len(models) // across) * (1.0 + 0.25 * len(rows))
    width = look.width or style.WIDTH
    figure, body = style.canvas(width, height)
    columns = style.model_columns(body, models, 1, sharex=True, sharey=True)
    panels = {model: axes[0] for model, axes in columns.items()}
    for model, ax in panels.items():
        _differences(ax, data[data["model"] == model], rows, color)
        # About two inches go to the rows' names.
        inches = (width - 2.2) / across - 0.1
        heading = _heading(str(model), counts[counts["model"] == model])
        ax.set_title(style.fit(heading, inches), fontsize=theme.SMALL)
        ax.set_xlabel(style.fit("difference in P(action 0)", inches), fontsize=theme.SMALL)
        ax.tick_params(labelbottom=True)
    reach = max(0.1, *(max(map(abs, ax.get_xlim())) for ax in panels.values()))
    panels[models[0]].set_xlim(-reach, reach)
    style.legend(body, _legend_entries(color, look.confidence))
    return figure


def _differences(ax: Axes, data: pd.DataFrame, rows: pd.DataFrame, color: dict[str, Any]) -> None:
    ax.axvline(0, color="0.3", linewidth=0.9)
    for place, source in enumerate(SOURCES):
        found = rows.merge(data[data["source"] == source], on=_KEYS, how="left")
        y = np.arange(len(rows)) + (place - 0.5) * 0.36
        ax.plot(found["estimate"], y, theme.MARKERS[place], color=color[source], markersize=3.5)
        ax.hlines(y, found["ci_low"], found["ci_high"], color=color[source], linewidth=1.3)
    texts, before = [], None
    for index, (factor, contrast, label_set) in enumerate(rows.itertuples(index=False)):
        # A single label set is indented below all of them; sections have a rule between them.
        text = f"  {contrast}" if factor == "label_map" and label_set else contrast
        texts.append(text if factor == before else f"{style.words(factor)}:  {text}")
        if before not in (None, factor):
            ax.axhline(index - 0.5, color="0.6", linewidth=0.7)
        before = factor
    ax.set_yticks(range(len(rows)), texts)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(False, axis="y")
    scales.ticks(ax.xaxis, 4)


def _heading(model: str, counts: pd.DataFrame) -> str:
    known = counts.set_index("source")
    n, matches = known["n"], known["n_matches"]
    sizes = [f"{source}: {saying.sizes(n[source], '', matches[source])}" for source in SOURCES]
    return "\n".join([model, *sizes])


def _legend_entries(color: dict[str, Any], confidence: float) -> list[Line2D]:
    handles = [
        Line2D([], [], color=color[source], marker=theme.MARKERS[place], label=label)
        for place, (source, label) in enumerate(SOURCES.items())
    ]
    return [*handles, style.note(f"bars: {confidence:.0%} Student intervals")]
