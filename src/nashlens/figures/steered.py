"""Steered players in play: what a dose moves, and what it breaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nashlens.figures import saying, scales, style, theme
from nashlens.figures.registry import Look

TITLE = "Steered play"
_COLUMNS = ("player", "model", "direction", "edit", "layers", "partner", "quantity", "dose",
            *style.ESTIMATE, "n", "n_matches")  # fmt: skip
_RANDOM = "random"
QUIZ_LOSS, DIVERGENCE = 0.1, 0.5
"""What claim S2 allows."""


class _Panel(NamedTuple):
    quantity: str
    title: str
    label: str
    towards: bool
    """Whether doses are counted towards defection."""


_PANELS = (
    _Panel("cooperation", "cooperation", "chance of it", True),
    _Panel("nash_tv", "Nash distance", "total variation", True),
    _Panel("quiz_accuracy", "quiz on rules, history", "share right", False),
    _Panel("kl", "plain text", "KL from unsteered (nats)", False),
)


def _message(steered_summary: pd.DataFrame, look: Look) -> str:
    """Say how far cooperation moves from the smallest to the largest dose, and in how many."""
    fitted = steered_summary[steered_summary["direction"] != _RANDOM]
    # Of the same blocks: the bands of two doses may overlap though their difference is sure.
    change = fitted[fitted["quantity"] == "cooperation_change"].set_index("player")
    change = change[change["estimate"].notna()]
    if change.empty:
        return "No steered player has play at two doses, so nothing can be compared"
    apart = saying.beyond(change)
    player = str(saying.furthest(change, apart).name)
    least = fitted.loc[fitted["player"].eq(player) & fitted["quantity"].eq("cooperation"), "dose"]
    row = change.loc[player]
    number = f"by {saying.interval(row)} from dose {least.min():g} to {row['dose']:g}"
    if len(change) == 1:
        verb = "moves" if apart.all() else "does not move, beyond its interval,"
        return f"Steering {verb} the cooperation of {player}: {number}"
    return (
        f"Steering moves cooperation in {apart.sum() or 'none'} of {len(change)} players: most in"
        f" {player}, {number}"
    )


@style.figure(TITLE, _message, steered_summary=_COLUMNS)
def draw(steered_summary: pd.DataFrame, look: Look) -> Figure:
    """Draw dose and response, a row for each player."""
    fitted = steered_summary[steered_summary["direction"] != _RANDOM]
    players = list(dict.fromkeys(fitted["player"]))
    if not players:
        raise style.NothingToShowError("no agent is steered along a fitted direction")
    width = look.width or style.WIDTH
    figure, body = style.canvas(width, 1.7 + 2.0 * len(players))
    grid = body.subplots(len(players), len(_PANELS), squeeze=False)
    color = theme.colors(look.palette, ["player", "partner"])
    inches = width / len(_PANELS) - 0.3
    for line, name in zip(grid, players, strict=True):
        mine = fitted[fitted["player"] == name]
        others = steered_summary[
            (steered_summary["direction"] == _RANDOM)
            & (steered_summary["model"] == mine["model"].iloc[0])
            & (steered_summary["layers"] == mine["layers"].iloc[0])
        ]
        for k, (ax, panel) in enumerate(zip(line, _PANELS, strict=True)):
            ours = mine[mine["quantity"] == panel.quantity].sort_values("dose")
            who = _who(name, mine.iloc[0]) if k == 0 else ""
            count = _sizes(panel, ours)
            ax.set_title(style.fit(f"{who}{panel.title}{count}", inches), fontsize=theme.SMALL)
            if ours.empty:
                style.no_data(ax, "see matches.self_play" if panel.towards else "nothing asked")
                continue
            random = others[others["quantity"] == panel.quantity]
            _panel(ax, panel, ours, random, color)
            if panel.quantity == "cooperation":
                _partners(ax, mine, color)
    entries = _legend_entries(
        color,
        look.confidence,
        random=bool((steered_summary["direction"] == _RANDOM).any()),
        partners=bool((fitted["quantity"] == "partner_cooperation").any()),
    )
    style.legend(body, entries)
    return figure


def _who(name: str, row: pd.Series) -> str:
    """Say who is steered, how and where."""
    several = "layers" if "+" in row["layers"] else "layer"
    return f"{name}: {row['edit']} {row['direction']}, {several} {row['layers']}\n"


def _sizes(panel: _Panel, rows: pd.DataFrame) -> str:
    if rows.empty:
        return ""
    n, clusters = int(rows["n"].max()), int(rows["n_matches"].max())
    nouns = {"quiz_accuracy": ("questions", "histories"), "kl": ("passages", "")}
    if panel.quantity not in nouns:
        return "\n" + saying.sizes(n, "rounds", clusters)
    one, two = nouns[panel.quantity]
    two = "history" if clusters == 1 and two else two
    text = f"n = {n} {one}" + (f", {clusters} {two}" if two else "")
    return "\n" + text.replace(" ", "\u00a0").replace(",\u00a0", ", ")


def _panel(
    ax: Axes, panel: _Panel, ours: pd.DataFrame, random: pd.DataFrame, color: Mapping[str, Any]
) -> None:
    doses = ours["dose"].to_numpy(float)
    if panel.quantity == "quiz_accuracy":
        _allowed(ax, doses, float(ours.loc[ours["dose"] == 0, "estimate"].mean()) - QUIZ_LOSS, 1.03)
        ax.axhline(0.5, color="0.4", linestyle=":", linewidth=0.8)
    if panel.quantity == "kl":
        _allowed(ax, doses, 0.0, DIVERGENCE)
    for _, rows in random.groupby("player", sort=False):
        rows = rows.sort_values("dose")
        ax.plot(rows["dose"], rows["estimate"], "--", color=theme.GREY, marker="x", linewidth=1.0)
    style.line(ax, ours, "dose", color=color["player"], marker="o")
    ax.axvline(0, color="0.6", linewidth=0.7)
    if panel.quantity == "kl":
        top = float(np.nanmax([*ours["ci_high"], *ours["estimate"], DIVERGENCE]))
        ax.set_ylim(-0.03 * top, 1.08 * top)
        scales.ticks(ax.yaxis, 4)
    else:
        ax.set(ylim=(-0.03, 1.03), yticks=[0, 0.5, 1])
    ends = sorted({float(doses.min()), 0.0, float(doses.max())})
    ax.set_xticks(ends, [f"{value:g}" for value in ends])
    ax.set_xlabel("dose, to defection" if panel.towards else "dose", fontsize=theme.SMALL)
    ax.set_ylabel(panel.label, fontsize=theme.SMALL)


def _allowed(ax: Axes, doses: Any, low: float, high: float) -> None:
    """Shade what claim S2 allows."""
    if np.isfinite(low):
        ax.axhspan(low, high, color="0.92", linewidth=0, zorder=0)


def _partners(ax: Axes, rows: pd.DataFrame, color: Mapping[str, Any]) -> None:
    found = rows[rows["quantity"] == "partner_cooperation"]
    for _, one in found.groupby("partner", sort=False):
        look: dict[str, Any] = {"marker": "s", "linestyle": "-.", "markerfacecolor": "white"}
        style.line(ax, one.sort_values("dose"), "dose", color=color["partner"], **look)


def _legend_entries(
    color: Mapping[str, Any], confidence: float, *, random: bool, partners: bool
) -> list[Any]:
    entries: list[Any] = [
        Line2D([], [], color=color["player"], marker="o", label="the steered player")
    ]
    if partners:
        look: dict[str, Any] = {"marker": "s", "linestyle": "-.", "markerfacecolor": "white"}
        label = "its unsteered partner, from round 2 on"
        entries.append(Line2D([], [], color=color["partner"], label=label, **look))
    entries.append(Patch(color="0.92", label="within what claim S2 allows"))
    if random:
        label = "a random direction"
        entries.append(Line2D([], [], color=theme.GREY, linestyle="--", marker="x", label=label))
    return [*entries, style.note(f"bands: {confidence:.0%} Student interval")]
