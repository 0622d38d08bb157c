"""The tuned lens beside the logit lens: what each reads off every layer, and how well."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nashlens.figures import style
from nashlens.figures.lens import COLUMNS
from nashlens.figures.registry import Look

TITLE = "Tuned lens beside logit lens: is an early preference there, or read in the wrong basis?"
_LENSES: dict[str, tuple[str, Any]] = {"logit": ("logit lens", "--"), "tuned": ("tuned lens", "-")}
_PANELS = {
    "nash": "P(Nash action)",
    "prosocial": "P(prosocial),\nNash ≠ prosocial",
    "prior": "P(first label),\ncontent-free",
    "kl": "KL to the\nfinal layer (nats)",
}
"""Quantity -> the label of its panel."""


@style.figure(TITLE, lens_layers=COLUMNS, lens_tuned_layers=COLUMNS)
def draw(lens_layers: pd.DataFrame, lens_tuned_layers: pd.DataFrame, look: Look) -> Figure:
    """Draw both lenses by layer: two actions, the labels' prior, and the distance to the end."""
    if lens_layers.empty:
        raise style.NothingToShowError(
            "no scenario was asked under both label maps and in both option orders"
        )
    models = list(dict.fromkeys(lens_layers["model"]))
    across = min(4, len(models))
    color = style.colors(look.palette, list(_LENSES))
    width = look.width or style.WIDTH
    figure, body = style.canvas(width, 1.7 + 5.0 * -(-len(models) // across), TITLE)
    columns = style.model_columns(body, models, len(_PANELS), sharey="row")
    both = pd.concat([lens_layers, lens_tuned_layers], ignore_index=True)
    for index, (model, panels) in enumerate(columns.items()):
        axes = dict(zip(_PANELS, panels, strict=True))
        _model(axes, both[(both["model"] == model) & both["game"].isna()], color)
        heading = _heading(str(model), both[both["model"] == model])
        axes["nash"].set_title(style.fit(heading, width / across - 0.3), fontsize=style.SMALL)
        for quantity, ax in axes.items():
            label = _PANELS[quantity] if index % across == 0 else ""
            ax.set_ylabel(label, fontsize=style.SMALL)
    style.legend(body, _legend_entries(color, look.confidence), columns=3)
    return figure


def _heading(model: str, rows: pd.DataFrame) -> str:
    prompts = rows[rows["quantity"] == "kl"].iloc[0]
    tokens = rows.loc[rows["quantity"] == "text_kl", "n"].max()
    size = style.sizes(prompts["n"], "prompts", prompts["n_matches"])
    return f"{model}\n{size}, {0 if pd.isna(tokens) else int(tokens)} tokens of text"


def _model(axes: dict[str, Any], rows: pd.DataFrame, color: dict[str, Any]) -> None:
    for key, found in rows.groupby(["lens", "quantity"]):
        lens, quantity = map(str, key)
        ax = axes.get("kl" if quantity == "text_kl" else quantity)
        if ax is not None and found["estimate"].notna().any():
            # Held-out text has thinner lines; the last layer is not translated.
            thickness: dict[str, Any] = {"linewidth": 0.7} if quantity == "text_kl" else {}
            style.line(ax, found, color=color[lens], linestyle=_LENSES[lens][1], **thickness)
    for panel in ("nash", "prosocial", "prior"):
        style.probability_axis(axes[panel])
    # Linear below a hundredth of a nat, since the last layer's divergence is 0.
    axes["kl"].set_yscale("symlog", linthresh=0.01)
    style.power_ticks(axes["kl"].yaxis)
    axes["kl"].set_ylim(bottom=0)
    axes["kl"].set_xlabel("layer (0: embedding)", fontsize=style.SMALL)
    for panel, ax in axes.items():
        style.ticks(ax.xaxis, 8, integer=True)
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
