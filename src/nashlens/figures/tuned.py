"""The tuned lens beside the logit lens: what each reads off every layer, and how well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nashlens.figures import intervals, style

TITLE = "Tuned lens beside logit lens: is an early preference there, or read in the wrong basis?"
# fmt: off
_LENS = [
    "model", "prompt_id", "match_id", "layer", "p_action_1", "kl", "prior_action_1", "label_mass",
]
_PROMPTS = [
    "model", "prompt_id", "label_map", "option_order", "nash_action", "prosocial_action",
]
_TUNED = ["model", "layer", "chunk", "kl_logit", "kl_tuned"]
# fmt: on
_LENSES: dict[str, tuple[str, Any]] = {"logit": ("logit lens", "--"), "tuned": ("tuned lens", "-")}
_PANELS = ("nash", "prosocial", "prior", "kl")
_LABELS = {
    "nash": "P(Nash action)",
    "prosocial": "P(prosocial),\nNash ≠ prosocial",
    "prior": "P(first label),\ncontent-free",
    "kl": "KL to the\nfinal layer (nats)",
}


def draw(
    lens: pd.DataFrame,
    lens_tuned: pd.DataFrame,
    tuned_lens: pd.DataFrame,
    prompts: pd.DataFrame,
    *,
    palette: str = "colorblind",
    width: float | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> Figure:
    """Draw both lenses by layer: two actions, the labels' own prior, and the distance to the end.

    Parameters
    ----------
    lens, lens_tuned : pandas.DataFrame
        `lens/{model}.parquet` and `lens_tuned/{model}.parquet`.
    tuned_lens : pandas.DataFrame
        `tuned_lens/{model}.parquet`: divergences on held-out text.
    prompts : pandas.DataFrame
        `prompts/{model}.parquet` with a `model` column.
    palette : str
        Colours of the two lenses.
    width : float, optional
        Inches.
    confidence, resamples
        Coverage and resamples of the bootstrap over matches.
    """
    for frame, name in ((lens, "lens"), (lens_tuned, "lens_tuned")):
        style.require(frame, name, _LENS)
    style.require(tuned_lens, "tuned_lens", _TUNED)
    style.require(prompts, "prompts", _PROMPTS)
    models = [str(model) for model in dict.fromkeys(lens["model"])]
    if not models:
        return style.nothing(TITLE, "the lens table is empty", width)
    about = prompts[_PROMPTS].drop_duplicates(["model", "prompt_id"])
    options: dict[str, Any] = {"confidence": confidence, "resamples": resamples}
    across = min(4, len(models))
    blocks = -(-len(models) // across)
    with style.theme():
        color = style.colors(palette, list(_LENSES))
        width = width or style.WIDTH
        figure, body = style.canvas(width, 1.7 + 5.0 * blocks, TITLE)
        grid = body.subplots(len(_PANELS) * blocks, across, squeeze=False, sharey="row")
        for ax in grid[-len(_PANELS) :, len(models) - across * (blocks - 1) :].ravel():
            ax.set_axis_off()
        for index, model in enumerate(models):
            block, column = divmod(index, across)
            start = len(_PANELS) * block
            axes = dict(zip(_PANELS, grid[start : start + len(_PANELS), column], strict=True))
            tables = {
                name: table[table["model"] == model].merge(about, on=["model", "prompt_id"])
                for name, table in (("logit", lens), ("tuned", lens_tuned))
            }
            text = tuned_lens[tuned_lens["model"] == model]
            _model(axes, tables, text, color, model, width / across - 0.3, options)
            for name, ax in axes.items():
                ax.set_ylabel(_LABELS[name] if column == 0 else "", fontsize=style.SMALL)
        style.legend(body, _handles(color, confidence), columns=3)
    return figure


def _model(
    axes: Mapping[str, Axes],
    tables: Mapping[str, pd.DataFrame],
    text: pd.DataFrame,
    color: Mapping[str, Any],
    model: str,
    inches: float,
    options: Mapping[str, Any],
) -> None:
    n = tables["logit"]["prompt_id"].nunique()
    matches = tables["logit"]["match_id"].nunique()
    tokens = int((text["layer"] == text["layer"].min()).sum())
    title = f"{model}\n{style.sizes(n, 'prompts', matches)}, {tokens} tokens of text"
    axes["nash"].set_title(style.fit(title, inches), fontsize=style.SMALL)
    for name, table in tables.items():
        look = {"color": color[name], "linestyle": _LENSES[name][1]}
        for panel, layers, found in _curves(table, model, options):
            style.line(axes[panel], layers, *found, **look)
        # Held-out text has thinner lines; the last layer is not translated.
        layers, found = _on_text(text, f"kl_{name}", model, options)
        style.line(axes["kl"], layers, *found, linewidth=0.7, **look)
    for panel in ("nash", "prosocial", "prior"):
        axes[panel].axhline(0.5, color="0.4", linestyle=":", linewidth=0.8)
        axes[panel].set(ylim=(-0.03, 1.03), yticks=[0, 0.5, 1])
    # Linear below a hundredth of a nat, since the last layer's divergence is 0.
    axes["kl"].set_yscale("symlog", linthresh=0.01)
    axes["kl"].set_ylim(bottom=0)
    axes["kl"].set_xlabel("layer (0: embedding)", fontsize=style.SMALL)
    for panel, ax in axes.items():
        style.ticks(ax.xaxis, 8, integer=True)
        ax.tick_params(labelbottom=panel == "kl")


def _curves(table: pd.DataFrame, model: str, options: Mapping[str, Any]) -> Any:
    """Yield (panel, layers, (estimate, low, high)) of one lens."""
    unique = table.drop_duplicates(["prompt_id", "layer"])
    wide = unique.pivot(
        index="prompt_id", columns="layer", values=["p_action_1", "kl", "prior_action_1"]
    )
    first = unique.drop_duplicates("prompt_id").set_index("prompt_id").loc[wide.index]
    layers = wide["p_action_1"].columns.to_numpy(int)
    p = wide["p_action_1"].to_numpy(float)
    clusters = first["match_id"].to_numpy(object)
    nash = first["nash_action"].to_numpy(float, na_value=np.nan)
    prosocial = first["prosocial_action"].to_numpy(float, na_value=np.nan)
    # +1 where the pair's first label stands for action 1.
    swapped = (first["label_map"] == "swapped").to_numpy()
    prior = wide["prior_action_1"].to_numpy(float)
    known = ~np.isnan(prior).any(axis=1)
    both = ~np.isnan(nash) & ~np.isnan(prosocial) & (nash != prosocial)
    for panel, rows, values in (
        ("nash", ~np.isnan(nash), np.where((nash == 1)[:, None], p, 1 - p)),
        ("prosocial", both, np.where((prosocial == 1)[:, None], p, 1 - p)),
        ("prior", known, np.where(swapped[:, None], prior, 1 - prior)),
        ("kl", np.ones(len(p), dtype=bool), wide["kl"].to_numpy(float)),
    ):
        if rows.any():
            found = intervals.column_means(values[rows], clusters[rows], model, panel, **options)
            yield panel, layers, found


def _on_text(text: pd.DataFrame, column: str, model: str, options: Mapping[str, Any]) -> Any:
    """Return (layers, (estimate, low, high)) of a column's mean over held-out tokens."""
    layers = np.sort(text["layer"].unique())
    # Each layer's tokens stand in the same order.
    values = [text.loc[text["layer"] == layer, column].to_numpy(float) for layer in layers]
    chunks = text.loc[text["layer"] == text["layer"].min(), "chunk"].to_numpy(object)
    return layers, intervals.column_means(
        np.stack(values, axis=1), chunks, model, column, **options
    )


def _handles(color: Mapping[str, Any], confidence: float) -> list[Any]:
    lenses = [
        Line2D([], [], color=color[name], linestyle=dashes, label=label)
        for name, (label, dashes) in _LENSES.items()
    ]
    return [
        *lenses,
        Line2D([], [], color="0.3", linewidth=0.7, label="thin: held-out text"),
        Line2D([], [], color="0.3", linewidth=1.3, label="else: the study's prompts"),
        Patch(color="0.5", alpha=0.3, label=f"{confidence:.0%} interval over matches, over chunks"),
    ]
