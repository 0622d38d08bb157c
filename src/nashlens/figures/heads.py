"""Which heads carry the Nash action? Each head's ablation, and a chosen group's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from nashlens.figures import saying, style
from nashlens.figures.registry import Look

TITLE = "What ablating attention heads costs the Nash action"
_COLUMNS = ("model", "kind", "quantity", "ablation", "layer", "head", "heads",
            *style.ESTIMATE, "n", "n_matches", "spread_label_sets")  # fmt: skip
_PARTS = {"action_part": "action", "word_part": "word", "place_part": "place"}
"""Quantity -> what the drop follows."""
_MAP = "PuOr_r"
"""Diverging, told apart by colour-blind readers; its middle is no effect."""
BOUND = 0.2
"""Logits within which a group counts as changing nothing; the verdict's own bound."""
_GROUPS = ("candidate", "random")


def _message(heads_summary: pd.DataFrame, look: Look) -> str:
    """Say what ablating the chosen heads costs, and random ones at most."""
    parts = heads_summary[(heads_summary["quantity"] == "action_part")]
    parts = parts[parts["estimate"].notna()]
    chosen = parts[parts["kind"] == "candidate"].set_index("model")
    random = parts[parts["kind"] == "random"].groupby("model")["estimate"].max()
    if chosen.empty or random.empty:
        return "No chosen group of heads was ablated beside random ones"
    random = random.reindex(chosen.index)
    more = saying.above(chosen, random.clip(lower=BOUND))
    model = str(saying.furthest(chosen, more).name)
    number = f"{saying.interval(chosen.loc[model])} logits, random ones {random[model]:.2f} at most"
    if len(chosen) == 1:
        verb = (
            "costs the Nash action" if more.all() else "costs the Nash action no more than others"
        )
        return f"Ablating the chosen heads of {model} {verb}{'' if more.all() else ':'} {number}"
    return (
        f"Ablating the chosen heads costs the Nash action more than random ones in"
        f" {more.sum() or 'none'} of {len(chosen)} models: most in {model}, {number}"
    )


@style.figure(TITLE, _message, heads_summary=_COLUMNS)
def draw(heads_summary: pd.DataFrame, look: Look) -> Figure:
    """Draw the action part of every head's effect, and the chosen group among random ones.

    Left, layers by heads, on the histories where the group was chosen: the drop of the Nash
    action's logit over the other when only that head is ablated. Right, on the other histories:
    the group's drop and each random group's, as far as it follows the action, the pair's first
    label, and the option listed first. Games weigh the same.
    """
    if heads_summary.empty:
        raise style.NothingToShowError("the heads table holds no row")
    models = list(dict.fromkeys(heads_summary["model"]))
    colors = style.colors(look.palette, _GROUPS)
    tall = 3.4 if len(models) == 1 else 2.6
    width = look.width or style.WIDTH
    figure, body = style.canvas(width, 1.4 + tall * len(models))
    grid = body.subplots(len(models), 2, squeeze=False, width_ratios=[2.1, 1.0])
    for (left, right), model in zip(grid, models, strict=True):
        rows = heads_summary[heads_summary["model"] == model]
        single, candidate = (rows[rows["kind"] == kind] for kind in ("head", "candidate"))
        single = single[single["quantity"] == "action_part"]
        chosen = str(candidate["heads"].iloc[0]).split() if len(candidate) else []
        # A scale for each model: one model's largest effect would hide another's.
        largest = max(float(single["estimate"].abs().max()) if len(single) else 0.0, 1e-3)
        scale = Normalize(-largest, largest)
        _heat(left, single, chosen, scale)
        bar = body.colorbar(ScalarMappable(scale, _MAP), ax=left, aspect=25, pad=0.02)
        bar.set_label("drop of the Nash action's lead\n(logits)", fontsize=style.SMALL)
        name = "" if len(models) == 1 else f"{model}: "
        left.set_title(f"{name}each head by itself, {_size(single)}", fontsize=style.SMALL)
        _groups(right, rows[rows["kind"] != "head"], colors)
        head = f"groups of {len(chosen)}, other histories:\n{_size(candidate)}"
        right.set_title(head, fontsize=style.SMALL)
    style.legend(body, _legend_entries(colors, look.confidence))
    return figure


