"""Dose and response, shared by the steering and the clamping figure.

One panel a layer has P(action 1) against the dose; a first panel has, for *every* layer of the
table, how far the response moves from the smallest dose to the largest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nashlens.figures import intervals, style

# fmt: off
_COLUMNS = [
    "model", "prompt_id", "match_id", "game", "layer", "kind", "direction", "value", "p_action_1",
]
# fmt: on
_DASHES: tuple[Any, ...] = ("--", ":", "-.", (0, (1, 3)), (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))


@dataclass(frozen=True)
class Dose:
    """What a dose figure shows: the table's `kind`, the headline, and how the dose is named."""

    kind: str
    title: str
    axis: str
    symbol: str


def draw_doses(
    steering: pd.DataFrame,
    dose: Dose,
    *,
    palette: str,
    width: float | None,
    confidence: float,
    resamples: int,
) -> Figure:
    """Draw one kind of intervention; see the module for the panels.

    Parameters
    ----------
    steering : pandas.DataFrame
        `steering/{model}.parquet` of one or several models.
    dose : Dose
        What is shown.
    palette, width, confidence, resamples
        As in the figures' own `draw`.
    """
    style.require(steering, "steering", _COLUMNS)
    data = steering[steering["kind"] == dose.kind]
    if not (data["direction"] == "nash").any():
        reason = f"the steering table has no row of kind '{dose.kind}' along the Nash direction"
        return style.nothing(dose.title, reason, width)
    models = list(dict.fromkeys(data["model"]))
    games = list(dict.fromkeys(data["game"]))
    single = len(models) == 1
    across = 3 if single else 5
    shown = {
        model: _spread(data[data["model"] == model]["layer"], 8 if single else 4)
        for model in models
    }
    panels = 1 + max(map(len, shown.values()))
    across = min(across, panels)
    down = math.ceil(panels / across) if single else len(models)
    controls = data.loc[data["direction"] != "nash", "direction"].nunique()
    with style.theme():
        color = style.colors(palette, ["nash"])["nash"]
        title = f"{dose.title}: {models[0]}" if single else dose.title
        width = width or style.WIDTH
        figure, body = style.canvas(width, 1.35 + (1.6 if single else 1.9) * down, title)
        grid = body.subplots(down, across, squeeze=False)
        for ax in grid.ravel():
            ax.set_axis_off()
        for row, model in enumerate(models):
            part = data[data["model"] == model]
            axes = grid.ravel() if single else grid[row]
            options = {"confidence": confidence, "resamples": resamples}
            head = "all layers" if single else str(model)
            axes[0].set_title(
                style.fit(f"{head}\n{_counts(part)}", width / across - 0.3), fontsize=style.SMALL
            )
            _summary(axes[0], part, dose, color, str(model), options)
            for place, (ax, layer) in enumerate(zip(axes[1:], shown[model], strict=False), 1):
                rows = part[part["layer"] == layer]
                _response(ax, rows, dose, color, games, str(model), options)
                ax.set_title(f"after layer {layer}", fontsize=style.SMALL)
                ax.set_xlabel(style.fit(dose.axis, width / across - 0.4), fontsize=style.SMALL)
                first = place == 1 or (single and place % across == 0)
                ax.set_ylabel("P(action 1)" if first else "", fontsize=style.SMALL)
                ax.tick_params(labelleft=first)
        handles = _handles(color, games, controls, confidence)
        cut = max(part["layer"].nunique() for _, part in data.groupby("model"))
        if cut > panels - 1:
            note = f"single layers: {panels - 1} of up to {cut} are shown"
            handles.append(Line2D([], [], linestyle="none", label=note))
        style.legend(body, handles, columns=2)
    return figure


def _spread(layers: pd.Series, most: int) -> list[int]:
    """Return at most so many layers, evenly spread, the first and the last among them."""
    found = sorted(int(layer) for layer in layers.unique())
    if len(found) <= most:
        return found
    return [found[i] for i in np.linspace(0, len(found) - 1, most).round().astype(int)]


