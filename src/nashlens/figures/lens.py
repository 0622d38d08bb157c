"""Which action the residual stream favours, layer by layer, through the logit lens."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator

from nashlens.figures import saying, scales, style, theme
from nashlens.figures.registry import Look

TITLE = "Logit lens: which action does each layer favour, and do the labels have mass there?"
COLUMNS = ("model", "lens", "quantity", "game", "layer", *style.ESTIMATE, "n", "n_matches")
_SUMMARY = ("model", "quantity", *style.ESTIMATE, "reason")
_SERIES: dict[str, tuple[str, Any, str]] = {
    "nash": ("P(Nash action)", "-", "o"),
    "prosocial": ("P(prosocial), where not Nash", "-", "s"),
}
"""Quantity -> its text, dashes and marker."""


def _message(lens_layers: pd.DataFrame, lens_summary: pd.DataFrame, look: Look) -> str:
    """Say what the models' answers follow."""
    rows = lens_summary[lens_summary["quantity"] == "follows_action"]
    known = rows[rows["estimate"].notna()].reset_index(drop=True)
    if known.empty:
        return (
            "In the logit lens no answer differs enough to tell whether it follows action or word"
        )
    follows = {name: known["reason"].eq(f"follows the {name}") for name in ("action", "word")}
    most = saying.at_most(known)
    number = f"action part of both {saying.interval(most)}"
    if len(rows) == 1:
        said = [f"follows the {name}" for name, found in follows.items() if found.all()]
        verb = said[0] if said else "follows neither action nor word clearly"
        return f"In the logit lens the answer of {most['model']} {verb}: {number}"
    counts = [f"the {name} in {found.sum() or 'none'}" for name, found in follows.items()]
    return (
        f"In the logit lens of {len(rows)} models the answer follows {saying.listed(counts)}:"
        f" {number} at most ({most['model']})"
    )


