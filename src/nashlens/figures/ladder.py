"""The ladder: what each published finding becomes as one control after the other is added."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from nashlens.figures import style, theme
from nashlens.figures.findings import VERDICTS
from nashlens.figures.registry import Look

TITLE = "The ladder"
COLUMNS = (
    *("claim", "model", "statement", "rung", "name", "adds"),
    *(*style.ESTIMATE, "unit", "control", "n", "n_matches", "concludes"),
)
_LEFT = 0.17
"""Share of the width that the claims have; the rungs share the rest."""
_ROW, _MODEL, _FRAME, _LINE = 1.28, 0.24, 1.15, 0.118
"""Inches of a claim's row, of a model's line, of all around them, and of one line of text."""
_WRAPPED = 2
"""Lines that a row has for what its number is, and for its control."""
_SHORT, _LETTERS = 13.5, 16.0
"""Letters in an inch, bold and plain."""


def _message(ladder: pd.DataFrame, look: Look) -> str:
    """Say how many findings the first rung supports, and how many of these the last one does."""
    ordered = ladder.sort_values("rung").groupby(["claim", "model"])["concludes"]
    first, last = ordered.first() == "supported", ordered.last() == "supported"
    if not first.any():
        return f"The ladder: none of {len(first)} findings is supported as published"
    kept = int((first & last).sum())
    return (
        f"The ladder: {int(first.sum())} of {len(first)} findings are supported as published,"
        f" and {kept or 'none'} of these with all controls"
    )


@style.figure(TITLE, _message, ladder=COLUMNS)
def draw(ladder: pd.DataFrame, look: Look) -> Figure:
    """Draw a row for each claim and model, and in it a cell for each rung, coloured by verdict."""
    style.need_rows(ladder, "no claim has a ladder")
    width = look.width or style.WIDTH
    rungs = ladder.drop_duplicates("rung").sort_values("rung")
    places = {rung: k for k, rung in enumerate(rungs["rung"])}
    models = list(dict.fromkeys(ladder["model"]))
    claims = sum(part["claim"].nunique() for _, part in ladder.groupby("model"))
    inches = (width - 0.2) * (1.0 - _LEFT) / len(places), (width - 0.2) * _LEFT
    heads = {rung["rung"]: _headings(rung, inches[0]) for rung in rungs.to_dict("records")}
    head = 0.1 + _LINE * max(
        name.count("\n") + adds.count("\n") + 2 for name, adds in heads.values()
    )
    height = head + _MODEL * len(models) + _ROW * claims
    figure, body = style.canvas(width, _FRAME + height)
    ax = body.subplots()
    # One unit across is a rung, one unit down an inch.
    left = -len(places) * _LEFT / (1.0 - _LEFT)
    ax.set(xlim=(left, len(places)), ylim=(height, 0), xticks=[], yticks=[])
    ax.grid(False)
    ax.set_xlabel("from the published protocol, left, to the controlled one, right", fontsize=8)
    ax.spines[:].set_visible(False)
    color = _colors(look.palette)
    for rung, texts in heads.items():
        _heading(ax, places[rung], *texts)
    top = head
    for model in models:
        part = ladder[ladder["model"] == model]
        ax.text(left, top + _MODEL / 2, model, fontweight="bold", va="center", fontsize=8)
        top += _MODEL
        for _, rows in part.groupby("claim", sort=False):
            _claim(ax, left, top, rows, places, color, inches)
            top += _ROW
    style.legend(body, _legend(color, look))
    return figure


def _colors(palette: str) -> dict[str, Any]:
    """Return a colour for each verdict: those of the findings' figure."""
    found = theme.colors(palette, ["inconclusive", "contradicted", "supported", "x"])
    return {**found, "not_applicable": (0.75, 0.75, 0.75)}


def _headings(rung: dict[Any, Any], inches: float) -> tuple[str, str]:
    """Return a rung's name and what it adds, wrapped to its column."""
    name = style.fit(rung["name"], inches - 0.04, _SHORT)
    return name, style.fit(rung["adds"], inches - 0.04, _LETTERS)


