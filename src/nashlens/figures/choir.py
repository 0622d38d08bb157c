"""Choir or soloist? How much of the override goes as its components are ablated in turn."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nashlens.circuits.override import SIZES
from nashlens.figures import saying, scales, style, theme
from nashlens.figures.registry import Look

TITLE = "Choir or soloist"
_COLUMNS = ("model", "quantity", "order", "size", "share", *style.ESTIMATE,
            "n", "n_matches")  # fmt: skip
_ORDERS: dict[str, tuple[str, Any, str]] = {
    "chosen": ("who writes most on other histories first", "-", "o"),
    "random": ("random orders, their mean", "--", "s"),
}
"""Order -> what it is, dashes, and the mark of what is needed."""


def _message(choir: pd.DataFrame, look: Look) -> str:
    """Say how many components carry half of what is written against the Nash action."""
    models = list(dict.fromkeys(choir["model"]))
    half = choir[(choir["share"] == 0.5) & (choir["order"] == "chosen")]
    half = half[half["estimate"].notna()].reset_index(drop=True)
    if half.empty:
        who = f"In {models[0]}" if len(models) == 1 else f"In none of {len(models)} models"
        what = "nothing" if len(models) == 1 else "anything"
        return f"{who} {what} that is written against Nash can be shared out"
    sizes = choir[choir["quantity"] == "curve"].groupby("model")["size"].max()

    def number(row: pd.Series) -> str:
        return f"{saying.interval(row, '.0f')} of {int(sizes[row['model']])} components"

    half = half.sort_values("estimate")
    few, many = half.iloc[0], half.iloc[-1]
    if len(models) == 1:
        return f"Half of what is written against Nash in {models[0]} is carried by {number(few)}"
    return (
        f"Half of what is written against the Nash action is carried, in {len(half)} of"
        f" {len(models)} models, by {number(few)} ({few['model']}) up to {number(many)}"
        f" ({many['model']})"
    )


@style.figure(TITLE, _message, choir=_COLUMNS)
def draw(choir: pd.DataFrame, look: Look) -> Figure:
    """Draw the curve of joint ablations, a panel for each model.

    Marks stand at the number of components that carry 50, 80 and 95% of the whole effect. In a
    choir both orders need many; a soloist is one that a random order meets late.
    """
    style.need_rows(choir, "no late component writes against the Nash action")
    models = list(dict.fromkeys(choir["model"]))
    across = min(2, len(models))
    height = 1.5 + 3.0 * -(-len(models) // across)
    figure, body = style.canvas(look.width or style.WIDTH, height)
    grid = body.subplots(-(-len(models) // across), across, squeeze=False).ravel()
    colors = theme.colors(look.palette, list(_ORDERS))
    for ax, model in zip(grid, models, strict=False):
        rows = choir[choir["model"] == model]
        name = "" if len(models) == 1 else f"{model}\n"
        ax.set_title(f"{name}{_heading(rows)}", fontsize=theme.SMALL)
        _panel(ax, rows, colors)
    style.hide(grid[len(models) :])
    style.legend(body, _legend_entries(colors, look.confidence))
    return figure


def _heading(rows: pd.DataFrame) -> str:
    """Say what is needed for half of the effect, how unequal shares are, and the sizes."""
    curve, half = rows[rows["quantity"] == "curve"], rows[rows["share"] == 0.5]
    said = saying.largest_sizes(curve, "prompts")
    if half.empty:
        return f"no effect that could be shared out\n{said}"
    needed = {row["order"]: row["estimate"] for row in half.to_dict("records")}
    text = f"half is carried by {needed['chosen']:.0f} of {curve['size'].max()} components"
    if "random" in needed:
        text += f"\n(in random orders by {needed['random']:.1f})"
    gini = rows[(rows["quantity"] == "gini") & (rows["order"] == "chosen")].iloc[0]
    mean, low, high = (gini[name] for name in style.ESTIMATE)
    return f"{text}; Gini coefficient {mean:.2f} [{low:.2f}, {high:.2f}]\n{said}"


def _panel(ax: Axes, rows: pd.DataFrame, colors: dict[str, Any]) -> None:
    ax.axhline(0.0, color=theme.GREY, linewidth=0.8)
    for order, (_, dashes, mark) in reversed(_ORDERS.items()):
        mine = rows[rows["order"] == order]
        curve = mine[mine["quantity"] == "curve"].sort_values("size")
        if curve.empty:
            continue
        start = pd.DataFrame([{"size": 0, **dict.fromkeys(style.ESTIMATE, 0.0)}])
        line = pd.concat([start, curve[["size", *style.ESTIMATE]]], ignore_index=True)
        style.line(ax, line, "size", color=colors[order], linestyle=dashes, linewidth=1.6)
        # So many numbers are tried of many components, and all that write against Nash.
        if len(curve) <= SIZES + 1:
            ax.plot(curve["size"], curve["estimate"], ".", color=colors[order], markersize=4)
        whole = float(curve["estimate"].iloc[-1])
        for row in mine[mine["quantity"] == "needed"].to_dict("records"):
            mean, low, high = (row[name] for name in style.ESTIMATE)
            ax.errorbar(
                mean, row["share"] * whole, xerr=[[max(mean - low, 0)], [max(high - mean, 0)]],
                fmt=mark, color=colors[order], markersize=5, capsize=2.5, linewidth=1.1,
                markeredgecolor="white", zorder=5,
            )  # fmt: skip
            if order == "chosen":
                _share(ax, row["share"], whole)
    ax.set_xlim(left=0)
    ax.set_xlabel("components ablated together")
    ax.set_ylabel("Nash play that returns (logits)")
    scales.ticks(ax.xaxis, 8, integer=True)


def _share(ax: Axes, share: float, whole: float) -> None:
    """Draw and name the height of a share of the whole effect."""
    ax.axhline(share * whole, color=theme.GREY, linewidth=0.7, linestyle=":")
    ax.annotate(
        f"{share:.0%}", (1.0, share * whole), xycoords=("axes fraction", "data"),
        xytext=(2, 0), textcoords="offset points", va="center", fontsize=theme.SMALL,
        color=theme.GREY,
    )  # fmt: skip


def _legend_entries(colors: dict[str, Any], confidence: float) -> list[Any]:
    orders = [
        Line2D([], [], color=colors[order], linestyle=dashes, marker=mark, markersize=4,
               label=label)
        for order, (label, dashes, mark) in _ORDERS.items()
    ]  # fmt: skip
    level = f"{confidence:.0%} Student interval"
    return [
        *orders,
        style.note(f"bands: {level} over histories, for all numbers of components at once"),
        style.note(f"marks: components needed for 50, 80 and 95% of all, with {confidence:.0%} of"
                   " draws"),
    ]  # fmt: skip
