"""Planted against found: facts of models whose mechanism is known, errors in null models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from nashlens.figures import saying, style, theme
from nashlens.figures.registry import Look

TITLE = "Calibration"
_COLUMNS = [
    *("model", "null", "fact", "planted", "found", "layer_error", "precision", "recall"),
    *("outcome", "basis"),
]
_RATES = ("quantity", "fact", "estimate", "ci_low", "ci_high", "n", "goal")
_FACTS = {
    "history_from": "history (probe)",
    "nash_from": "Nash action (probe)",
    "nash_label_from": "Nash label (probe)",
    "nash_place_from": "Nash place (probe)",
    "favoured_from": "Nash favoured from (lens)",
    "override_at": "override at (lens)",
    "steerable_from": "steerable (steering)",
    "label_from": "label steerable",
    "label_carries_over": "carries to other labels",
    "label_jointly": "only at layers together",
    "computed_at": "Nash computed at (patching)",
    "components": "overriding components",
    "follows_action": "follows the action (lens)",
    "follows_word": "follows the word (lens)",
    "answering_heads": "heads or MLPs answer Nash (M4)",
    "answering_group": "heads named in a group (M4)",
    "M1": "M1 history at layer 1",
    "M5": "M5 lens favours Nash",
    "M6": "M6 late override",
    "M7": "M7 steering both ways",
    "M9": "M9 late cause",
    "M10": "M10 a choir",
    "M11": "M11 from payoffs",
    "B7": "B7 responds to belief",
    "S1": "S1 steered play",
    "wrong_spike": "wrong effects put in",
}
"""Fact -> its column's name. Facts that end at a layer are in the column of their first layer, and
effects of a wrong kind that were put in, of all claims, are in one column."""
_NAMED = ("components", "answering_group")
"""Facts of which a cell says how many components were named."""
_KINDS = {
    "exact": "as planted",
    "near": "nearly",
    "far": "further off",
    "miss": "missed",
    "false_positive": "found though absent",
    "true_negative": "not found",
}
"""What a cell says; empty cells are not known by construction."""


_ROW = 0.3
"""Inches of a model's row, for two lines of the smallest font."""


_FEW = 14
"""Facts up to which a column has room for `12 of 40` on one line."""


class _Cell(NamedTuple):
    kind: str
    text: str


def _message(calibration: pd.DataFrame, calibration_rates: pd.DataFrame, look: Look) -> str:
    """Say how many planted facts are found, and how often one is found in models without it."""
    found = calibration_rates.drop_duplicates("quantity").set_index("quantity")
    recall, wrong = found.loc["recall"], found.loc["false_positive_rate"]
    said = []
    if recall["n"]:
        said.append(f"finds {saying.interval(recall, '.0%')} of {int(recall['n'])} planted facts")
    if wrong["n"]:
        said.append(
            f"takes {saying.interval(wrong, '.1%')} of {int(wrong['n'])} facts for found in models"
            " without them"
        )
    return f"The study {' and '.join(said)}" if said else "No planted fact was looked for"


