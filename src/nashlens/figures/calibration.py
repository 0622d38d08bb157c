"""Planted against found: layers in models whose mechanism is known, errors in null models."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nashlens.figures import style
from nashlens.figures.registry import Look

TITLE = "Calibration: what the study finds in models whose mechanism is known"
_COLUMNS = ["model", "null", "fact", "planted", "found", "layer_error", "outcome", "basis"]
_RATES = ("quantity", "fact", "estimate", "ci_low", "ci_high", "n", "goal")
_SPANS = {
    "history (probe)": ("history_from", "history_until"),
    "Nash action (probe)": ("nash_from", "nash_until"),
    "Nash favoured from (lens)": ("favoured_from", None),
    "override at (lens)": ("override_at", None),
    "steerable (steering)": ("steerable_from", "steerable_until"),
}
"""Row -> the facts at its ends."""
_OTHERS = {
    "follows_action": "answer follows the action",
    "follows_word": "answer follows the word",
    "answering_heads": "heads answer Nash (M4)",
    "M1": "M1 history at layer 1",
    "M5": "M5 lens favours Nash",
    "M6": "M6 late override",
    "M7": "M7 steering both ways",
}


@style.figure(TITLE, calibration=_COLUMNS, calibration_rates=_RATES)
def draw(calibration: pd.DataFrame, calibration_rates: pd.DataFrame, look: Look) -> Figure:
    """Draw planted and found layers of each planted model, and the null models' errors."""
    if calibration.empty:
        raise style.NothingToShowError("no model is a planted one")
    planted = calibration[~calibration["null"].astype(bool)]
    rows = _rows(planted)
    values = style.colors(look.palette, ["found", "x", "y", "wrong"]) | {"planted": (0.78,) * 3}
    figure, body = style.canvas(look.width or 9.0, 1.6 + 0.155 * max(len(rows), 12), TITLE)
    axes = body.subplots(1, 2, width_ratios=[2.1, 1])
    _layers(axes[0], rows, values)
    _errors(axes[1], calibration_rates, values)
    goal = float(calibration_rates.set_index("quantity")["goal"]["false_positive_rate"])
    axes[1].axvline(goal, color="0.3", linestyle=":", linewidth=1)
    handles = _legend_entries(values, goal, look.confidence)
    style.legend(body, handles, 4, _in_numbers(calibration_rates))
    return figure


def _in_numbers(rates: pd.DataFrame) -> str:
    found = {row["quantity"]: row for row in rates.to_dict("records")}
    recall, rate = found["recall"], found["false_positive_rate"]
    error, any_null = found["largest_layer_error"], found["null_models_with_any"]
    parts = [f"Recall {recall['estimate']:.2f} of {int(recall['n'])} planted facts"]
    if pd.notna(error["estimate"]):
        parts.append(f"largest layer error {error['estimate']:.0f}")
    if rate["n"]:
        parts.append(
            f"false positives {rate['estimate']:.1%} [{rate['ci_low']:.1%}, {rate['ci_high']:.1%}]"
            f" of {int(rate['n'])} checks in {int(any_null['n'])} null models"
        )
    return "; ".join(parts) + "."


_NOWHERE = (np.nan, np.nan)


@dataclass(frozen=True)
class _Row:
    """One fact of one planted model."""

    model: str
    name: str
    outcome: str
    planted: tuple[float, float]
    """First and last layer; missing where it is nowhere, or no fact of layers."""
    found: tuple[float, float]


def _rows(planted: pd.DataFrame) -> list[_Row]:
    """Return what is planted or found, models in their order."""
    rows = []
    for model, mine in planted.groupby("model", sort=False):
        facts = {record["fact"]: record for record in mine.to_dict("records")}
        for name, (first, until) in _SPANS.items():
            ends = {
                column: (
                    float(facts[first][column]),
                    float(facts[until][column]) if until in facts else np.nan,
                )
                for column in ("planted", "found")
            }
            if not np.isnan([ends["planted"][0], ends["found"][0]]).all():
                rows.append(_Row(str(model), name, str(facts[first]["outcome"]), **ends))
        for fact, name in _OTHERS.items():
            outcome = str(facts.get(fact, {}).get("outcome", "unknown"))
            if outcome not in ("true_negative", "unknown"):
                rows.append(_Row(str(model), name, outcome, _NOWHERE, _NOWHERE))
        if not rows or rows[-1].model != str(model):
            rows.append(_Row(str(model), "nothing of these", "true_negative", _NOWHERE, _NOWHERE))
    return rows


