"""Does a probe of one game read another? The transfer matrix."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from nashlens.figures import saying, style, theme
from nashlens.figures.registry import Look
from nashlens.figures.targets import deal_panels, target_words
from nashlens.kept import at_position

TITLE = "Probes fitted on one game, tried on another"
_COLUMNS = [
    "model", "target", "layer", "train", "test", "status", "reason", "n", "n_matches",
    "balanced_accuracy", "ci_low", "ci_high", "confidence",
]  # fmt: skip
_PROBES = ("model", "target", "split", "layer", "balanced_accuracy")
_SCALE = Normalize(0.0, 1.0)
_MAP = "PuOr"
"""Diverging, told apart by colour-blind readers; its middle is chance."""

_UNKNOWN: dict[str, Any] = {"facecolor": "0.88", "hatch": "////", "edgecolor": "0.6"}


def _message(transfer: pd.DataFrame, probes: pd.DataFrame, look: Look) -> str:
    """Say how often a probe of one game reads another above chance, and where best."""
    transfer, probes = at_position(transfer), at_position(probes)
    known = transfer[(transfer["status"] == "ok") & (transfer["train"] != transfer["test"])]
    parts = [
        rows[rows["layer"] == _shown_layer(rows, probes, str(key[0]), str(key[1]))]
        for key, rows in known.groupby(["model", "target"])
    ]
    if not parts:
        return "No target varies within two games, so no probe can be tried on another game"
    rows = pd.concat(parts, ignore_index=True)
    rows = rows.assign(estimate=rows["balanced_accuracy"])
    read = saying.above(rows, 0.5)
    best = rows.loc[rows.loc[read if read.any() else rows.index, "estimate"].idxmax()]
    return (
        f"A probe of one game reads another above chance in {read.sum() or 'none'} of {len(rows)}"
        f" cases: at best {saying.interval(best)} ({target_words(best['target'])},"
        f" {style.words(best['train'])} to {style.words(best['test'])})"
    )


@style.figure(TITLE, _message, transfer=_COLUMNS, probes=_PROBES)
def draw(transfer: pd.DataFrame, probes: pd.DataFrame, look: Look) -> Figure:
    """Draw balanced accuracy by training and tested game, a panel for each target (and model).

    Each panel shows the layer at which the target's probe over all games is best, so no cell of
    the matrix was looked at to choose it. Numbers are bold where the interval leaves out 0.5. The
    palette is not used: the matrix needs a diverging scale.
    """
    transfer, probes = at_position(transfer), at_position(probes)
    style.need_rows(transfer, "the transfer table holds no row")
    models = list(dict.fromkeys(transfer["model"]))
    targets = list(dict.fromkeys(transfer["target"]))
    known = transfer[transfer["status"] == "ok"]
    shown = [name for name in targets if (known["target"] == name).any()]
    if not shown:
        raise style.NothingToShowError("; ".join(sorted(set(transfer["reason"]))[:3]))
    single = len(models) == 1
    rows = deal_panels(models, shown, 2 if single else 3)
    down, across = len(rows), max(map(len, rows))
    width = look.width or style.WIDTH
    size = min((width - 0.4) / across, 3.4 if single else 2.1)
    figure, body = style.canvas(width, 1.9 + (size * 0.92) * down)
    grid = body.subplots(down, across, squeeze=False)
    axes: list[Axes] = list(grid.flat)
    for row, column in np.ndindex(down, across):
        ax = axes[row * across + column]
        if column >= len(rows[row]):
            style.hide([ax])
            continue
        model, target = rows[row][column]
        part = transfer[(transfer["model"] == model) & (transfer["target"] == target)]
        layer = _shown_layer(part, probes, model, target)
        _matrix(ax, part[part["layer"] == layer], numbers=single)
        head = target_words(target) if single else f"{model}: {target_words(target)}"
        heading = style.fit(f"{head}, layer {layer}", (0.8 if single else 0.72) * size)
        ax.set_title(heading, fontsize=theme.SMALL)
        if column:
            ax.set_yticklabels([])
        else:
            ax.set_ylabel("fitted on", fontsize=theme.SMALL)
        if any(column < len(below) for below in rows[row + 1 : row + 2]):
            ax.set_xticklabels([])
        else:
            ax.set_xlabel("tried on", fontsize=theme.SMALL)
    bar = body.colorbar(
        ScalarMappable(_SCALE, _MAP), ax=grid, shrink=min(1.0, 2.5 / (size * down)), aspect=25
    )
    bar.set_label("balanced accuracy (chance 0.5)", fontsize=theme.SMALL)
    style.legend(body, _legend_entries(transfer, targets, shown, single))
    return figure


def _legend_entries(
    transfer: pd.DataFrame, targets: list[str], shown: list[str], numbers: bool
) -> list[Any]:
    level = f"{float(transfer['confidence'].iloc[0]):.0%}"
    mark = "bold" if numbers else "dot"
    good = transfer[transfer["status"] == "ok"]
    counts = saying.counted(good["n"]), saying.counted(good["n_matches"])
    size = "a game: n = {} prompts, {} histories".format(*counts)
    handles = [
        style.note(size),
        style.note(f"{mark}: the {level} interval over histories leaves out 0.5"),
        Patch(label="the target is constant or undefined in a game", **_UNKNOWN),
    ]
    missing = [target_words(name) for name in targets if name not in shown]
    if missing:
        text = f"not shown, as each game fixes it: {', '.join(missing)}"
        handles.append(style.note(text))
    return handles


def _shown_layer(part: pd.DataFrame, probes: pd.DataFrame, model: str, target: str) -> int:
    """Return the layer where the probe over all games is best; without one, the last."""
    rows = probes[
        probes["layer"].isin(part["layer"])
        & (probes["model"] == model)
        & (probes["target"] == target)
        & (probes["split"] == "match")
        & probes["balanced_accuracy"].notna()
    ]
    if rows.empty:
        return int(part["layer"].max())
    return int(rows["layer"].iloc[int(rows["balanced_accuracy"].to_numpy(float).argmax())])


def _matrix(ax: Axes, rows: pd.DataFrame, *, numbers: bool) -> None:
    """Draw the matrix of one layer."""
    games = sorted(set(rows["train"]))
    place = {game: k for k, game in enumerate(games)}
    ax.patch.set(**_UNKNOWN)
    values = np.full((len(games), len(games)), np.nan)
    for _, cell in rows[rows["status"] == "ok"].iterrows():
        values[place[cell["train"]], place[cell["test"]]] = cell["balanced_accuracy"]
    # Small cells fill their panel: square ones would leave most of the width free.
    aspect: Literal["equal", "auto"] = "equal" if numbers else "auto"
    ax.imshow(np.ma.masked_invalid(values), cmap=_MAP, norm=_SCALE, aspect=aspect)
    for _, cell in rows[rows["status"] == "ok"].iterrows():
        y, x = place[cell["train"]], place[cell["test"]]
        value = float(cell["balanced_accuracy"])
        sure = cell["ci_low"] > 0.5 or cell["ci_high"] < 0.5
        ink = "white" if abs(value - 0.5) > 0.36 else "black"
        if numbers:
            text, weight = _number(value), "bold" if sure else "normal"
            style.centred(ax, text, x, y, ax.transData, color=ink, fontweight=weight)
        elif sure:
            ax.plot(x, y, ".", color=ink, markersize=2.5)
    labels = [style.words(game) for game in games]
    ax.set_xticks(range(len(games)), labels, rotation=90, fontsize=theme.SMALL)
    ax.set_yticks(range(len(games)), labels, fontsize=theme.SMALL)
    ax.grid(False)
    ax.tick_params(length=0)


def _number(value: float) -> str:
    """Return a share in as few characters as a cell has room for."""
    text = f"{value:.2f}"
    return {"1.00": "1", "0.00": "0"}.get(text, text.replace("0.", "."))
