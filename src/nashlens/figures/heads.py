"""Which heads and MLPs carry the Nash action? Each one's ablation, and chosen groups'."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from nashlens.circuits.readings import ARMS
from nashlens.figures import saying, scales, style, theme
from nashlens.figures.registry import Look

TITLE = "What ablating heads and MLPs costs the Nash action"
_COLUMNS = ("model", "kind", "component", "positions", "quantity", "ablation", "layer", "head",
            "heads", *style.ESTIMATE, "n", "n_matches", "spread_label_sets")  # fmt: skip
_PLACES = {
    "decision": "each head and MLP at the decision",
    "all": "at all positions (gradient)",
}
"""Positions -> heading of their map."""
_ARMS = {
    ("head", "decision"): "heads",
    ("mlp", "decision"): "MLPs",
    ("both", "all"): "both, all\npositions",
}
"""What a group consists of, and where it is ablated -> its name below the points."""
_MAP = "PuOr_r"
"""Diverging, told apart by colour-blind readers; its middle is no effect."""
BOUND = 0.2
"""Logits within which a group counts as changing nothing; the verdict's own bound."""
_GROUPS = ("candidate", "random")


def _message(heads_summary: pd.DataFrame, look: Look) -> str:
    """Say what ablating the chosen groups costs, and random ones at most."""
    parts = heads_summary[(heads_summary["quantity"] == "action_part")]
    parts = parts[parts["estimate"].notna()]
    keys = ["model", "component", "positions"]
    chosen = parts[parts["kind"] == "candidate"].set_index(keys)
    random = parts[parts["kind"] == "random"].groupby(keys)["estimate"].max()
    if chosen.empty or random.empty:
        return "No chosen group was ablated beside random ones"
    random = random.reindex(chosen.index)
    more = saying.above(chosen, random.clip(lower=BOUND))
    row = saying.furthest(chosen, more)
    most = cast(tuple[str, str, str], row.name)
    model, component, positions = most
    group = ARMS[component, positions]
    number = f"{saying.interval(row)} logits (random ≤ {random[most]:.2f})"
    models = chosen.index.get_level_values("model")
    if models.nunique() == 1:
        verb = (
            "costs the Nash action" if more.any() else "costs the Nash action no more than others"
        )
        return f"Ablating the chosen {group} of {model} {verb}{'' if more.any() else ':'} {number}"
    return (
        "Ablating chosen groups costs the Nash action more than random ones in"
        f" {models[more].nunique() or 'none'} of {models.nunique()} models: most {group} of"
        f" {model}, {number}"
    )


@style.figure(TITLE, _message, heads_summary=_COLUMNS)
def draw(heads_summary: pd.DataFrame, look: Look) -> Figure:
    """Draw the action part of every component's effect, and chosen groups among random ones.

    Left, layers by heads with the MLPs above, on the histories where groups were chosen: the drop
    of the Nash action's logit over the other when only that one is ablated, at the decision and,
    by its gradient, at all positions. Right, on the other histories: each group's drop and each
    random group's, as far as it follows the action. Games weigh the same.
    """
    style.need_rows(heads_summary, "the heads table holds no row")
    models = list(dict.fromkeys(heads_summary["model"]))
    colors = theme.colors(look.palette, _GROUPS)
    tall = 3.4 if len(models) == 1 else 2.6
    width = look.width or style.WIDTH
    figure, body = style.canvas(width, 1.6 + tall * len(models))
    places = [p for p in _PLACES if (heads_summary["positions"] == p).any()]
    ratios = [2.1 / len(places)] * len(places) + [1.0]
    grid = body.subplots(len(models), len(places) + 1, squeeze=False, width_ratios=ratios)
    for line, model in zip(grid, models, strict=True):
        rows = heads_summary[heads_summary["model"] == model]
        for ax, place in zip(line, places, strict=False):
            _map(body, ax, rows[rows["positions"] == place], place)
        if len(models) > 1:
            line[0].set_ylabel(f"{model}\n\n{line[0].get_ylabel()}")
        groups = rows[~rows["kind"].isin(["head", "mlp"])]
        _groups(line[-1], groups, colors)
        n, matches = (groups["n"].max(), groups["n_matches"].max()) if len(groups) else (0, 0)
        line[-1].set_title(f"groups: n = {n},\n{matches} matches", fontsize=theme.SMALL)
    style.legend(body, _legend_entries(colors, look.confidence))
    return figure


