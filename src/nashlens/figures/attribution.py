"""Who writes the answer? What each attention, MLP and head adds, action and word apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nashlens.figures import saying, scales, style, theme
from nashlens.figures.registry import Look

TITLE = "Who writes the answer"
_COLUMNS = ("model", "quantity", "component", "kind", "layer", *style.ESTIMATE,
            "n", "n_matches")  # fmt: skip
_KINDS = {"attention": "all of a layer's attention", "mlp": "a layer's MLP",
          "head": "one head, of those that add most", "embedding": "the embedding"}  # fmt: skip
_OFFSETS = {"attention": -0.2, "mlp": 0.2, "head": 0.0, "embedding": 0.0}
"""Kind -> how far from its layer it is drawn, so that no interval hides another."""
_SYMBOLS = {"attention": "o", "mlp": "s", "head": "^", "embedding": "D"}
_PANELS = {
    "action_part": "towards the Nash action, whatever it is called",
    "word_part": "towards the pair's first label, whatever it means",
}
_SMALL = 0.2
"""Logits within which the scale is linear; beyond it is logarithmic."""
_HEADS = 8
"""Number of heads of a panel that are drawn, those that add most in size."""
_NAMED = 3
"""Number of MLPs, and of layers' heads, that a panel names, if they are not small."""


def _message(attribution_summary: pd.DataFrame, look: Look) -> str:
    """Say which component adds most to the Nash action, or against it."""
    rows = attribution_summary[attribution_summary["quantity"] == "action_part"]
    rows = rows[rows["estimate"].notna()].reset_index(drop=True)
    single = rows[rows["kind"].isin(["attention", "mlp", "head"])]
    if single.empty:
        return "Nothing can be attributed: no component was measured"
    models = list(dict.fromkeys(rows["model"]))
    large = saying.beyond(single) & (single["estimate"].abs() > _SMALL)
    most = saying.furthest(single, large)
    name = {"attention": "attention of layer {}", "mlp": "the MLP of layer {}"}.get(
        str(most["kind"]), f"head {most['component']}"
    )
    towards = "towards" if most["estimate"] > 0 else "against"
    number = f"{name.format(int(most['layer']))}, {saying.interval(most)} logits"
    if len(models) == 1:
        if not large.any():
            return (
                f"No component of {models[0]} writes more than {_SMALL:g} logits towards or against"
                f" the Nash action: most {number}"
            )
        return f"In {models[0]} most is written {towards} the Nash action by {number}"
    writing = single.loc[large, "model"].nunique()
    return (
        f"Components write more than {_SMALL:g} logits towards or against the Nash action in"
        f" {writing or 'none'} of {len(models)} models: most in {most['model']}, {number}"
    )


@style.figure(TITLE, _message, attribution_summary=_COLUMNS)
def draw(attribution_summary: pd.DataFrame, look: Look) -> Figure:
    """Draw what components add to the logit of the Nash action, and of the first label.

    A row of two panels for each model, by layer: what follows the action and what follows the
    word. Both have one scale, so that their sizes can be compared; it is linear up to what counts
    and logarithmic beyond.
    """
    style.need_rows(attribution_summary, style.NOT_CROSSED)
    models = list(dict.fromkeys(attribution_summary["model"]))
    figure, body = style.canvas(look.width or style.WIDTH, 1.3 + 2.8 * len(models))
    grid = body.subplots(len(models), len(_PANELS), squeeze=False, sharey="row")
    colors = theme.colors(look.palette, list(_KINDS))
    for line, model in zip(grid, models, strict=True):
        mine = attribution_summary[attribution_summary["model"] == model]
        for ax, (quantity, what) in zip(line, _PANELS.items(), strict=True):
            rows = mine[mine["quantity"] == quantity]
            name = f"{model}\n" if len(models) > 1 and ax is line[0] else ""
            whole = saying.total(rows[rows["kind"] == "total"], "prompts", " logits")
            ax.set_title(f"{name}{what}\n{whole}", fontsize=theme.SMALL)
            _panel(ax, rows, colors)
        _scale(line[0], mine)
        line[0].set_ylabel("adds to the logit\nover the other")
    style.legend(body, _legend_entries(colors, look.confidence))
    return figure