def _layers(ax: Axes, rows: list[_Row], color: Any) -> None:
    ends = [end for row in rows for end in (*row.planted, *row.found)]
    last = float(np.nanmax(np.array([1.0, *ends])))
    said = {"hit": "found", "miss": "missed", "false_positive": "found though absent"}
    said["true_negative"] = "nothing found"
    for y, row in enumerate(rows):
        good = row.outcome in ("hit", "unknown", "true_negative")
        if np.isnan([row.planted[0], row.found[0]]).all():
            shade = color["found" if good else "wrong"]
            ax.text(0.7, y, said[row.outcome], va="center", fontsize=style.SMALL, color=shade)
            continue
        _bar(ax, y, row.planted, color=color["planted"], marker="s", markersize=9, linewidth=7)
        shade = color["wrong" if row.outcome == "false_positive" else "found"]
        _bar(ax, y, row.found, color=shade, marker="o", markersize=4, linewidth=2)
        if row.outcome == "miss":
            ax.text(0.7, y, "missed", va="center", fontsize=style.SMALL, color=color["wrong"])
    labels = [f"{row.model}: {row.name}" for row in rows]
    ax.set_yticks(range(len(rows)), labels, fontsize=style.SMALL)
    for y, (one, two) in enumerate(itertools.pairwise(rows)):
        if one.model != two.model:
            ax.axhline(y + 0.5, color="0.6", linewidth=0.6)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(0.5, last + 0.5)
    style.ticks(ax.xaxis, 12, integer=True)
    ax.set_xlabel("layer", fontsize=style.SMALL)
    models = len({row.model for row in rows})
    ax.set_title(f"planted models (n = {models})")


def _bar(ax: Axes, y: int, span: tuple[float, float], **options: Any) -> None:
    """Draw a span, or its one known end."""
    known = [end for end in span if not np.isnan(end)]
    if known:
        ax.plot(known, [y] * len(known), solid_capstyle="butt", **options)


def _errors(ax: Axes, rates: pd.DataFrame, color: Any) -> None:
    rows = rates[rates["quantity"] == "null_rate"].to_dict("records")
    known = {row["fact"]: row for row in rows}
    if not known:
        style.no_data(ax, "no null model in this experiment")
        return
    facts = {first: name for name, (first, _) in _SPANS.items()} | _OTHERS
    shown = [fact for fact in facts if fact in known]
    for y, fact in enumerate(shown):
        rate = known[fact]
        ax.hlines(y, rate["ci_low"], rate["ci_high"], color=color["wrong"], linewidth=1.8)
        ax.plot(rate["estimate"], y, "o", color=color["wrong"], markersize=4.5)
        text = f"{round(rate['estimate'] * rate['n'])} of {int(rate['n'])}"
        ax.text(max(rate["ci_high"], 0.05) + 0.02, y, text, va="center", fontsize=style.SMALL)
    ax.set_yticks(range(len(shown)), [facts[fact] for fact in shown], fontsize=style.SMALL)
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.set_xlim(-0.02, 1)
    ax.set_xlabel("share of null models", fontsize=style.SMALL)
    (models,) = rates.loc[rates["quantity"] == "null_models_with_any", "n"]
    ax.set_title(f"found in null models (n = {int(models)})")


def _legend_entries(color: Any, goal: float, confidence: float) -> list[Any]:
    return [
        Patch(color=color["planted"], label="planted"),
        Line2D([], [], color=color["found"], marker="o", markersize=4, label="found"),
        Line2D([], [], color=color["wrong"], marker="o", markersize=4,
               label=f"found though absent ({confidence:.0%} Wilson interval)"),
        Line2D([], [], color="0.3", linestyle=":", label=f"goal: at most {goal:.0%}"),
    ]  # fmt: skip
