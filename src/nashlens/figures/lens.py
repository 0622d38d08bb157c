"""Which action the residual stream favours, layer by layer, through the logit lens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator

from nashlens.figures import intervals, style

TITLE = "Logit lens: which action does each layer favour, and is it the action or its token?"
_LENS = ["model", "prompt_id", "match_id", "layer", "p_action_0", "label_mass"]
# fmt: off
_PROMPTS = [
    "model", "prompt_id", "game", "label_map", "option_order", "nash_action", "prosocial_action",
]
# fmt: on
_SUMMARY = ["model", "quantity", "estimate", "ci_low", "ci_high", "reason"]
_SERIES: dict[str, tuple[str, Any, str]] = {
    "nash": ("P(Nash action)", "-", "o"),
    "prosocial": ("P(prosocial action), where it is not the Nash action", "-", "s"),
    "average": ("P(Nash action), average over label swap", "-", "D"),
    "identity": ("P(Nash action), first label on action 0", "--", ""),
    "swapped": ("P(Nash action), first label on action 1", ":", ""),
    "token": ("P(first label), whatever it means", "-", "^"),
    "listed": ("P(option listed first)", "-", "v"),
}

_QUARTILES = np.array([0.25, 0.5, 0.75])


def draw(
    lens: pd.DataFrame,
    prompts: pd.DataFrame,
    lens_summary: pd.DataFrame,
    *,
    palette: str = "colorblind",
    width: float | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    min_label_mass: float = 0.01,
) -> Figure:
    """Draw the lens by layer: actions above, the token control in the middle, label mass below.

    Parameters
    ----------
    lens, prompts : pandas.DataFrame
        `lens/{model}.parquet` and `prompts/{model}.parquet` of one or several models, both with
        a `model` column.
    lens_summary : pandas.DataFrame
        `lens_summary/{model}.parquet` of the same models.
    palette : str
        Colours of the lines.
    width : float, optional
        Inches.
    confidence, resamples
        Coverage and resamples of the bootstrap over matches.
    min_label_mass : float
        Layers whose median label mass is smaller are shaded as unreliable.
    """
    style.require(lens, "lens", _LENS)
    style.require(prompts, "prompts", _PROMPTS)
    style.require(lens_summary, "lens_summary", _SUMMARY)
    # Equal prompts of several histories share an id, and count once.
    unique = prompts[_PROMPTS].drop_duplicates(["model", "prompt_id"])
    data = lens.drop_duplicates(["model", "prompt_id", "layer"]).merge(
        unique, on=["model", "prompt_id"], how="inner"
    )
    if data.empty:
        reason = "the lens table is empty" if lens.empty else "no prompt id is in both tables"
        return style.nothing(TITLE, reason, width)
    models = list(dict.fromkeys(data["model"]))
    across = min(4, len(models))
    blocks = -(-len(models) // across)
    with style.theme():
        color = style.colors(palette, list(_SERIES))
        width = width or style.WIDTH
        figure, body = style.canvas(width, 1.9 + 5.1 * blocks, TITLE)
        grid = body.subplots(
            3 * blocks,
            across,
            squeeze=False,
            sharex="col" if blocks == 1 else False,
            sharey="row",
            height_ratios=[3, 3, 1.3] * blocks,
        )
        for ax in grid[-3:, len(models) - across * (blocks - 1) :].ravel():
            ax.set_axis_off()
        for index, model in enumerate(models):
            block, column = divmod(index, across)
            axes = grid[3 * block : 3 * block + 3, column]
            part = data[data["model"] == model]
            _model(
                axes,
                part,
                color,
                str(model),
                _in_numbers(lens_summary[lens_summary["model"] == model]),
                confidence,
                resamples,
                min_label_mass,
                width / across - 0.3,
            )
            for ax in axes[:2]:
                ax.tick_params(labelbottom=False)
            for ax, label in zip(
                axes, ("P(action)", "P(action) or P(token)", "label mass"), strict=True
            ):
                ax.set_ylabel(label if column == 0 else "", fontsize=style.SMALL)
        style.legend(body, _handles(color, confidence, min_label_mass), columns=2)
    return figure


def _model(
    axes: Any,
    data: pd.DataFrame,
    color: dict[str, tuple],
    model: str,
    numbers: str,
    confidence: float,
    resamples: int,
    min_label_mass: float,
    inches: float,
) -> None:
    matrix = data.pivot(index="prompt_id", columns="layer", values="p_action_0").dropna()
    layers = matrix.columns.to_numpy(int)
    about = data.drop_duplicates("prompt_id").set_index("prompt_id").loc[matrix.index]
    options: dict[str, Any] = {"confidence": confidence, "resamples": resamples}
    p = matrix.to_numpy(float)
    clusters = about["match_id"].to_numpy(object)
    nash = about["nash_action"].to_numpy(float, na_value=np.nan)
    prosocial = about["prosocial_action"].to_numpy(float, na_value=np.nan)
    defined = ~np.isnan(nash)
    conflict = defined & ~np.isnan(prosocial) & (nash != prosocial)
    p_nash = np.where((nash == 0)[:, None], p, 1 - p)

    counts = style.sizes(defined.sum(), "prompts", len(set(clusters[defined])))
    counts += f"\n{conflict.sum()} with Nash ≠ prosocial"
    axes[0].set_title(style.fit(f"{model}\n{counts}\n{numbers}", inches), fontsize=style.SMALL)
    if defined.any():
        for game in dict.fromkeys(about["game"][defined]):
            rows = defined & (about["game"] == game).to_numpy()
            axes[0].plot(layers, p_nash[rows].mean(axis=0), color="0.75", linewidth=0.7)
        _series(
            axes[0],
            layers,
            "nash",
            color,
            intervals.column_means(p_nash[defined], clusters[defined], model, "nash", **options),
        )
    else:
        axes[0].text(
            0.5,
            0.5,
            "no data: no game has\na Nash action",
            ha="center",
            va="center",
            transform=axes[0].transAxes,
            color=style.GREY,
            fontsize=7,
        )
    if conflict.any():
        _series(
            axes[0],
            layers,
            "prosocial",
            color,
            intervals.column_means(
                1 - p_nash[conflict], clusters[conflict], model, "prosocial", **options
            ),
        )

    maps = about["label_map"].to_numpy(object)
    for name in ("identity", "swapped"):
        rows = defined & (maps == name)
        if rows.any():
            _series(axes[1], layers, name, color, (p_nash[rows].mean(axis=0), None, None))
    _series(
        axes[1],
        layers,
        "average",
        color,
        intervals.contrast(
            p_nash[defined],
            maps[defined],
            {"identity": 0.5, "swapped": 0.5},
            clusters[defined],
            model,
            "average",
            **options,
        ),
    )
    first = np.where((maps == "identity")[:, None], p, 1 - p)
    listed = np.where((about["option_order"] == "forward").to_numpy()[:, None], p, 1 - p)
    for name, values in (("token", first), ("listed", listed)):
        _series(
            axes[1],
            layers,
            name,
            color,
            intervals.column_means(values, clusters, model, name, **options),
        )
    mass = data.groupby("layer")["label_mass"].quantile(_QUARTILES).unstack()
    _mass(axes, mass.loc[layers], min_label_mass)


def _in_numbers(summary: pd.DataFrame) -> str:
    """Return where the Nash action is favoured, the flip, the peak, and action or token."""
    rows = {row["quantity"]: row for row in summary.to_dict("records")}

    def number(quantity: str, form: str) -> str:
        row = rows[quantity]
        if pd.isna(row["estimate"]):
            return "none"
        return f"{row['estimate']:{form}} [{row['ci_low']:{form}}, {row['ci_high']:{form}}]"

    if not rows:
        return ""
    lines = [
        f"Nash favoured from layer: {number('nash_from', '.0f')}",
        f"flip to prosocial at layer: {number('flip_layer', '.0f')}",
        f"peak P(prosocial) {number('peak_height', '.2f')} at layer {number('peak_layer', '.0f')}",
        f"action part of action + token: {number('follows_action', '.2f')};"
        f" {rows['follows_action']['reason'] or 'undefined'}",
    ]
    return "\n".join(lines)


def _series(ax: Axes, layers: np.ndarray, name: str, color: dict[str, tuple], found: Any) -> None:
    _, dashes, marker = _SERIES[name]
    style.line(
        ax,
        layers,
        *found,
        color=color[_color(name)],
        linestyle=dashes,
        marker=marker or None,
        markevery=max(1, len(layers) // 8),
        linewidth=1.4 if marker else 1,
    )


def _color(name: str) -> str:
    # Both maps are parts of their average, and so take its colour.
    return "average" if name in ("identity", "swapped") else name


def _mass(axes: Any, mass: pd.DataFrame, min_label_mass: float) -> None:
    """Draw the strip of label mass, and shade the unreliable layers in every panel."""
    layers = mass.index.to_numpy(int)
    # A logarithmic axis needs positive numbers; float32 underflow is as good as 1e-12.
    values = mass.clip(lower=1e-12)
    style.line(axes[2], layers, values[0.5], values[0.25], values[0.75], color="0.25")
    axes[2].axhline(min_label_mass, color="0.25", linestyle=":", linewidth=1)
    axes[2].set_yscale("log")
    axes[2].set_ylim(top=2)
    axes[2].yaxis.set_major_locator(LogLocator(numticks=4))
    axes[2].yaxis.minorticks_off()
    axes[2].set_xlabel("layer (0: embedding)", fontsize=style.SMALL)
    for ax in axes:
        for layer in layers[(mass[0.5] < min_label_mass).to_numpy()]:
            ax.axvspan(layer - 0.5, layer + 0.5, color="0.93", linewidth=0, zorder=-1)
        ax.set_xlim(layers.min() - 0.5, layers.max() + 0.5)
        style.ticks(ax.xaxis, 8, integer=True)
    for ax in axes[:2]:
        ax.axhline(0.5, color="0.4", linestyle=":", linewidth=0.8)
        ax.set(ylim=(-0.03, 1.03), yticks=[0, 0.5, 1])


def _handles(color: dict[str, tuple], confidence: float, min_label_mass: float) -> list[Any]:
    handles: list[Any] = [
        Line2D(
            [], [], color=color[_color(name)], linestyle=dashes, marker=marker or None, label=label
        )
        for name, (label, dashes, marker) in _SERIES.items()
    ]
    handles.insert(2, Line2D([], [], color="0.75", linewidth=0.7, label="P(Nash action), one game"))
    handles.append(Patch(color="0.93", label=f"unreliable: median label mass < {min_label_mass:g}"))
    handles.append(
        Patch(
            color="0.5",
            alpha=0.3,
            label=f"{confidence:.0%} interval over matches (label mass: quartiles)",
        )
    )
    return handles