@style.figure(TITLE, _message, calibration=_COLUMNS, calibration_rates=_RATES)
def draw(calibration: pd.DataFrame, calibration_rates: pd.DataFrame, look: Look) -> Figure:
    """Draw each planted model's facts as found, and how many null models show each fact.

    Above, a row is a planted model and a column a fact, with the layers that the study found, a
    tick for what holds, or how many of the planted components it named. Below, the share of null
    models that show the fact, with its interval.
    """
    style.need_rows(calibration, "no model is a planted one")
    planted = calibration[~calibration["null"].astype(bool)]
    cells = {str(model): _cells(mine) for model, mine in planted.groupby("model", sort=False)}
    rates = calibration_rates[calibration_rates["quantity"] == "null_rate"].set_index("fact")
    named = {fact for row in cells.values() for fact in row} | set(rates.index)
    facts = [fact for fact in _FACTS if fact in named]
    color = _colors(look.palette)
    rows = max(len(cells), 3)
    figure, body = style.canvas(look.width or style.WIDTH, 4.4 + _ROW * rows)
    axes = body.subplots(2, 1, sharex=True, height_ratios=[_ROW * rows, 1.0])
    _grid(axes[0], cells, facts, color)
    goal = float(calibration_rates.set_index("quantity")["goal"]["false_positive_rate"])
    _errors(axes[1], rates, facts, color["false_positive"], goal)
    axes[1].set_xticks(range(len(facts)), [_FACTS[fact] for fact in facts], rotation=90)
    axes[1].set_xlim(-0.5, len(facts) - 0.5)
    axes[1].set_xlabel("fact, and what it is looked for in", fontsize=theme.SMALL)
    handles: list[Any] = [Patch(color=color[kind], label=text) for kind, text in _KINDS.items()]
    bar = "share of null models"
    handles += [
        Line2D([], [], color=color["false_positive"], marker="o", markersize=4, label=bar),
        Line2D([], [], color="0.3", linestyle=":", label=f"at most {goal:.0%}"),
    ]
    style.legend(body, handles)
    style.notes(body, [_in_numbers(calibration_rates)])
    return figure


def _colors(palette: str) -> dict[str, Any]:
    base = theme.colors(palette, ["exact", "far", "x", "miss", "false_positive"])
    light = tuple(1 - 0.45 * (1 - part) for part in base["exact"])
    return base | {"near": light, "true_negative": (0.93, 0.93, 0.93)}


def _in_numbers(rates: pd.DataFrame) -> str:
    found = {row["quantity"]: row for row in rates.to_dict("records")}
    recall, rate = found["recall"], found["false_positive_rate"]
    error, any_null = found["largest_layer_error"], found["null_models_with_any"]
    parts = [
        "Nearly: one layer off, or with other components; not found: absent, too; no: contradicted,"
        " as it must be, and ?: left open"
    ]
    parts += [f"recall {recall['estimate']:.2f} of {int(recall['n'])} planted facts"]
    put_in = found["spikes_found"]
    if put_in["n"]:
        parts.append(
            f"of {int(put_in['n'])} large effects put into null models {put_in['estimate']:.0%}"
            " were found"
        )
    if pd.notna(error["estimate"]):
        parts.append(f"largest layer error {error['estimate']:.0f}")
    if rate["n"]:
        parts.append(
            f"false positives {rate['estimate']:.1%} [{rate['ci_low']:.1%}, {rate['ci_high']:.1%}]"
            f" of {int(rate['n'])} checks in {int(any_null['n'])} null models"
        )
    return "; ".join(parts) + "."


def _cells(mine: pd.DataFrame) -> dict[str, _Cell]:
    """Return what is to be said of each fact of one model."""
    facts: dict[str, dict[Any, Any]] = {str(row["fact"]): row for row in mine.to_dict("records")}
    cells = {}
    wrong = mine.loc[mine["fact"].str.startswith("wrong_spike_"), "outcome"]
    if len(wrong):
        taken = int((wrong == "false_positive").sum())
        kind = "false_positive" if taken else "true_negative"
        cells["wrong_spike"] = _Cell(kind, f"{taken}/{len(wrong)}" if taken else "")
    for fact, row in facts.items():
        if fact not in _FACTS or row["outcome"] == "unknown":
            continue
        until = facts.get(fact.replace("_from", "_until"), {}) if fact.endswith("_from") else {}
        cells[fact] = _cell(fact, row, until)
        refuted = facts.get(f"{fact}_contradicted", {}).get("outcome")
        if refuted is not None and cells[fact].kind == "true_negative":
            cells[fact] = _Cell("exact", "no") if refuted == "hit" else _Cell("miss", "?")
    return cells