def _size(rows: pd.DataFrame) -> str:
    n, matches = (rows["n"].max(), rows["n_matches"].max()) if len(rows) else (0, 0)
    return saying.sizes(n, "prompts", matches)


def _heat(ax: Axes, rows: pd.DataFrame, chosen: list[str], scale: Normalize) -> None:
    head, layer = rows["head"].to_numpy(int), rows["layer"].to_numpy(int)
    values = np.full((head.max() + 1, layer.max()), np.nan)
    values[head, layer - 1] = rows["estimate"]
    ax.set_facecolor("0.88")
    ax.imshow(
        np.ma.masked_invalid(values),
        cmap=_MAP,
        norm=scale,
        aspect="auto",
        origin="lower",
        extent=(0.5, values.shape[1] + 0.5, -0.5, values.shape[0] - 0.5),
        interpolation="nearest",
    )
    sure = rows[(rows["ci_low"] > 0) | (rows["ci_high"] < 0)].sort_values(["head", "layer"])
    ax.plot(sure["layer"], sure["head"], ".", color="black", markersize=2.5)
    for name in chosen:
        column, row = (int(number) for number in name.split("."))
        corner = (column - 0.5, row - 0.5)
        ax.add_patch(Rectangle(corner, 1.0, 1.0, fill=False, edgecolor="black", linewidth=1.1))
    ax.set_xlabel("layer")
    ax.set_ylabel("head")
    style.ticks(ax.xaxis, 10, integer=True)
    style.ticks(ax.yaxis, min(10, max(2, values.shape[0] - 1)), integer=True)
    ax.grid(False)


def _groups(ax: Axes, rows: pd.DataFrame, colors: dict[str, Any]) -> None:
    """Draw each part of the groups' drops above its name."""
    if rows.empty:
        style.no_data(ax, "no group was ablated")
        return
    ax.axhspan(-BOUND, BOUND, color="0.92", zorder=0)
    ax.axhline(0.0, color=style.GREY, linewidth=0.8)
    for place, quantity in enumerate(_PARTS):
        part = rows[rows["quantity"] == quantity]
        values = part.loc[part["kind"] == "random", "estimate"]
        # Spread evenly, so that equal points can be told apart.
        offset = np.linspace(-0.12, 0.12, len(values)) if len(values) > 1 else np.zeros(len(values))
        ax.plot(place + 0.18 + offset, values, "o", color=colors["random"], markersize=2.5)
        (group,) = part[part["kind"] == "candidate"].to_dict("records")
        mean, low, high = (group[name] for name in style.ESTIMATE)
        spread = group["spread_label_sets"]
        if math.isfinite(spread):
            ends = mean - spread, mean + spread
            ax.vlines(place - 0.3, *ends, color=colors["candidate"], linewidth=3.5, alpha=0.35)
        error = [[mean - low], [high - mean]] if math.isfinite(low) else None
        ax.errorbar(
            place - 0.15, mean, yerr=error, fmt="D", color=colors["candidate"], markersize=4,
            capsize=2.5, linewidth=1.3,
        )  # fmt: skip
    ax.set_xticks(range(len(_PARTS)), list(_PARTS.values()))
    ax.set_xlim(-0.5, len(_PARTS) - 0.5)
    ax.set_xlabel("part: what the drop follows")
    ax.set_ylabel("drop (logits)")


def _legend_entries(colors: dict[str, Any], confidence: float) -> list[Any]:
    level = f"{confidence:.0%} Student interval"
    return [
        Line2D(
            [], [], marker=".", color="black", linestyle="none", markersize=5,
            label="leaves out 0",
        ),
        Patch(fill=False, edgecolor="black", label="chosen"),
        Line2D(
            [], [], marker="D", color=colors["candidate"], markersize=4,
            label="the chosen together",
        ),
        Line2D(
            [], [], marker="o", color=colors["random"], linestyle="none", markersize=3,
            label="random groups",
        ),
        Patch(color=colors["candidate"], alpha=0.35, label="± SD between label sets"),
        Patch(color="0.92", label=f"within {BOUND:g} logits"),
        style.note(
            f"{level} over histories, of single heads for all at once; the chosen were chosen on"
            " other histories than those that they are ablated on; random groups: of other heads of"
            f" the same layers; within {BOUND:g} logits nothing changes"
        ),
    ]  # fmt: skip
