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

from nashlens.circuits.readings import Ablations
from nashlens.contrasts import cell_mean_draws
from nashlens.figures import style
from nashlens.seeds import stream

TITLE = "What ablating attention heads costs the Nash action"
_COLUMNS = [
    "model", "ablation", "kind", "layer", "head", "heads", "half", "prompt_id", "match_id", "game",
    "label_map", "nash_action", "drop",
]  # fmt: skip
_MAP = "PuOr_r"
"""Diverging, told apart by colour-blind readers; its middle is no effect."""
BOUND = 0.2
"""Logits within which a group counts as changing nothing; the verdict's own bound."""
_GROUPS = ("candidate", "random")


def draw(
    heads: pd.DataFrame,
    *,
    palette: str = "colorblind",
    width: float | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> Figure:
    """Draw the action part of every head's effect, and the chosen group beside random ones.

    Left, layers by heads: the drop of the Nash action's logit over the other when that head alone
    is ablated, averaged over games and label maps with equal weight. Right, on the half of the
    matches where the group was not chosen: the group's drop, each random group's, and the token
    parts.

    Parameters
    ----------
    heads : pandas.DataFrame
        `heads/{model}.parquet`, of one or several models.
    palette : str
        Of the groups; the heat map needs a diverging scale.
    width : float, optional
        Inches.
    confidence : float
        Coverage of the intervals.
    resamples : int
        Of matches.
    """
    style.require(heads, "heads", _COLUMNS)
    if heads.empty:
        return style.nothing(TITLE, "the heads table holds no row", width)
    models = list(dict.fromkeys(heads["model"]))
    colors = style.colors(palette, _GROUPS)
    parts = {
        model: _Part(heads[heads["model"] == model], confidence, resamples) for model in models
    }
    width = width or style.WIDTH
    with style.theme():
        title = f"{TITLE}: {models[0]}" if len(models) == 1 else TITLE
        tall = 3.4 if len(models) == 1 else 2.6
        figure, body = style.canvas(width, 1.1 + tall * len(models), title)
        grid = body.subplots(len(models), 2, squeeze=False, width_ratios=[2.1, 1.0])
        for (left, right), (model, part) in zip(grid, parts.items(), strict=True):
            name = "" if len(models) == 1 else f"{model}: "
            # A scale for each model: one model's largest effect would hide another's.
            scale = Normalize(-part.largest, part.largest)
            _heat(left, part, scale)
            bar = body.colorbar(ScalarMappable(scale, _MAP), ax=left, aspect=25, pad=0.02)
            bar.set_label("drop of the Nash action's lead\n(logits)", fontsize=style.SMALL)
            left.set_title(f"{name}each head alone, {part.size()}", fontsize=style.SMALL)
            _groups(right, part, colors)
            right.set_title(part.group_size(), fontsize=style.SMALL)
        style.legend(body, _handles(colors, confidence), columns=2)
    return figure


class _Part:
    """One model's numbers."""

    def __init__(self, heads: pd.DataFrame, confidence: float, resamples: int):
        model = str(heads["model"].iloc[0])

        def draws(ablations: Ablations, values: Any, name: str) -> tuple[Any, Any]:
            rng = stream(0, "heads figure", model, name)
            mean, drawn = cell_mean_draws(
                values, ablations.cells, ablations.matches, resamples=resamples, rng=rng
            )
            # Without those that lack a game or label map.
            known = ~np.isnan(drawn).any(axis=1)
            return mean, drawn[known & (ablations.least_matches() > 1)]

        self.single = Ablations(heads, "head")
        places = self.single.places
        self.layer = places["layer"].to_numpy(dtype=int)
        self.head = places["head"].to_numpy(dtype=int)
        self.mean, self.sure = np.zeros(len(places)), np.zeros(len(places), dtype=bool)
        if len(self.single):
            self.mean, drawn = draws(self.single, self.single.values, "single")
            if len(drawn):
                low, high = self.single.interval(self.mean, drawn, confidence, len(self.mean))
                self.sure = (low > 0) | (high < 0)
        self.candidate = Ablations(heads, "candidate", "test")
        self.random = Ablations(heads, "random", "test")
        self.chosen = " ".join(self.candidate.places["heads"])
        self.groups: dict[str, tuple[Any, Any, Any]] = {}
        if len(self.candidate):
            for kind, ablations in (("candidate", self.candidate), ("random", self.random)):
                values = np.hstack([ablations.values, ablations.token()])
                mean, drawn = draws(ablations, values, kind)
                unknown = np.full((2, values.shape[1]), np.nan)
                bounds = ablations.interval(mean, drawn, confidence) if len(drawn) else unknown
                self.groups[kind] = mean, bounds[0], bounds[1]
        self.largest = max(float(np.abs(self.mean).max(initial=0.0)), 1e-3)

    def size(self) -> str:
        """Return what was measured on."""
        return style.sizes(len(self.single), "prompts", len(set(self.single.matches)))

    def group_size(self) -> str:
        """Return the same of the groups."""
        size = style.sizes(len(self.candidate), "prompts", len(set(self.candidate.matches)))
        return f"groups of {len(self.chosen.split())}, other half:\n{size}"


def _heat(ax: Axes, part: _Part, scale: Normalize) -> None:
    shape = (part.head.max() + 1, part.layer.max())
    values, sure = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
    values[part.head, part.layer - 1] = part.mean
    sure[part.head, part.layer - 1] = part.sure
    ax.set_facecolor("0.88")
    ax.imshow(
        np.ma.masked_invalid(values),
        cmap=_MAP,
        norm=scale,
        aspect="auto",
        origin="lower",
        extent=(0.5, shape[1] + 0.5, -0.5, shape[0] - 0.5),
        interpolation="nearest",
    )
    rows, columns = np.nonzero(sure)
    ax.plot(columns + 1, rows, ".", color="black", markersize=2.5)
    for name in part.chosen.split():
        layer, head = (int(number) for number in name.split("."))
        corner = (layer - 0.5, head - 0.5)
        ax.add_patch(Rectangle(corner, 1.0, 1.0, fill=False, edgecolor="black", linewidth=1.1))
    ax.set_xlabel("layer")
    ax.set_ylabel("head")
    style.ticks(ax.xaxis, 10, integer=True)
    style.ticks(ax.yaxis, min(10, max(2, shape[0] - 1)), integer=True)
    ax.grid(False)


def _groups(ax: Axes, part: _Part, colors: dict[str, Any]) -> None:
    """Draw action parts above "action", token parts above "token"."""
    if not part.groups:
        style.no_data(ax, "no group was ablated")
        return
    ax.axhspan(-BOUND, BOUND, color="0.92", zorder=0)
    ax.axhline(0.0, color=style.GREY, linewidth=0.8)
    random = part.groups["random"][0]
    for place, values in enumerate(np.split(random, 2)):
        # Spread evenly, so that equal points can be told apart.
        offset = np.linspace(-0.12, 0.12, len(values)) if len(values) > 1 else np.zeros(len(values))
        ax.plot(place + 0.18 + offset, values, "o", color=colors["random"], markersize=2.5)
    mean, low, high = part.groups["candidate"]
    for place in range(2):
        known = math.isfinite(low[place])
        error = [[mean[place] - low[place]], [high[place] - mean[place]]] if known else None
        ax.errorbar(
            place - 0.15, mean[place], yerr=error, fmt="D", color=colors["candidate"],
            markersize=4, capsize=2.5, linewidth=1.3,
        )  # fmt: skip
    ax.set_xticks([0, 1], ["action part", "token part"])
    ax.set_xlim(-0.5, 1.5)
    ax.set_xlabel("what the drop follows")
    ax.set_ylabel("drop (logits)")


def _handles(colors: dict[str, Any], confidence: float) -> list[Any]:
    level = f"{confidence:.0%}"
    return [
        Line2D(
            [], [], marker=".", color="black", linestyle="none", markersize=5,
            label=f"{level} interval over matches, for all heads at once, leaves out 0",
        ),
        Patch(fill=False, edgecolor="black", label="chosen on one half of the matches"),
        Line2D(
            [], [], marker="D", color=colors["candidate"], markersize=4,
            label=f"those heads together, other half, with {level} interval",
        ),
        Line2D(
            [], [], marker="o", color=colors["random"], linestyle="none", markersize=3,
            label="random groups of other heads of the same layers",
        ),
        Patch(color="0.92", label=f"within {BOUND:g} logits: nothing changes"),
    ]  # fmt: skip
