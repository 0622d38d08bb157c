"""What can be decoded at the decision position, layer by layer."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nashlens.figures import style

TITLE = "What linear probes decode at the decision position, by layer"
# fmt: off
_COLUMNS = [
    "model", "target", "layer", "status", "n", "n_matches", "n_class_0", "n_class_1",
    "balanced_accuracy", "ci_low", "ci_high", "permutation_mean", "permutation_high", "embedding",
    "confidence",
]
# fmt: on


def draw(
    probes: pd.DataFrame, *, palette: str = "colorblind", width: float | None = None
) -> Figure:
    """Draw balanced accuracy by layer, a panel for each target (and model).

    Parameters
    ----------
    probes : pandas.DataFrame
        `probes/{model}.parquet`, of one or several models.
    palette : str
        Its first colours are the probe's and the embedding baseline's.
    width : float, optional
        Inches.
    """
    style.require(probes, "probes", _COLUMNS)
    if probes.empty:
        return style.nothing(TITLE, "the probes table holds no row", width)
    models = list(dict.fromkeys(probes["model"]))
    targets = list(dict.fromkeys(probes["target"]))
    single = len(models) == 1
    across = min(3, len(targets)) if single else len(targets)
    down = math.ceil(len(targets) / across) if single else len(models)
    with style.theme():
        color = style.colors(palette, ["probe", "embedding"])
        title = f"{TITLE}: {models[0]}" if single else TITLE
        width = width or style.WIDTH
        figure, body = style.canvas(width, 1.1 + 1.75 * down, title)
        grid = body.subplots(down, across, squeeze=False, sharey=True)
        for ax in grid.ravel()[len(models) * len(targets) :]:
            ax.set_axis_off()
        for row, model in enumerate(models):
            for column, target in enumerate(targets):
                place = divmod(column, across) if single else (row, column)
                part = probes[(probes["model"] == model) & (probes["target"] == target)]
                _panel(grid[place], part.sort_values("layer"), color)
                heading = f"{style.words(target)}\n{grid[place].get_title(loc='left')}"
                grid[place].set_title(
                    style.fit(heading, width / across - 0.1), fontsize=style.SMALL
                )
                if place[1] == 0:
                    head = "" if single else f"{model}\n"
                    grid[place].set_ylabel(f"{head}balanced accuracy", fontsize=style.SMALL)
        confidence = probes["confidence"].dropna()
        level = f"{float(confidence.iloc[0]):.0%} " if len(confidence) else ""
        style.legend(
            body,
            [
                Line2D([], [], color=color["probe"], marker="o", label="probe"),
                Patch(color=color["probe"], alpha=0.2, label=f"{level}interval over matches"),
                Line2D(
                    [],
                    [],
                    color=color["embedding"],
                    linestyle="--",
                    label="same probe on the embedding",
                ),
                Patch(color="0.6", alpha=0.6, label="permuted labels: mean to upper quantile"),
                Line2D([], [], color="0.2", linestyle=":", label="chance, 0.5"),
            ],
            columns=3,
        )
    return figure


def _panel(ax: Axes, rows: pd.DataFrame, color: dict[str, tuple]) -> None:
    """Draw one target; the title is left with its n and its peak."""
    good = rows[rows["status"].eq("ok") & rows["balanced_accuracy"].notna()]
    if good.empty:
        if rows.empty:
            reason = "not probed"
        else:
            first = rows.iloc[0]
            reason = (
                f"{first['status']} (action 0: {_count(first['n_class_0'])}, "
                f"action 1: {_count(first['n_class_1'])} prompts)"
            )
        ax.set_title("undefined")
        # A shared axis must keep its ticks for the panels beside this one.
        ax.text(
            0.5,
            0.5,
            "no data:\n" + reason.replace(" (", "\n(").replace(", ", ",\n"),
            transform=ax.transAxes,
            ha="center",
            va="center",
            color=style.GREY,
            fontsize=7,
        )
        ax.set_facecolor("0.97")
        ax.set_xticks([])
        return
    layers = good["layer"].to_numpy(int)
    ax.fill_between(
        layers,
        good["permutation_mean"].astype(float),
        good["permutation_high"].astype(float),
        color="0.6",
        alpha=0.6,
        linewidth=0,
    )
    ax.axhline(0.5, color="0.2", linestyle=":", linewidth=1)
    baseline = good["embedding"].dropna()
    if len(baseline):
        ax.axhline(float(baseline.iloc[0]), color=color["embedding"], linestyle="--", linewidth=1)
    style.line(
        ax,
        layers,
        good["balanced_accuracy"].astype(float),
        good["ci_low"],
        good["ci_high"],
        color=color["probe"],
        marker="o",
        markersize=3 if len(layers) < 20 else 2,
    )
    peak = good.iloc[int(np.argmax(good["balanced_accuracy"].to_numpy(float)))]
    ax.set_title(
        style.sizes(good["n"].max(), "", good["n_matches"].max()) + "\n"
        f"peak {peak['balanced_accuracy']:.2f} at layer {int(peak['layer'])}",
    )
    low = min(0.4, float(np.nanmin(good[["ci_low", "balanced_accuracy"]].to_numpy(float))) - 0.02)
    ax.set_ylim(min(low, ax.get_ylim()[0]), 1.03)
    ax.set_xlabel("layer (0: embedding)", fontsize=style.SMALL)
    style.ticks(ax.xaxis, 5, integer=True)


def _count(value: object) -> str:
    return "?" if pd.isna(value) else str(int(value))  # type: ignore[call-overload]