def _panel(ax: Axes, rows: pd.DataFrame, colors: dict[str, Any]) -> None:
    ax.axhline(0.0, color=theme.GREY, linewidth=0.8)
    heads = rows[rows["kind"] == "head"]
    largest = heads["estimate"].abs().sort_values(ascending=False).index[:_HEADS]
    shown = pd.concat([rows[rows["kind"] != "head"], heads.loc[largest]])
    shown = shown[shown["kind"].isin(list(_KINDS))]
    for kind in _KINDS:
        some = shown[shown["kind"] == kind]
        place = some["layer"].fillna(0).to_numpy(dtype=float) + _OFFSETS[kind]
        if kind == "head":
            # Heads of one layer stand side by side.
            place = place + 0.1 * some.groupby("layer").cumcount().to_numpy(dtype=float)
        mean, low, high = (some[name].to_numpy(dtype=float) for name in style.ESTIMATE)
        bars = np.nan_to_num([mean - low, high - mean])
        ax.errorbar(
            place, mean, yerr=bars, fmt="none", ecolor=colors[kind], elinewidth=0.8, alpha=0.5
        )
        ax.plot(
            place, mean, _SYMBOLS[kind], color=colors[kind], markersize=3.2,
            markerfacecolor="white" if kind == "head" else colors[kind],
            zorder=4 if kind == "head" else 3,
        )  # fmt: skip
    _names(ax, shown, colors)
    ax.set_xlabel("layer (0: embedding)")
    scales.ticks(ax.xaxis, 10, integer=True)


def _names(ax: Axes, shown: pd.DataFrame, colors: dict[str, Any]) -> None:
    """Write the names of the heads and MLPs that add most, a layer's heads of one sign together."""
    single = shown[shown["kind"].isin(["head", "mlp"]) & (shown["estimate"].abs() >= _SMALL / 2)]
    single = single.sort_values("estimate", key=lambda values: -values.abs(), kind="stable")
    groups = single.groupby(["kind", "layer", single["estimate"] > 0], sort=False)
    for k, (_, group) in enumerate(list(groups)[:_NAMED]):
        row = group.iloc[0]
        name = str(row["component"]).replace(".mlp", " MLP")
        further = f" and {len(group) - 1} more" if len(group) > 1 else ""
        ax.annotate(
            name + further, (float(row["layer"]) - 0.35, float(row["estimate"])),
            # One below another, so that names at one height do not meet.
            xytext=(-3, 9 * k * np.sign(row["estimate"])), textcoords="offset points",
            ha="right", va="center", fontsize=theme.SMALL, color=colors[str(row["kind"])],
        )  # fmt: skip


def _scale(ax: Axes, rows: pd.DataFrame) -> None:
    """Leave room for every estimate; the longest intervals of few histories may be cut off."""
    shown = rows[rows["quantity"].isin(list(_PANELS)) & rows["kind"].isin(list(_KINDS))]
    reach = 3.0 * max(_SMALL, float(shown["estimate"].abs().max()))
    scales.logit_axis(ax, _SMALL, reach)


def _legend_entries(colors: dict[str, Any], confidence: float) -> list[Any]:
    marks = [
        Line2D(
            [], [], marker=_SYMBOLS[kind], color=colors[kind], markersize=4, linestyle="none",
            markerfacecolor="white" if kind == "head" else colors[kind], label=label,
        )
        for kind, label in _KINDS.items()
    ]  # fmt: skip
    level = f"{confidence:.0%} Student interval over histories, for all components at once"
    return [*marks, style.note(f"bars: {level}")]