def _table(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """Return prompts x doses for one direction, and each prompt's match."""
    first = rows.drop_duplicates(["prompt_id", "value"])
    table = first.pivot(index="prompt_id", columns="value", values="p_action_1").dropna()
    match = rows.drop_duplicates("prompt_id").set_index("prompt_id")["match_id"]
    return table, match.loc[table.index]


def _response(
    ax: Axes,
    rows: pd.DataFrame,
    dose: Dose,
    color: Any,
    games: list[str],
    model: str,
    options: dict[str, Any],
) -> None:
    ax.set_axis_on()
    nash = rows[rows["direction"] == "nash"]
    if nash.empty:
        style.no_data(ax, "the Nash direction was not used here")
        return
    others = rows[rows["direction"] != "nash"]
    if len(others):
        means = others.groupby(["direction", "value"])["p_action_1"].mean().unstack("value")
        low, high = means.quantile(0.025), means.quantile(0.975)
        ax.fill_between(means.columns.to_numpy(float), low, high, color="0.7", alpha=0.7, lw=0)
    if len(games) > 1:
        for index, game in enumerate(games):
            mean = nash[nash["game"] == game].groupby("value")["p_action_1"].mean()
            ax.plot(
                mean.index,
                mean,
                color=color,
                linewidth=0.9,
                alpha=0.7,
                linestyle=_DASHES[index % len(_DASHES)],
            )
    table, match = _table(nash)
    found = intervals.column_means(
        table.to_numpy(float), match, dose.kind, model, int(nash["layer"].iloc[0]), **options
    )
    style.line(ax, table.columns.to_numpy(float), *found, color=color, marker="o")
    ax.axvline(0, color="0.6", linewidth=0.7)
    ax.axhline(0.5, color="0.6", linewidth=0.7, linestyle=":")
    ax.set(ylim=(-0.04, 1.04), yticks=[0, 0.5, 1])
    doses = table.columns.to_numpy(float)
    ends = sorted({doses.min(), 0.0, doses.max()})
    ax.set_xticks(ends, [f"{value:g}" for value in ends])


def _summary(
    ax: Axes,
    rows: pd.DataFrame,
    dose: Dose,
    color: Any,
    model: str,
    options: dict[str, Any],
) -> None:
    ax.set_axis_on()
    low_dose, high_dose = rows["value"].min(), rows["value"].max()
    ends = rows[rows["value"].isin([low_dose, high_dose])]
    if low_dose == high_dose:
        style.no_data(ax, "one dose only")
        return
    layers: list[int] = []
    found: list[tuple[float, float, float]] = []
    band: list[tuple[float, float]] = []
    for layer in sorted(int(value) for value in ends["layer"].unique()):
        part = ends[ends["layer"] == layer]
        table, match = _table(part[part["direction"] == "nash"])
        if table.shape[1] < 2 or table.empty:
            continue
        move = (table[high_dose] - table[low_dose]).to_numpy(float)[:, None]
        values = intervals.column_means(move, match, dose.kind, model, "move", layer, **options)
        layers.append(layer)
        found.append((float(values[0][0]), float(values[1][0]), float(values[2][0])))
        others = part[part["direction"] != "nash"]
        means = others.groupby(["direction", "value"])["p_action_1"].mean().unstack("value")
        moves = (means[high_dose] - means[low_dose]).quantile([0.025, 0.975]) if len(means) else ()
        band.append(tuple(moves) if len(moves) else (np.nan, np.nan))
    if not layers:
        style.no_data(ax, "no prompt has both the smallest and the largest dose")
        return
    estimate, low, high = np.array(found).T
    random = np.array(band, dtype=float).T
    ax.fill_between(layers, random[0], random[1], color="0.7", alpha=0.7, linewidth=0)
    ax.axhline(0, color="0.6", linewidth=0.7)
    ax.plot(layers, estimate, color=color, marker="o")
    ax.vlines(layers, low, high, color=color)
    limit = 1.05 * max(
        0.1, float(np.nanmax(np.abs([*found, *zip(*random, np.zeros(len(layers)), strict=True)])))
    )
    ax.set_ylim(-limit, limit)
    ax.set_xlabel("layer", fontsize=style.SMALL)
    ax.set_ylabel(
        f"P(action 1) at {dose.symbol} = {high_dose:g}\nminus at {low_dose:g}", fontsize=style.SMALL
    )
    style.ticks(ax.xaxis, 4, integer=True)


def _counts(rows: pd.DataFrame) -> str:
    nash = rows[rows["direction"] == "nash"]
    return style.sizes(nash["prompt_id"].nunique(), "prompts", nash["match_id"].nunique())


def _handles(color: Any, games: list[str], controls: int, confidence: float) -> list[Any]:
    names = ", ".join(style.words(game) for game in games)
    handles: list[Any] = [
        Line2D(
            [],
            [],
            color=color,
            marker="o",
            label=f"Nash direction; held out: {names}"
            if len(games) <= 3
            else f"Nash direction, mean of {len(games)} held-out games",
        ),
        Patch(color=color, alpha=0.2, label=f"{confidence:.0%} interval over matches"),
    ]
    if len(games) > 1:
        handles += [
            Line2D(
                [],
                [],
                color=color,
                alpha=0.7,
                linewidth=0.9,
                linestyle=_DASHES[index % len(_DASHES)],
                label=f"{style.words(game)} alone",
            )
            for index, game in enumerate(games[:6])
        ]
    text = f"{controls} random directions, 2.5 to 97.5 %" if controls else "no random directions"
    return [*handles, Patch(color="0.7", alpha=0.7 if controls else 0, label=text)]
