"""What can be decoded at the decision position, layer by layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nashlens.figures import saying, scales, style, theme
from nashlens.figures.registry import Look
from nashlens.figures.targets import deal_panels, target_words
from nashlens.kept import at_position

TITLE = "What linear probes decode at the decision position, by layer"
# fmt: off
_COLUMNS = [
    "model", "target", "split", "layer", "measure", "status", "reason", "n", "n_matches",
    "balanced_accuracy", "ci_low", "ci_high", "r2", "r2_low", "r2_high", "permutation_mean",
    "permutation_high", "permutation_max_high", "embedding", "bag_of_words", "random_weights",
    "embedding_low", "embedding_high", "bag_of_words_low", "bag_of_words_high",
    "random_weights_low", "random_weights_high", "n_random_weights", "confidence",
]
_KEYS = ["probe", "random_weights", "bag_of_words", "embedding"]
# fmt: on
_DOTS = (0, (4, 1, 1, 1, 1, 1))


def _message(probes: pd.DataFrame, look: Look) -> str:
    """Say in how many models the history and the Nash label are read, at their best layers."""
    rows = at_position(probes)
    rows = rows[(rows["split"] == "match") & rows["balanced_accuracy"].notna()]
    models = list(dict.fromkeys(probes["model"]))
    said = []
    for target, what in (("opponent_last", "opponent's last action"), ("nash_label", "Nash label")):
        mine = rows[rows["target"] == target].reset_index(drop=True)
        if mine.empty:
            continue
        best = mine.loc[mine.groupby("model")["balanced_accuracy"].idxmax()]
        read = best["ci_low"] > best["permutation_max_high"]
        top = saying.at_most(best, "balanced_accuracy")
        number = saying.interval(top, names="balanced_accuracy ci_low ci_high")
        if len(models) > 1:
            said.append(f"the {what} in {read.sum() or 'none'} of {len(models)} (at most {number})")
        else:
            said.append(f"{'' if read.all() else 'not '}the {what} ({number})")
    if not said:
        return "Neither the opponent's last action nor the Nash label could be probed"
    who = f"Probes{saying.of_models(models)}" if len(models) == 1 else "Probes of models"
    return f"{who} read, above permuted labels: {', '.join(said)}"


@style.figure(TITLE, _message, probes=_COLUMNS)
def draw(probes: pd.DataFrame, look: Look) -> Figure:
    """Draw the score by layer with all baselines, a panel for each target (and model).

    Balanced accuracy for actions, labels and places, R2 for shares; whole histories are held out.
    An action, its label and its place share a row: the kind of game gives the first, not the other
    two. With several models a row is a target and a column a model.
    """
    probes = at_position(probes)
    probes = probes[probes["split"] == "match"]
    style.need_rows(probes, "the probes table holds no row")
    models = list(dict.fromkeys(probes["model"]))
    targets = list(dict.fromkeys(probes["target"]))
    single = len(models) == 1
    rows = deal_panels(models, targets, 3)
    down, across = len(rows), max(map(len, rows))
    color = theme.colors(look.palette, _KEYS)
    width = look.width or style.WIDTH
    figure, body = style.canvas(width, 1.4 + 1.75 * down)
    grid = body.subplots(down, across, squeeze=False)
    for axes, panels in zip(grid, rows, strict=True):
        style.hide(axes[len(panels) :])
        for ax, (model, target) in zip(axes, panels, strict=False):
            part = probes[(probes["model"] == model) & (probes["target"] == target)]
            measure = _target(ax, part.sort_values("layer"), color)
            about = target_words(target) if single else f"{model}: {target_words(target)}"
            heading = f"{about}\n{ax.get_title(loc='left')}"
            ax.set_title(style.fit(heading, width / across - 0.4), fontsize=theme.SMALL)
            if ax is axes[0] or measure != "balanced accuracy":
                ax.set_ylabel(measure, fontsize=theme.SMALL)
            if panels is rows[-1]:
                ax.set_xlabel("layer (0: embedding)", fontsize=theme.SMALL)
    style.legend(body, _legend_entries(probes, color))
    return figure


def _legend_entries(probes: pd.DataFrame, color: dict[str, tuple]) -> list[Line2D | Patch]:
    confidence = probes["confidence"].dropna()
    level = f"{float(confidence.iloc[0]):.0%} " if len(confidence) else ""
    counts = probes["n_random_weights"].dropna()
    untrained = f"; random weights: n = {saying.counted(counts)}" if len(counts) else ""
    return [
        Line2D([], [], color=color["probe"], marker="o", label="probe"),
        Patch(color="0.4", alpha=0.2, label=f"{level}interval"),
        Line2D([], [], color=color["random_weights"], linestyle="-.", label="random weights"),
        Line2D([], [], color=color["bag_of_words"], linestyle="--", label="bag of words"),
        Line2D([], [], color=color["embedding"], linestyle=_DOTS, label="embedding layer"),
        Patch(color="0.6", alpha=0.6, label="permuted labels"),
        Line2D([], [], color="0.3", linewidth=0.8, label="their largest layer"),
        Line2D([], [], color="0.2", linestyle=":", label="chance"),
        style.note(
            f"intervals are over histories, those of baselines bars at the right{untrained};"
            " permuted labels: from their mean to their upper quantile, and that quantile of their"
            " largest layer; chance and majority: 0.5 (R\u00b2: 0)"
        ),
    ]


def _target(ax: Axes, rows: pd.DataFrame, color: dict[str, tuple]) -> str:
    """Draw one target and return what its axis shows; the title is left with n and peak."""
    regression = len(rows) > 0 and rows["measure"].iloc[0] == "r2"
    measure = "R\u00b2" if regression else "balanced accuracy"
    value, low, high = "balanced_accuracy", "ci_low", "ci_high"
    if regression:
        value, low, high = "r2", "r2_low", "r2_high"
    good = rows[rows["status"].eq("ok") & rows[value].notna()]
    if good.empty:
        reason = "not probed" if rows.empty else str(rows["reason"].iloc[0])
        ax.set_title("undefined")
        style.no_data(ax, reason, characters=18)
        return measure
    layers = good["layer"].to_numpy(int)
    mean, upper, largest = (
        good[f"permutation_{name}"].astype(float) for name in ("mean", "high", "max_high")
    )
    ax.fill_between(layers, mean, upper, color="0.6", alpha=0.6, linewidth=0)
    ax.plot(layers, largest, color="0.3", linewidth=0.8)
    ax.axhline(0.0 if regression else 0.5, color="0.2", linestyle=":", linewidth=1)
    dashes = {"bag_of_words": "--", "embedding": _DOTS}
    step = 0.04 * max(float(np.ptp(layers)), 1.0)
    for place, (name, dash) in enumerate(dashes.items(), start=1):
        baseline = good[[name, f"{name}_low", f"{name}_high"]].dropna()
        if len(baseline):
            height, *bounds = baseline.iloc[0].to_numpy(float)
            ax.axhline(height, color=color[name], linestyle=dash, linewidth=1.2)
            # Their interval stands beyond the last layer, where no band is.
            ax.plot([layers.max() + place * step] * 2, bounds, color=color[name], linewidth=2.5)
    other = good[good["random_weights"].notna()]
    if len(other):
        columns = [f"random_weights{end}" for end in ("", "_low", "_high")]
        style.line(ax, other, columns=columns, color=color["random_weights"], linestyle="-.")
    size = 3 if len(layers) < 20 else 2
    look: dict[str, Any] = {"color": color["probe"], "marker": "o", "markersize": size}
    style.line(ax, good, columns=(value, low, high), **look)
    peak = good.iloc[int(np.argmax(good[value].to_numpy(float)))]
    ax.set_title(
        f"n = {good['n'].max()}, {good['n_matches'].max()} histories\n"
        f"peak {peak[value]:.2f} at layer {int(peak['layer'])}",
    )
    shown = [value, low, high, "random_weights_low", "bag_of_words", "embedding"]
    least = float(np.nanmin(good[shown].to_numpy(float)))
    floor = max(least, -0.5) if regression else min(0.4, least)
    # A share is rarely decoded well; an accuracy has the same axis in every panel.
    ax.set_ylim(floor - 0.05, float(np.nanmax(good[[high, *shown]])) + 0.1 if regression else 1.03)
    scales.ticks(ax.xaxis, 5, integer=True)
    return measure