def _cell(fact: str, row: Mapping[Any, Any], until: Mapping[Any, Any]) -> _Cell:
    if row["outcome"] == "true_negative":
        return _Cell("true_negative", "")
    if row["outcome"] == "miss" and not (fact in _NAMED and row["found"]):
        return _Cell("miss", "-")
    if fact in _NAMED:
        if row["outcome"] == "false_positive":
            return _Cell("false_positive", f"{row['found']:.0f}")
        right = round(row["precision"] * row["found"])
        others = round(row["found"]) - right
        text = f"{right}/{row['planted']:.0f}" + (f"+{others}" if others else "")
        kind = "miss" if row["outcome"] == "miss" else "near" if others else "exact"
        return _Cell(kind, text)
    if pd.isna(row["layer_error"]) and row["outcome"] == "hit":
        return _Cell("exact", "✓")
    if not fact.endswith(("_from", "_at")):
        return _Cell(row["outcome"], "✓")
    ends = [row["found"], until.get("found", np.nan)]
    known = [f"{end:.0f}" for end in ends if pd.notna(end)]
    text = "-".join(dict.fromkeys(known))
    if row["outcome"] == "false_positive":
        return _Cell("false_positive", text)
    if until.get("outcome") == "miss":
        return _Cell("miss", text)
    errors = [row["layer_error"], until.get("layer_error", np.nan)]
    largest = max(float(error) for error in errors if pd.notna(error))
    return _Cell("exact" if largest == 0 else "near" if largest <= 1 else "far", text)


def _grid(
    ax: Axes, cells: Mapping[str, Mapping[str, _Cell]], facts: list[str], color: Mapping[str, Any]
) -> None:
    for y, row in enumerate(cells.values()):
        for x, fact in enumerate(facts):
            if fact not in row:
                continue
            cell = row[fact]
            box = Rectangle((x - 0.46, y - 0.42), 0.92, 0.84, color=color[cell.kind], linewidth=0)
            ax.add_patch(box)
            dark = sum(color[cell.kind]) < 1.6
            shade = "white" if dark else "black"
            ax.text(x, y, _narrow(cell.text), ha="center", va="center", fontsize=7, color=shade)
    ax.set_yticks(range(len(cells)), [style.words(model) for model in cells])
    ax.set_ylim(len(cells) - 0.4, -0.6)
    ax.grid(False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title(f"planted models (n = {len(cells)}): what was found, layers in figures")


def _narrow(text: str) -> str:
    """Break what is too long for a cell: `10-12` and `7/8+1` after their sign."""
    if len(text) <= 3:
        return text
    return text.replace("-", "-\n", 1).replace("+", "\n+", 1)


def _errors(ax: Axes, rates: pd.DataFrame, facts: list[str], color: Any, goal: float) -> None:
    if rates.empty:
        style.shade_empty(ax, "no data: no null model in this experiment")
        ax.set_yticks([])
        return
    known = {str(row["fact"]): row for row in rates.reset_index().to_dict("records")}
    between = " " if len(facts) <= _FEW else "\n"
    for x, fact in enumerate(facts):
        if fact not in known:
            continue
        rate = known[fact]
        ax.vlines(x, rate["ci_low"], rate["ci_high"], color=color, linewidth=1.8)
        ax.plot(x, rate["estimate"], "o", color=color, markersize=4.5)
        text = f"{round(rate['estimate'] * rate['n'])} of{between}{int(rate['n'])}"
        ax.text(x, rate["ci_high"], text, ha="center", va="bottom", fontsize=theme.SMALL)
    ax.axhline(goal, color="0.3", linestyle=":", linewidth=1)
    ax.set_ylim(-0.02, max(0.3, float(rates["ci_high"].max()) * 1.7))
    ax.set_ylabel("share of\nnull models", fontsize=theme.SMALL)
    # Each fact is one check of a model, but effects of the wrong kind, which each claim has.
    models = int(rates["n"].drop("wrong_spike", errors="ignore").max())
    ax.set_title(f"null models (n = {models}): found though nothing is there")