def _map(body: Any, ax: Axes, rows: pd.DataFrame, place: str) -> None:
    """Draw every component's effect at some positions."""
    single = rows[rows["kind"].isin(["head", "mlp"]) & (rows["quantity"] == "action_part")]
    ax.set_title(
        f"{_PLACES[place]},\n{saying.largest_sizes(single, 'prompts')}", fontsize=theme.SMALL
    )
    if single.empty:
        style.no_data(ax, "nothing was ablated here")
        return
    chosen = rows.loc[rows["kind"] == "candidate", "heads"].unique()
    # A scale for each map: one model's largest effect would hide another's.
    largest = max(float(single["estimate"].abs().max()), 1e-3)
    scale = Normalize(-largest, largest)
    _heat(ax, single, [name for group in chosen for name in group.split()], scale)
    bar = body.colorbar(ScalarMappable(scale, _MAP), ax=ax, aspect=25, pad=0.02)
    bar.set_label("drop (logits)", fontsize=theme.SMALL)


def _heat(ax: Axes, rows: pd.DataFrame, chosen: list[str], scale: Normalize) -> None:
    heads = rows.loc[rows["kind"] == "head", "head"]
    n_heads = int(heads.max()) + 1 if len(heads) else 0
    # The MLPs' line lies above the heads.
    line = rows["head"].fillna(n_heads).to_numpy(int)
    layer = rows["layer"].to_numpy(int)
    values = np.full((line.max() + 1, layer.max()), np.nan)
    values[line, layer - 1] = rows["estimate"]
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
    sure = rows.assign(line=line)[(rows["ci_low"] > 0) | (rows["ci_high"] < 0)]
    sure = sure.sort_values(["line", "layer"])
    ax.plot(sure["layer"], sure["line"], ".", color="black", markersize=2.5)
    for name in chosen:
        column, which = name.split(".")
        at = n_heads if which == "mlp" else int(which)
        corner = (int(column) - 0.5, at - 0.5)
        ax.add_patch(Rectangle(corner, 1.0, 1.0, fill=False, edgecolor="black", linewidth=1.1))
    if n_heads and len(values) > n_heads:
        ax.axhline(n_heads - 0.5, color="black", linewidth=0.8)
    step = max(1, -(-n_heads // 10))
    marks = [(k, str(k)) for k in range(0, n_heads, step)]
    if len(values) > n_heads:
        # No number where the two would touch.
        marks = [one for one in marks if one[0] <= n_heads - max(1, step / 2)]
        marks.append((n_heads, "MLP"))
    ax.set_yticks([at for at, _ in marks], [text for _, text in marks])
    ax.set_xlabel("layer")
    ax.set_ylabel("head")
    scales.ticks(ax.xaxis, 8, integer=True)
    ax.grid(False)


def _groups(ax: Axes, rows: pd.DataFrame, colors: dict[str, Any]) -> None:
    """Draw each arm's drops above its name."""
    arms = [
        (name, rows[(rows["component"] == arm[0]) & (rows["positions"] == arm[1])])
        for arm, name in _ARMS.items()
    ]
    arms = [(name, part) for name, part in arms if len(part)]
    if not arms:
        style.no_data(ax, "no group was ablated")
        return
    ax.axhspan(-BOUND, BOUND, color="0.92", zorder=0)
    ax.axhline(0.0, color=theme.GREY, linewidth=0.8)
    for place, (_, arm) in enumerate(arms):
        part = arm[arm["quantity"] == "action_part"]
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
        word = arm[(arm["kind"] == "candidate") & (arm["quantity"] == "word_part")]
        ax.plot(place - 0.02, word["estimate"], "D", mfc="white", mec=colors["candidate"], ms=3)
    ax.set_xticks(range(len(arms)), [name for name, _ in arms])
    ax.set_xlim(-0.5, len(arms) - 0.5)
    ax.set_xlabel("what is ablated")
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
            [], [], marker="D", mfc="white", mec=colors["candidate"], markersize=3,
            linestyle="none", label="their word part",
        ),
        Line2D(
            [], [], marker="o", color=colors["random"], linestyle="none", markersize=3,
            label="random groups",
        ),
        Patch(color=colors["candidate"], alpha=0.35, label="± SD between label sets"),
        Patch(color="0.92", label=f"within {BOUND:g} logits"),
        style.note(
            f"{level} over histories, of single heads or MLPs for all at once; the chosen were"
            " chosen on other histories than those that they are ablated on; random groups: of"
            " other heads of the same layers, and of MLPs of layers nearby; within"
            f" {BOUND:g} logits nothing changes"
        ),
    ]  # fmt: skip
