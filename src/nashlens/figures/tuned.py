"""The tuned lens beside the logit lens: what each reads off every layer, and how well."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nashlens.figures import saying, scales, style, theme
from nashlens.figures.lens import COLUMNS
from nashlens.figures.registry import Look

TITLE = "Tuned lens beside logit lens"
_LENSES: dict[str, tuple[str, Any]] = {"logit": ("logit lens", "--"), "tuned": ("tuned lens", "-")}
_PANELS = {
    "nash": "P(Nash action)",
    "prosocial": "P(prosocial),\nNash ≠ prosocial",
    "prior": "P(first label),\ncontent-free",
    "kl": "KL to the\nfinal layer (nats)",
}
"""Quantity -> the label of its panel."""


def _message(lens_layers: pd.DataFrame, lens_tuned_layers: pd.DataFrame, look: Look) -> str:
    """Say whether the tuned lens is nearer to the last layer than the logit lens, halfway."""
    pairs = []
    for model in dict.fromkeys(lens_layers["model"]):
        both = [
            table[(table["model"] == model) & (table["quantity"] == "kl") & table["game"].isna()]
            for table in (lens_layers, lens_tuned_layers)
        ]
        layers = sorted(set(both[0]["layer"]) & set(both[1]["layer"]))
        if layers:
            half = layers[len(layers) // 2]
            pairs.append([rows[rows["layer"] == half].iloc[0] for rows in both])
    if not pairs:
        return "No layer was read through both lenses"
    nearer = [bool(tuned["ci_high"] < logit["ci_low"]) for logit, tuned in pairs]
    where = nearer.index(True) if any(nearer) else 0
    logit, tuned = pairs[where]
    numbers = (
        f"{saying.interval(tuned)} nats from the end at layer {int(tuned['layer'])}, the logit lens"
        f" {saying.interval(logit)}"
    )
    if len(pairs) == 1:
        verb = "is nearer to the end" if nearer[0] else "is no nearer to the end"
        return f"Halfway the tuned lens of {tuned['model']} {verb}: {numbers}"
    return (
        f"Halfway the tuned lens is nearer to the end in {sum(nearer) or 'none'} of {len(pairs)}"
        f" models: that of {tuned['model']} is {numbers}"
    )


@style.figure(TITLE, _message, lens_layers=COLUMNS, lens_tuned_layers=COLUMNS)
def draw(lens_layers: pd.DataFrame, lens_tuned_layers: pd.DataFrame, look: Look) -> Figure:
    """Draw both lenses by layer: two actions, the labels' prior, and the distance to the end."""
    style.need_rows(lens_layers, style.NOT_CROSSED)
    models = list(dict.fromkeys(lens_layers["model"]))
    across = min(4, len(models))
    color = theme.colors(look.palette, list(_LENSES))
    width = look.width or style.WIDTH
    figure, body = style.canvas(width, 1.7 + 5.0 * -(-len(models) // across))
    columns = style.model_columns(body, models, len(_PANELS), sharey="row")
    both = pd.concat([lens_layers, lens_tuned_layers], ignore_index=True)
    for index, (model, panels) in enumerate(columns.items()):
        axes = dict(zip(_PANELS, panels, strict=True))
        _model(axes, both[(both["model"] == model) & both["game"].isna()], color)
        heading = _heading(str(model), both[both["model"] == model])
        axes["nash"].set_title(style.fit(heading, width / across - 0.3), fontsize=theme.SMALL)
        for quantity, ax in axes.items():
            label = _PANELS[quantity] if index % across == 0 else ""
            ax.set_ylabel(label, fontsize=theme.SMALL)
    style.legend(body, _legend_entries(color, look.confidence))
    return figure


def _heading(model: str, rows: pd.DataFrame) -> str:
    prompts = rows[rows["quantity"] == "kl"].iloc[0]
    tokens = rows.loc[rows["quantity"] == "text_kl", "n"].max()
    size = saying.sizes(prompts["n"], "prompts", prompts["n_matches"])
    return f"{model}\n{size}, {0 if pd.isna(tokens) else int(tokens)} tokens of text"


def _model(axes: dict[str, Any], rows: pd.DataFrame, color: dict[str, Any]) -> None:
    for key, found in rows.groupby(["lens", "quantity"]):
        lens, quantity = map(str, key)
        ax = axes.get("kl" if quantity == "text_kl" else quantity)
        if ax is not None and found["estimate"].notna().any():
            # Held-out text has thinner lines; the last layer is not translated.
            look: dict[str, Any] = {"linewidth": 0.7} if quantity == "text_kl" else {}
            # Dashes above the solid line: where both agree, both are seen.
            look |= {"linestyle": _LENSES[lens][1], "zorder": 2.5 if lens == "logit" else 2}
            style.line(ax, found, color=color[lens], **look)
    for panel in ("nash", "prosocial", "prior"):
        scales.probability_axis(axes[panel])
    # Linear below a hundredth of a nat, since the last layer's divergence is 0.
    axes["kl"].set_yscale("symlog", linthresh=0.01)
    scales.power_ticks(axes["kl"].yaxis)
    axes["kl"].set_ylim(bottom=0)
    axes["kl"].set_xlabel("layer (0: embedding)", fontsize=theme.SMALL)
    for panel, ax in axes.items():
        scales.ticks(ax.xaxis, 8, integer=True)
        ax.tick_params(labelbottom=panel == "kl")


def _legend_entries(color: dict[str, Any], confidence: float) -> list[Any]:
    lenses = [
        Line2D([], [], color=color[name], linestyle=dashes, label=label)
        for name, (label, dashes) in _LENSES.items()
    ]
    band = f"{confidence:.0%} interval, of new scenarios, of new text"
    return [
        *lenses,
        Line2D([], [], color="0.3", linewidth=0.7, label="thin: held-out text"),
        Line2D([], [], color="0.3", linewidth=1.3, label="else: the study's prompts"),
        Patch(color="0.5", alpha=0.3, label=band),
    ]