def _heading(ax: Axes, place: int, name: str, adds: str) -> None:
    options: dict[str, Any] = {"fontsize": theme.SMALL, "va": "top", "linespacing": 1.1}
    ax.text(place + 0.04, 0.0, name, fontweight="bold", **options)
    below = _LINE * (name.count("\n") + 1) + 0.02
    ax.text(place + 0.04, below, adds, color="0.35", **options)


def _claim(
    ax: Axes,
    left: float,
    top: float,
    rows: pd.DataFrame,
    places: dict[int, int],
    color: dict[str, Any],
    inches: tuple[float, float],
) -> None:
    """Draw one claim's row: its statement, and a cell for each rung that it has."""
    first, middle = rows.iloc[0], top + _ROW / 2
    said = style.fit(f"{first['claim']}  {first['statement']}", inches[1] - 0.06, _LETTERS)
    ax.text(left, middle, said, fontsize=theme.SMALL, va="center", linespacing=1.1)
    ax.plot([0.03, len(places) - 0.03], [middle, middle], color="0.8", linewidth=1.0, zorder=0)
    for row in rows.to_dict("records"):
        _cell(ax, places[row["rung"]], top, row, color, inches[0])


def _cell(
    ax: Axes, place: int, top: float, row: dict[Any, Any], color: dict[str, Any], inches: float
) -> None:
    """Draw a rung's cell: the verdict's colour and marker, the estimate, and its interval."""
    verdict = str(row["concludes"])
    shade = color.get(verdict, (0.3, 0.3, 0.3))
    box: dict[str, Any] = {"edgecolor": shade, "linewidth": 1.2}
    filled = (*shade, 0.28) if verdict != "not_applicable" else (1.0, 1.0, 1.0, 1.0)
    # White below the colour hides the line that joins the cells.
    for face in ("white", filled):
        ax.add_patch(Rectangle((place + 0.03, top + 0.05), 0.94, _ROW - 0.1, facecolor=face, **box))
    marker = VERDICTS.get(verdict, ("P", verdict))[0]
    ax.plot(place + 0.13, top + 0.18, marker, color=shade, markersize=6)
    options: dict[str, Any] = {"ha": "left", "va": "center"}
    if pd.isna(row["estimate"]):
        text = style.fit("not judged", 0.7 * inches)
        ax.text(place + 0.26, top + 0.18, text, color="0.4", fontsize=theme.SMALL, **options)
        return
    ax.text(
        place + 0.26, top + 0.18, f"{row['estimate']:.2f}", fontsize=9, fontweight="bold",
        **options,
    )  # fmt: skip
    unit, control = (
        style.fit(str(row[name]), inches - 0.08, _LETTERS).split("\n")[:_WRAPPED]
        for name in ("unit", "control")
    )
    lines = (
        (f"[{row['ci_low']:.2f}, {row['ci_high']:.2f}]", "0.2"),
        *((line, "0.4") for line in unit),
        *((line, "0.2") for line in control),
        (f"n = {int(row['n'])}", "0.4"),
        (f"{int(row['n_matches'])} histories", "0.4"),
    )
    for k, (text, gray) in enumerate(lines):
        middle = top + 0.36 + 1.04 * _LINE * k
        ax.text(place + 0.06, middle, text, fontsize=theme.SMALL, color=gray, **options)


def _legend(color: dict[str, Any], look: Look) -> list[Line2D]:
    handles = [
        Line2D([], [], linestyle="none", marker=VERDICTS[name][0], color=color[name], label=text)
        for name, text in (
            ("supported", "supported"),
            ("contradicted", "contradicted"),
            ("inconclusive", "inconclusive"),
            ("not_applicable", "not judged"),
        )
    ]
    bounds = style.note(
        f"in brackets: {look.confidence:.0%} interval, as the rung has it; n: prompts"
    )
    return [*handles, bounds]