@style.figure(TITLE, _message, lens_layers=COLUMNS, lens_summary=_SUMMARY)
def draw(lens_layers: pd.DataFrame, lens_summary: pd.DataFrame, look: Look) -> Figure:
    """Draw the lens by layer: actions above, label mass below."""
    style.need_rows(lens_layers, style.NOT_CROSSED)
    models = list(dict.fromkeys(lens_layers["model"]))
    across = min(4, len(models))
    blocks = -(-len(models) // across)
    color = theme.colors(look.palette, list(_SERIES))
    width = look.width or style.WIDTH
    headings = {
        str(model): _heading(str(model), lens_layers, lens_summary, width / across - 0.3)
        for model in models
    }
    lines = max(text.count("\n") for text in headings.values()) + 1
    figure, body = style.canvas(width, 1.1 + (2.65 + 0.125 * lines) * blocks)
    columns = style.model_columns(
        body,
        models,
        2,
        sharex="col" if blocks == 1 else False,
        sharey="row",
        height_ratios=[3, 1.3] * blocks,
    )
    for index, (model, axes) in enumerate(columns.items()):
        part = lens_layers[lens_layers["model"] == model]
        axes[0].set_title(headings[str(model)], fontsize=theme.SMALL)
        _actions(axes[0], part, color)
        _mass(axes, part[part["quantity"] == "label_mass"], look.min_label_mass)
        axes[0].tick_params(labelbottom=False)
        labels = ("P(action)", "label mass")
        for ax, label in zip(axes, labels, strict=True):
            ax.set_ylabel(label if index % across == 0 else "", fontsize=theme.SMALL)
    style.legend(body, _legend_entries(color, look))
    return figure


def _heading(model: str, layers: pd.DataFrame, summary: pd.DataFrame, inches: float) -> str:
    numbers = _in_numbers(summary[summary["model"] == model])
    counts = _counts(layers[layers["model"] == model])
    return style.fit(f"{model}\n{counts}\n{numbers}", inches)


def _counts(rows: pd.DataFrame) -> str:
    first = rows[rows["game"].isna()].drop_duplicates("quantity").set_index("quantity")
    nash = saying.sizes(first["n"]["nash"], "prompts", first["n_matches"]["nash"])
    return f"{nash}\n{first['n']['prosocial']} with Nash ≠ prosocial"


def _actions(ax: Axes, rows: pd.DataFrame, color: dict[str, tuple]) -> None:
    """Draw P(Nash action), of single games too, and P(prosocial action) against it."""
    for _, game in rows[(rows["quantity"] == "nash") & rows["game"].notna()].groupby("game"):
        ax.plot(game["layer"], game["estimate"], color="0.75", linewidth=0.7)
    if rows.loc[rows["quantity"] == "nash", "estimate"].isna().all():
        style.centred(ax, "no data: no game has\na Nash action")
    for quantity in ("nash", "prosocial"):
        _series(ax, rows, quantity, color)


def _series(ax: Axes, rows: pd.DataFrame, quantity: str, color: dict[str, tuple]) -> None:
    found = rows[(rows["quantity"] == quantity) & rows["game"].isna() & rows["estimate"].notna()]
    if found.empty:
        return
    _, dashes, marker = _SERIES[quantity]
    style.line(
        ax, found, color=color[quantity], linestyle=dashes, marker=marker or None,
        markevery=max(1, len(found) // 8), linewidth=1.4 if marker else 1,
    )  # fmt: skip


def _in_numbers(summary: pd.DataFrame) -> str:
    """Return where the Nash action is favoured, the flip, the peak, and action or word."""
    rows = {row["quantity"]: row for row in summary.to_dict("records")}

    def number(quantity: str, form: str) -> str:
        row = rows[quantity]
        if pd.isna(row["estimate"]):
            return "none"
        return f"{row['estimate']:{form}} [{row['ci_low']:{form}}, {row['ci_high']:{form}}]"

    if not rows:
        return ""
    lines = [
        f"Nash favoured from layer: {number('nash_from', '.0f')}",
        f"flip to prosocial at layer: {number('flip_layer', '.0f')}",
        f"peak P(prosocial) {number('peak_height', '.2f')} at layer {number('peak_layer', '.0f')}",
        f"action part of action + word: {number('follows_action', '.2f')};"
        f" {rows['follows_action']['reason'] or 'undefined'}",
    ]
    return "\n".join(lines)


def _mass(axes: Any, mass: pd.DataFrame, least: float) -> None:
    """Draw the strip of label mass, and shade the unreliable layers in every panel."""
    layers = mass["layer"].to_numpy(int)
    # A logarithmic axis needs positive numbers; float32 underflow is as good as 1e-12.
    positive = mass[list(style.ESTIMATE)].clip(lower=1e-12)
    style.line(axes[1], positive.assign(layer=layers), color="0.25")
    axes[1].axhline(least, color="0.25", linestyle=":", linewidth=1)
    axes[1].set_yscale("log")
    axes[1].set_ylim(top=2)
    axes[1].yaxis.set_major_locator(LogLocator(numticks=4))
    scales.power_ticks(axes[1].yaxis)
    axes[1].yaxis.minorticks_off()
    axes[1].set_xlabel("layer (0: embedding)", fontsize=theme.SMALL)
    for ax in axes:
        for layer in layers[(mass["estimate"] < least).to_numpy()]:
            ax.axvspan(layer - 0.5, layer + 0.5, color="0.93", linewidth=0, zorder=-1)
        ax.set_xlim(layers.min() - 0.5, layers.max() + 0.5)
        scales.ticks(ax.xaxis, 8, integer=True)
    scales.probability_axis(axes[0])


def _legend_entries(color: dict[str, tuple], look: Look) -> list[Any]:
    handles: list[Any] = [
        Line2D([], [], color=color[name], linestyle=dashes, marker=marker or None, label=label)
        for name, (label, dashes, marker) in _SERIES.items()
    ]
    handles.insert(2, Line2D([], [], color="0.75", linewidth=0.7, label="one game"))
    unreliable = f"label mass < {look.min_label_mass:g}"
    band = f"{look.confidence:.0%} Student interval"
    return [
        *handles,
        Patch(color="0.93", label=unreliable),
        Patch(color="0.5", alpha=0.3, label=band),
        style.note(
            "where the median label mass is small, layers are unreliable; its band: quartiles"
        ),
    ]
